//! The results.

use std::fmt;

use serde_json::json;

/// What a row should show.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    None,
    /// A rate: ours is at least so many times upstream's.
    Faster(f64),
    /// A time or a size: upstream's is at least so many times ours.
    Less(f64),
    /// Ours is at most this, whatever upstream's is.
    AtMost(f64),
}

#[derive(Debug)]
struct Row {
    name: String,
    unit: &'static str,
    ours: Option<f64>,
    upstream: Option<f64>,
    goal: Goal,
}

impl Row {
    /// How many times better ours is.
    fn ratio(&self) -> Option<f64> {
        let (ours, upstream) = self.ours.zip(self.upstream)?;
        Some(if matches!(self.goal, Goal::Faster(_)) { ours / upstream } else { upstream / ours })
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::None => String::new(),
            Goal::Faster(times) | Goal::Less(times) => format!("{times}×"),
            Goal::AtMost(value) => format!("≤ {value}"),
        }
    }

    fn is_met(&self) -> Option<bool> {
        match self.goal {
            Goal::None => None,
            Goal::Faster(times) | Goal::Less(times) => self.ratio().map(|ratio| ratio >= times),
            Goal::AtMost(value) => self.ours.map(|ours| ours <= value),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds a value of our server, or beside it of upstream's.
    pub(crate) fn add(&mut self, is_ours: bool, name: impl Into<String>, unit: &'static str, value: f64, goal: Goal) {
        let name = name.into();
        eprintln!("  {name}: {} {unit}", number(value));
        let at = self.0.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.0.push(Row { name, unit, ours: None, upstream: None, goal });
            self.0.len() - 1
        });
        let row = &mut self.0[at];
        *if is_ours { &mut row.ours } else { &mut row.upstream } = Some(value);
    }

    pub(crate) fn json(&self) -> String {
        let rows = self.0.iter().map(|row| {
            json!({
                "name": row.name, "unit": row.unit, "ours": row.ours, "upstream": row.upstream,
                "ratio": row.ratio(), "goal": row.goal(), "met": row.is_met(),
            })
        });
        format!("{:#}\n", json!({ "rows": rows.collect::<Vec<_>>() }))
    }
}

/// As Markdown. The ratio says how many times better ours is.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["", "unit", "ours", "upstream", "ratio", "goal", "met"].map(str::to_owned);
        let rows = self.0.iter().map(|row| {
            let met = row.is_met().map_or("", |met| if met { "yes" } else { "no" });
            [
                row.name.clone(),
                row.unit.to_owned(),
                row.ours.map_or(String::new(), number),
                row.upstream.map_or(String::new(), number),
                row.ratio().map_or(String::new(), |ratio| format!("{ratio:.1}×")),
                row.goal(),
                met.to_owned(),
            ]
        });
        let lines: Vec<[String; 7]> = std::iter::once(header).chain(rows).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
        let widths: [usize; 7] = std::array::from_fn(width);
        for (n, line) in lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(widths) {
                write!(f, "| {cell:<width$} ")?;
            }
            writeln!(f, "|")?;
            if n == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{:-<1$}", "", width + 2))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        1000.0.. => {
            let digits = format!("{value:.0}");
            let mut grouped = String::new();
            for (n, digit) in digits.chars().enumerate() {
                if n > 0 && (digits.len() - n) % 3 == 0 {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
