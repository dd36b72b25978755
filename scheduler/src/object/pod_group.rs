//! Pods that are placed together.

use serde::{Deserialize, Deserializer};

use super::wire::null_is_default;
use super::{Condition, Meta, Name};

/// A PodGroup: pods that are placed together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodGroup {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Its identity.
    pub uid: Name,
    /// Which version of its spec this is.
    pub generation: i64,
    /// How many pods must find nodes before any is bound; `None` if each may go alone.
    pub min_count: Option<usize>,
    /// How important it is as a whole.
    pub priority: i32,
    /// Whether all of its pods go if one of them must.
    pub goes_as_one: bool,
    /// Whether it wants its pods near each other by some label of their nodes.
    pub wants_topology: bool,
    /// What its status says of whether it was placed.
    pub scheduled: Option<Condition>,
}

impl PodGroup {
    /// The condition that tells whether a group was placed.
    pub const SCHEDULED: &'static str = "PodGroupScheduled";
}

impl<'de> Deserialize<'de> for PodGroup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
            #[serde(default, deserialize_with = "null_is_default")]
            status: Status,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Spec {
            #[serde(deserialize_with = "null_is_default")]
            scheduling_policy: Policy,
            #[serde(deserialize_with = "null_is_default")]
            scheduling_constraints: Constraints,
            #[serde(deserialize_with = "null_is_default")]
            disruption_mode: Name,
            #[serde(deserialize_with = "null_is_default")]
            priority: i32,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Policy {
            gang: Option<Gang>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Gang {
            min_count: usize,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Constraints {
            #[serde(deserialize_with = "null_is_default")]
            topology: Vec<serde::de::IgnoredAny>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Status {
            #[serde(deserialize_with = "null_is_default")]
            conditions: Vec<Condition>,
        }
        let Wire { metadata, spec, status } = Wire::deserialize(deserializer)?;
        Ok(Self {
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            generation: metadata.generation.unwrap_or(0),
            min_count: spec.scheduling_policy.gang.map(|gang| gang.min_count),
            priority: spec.priority,
            goes_as_one: spec.disruption_mode == "PodGroup",
            wants_topology: !spec.scheduling_constraints.topology.is_empty(),
            scheduled: status.conditions.into_iter().find(|condition| condition.kind == Self::SCHEDULED),
        })
    }
}
