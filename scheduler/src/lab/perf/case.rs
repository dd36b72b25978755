//! Files of upstream's scheduler benchmark.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Operation, PerfError};

/// A test case: steps, and workloads that give numbers to them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct TestCase {
    /// Its name.
    pub name: String,
    /// What the features of the scheduler are set to.
    pub feature_gates: BTreeMap<String, bool>,
    /// What upstream measures besides throughput.
    pub metrics_collector_config: Option<serde_yaml_ng::Value>,
    /// The steps, one after the other.
    pub workload_template: Vec<Operation>,
    /// Who gives numbers to them.
    pub workloads: Vec<Workload>,
    /// The scheduler's configuration.
    pub scheduler_config_path: Option<String>,
    /// What pods are like where a step doesn't say so.
    pub default_pod_template_path: Option<String>,
    /// By which cases are chosen.
    pub labels: Vec<String>,
    /// Which measurement thresholds are about.
    pub default_threshold_metric_selector: Option<ThresholdMetric>,
}

/// A workload: numbers for the steps of a test case.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// The numbers.
    pub params: BTreeMap<String, Param>,
    /// By which workloads are chosen.
    pub labels: Vec<String>,
    /// What must be reached.
    pub threshold: Threshold,
    /// Which measurement that is about.
    pub threshold_metric_selector: Option<ThresholdMetric>,
    /// What the features of the scheduler are set to, before those of the case.
    pub feature_gates: BTreeMap<String, bool>,
}

/// What a parameter is set to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each is what its type is")]
pub enum Param {
    Bool(bool),
    Number(f64),
    Text(String),
}

/// What must be reached: a number, or one for each of several settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each is what its type is")]
pub enum Threshold {
    Same(f64),
    ByTopic(BTreeMap<String, f64>),
}

impl Threshold {
    /// The number; of several, the greatest. 0 if nothing is said.
    #[must_use]
    pub fn value(&self) -> f64 {
        match self {
            Self::Same(value) => *value,
            Self::ByTopic(values) => values.values().copied().fold(0.0, f64::max),
        }
    }
}

impl Default for Threshold {
    fn default() -> Self {
        Self::Same(0.0)
    }
}

/// Which measurement a threshold is about.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ThresholdMetric {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Such as `Average`.
    pub data_bucket: String,
    /// Whether less is better.
    pub expect_lower: bool,
}

impl TestCase {
    /// Reads a `performance-config.yaml`. What is wrong with it is said with the line.
    ///
    /// # Errors
    /// It isn't YAML, an opcode or a field isn't known, or a step lacks something.
    pub fn read_all(yaml: &str) -> Result<Vec<Self>, PerfError> {
        let cases: Vec<Self> = serde_yaml_ng::from_str(yaml).map_err(|error| PerfError::Read(error.to_string()))?;
        for case in &cases {
            let mut names: Vec<&str> = case.workloads.iter().map(|workload| workload.name.as_str()).collect();
            names.sort_unstable();
            if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(PerfError::Read(format!("{}: workload name {} is not unique", case.name, twice[0])));
            }
        }
        Ok(cases)
    }

    /// The case and workload of a name like `SchedulingBasic/5000Nodes`.
    ///
    /// # Errors
    /// There is none; the error lists those that there are.
    pub fn find<'a>(cases: &'a [Self], name: &str) -> Result<(&'a Self, &'a Workload), PerfError> {
        let all = || cases.iter().flat_map(|case| case.workloads.iter().map(move |workload| (case, workload)));
        let found = all().find(|(case, workload)| format!("{}/{}", case.name, workload.name) == name);
        found.ok_or_else(|| {
            let known: Vec<String> = all().map(|(case, workload)| format!("{}/{}", case.name, workload.name)).collect();
            PerfError::NoWorkload { name: name.to_owned(), known: known.join(", ") }
        })
    }
}

impl Workload {
    /// How many, given the number or the parameter's name with its `$`.
    pub(super) fn count(&self, fixed: Option<i64>, param: &str) -> Result<usize, PerfError> {
        #[allow(clippy::cast_possible_truncation, reason = "counts are far below 2^53")]
        let count = match param.strip_prefix('$') {
            None => fixed.unwrap_or(1),
            Some(name) => match self.param(name)? {
                Param::Number(number) => *number as i64,
                other => return Err(self.wrong(name, "a number", other)),
            },
        };
        usize::try_from(count).map_err(|_| PerfError::Read(format!("count {count} is below 0")))
    }

    pub(super) fn flag(&self, fixed: bool, param: &str) -> Result<bool, PerfError> {
        match param.strip_prefix('$') {
            None => Ok(fixed),
            Some(name) => match self.param(name)? {
                Param::Bool(flag) => Ok(*flag),
                other => Err(self.wrong(name, "true or false", other)),
            },
        }
    }

    pub(super) fn duration(&self, fixed: &str, param: &str) -> Result<std::time::Duration, PerfError> {
        let text = match param.strip_prefix('$') {
            None => fixed,
            Some(name) => match self.param(name)? {
                Param::Text(text) => text,
                other => return Err(self.wrong(name, "a duration", other)),
            },
        };
        super::duration::parse(text)
            .ok_or_else(|| PerfError::Read(format!("{text:?} is not a duration such as 5s or 1m30s")))
    }

    fn param(&self, name: &str) -> Result<&Param, PerfError> {
        let missing = || PerfError::Read(format!("workload {}: parameter {name} is undefined", self.name));
        self.params.get(name).ok_or_else(missing)
    }

    fn wrong(&self, name: &str, wanted: &str, found: &Param) -> PerfError {
        PerfError::Read(format!("workload {}: parameter {name} must be {wanted}, not {found:?}", self.name))
    }
}
