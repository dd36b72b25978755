//! Pod disruption budgets and resource quotas.

use std::collections::BTreeMap;

use kubewright_api::requests::ResourceList;
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

/// A resource quota.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResourceQuota {
    /// Metadata.
    pub metadata: Meta,
    /// What it limits.
    pub spec: QuotaSpec,
    /// What is used.
    pub status: QuotaStatus,
}

/// What a quota limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QuotaSpec {
    /// How much of what there may be.
    #[serde(deserialize_with = "null_default")]
    pub hard: ResourceList,
    /// Which pods count: those in all of these scopes.
    #[serde(deserialize_with = "null_default")]
    pub scopes: Vec<String>,
    /// The same, with values.
    pub scope_selector: Option<ScopeSelector>,
}

/// Scopes with values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ScopeSelector {
    /// The scopes.
    #[serde(deserialize_with = "null_default")]
    pub match_expressions: Vec<QuotaScope>,
}

/// A scope, with values if it has some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QuotaScope {
    /// Its name, such as `BestEffort`.
    pub scope_name: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values.
    #[serde(deserialize_with = "null_default")]
    pub values: Vec<String>,
}

impl QuotaSpec {
    /// All scopes, however they are written.
    #[must_use]
    pub fn all_scopes(&self) -> Vec<QuotaScope> {
        let plain = self.scopes.iter().map(|name| QuotaScope {
            scope_name: name.clone(),
            operator: "Exists".to_owned(),
            values: Vec::new(),
        });
        plain.chain(self.scope_selector.iter().flat_map(|selector| selector.match_expressions.clone())).collect()
    }
}

/// What is used of a quota.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct QuotaStatus {
    /// The limits this was computed for.
    #[serde(deserialize_with = "null_default")]
    pub hard: ResourceList,
    /// How much is used.
    #[serde(deserialize_with = "null_default")]
    pub used: ResourceList,
}

objects!(PodDisruptionBudget => kinds::POD_DISRUPTION_BUDGET, ResourceQuota => kinds::RESOURCE_QUOTA);
