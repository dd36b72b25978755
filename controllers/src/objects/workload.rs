//! Deployments, replica sets, replication controllers, stateful sets, daemon sets and their revisions.

use kubewright_api::selector::LabelSelector;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Condition, Labels, Meta, Template, is_zero, kinds, null_default, objects};

/// A number or a share: `3` or `"25%"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrPercent {
    /// A number.
    Int(i32),
    /// A share, such as `25%`.
    Text(String),
}

impl IntOrPercent {
    /// The number it stands for, as a share of `total`, rounded up or down. A malformed share counts as zero.
    #[must_use]
    pub fn scaled(&self, total: i32, round_up: bool) -> i32 {
        match self {
            Self::Int(number) => *number,
            Self::Text(text) => {
                let Some(percent) = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok()) else {
                    return 0;
                };
                let product = percent * i64::from(total);
                let scaled = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
                i32::try_from(scaled).unwrap_or(i32::MAX)
            }
        }
    }
}

fn one() -> i32 {
    1
}

/// A deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: DeploymentSpec,
    /// What it is.
    pub status: DeploymentStatus,
}

/// What a deployment should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentSpec {
    /// How many pods.
    #[serde(default = "one")]
    pub replicas: i32,
    /// Which pods are its.
    pub selector: Option<LabelSelector>,
    /// What its pods look like.
    pub template: Template,
    /// How it replaces pods.
    pub strategy: DeploymentStrategy,
    /// How long a pod must be ready to be available, in seconds.
    pub min_ready_seconds: i64,
    /// How many old replica sets are kept.
    pub revision_history_limit: Option<i32>,
    /// Whether rollouts are held.
    pub paused: bool,
    /// How long a rollout may make no progress, in seconds.
    pub progress_deadline_seconds: Option<i32>,
}

/// How a deployment replaces pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentStrategy {
    /// `RollingUpdate` or `Recreate`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bounds of a rolling update.
    pub rolling_update: Option<RollingUpdate>,
}

/// Bounds of a rolling update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RollingUpdate {
    /// How many pods may be missing.
    pub max_unavailable: Option<IntOrPercent>,
    /// How many pods may be too many.
    pub max_surge: Option<IntOrPercent>,
    /// Ordinals below it stay at the old revision (stateful sets).
    pub partition: Option<i32>,
}

/// What a deployment is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentStatus {
    /// The generation this was computed for.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Pods in all.
    #[serde(skip_serializing_if = "is_zero")]
    pub replicas: i32,
    /// Pods of the newest template.
    #[serde(skip_serializing_if = "is_zero")]
    pub updated_replicas: i32,
    /// Ready pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub ready_replicas: i32,
    /// Available pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub available_replicas: i32,
    /// Pods that are missing.
    #[serde(skip_serializing_if = "is_zero")]
    pub unavailable_replicas: i32,
    /// Pods that are being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_replicas: Option<i32>,
    /// Conditions.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How often the hash of a template was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
}

/// A replica set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: ReplicaSetSpec,
    /// What it is.
    pub status: ReplicaSetStatus,
}

/// What a replica set should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicaSetSpec {
    /// How many pods.
    #[serde(default = "one")]
    pub replicas: i32,
    /// Which pods are its.
    pub selector: Option<LabelSelector>,
    /// What its pods look like.
    pub template: Template,
    /// How long a pod must be ready to be available, in seconds.
    pub min_ready_seconds: i64,
}

/// What a replica set or replication controller is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicaSetStatus {
    /// Pods in all.
    pub replicas: i32,
    /// Pods that bear all the template's labels.
    #[serde(skip_serializing_if = "is_zero")]
    pub fully_labeled_replicas: i32,
    /// Ready pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub ready_replicas: i32,
    /// Available pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub available_replicas: i32,
    /// Pods that are being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_replicas: Option<i32>,
    /// The generation this was computed for.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Conditions.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A replication controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReplicationController {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: ReplicationControllerSpec,
    /// What it is.
    pub status: ReplicaSetStatus,
}

/// What a replication controller should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicationControllerSpec {
    /// How many pods.
    #[serde(default = "one")]
    pub replicas: i32,
    /// Labels of its pods.
    pub selector: Labels,
    /// What its pods look like.
    pub template: Template,
    /// How long a pod must be ready to be available, in seconds.
    pub min_ready_seconds: i64,
}

/// A stateful set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StatefulSet {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: StatefulSetSpec,
    /// What it is.
    pub status: StatefulSetStatus,
}

