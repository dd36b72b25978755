//! Pod disruption budgets.

use std::collections::BTreeMap;

use kubewright_api::selector::LabelSelector;
use serde::{Deserialize, Serialize};

use super::{Condition, IntOrPercent, Meta, Time, is_zero, kinds, null_default, objects};

/// A pod disruption budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodDisruptionBudget {
    /// Metadata.
    pub metadata: Meta,
    /// What it asks for.
    pub spec: DisruptionSpec,
    /// What it allows now.
    pub status: DisruptionStatus,
}

/// What a budget asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DisruptionSpec {
    /// How many pods must stay healthy.
    pub min_available: Option<IntOrPercent>,
    /// How many pods may be unhealthy.
    pub max_unavailable: Option<IntOrPercent>,
    /// Which pods; `None` selects none.
    pub selector: Option<LabelSelector>,
}

/// What a budget allows now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DisruptionStatus {
    /// The generation this was computed for.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Pods whose eviction was granted and has not been seen yet.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub disrupted_pods: BTreeMap<String, Time>,
    /// How many evictions are allowed.
    pub disruptions_allowed: i32,
    /// Healthy pods.
    pub current_healthy: i32,
    /// Pods that must stay healthy.
    pub desired_healthy: i32,
    /// Pods in all.
    pub expected_pods: i32,
    /// Conditions.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

objects!(PodDisruptionBudget => kinds::POD_DISRUPTION_BUDGET);
