//! Results that others published.

/// What was published for a policy on a workload, over several seeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Published {
    /// The trace's name.
    pub workload: String,
    /// The policy, as the lab calls it.
    pub policy: String,
    /// Mean allocation, in percent.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

/// What is wrong with a list of published results.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishedError {
    /// A heading isn't one of `workload`, `<policy>_mean`, `<policy>_min`, `<policy>_max`.
    #[error("published results: column {0:?} is neither \"workload\" nor ends in _mean, _min or _max")]
    Column(String),
    /// A value isn't a number.
    #[error("published results: row {row}, column {column:?}: {value:?} is not a number")]
    Number {
        /// The row, counted from 1 with the heading.
        row: usize,
        /// The column.
        column: String,
        /// What stands there.
        value: String,
    },
}

impl Published {
    /// Reads a row for each workload: `workload,<policy>_mean,<policy>_min,<policy>_max,…`. Policies are known by their
    /// names in lower case, without a number in front: `06-FGD` is `fgd`.
    ///
    /// # Errors
    /// A heading or a value that isn't understood.
    pub fn read(csv: &str) -> Result<Vec<Self>, PublishedError> {
        let mut lines = csv.lines().map(str::trim_end);
        let headings: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let mut found: Vec<Self> = Vec::new();
        for (at, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
            let cells: Vec<&str> = line.split(',').collect();
            let workload = cells.first().copied().unwrap_or_default();
            for (heading, cell) in headings.iter().zip(&cells).skip(1) {
                let (policy, what) =
                    heading.rsplit_once('_').ok_or_else(|| PublishedError::Column((*heading).to_owned()))?;
                let policy = policy.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').to_lowercase();
                let value = cell.parse::<f64>().map_err(|_| PublishedError::Number {
                    row: at + 2,
                    column: (*heading).to_owned(),
                    value: (*cell).to_owned(),
                })?;
                let place = found.iter().position(|row| row.workload == workload && row.policy == policy);
                let place = place.unwrap_or_else(|| {
                    found.push(Self { workload: workload.to_owned(), policy, ..Self::default() });
                    found.len() - 1
                });
                match what {
                    "mean" => found[place].mean = value,
                    "min" => found[place].min = value,
                    "max" => found[place].max = value,
                    _ => return Err(PublishedError::Column((*heading).to_owned())),
                }
            }
        }
        Ok(found)
    }

    pub(super) fn find<'a>(published: &'a [Self], workload: &str, policy: &str) -> Option<&'a Self> {
        published.iter().find(|row| row.workload == workload && row.policy == policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_bad_ones_named() {
        let rows = Published::read("workload,06-FGD_mean,06-FGD_min,06-FGD_max\nw,95.4,95.3,95.5\n").unwrap();
        let expected =
            Published { workload: "w".to_owned(), policy: "fgd".to_owned(), mean: 95.4, min: 95.3, max: 95.5 };
        assert_eq!(rows, [expected]);
        let bad = Published::read("workload,FGD_mean\nw,x\n").unwrap_err();
        assert_eq!(bad.to_string(), r#"published results: row 2, column "FGD_mean": "x" is not a number"#);
        let bad = Published::read("workload,FGD\nw,1\n").unwrap_err();
        assert!(bad.to_string().contains("column \"FGD\""));
    }
}
