//! How much devices have of what, and what may be asked of it.

use std::collections::BTreeMap;

use kubewright_api::quantity::{Format, Quantity};
use serde::Deserialize;

use crate::object::Name;
use crate::object::wire::null_is_default;

/// Amounts by name.
pub type Counters = BTreeMap<Name, Quantity>;

/// What may be asked of a capacity.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CapacityPolicy {
    /// What counts as asked for when nothing is said.
    pub default: Option<Quantity>,
    /// What can be asked for, from the smallest to the largest.
    #[serde(deserialize_with = "null_is_default")]
    pub valid_values: Vec<Quantity>,
    /// Or from where to where, in which steps.
    pub valid_range: Option<CapacityRange>,
}

/// What can be asked of a capacity.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CapacityRange {
    /// At least.
    pub min: Option<Quantity>,
    /// At most.
    pub max: Option<Quantity>,
    /// Counted from the least, in steps of this.
    pub step: Option<Quantity>,
}

impl CapacityPolicy {
    /// How much is taken when so much is asked for, or nothing is said; it may be more than was asked for.
    #[must_use]
    pub fn taken(&self, asked: Option<Quantity>, all: Quantity) -> Quantity {
        let Some(asked) = asked else { return self.default.unwrap_or(all) };
        if let Some(CapacityRange { min: Some(min), step, .. }) = &self.valid_range {
            return match step {
                _ if asked < *min => *min,
                None => asked,
                Some(step) => {
                    let (min, step) = (min.value(), step.value().max(1));
                    let steps = (asked.value() - min + step - 1) / step;
                    Quantity::new(min + step * steps, Format::BinarySi)
                }
            };
        }
        self.valid_values.iter().copied().find(|value| asked <= *value).unwrap_or(asked)
    }

    /// Whether so much may be taken.
    #[must_use]
    pub fn allows(&self, taken: Quantity) -> bool {
        if self.default == Some(taken) {
            return true;
        }
        match &self.valid_range {
            Some(CapacityRange { min, max, step }) => {
                let min = min.map_or(0, |min| min.value());
                max.is_none_or(|max| taken <= max)
                    && step.is_none_or(|step| (taken.value() - min) % step.value().max(1) == 0)
            }
            None => self.valid_values.is_empty() || self.valid_values.contains(&taken),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Amount {
    pub(super) value: Quantity,
    #[serde(default)]
    pub(super) request_policy: Option<CapacityPolicy>,
}

pub(super) fn amounts(counters: BTreeMap<Name, Amount>) -> Counters {
    counters.into_iter().map(|(name, amount)| (name, amount.value)).collect()
}
