//! One requirement of a selector.

use serde::{Deserialize, Serialize};

use crate::names;
use crate::selector::{Labels, ParseError};

/// How a requirement compares a label with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// The label's value is among the values.
    In,
    /// The label is missing or its value is not among the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
    /// The label's value is a whole number greater than the value (node selectors only).
    Gt,
    /// The label's value is a whole number less than the value (node selectors only).
    Lt,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// What it is compared with, sorted and distinct for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl Requirement {
    /// Makes a requirement.
    ///
    /// # Errors
    /// A malformed key or value, or the wrong number of values for the operator.
    pub fn new(key: impl Into<String>, operator: Operator, mut values: Vec<String>) -> Result<Self, ParseError> {
        let key = key.into();
        let quoted = |value: &str, path: &str, fault: &str| {
            ParseError::new(format!("{path}: Invalid value: {value:?}: {fault}"))
        };
        if let Some(fault) = join(names::qualified_name(&key)) {
            return Err(quoted(&key, "key", &fault));
        }
        let list = || format!("values: Invalid value: {}", go_list(&values));
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return Err(ParseError::new(format!(
                    "{}: for 'in', 'notin' operators, values set can't be empty",
                    list()
                )));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                let rule = "values set must be empty for exists and does not exist";
                return Err(ParseError::new(format!("{}: {rule}", list())));
            }
            Operator::Gt | Operator::Lt if values.len() != 1 => {
                let rule = "for 'Gt', 'Lt' operators, exactly one value is required";
                return Err(ParseError::new(format!("{}: {rule}", list())));
            }
            _ => {}
        }
        for (at, value) in values.iter().enumerate() {
            let number = matches!(operator, Operator::Gt | Operator::Lt);
            if number && value.parse::<i64>().is_err() {
                let rule = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(quoted(value, &format!("values[{at}]"), rule));
            }
            if let Some(fault) = join(names::label_value(value)) {
                return Err(quoted(value, &format!("values[{at}][{key}]"), &fault));
            }
        }
        values.sort();
        values.dedup();
        Ok(Self { key, operator, values })
    }

    /// Whether labels meet it.
    #[must_use]
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        let value = labels.label(&self.key);
        let listed = |value: &str| self.values.iter().any(|own| own == value);
        let numbers = || Some((value?.parse::<i64>().ok()?, self.values.first()?.parse::<i64>().ok()?));
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => numbers().is_some_and(|(own, limit)| own > limit),
            Operator::Lt => numbers().is_some_and(|(own, limit)| own < limit),
        }
    }
}

fn join(faults: Vec<String>) -> Option<String> {
    (!faults.is_empty()).then(|| faults.join("; "))
}

fn go_list(values: &[String]) -> String {
    serde_json::to_string(values).unwrap_or_default()
}
