//! Objects beside pods and nodes that decisions depend on.

use std::collections::BTreeSet;

use kubewright_api::selector::LabelSelector;
use serde::{Deserialize, Deserializer};

use super::{Labels, Meta, Name, wire};

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: Name,
    /// Its labels.
    pub labels: Labels,
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
        }
        let Wire { metadata } = Wire::deserialize(deserializer)?;
        Ok(Self { name: metadata.name, labels: metadata.labels })
    }
}

/// What kind of object groups pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// A Service.
    Service,
    /// A ReplicationController.
    ReplicationController,
    /// A ReplicaSet.
    ReplicaSet,
    /// A StatefulSet.
    StatefulSet,
}

/// An object that groups pods, whose pods are spread by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Which pods it groups.
    pub selector: LabelSelector,
}

impl Workload {
    /// Reads one out of its JSON.
    ///
    /// # Errors
    /// The JSON isn't such an object.
    pub fn read<'de, D: Deserializer<'de>>(kind: WorkloadKind, deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire<T> {
            metadata: Meta,
            spec: Spec<T>,
        }
        #[derive(Deserialize)]
        struct Spec<T> {
            #[serde(default = "Option::default")]
            selector: Option<T>,
        }
        match kind {
            WorkloadKind::Service | WorkloadKind::ReplicationController => {
                let Wire { metadata, spec } = Wire::<Labels>::deserialize(deserializer)?;
                let pairs = spec.selector.filter(|pairs| !pairs.is_empty());
                let selector = pairs.map_or_else(LabelSelector::nothing, |pairs| {
                    LabelSelector::from_pairs(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())))
                });
                Ok(Self { namespace: metadata.namespace, name: metadata.name, selector })
            }
            WorkloadKind::ReplicaSet | WorkloadKind::StatefulSet => {
                let Wire { metadata, spec } = Wire::<LabelSelector>::deserialize(deserializer)?;
                let selector = spec.selector.unwrap_or_else(LabelSelector::nothing);
                Ok(Self { namespace: metadata.namespace, name: metadata.name, selector })
            }
        }
    }
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Which pods it protects.
    pub selector: LabelSelector,
    /// How many of them may go now.
    pub disruptions_allowed: i32,
    /// Pods that are on their way out already and no longer counted.
    pub disrupted_pods: BTreeSet<Name>,
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
            #[serde(default)]
            status: Status,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Spec {
            selector: Option<LabelSelector>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Status {
            #[serde(deserialize_with = "wire::null_is_default")]
            disruptions_allowed: i32,
            disrupted_pods: Labels,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            namespace: wire.metadata.namespace,
            name: wire.metadata.name,
            selector: wire.spec.selector.unwrap_or_else(LabelSelector::nothing),
            disruptions_allowed: wire.status.disruptions_allowed,
            disrupted_pods: wire.status.disrupted_pods.iter().map(|(name, _)| name.clone()).collect(),
        })
    }
}