/// What a stateful set should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetSpec {
    /// How many pods.
    #[serde(default = "one")]
    pub replicas: i32,
    /// Which pods are its.
    pub selector: Option<LabelSelector>,
    /// What its pods look like.
    pub template: Template,
    /// Claims that each pod gets, as `PersistentVolumeClaim`s.
    #[serde(deserialize_with = "null_default")]
    pub volume_claim_templates: Vec<Value>,
    /// The service that names its pods.
    pub service_name: String,
    /// `OrderedReady` or `Parallel`.
    pub pod_management_policy: String,
    /// How it replaces pods.
    pub update_strategy: DeploymentStrategy,
    /// How many old revisions are kept.
    pub revision_history_limit: Option<i32>,
    /// How long a pod must be ready to be available, in seconds.
    pub min_ready_seconds: i64,
    /// When claims go.
    pub persistent_volume_claim_retention_policy: Option<ClaimRetention>,
    /// Where ordinals begin.
    pub ordinals: Ordinals,
}

/// When a stateful set's claims go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimRetention {
    /// `Delete` removes them with the set.
    pub when_deleted: String,
    /// `Delete` removes them when their pod is scaled away.
    pub when_scaled: String,
}

/// Where a stateful set's ordinals begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    /// The first ordinal.
    pub start: i32,
}

/// What a stateful set is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetStatus {
    /// The generation this was computed for.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Pods in all.
    pub replicas: i32,
    /// Ready pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub ready_replicas: i32,
    /// Pods at `current_revision`.
    #[serde(skip_serializing_if = "is_zero")]
    pub current_replicas: i32,
    /// Pods at `update_revision`.
    #[serde(skip_serializing_if = "is_zero")]
    pub updated_replicas: i32,
    /// The revision before the update in progress.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub current_revision: String,
    /// The newest revision.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub update_revision: String,
    /// How often the hash of a revision was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// Available pods.
    pub available_replicas: i32,
}

/// A daemon set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DaemonSet {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: DaemonSetSpec,
    /// What it is.
    pub status: DaemonSetStatus,
}

/// What a daemon set should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetSpec {
    /// Which pods are its.
    pub selector: Option<LabelSelector>,
    /// What its pods look like.
    pub template: Template,
    /// How it replaces pods.
    pub update_strategy: DeploymentStrategy,
    /// How long a pod must be ready to be available, in seconds.
    pub min_ready_seconds: i64,
    /// How many old revisions are kept.
    pub revision_history_limit: Option<i32>,
}

/// What a daemon set is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetStatus {
    /// Nodes that should run a pod and do.
    pub current_number_scheduled: i32,
    /// Nodes that run a pod but should not.
    pub number_misscheduled: i32,
    /// Nodes that should run a pod.
    pub desired_number_scheduled: i32,
    /// Nodes with a ready pod.
    pub number_ready: i32,
    /// The generation this was computed for.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Nodes with a pod of the newest template.
    #[serde(skip_serializing_if = "is_zero")]
    pub updated_number_scheduled: i32,
    /// Nodes with an available pod.
    #[serde(skip_serializing_if = "is_zero")]
    pub number_available: i32,
    /// Nodes that lack an available pod.
    #[serde(skip_serializing_if = "is_zero")]
    pub number_unavailable: i32,
    /// How often the hash of a revision was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
}

/// A remembered template of a stateful or daemon set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ControllerRevision {
    /// Metadata.
    pub metadata: Meta,
    /// What is remembered, as canonical JSON.
    pub data: Template,
    /// Its number; higher is newer.
    pub revision: i64,
}

objects!(
    Deployment => kinds::DEPLOYMENT,
    ReplicaSet => kinds::REPLICA_SET,
    ReplicationController => kinds::REPLICATION_CONTROLLER,
    StatefulSet => kinds::STATEFUL_SET,
    DaemonSet => kinds::DAEMON_SET,
    ControllerRevision => kinds::CONTROLLER_REVISION,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_as_asked() {
        for (share, total, up, down) in
            [("25%", 10, 3, 2), ("0%", 10, 0, 0), ("100%", 3, 3, 3), ("1%", 1, 1, 0), ("x", 5, 0, 0)]
        {
            let share = IntOrPercent::Text(share.into());
            assert_eq!((share.scaled(total, true), share.scaled(total, false)), (up, down), "{share:?} of {total}");
        }
        assert_eq!(IntOrPercent::Int(4).scaled(1, true), 4);
    }
}
