//! The results.

use std::fmt;

use serde_json::json;

/// What a row should show.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    None,
    /// Ours is at least so many times the other's.
    Times(f64),
    /// The other's is at least so many times ours.
    TimesLess(f64),
    /// Ours is at most so many times the other's.
    Share(f64),
    /// Ours is at least this, whatever the other's is.
    AtLeast(f64),
    /// Ours is at most this, whatever the other's is.
    AtMost(f64),
}

#[derive(Debug)]
struct Row {
    name: String,
    unit: &'static str,
    /// Ours and the other's, where they were measured.
    values: [Option<f64>; 2],
    goal: Goal,
}

impl Row {
    fn quotient(&self) -> Option<f64> {
        Some(self.values[0]? / self.values[1]?)
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::None => String::new(),
            Goal::Times(times) | Goal::TimesLess(times) => format!("≥ {times}×"),
            Goal::Share(times) => format!("≤ {times}×"),
            Goal::AtLeast(value) => format!("≥ {value}"),
            Goal::AtMost(value) => format!("≤ {value}"),
        }
    }

    fn is_met(&self) -> Option<bool> {
        match self.goal {
            Goal::None => None,
            Goal::Times(times) => self.quotient().map(|quotient| quotient >= times),
            Goal::TimesLess(times) => self.quotient().map(|quotient| 1.0 / quotient >= times),
            Goal::Share(times) => self.quotient().map(|quotient| quotient <= times),
            Goal::AtLeast(value) => self.values[0].map(|ours| ours >= value),
            Goal::AtMost(value) => self.values[0].map(|ours| ours <= value),
        }
    }
}

/// What is measured of ours and of another, side by side.
#[derive(Debug)]
pub(crate) struct Table {
    names: [&'static str; 2],
    less_is_better: bool,
    rows: Vec<Row>,
}

impl Table {
    /// A table with columns of these names. The ratio is ours by the other's.
    pub(crate) const fn new(ours: &'static str, other: &'static str) -> Self {
        Self { names: [ours, other], less_is_better: false, rows: Vec::new() }
    }

    /// Has the ratio tell how many times better ours is: the other's by ours, but where the goal is to have more.
    pub(crate) const fn less_is_better(mut self) -> Self {
        self.less_is_better = true;
        self
    }

    /// Adds a value of ours (column 0) or beside it of the other's (1).
    pub(crate) fn add(&mut self, column: usize, name: impl Into<String>, unit: &'static str, value: f64, goal: Goal) {
        let name = name.into();
        eprintln!("  {name}: {} {unit}", number(value));
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name, unit, values: [None; 2], goal });
            self.rows.len() - 1
        });
        self.rows[at].values[column] = Some(value);
    }

    /// Adds ours and, if it was measured, the other's.
    pub(crate) fn add_row(&mut self, name: impl Into<String>, unit: &'static str, values: &[f64], goal: Goal) {
        let name = name.into();
        for (column, value) in values.iter().enumerate() {
            self.add(column, name.clone(), unit, *value, goal);
        }
    }

    fn ratio(&self, row: &Row) -> Option<f64> {
        let inverted = self.less_is_better && !matches!(row.goal, Goal::Times(_));
        row.quotient().map(|quotient| if inverted { 1.0 / quotient } else { quotient })
    }

    pub(crate) fn json(&self) -> String {
        let [ours, other] = self.names;
        let rows = self.rows.iter().map(|row| {
            json!({
                "name": row.name, "unit": row.unit, ours: row.values[0], other: row.values[1],
                "ratio": self.ratio(row), "goal": row.goal(), "met": row.is_met(),
            })
        });
        format!("{:#}\n", json!({ "rows": rows.collect::<Vec<_>>() }))
    }
}

/// As Markdown.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ours, other] = self.names;
        let header = ["", "unit", ours, other, "ratio", "goal", "met"].map(str::to_owned);
        let rows = self.rows.iter().map(|row| {
            let met = row.is_met().map_or("", |met| if met { "yes" } else { "no" });
            [
                row.name.clone(),
                row.unit.to_owned(),
                row.values[0].map_or(String::new(), number),
                row.values[1].map_or(String::new(), number),
                self.ratio(row).map_or(String::new(), |ratio| format!("{ratio:.2}×")),
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
