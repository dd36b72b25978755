//! The results.

use std::fmt;

use serde_json::json;

/// What a row should show.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    None,
    /// This store has at least so many times etcd's value.
    AtLeast(f64),
    /// This store has at most so many times etcd's value.
    AtMost(f64),
    /// This store has at least this value, whatever etcd has.
    First(f64),
    /// This store has at most this value, whatever etcd has.
    FirstAtMost(f64),
}

#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    kubewright: f64,
    etcd: Option<f64>,
    target: Target,
}

impl Row {
    /// A row of this store's value and, if it was measured, etcd's.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, values: Vec<f64>, target: Target) -> Self {
        let kubewright = values.first().copied().unwrap_or(f64::NAN);
        Self { name: name.into(), unit, kubewright, etcd: values.get(1).copied(), target }
    }

    fn ratio(&self) -> Option<f64> {
        self.etcd.map(|etcd| self.kubewright / etcd)
    }

    fn target(&self) -> String {
        match self.target {
            Target::None => String::new(),
            Target::AtLeast(times) => format!("≥ {times}×"),
            Target::AtMost(times) => format!("≤ {times}×"),
            Target::First(value) => format!("≥ {value}"),
            Target::FirstAtMost(value) => format!("≤ {value}"),
        }
    }

    fn is_met(&self) -> Option<bool> {
        match self.target {
            Target::None => None,
            Target::AtLeast(times) => self.ratio().map(|ratio| ratio >= times),
            Target::AtMost(times) => self.ratio().map(|ratio| ratio <= times),
            Target::First(value) => Some(self.kubewright >= value),
            Target::FirstAtMost(value) => Some(self.kubewright <= value),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("  {}: {} {}", row.name, number(row.kubewright), row.unit);
        self.0.push(row);
    }

    pub(crate) fn json(&self) -> String {
        let rows = self.0.iter().map(|row| {
            json!({
                "name": row.name, "unit": row.unit, "kubewright": row.kubewright, "etcd": row.etcd,
                "ratio": row.ratio(), "target": row.target(), "met": row.is_met(),
            })
        });
        format!("{:#}\n", json!({ "rows": rows.collect::<Vec<_>>() }))
    }
}

/// As Markdown.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["", "unit", "kubewright", "etcd", "ratio", "target", "met"].map(str::to_owned);
        let rows = self.0.iter().map(|row| {
            let met = row.is_met().map_or("", |met| if met { "yes" } else { "no" });
            [
                row.name.clone(),
                row.unit.to_owned(),
                number(row.kubewright),
                row.etcd.map_or(String::new(), number),
                row.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}×")),
                row.target(),
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
