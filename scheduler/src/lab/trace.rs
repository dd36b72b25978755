//! Traces in openb's format: a list of nodes and a list of jobs.

use super::{Ask, GPU};

/// Nodes, and jobs in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub(super) nodes: Vec<TraceNode>,
    pub(super) jobs: Vec<Ask>,
    pub(super) names: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct TraceNode {
    pub(super) name: String,
    pub(super) cpu: i64,
    pub(super) memory_mib: i64,
    pub(super) gpus: usize,
    pub(super) model: String,
}

/// What is wrong with a trace, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// A column is missing.
    #[error("{list}: no column {column:?}")]
    Column {
        /// `nodes` or `pods`.
        list: &'static str,
        /// The column.
        column: &'static str,
    },
    /// A value isn't a whole number that is at least 0.
    #[error("{list}: row {row}, column {column:?}: {value:?} is not a number")]
    Number {
        /// `nodes` or `pods`.
        list: &'static str,
        /// The row, counted from 1 with the heading.
        row: usize,
        /// The column.
        column: &'static str,
        /// What stands there.
        value: String,
    },
}

struct Table<'a> {
    list: &'static str,
    heading: Vec<&'a str>,
    /// The rows that aren't empty, with their numbers, counted from 1 with the heading.
    rows: Vec<(usize, Vec<&'a str>)>,
}

impl<'a> Table<'a> {
    fn read(list: &'static str, text: &'a str) -> Self {
        let mut lines = text.lines().map(|line| line.trim_end().split(',').collect::<Vec<_>>());
        let heading = lines.next().unwrap_or_default();
        let rows = (2..).zip(lines).filter(|(_, row)| row.iter().any(|cell| !cell.is_empty())).collect();
        Self { list, heading, rows }
    }

    fn column(&self, column: &'static str) -> Result<usize, TraceError> {
        let found = self.heading.iter().position(|name| *name == column);
        found.ok_or(TraceError::Column { list: self.list, column })
    }

    fn text(&self, row: usize, column: &'static str) -> Result<&'a str, TraceError> {
        let at = self.column(column)?;
        Ok(self.rows[row].1.get(at).copied().unwrap_or_default())
    }

    fn number(&self, row: usize, column: &'static str) -> Result<i64, TraceError> {
        let value = self.text(row, column)?;
        let number = value.parse::<i64>().ok().filter(|number| *number >= 0);
        number.ok_or_else(|| TraceError::Number {
            list: self.list,
            row: self.rows[row].0,
            column,
            value: value.to_owned(),
        })
    }
}

impl Trace {
    /// Reads `sn,cpu_milli,memory_mib,gpu,model` and `name,cpu_milli,memory_mib,num_gpu,gpu_milli[,gpu_spec]`; other
    /// columns don't matter.
    ///
    /// # Errors
    /// A missing column, or a cell that isn't a number.
    pub fn read(nodes: &str, jobs: &str) -> Result<Self, TraceError> {
        let mut trace = Self::default();
        let table = Table::read("nodes", nodes);
        for row in 0..table.rows.len() {
            trace.nodes.push(TraceNode {
                name: table.text(row, "sn")?.to_owned(),
                cpu: table.number(row, "cpu_milli")?,
                memory_mib: table.number(row, "memory_mib")?,
                gpus: usize::try_from(table.number(row, "gpu")?).unwrap_or(0),
                model: table.text(row, "model")?.to_owned(),
            });
        }
        let table = Table::read("pods", jobs);
        let models = table.column("gpu_spec").is_ok();
        for row in 0..table.rows.len() {
            let spec = if models { table.text(row, "gpu_spec")? } else { "" };
            trace.names.push(table.text(row, "name")?.to_owned());
            trace.jobs.push(Ask {
                cpu: table.number(row, "cpu_milli")?,
                memory_mib: table.number(row, "memory_mib")?,
                gpus: usize::try_from(table.number(row, "num_gpu")?).unwrap_or(0),
                gpu_milli: table.number(row, "gpu_milli")?.min(GPU),
                models: spec.split('|').filter(|model| !model.is_empty()).map(ToOwned::to_owned).collect(),
            });
        }
        Ok(trace)
    }

    /// How many GPUs the nodes have, in thousandths.
    #[must_use]
    pub fn gpu_capacity(&self) -> i64 {
        self.nodes.iter().map(|node| 1000 * i64::try_from(node.gpus).unwrap_or(0)).sum()
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// How many jobs there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}
