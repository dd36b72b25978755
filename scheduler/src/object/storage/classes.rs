//! Classes of volumes, and what nodes and drivers have to do with them.

use std::collections::{BTreeMap, BTreeSet};

use kubewright_api::quantity::Quantity;
use kubewright_api::selector::LabelSelector;
use serde::{Deserialize, Deserializer};

use super::Meta;
use crate::object::wire::null_is_default;
use crate::object::{Labels, Name};

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageClass {
    /// Its name.
    pub name: Name,
    /// Who makes volumes of it.
    pub provisioner: Name,
    /// Whether claims wait for a pod; `None` if it doesn't say.
    pub waits_for_consumer: Option<bool>,
    /// Where volumes can be made: terms of which one must hold, each of labels with their values. Empty for anywhere.
    pub topologies: Vec<Vec<(Name, BTreeSet<Name>)>>,
}

impl StorageClass {
    /// Whether it makes volumes at all.
    #[must_use]
    pub fn provisions(&self) -> bool {
        !self.provisioner.is_empty() && self.provisioner != "kubernetes.io/no-provisioner"
    }

    /// Whether it can make a volume for a node with those labels.
    #[must_use]
    pub fn reaches(&self, labels: &Labels) -> bool {
        let holds = |term: &Vec<(Name, BTreeSet<Name>)>| {
            !term.is_empty()
                && term.iter().all(|(key, values)| labels.get(key).is_some_and(|value| values.contains(value)))
        };
        self.topologies.is_empty() || self.topologies.iter().any(holds)
    }
}

impl<'de> Deserialize<'de> for StorageClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            provisioner: Name,
            #[serde(default)]
            volume_binding_mode: Option<Name>,
            #[serde(default, deserialize_with = "null_is_default")]
            allowed_topologies: Vec<Term>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Term {
            #[serde(deserialize_with = "null_is_default")]
            match_label_expressions: Vec<Expression>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Expression {
            key: Name,
            #[serde(deserialize_with = "null_is_default")]
            values: BTreeSet<Name>,
        }
        let wire = Wire::deserialize(deserializer)?;
        let term = |term: Term| term.match_label_expressions.into_iter().map(|e| (e.key, e.values)).collect();
        Ok(Self {
            name: wire.metadata.name,
            provisioner: wire.provisioner,
            waits_for_consumer: wire.volume_binding_mode.map(|mode| mode == "WaitForFirstConsumer"),
            topologies: wire.allowed_topologies.into_iter().map(term).collect(),
        })
    }
}

/// A CSINode: the drivers on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsiNode {
    /// The node's name.
    pub name: Name,
    /// The drivers, each with how many volumes it can attach, if there is a limit.
    pub drivers: BTreeMap<Name, Option<i64>>,
    /// The in-tree plugins whose volumes a CSI driver serves there.
    pub migrated: Name,
}

impl<'de> Deserialize<'de> for CsiNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Spec {
            #[serde(deserialize_with = "null_is_default")]
            drivers: Vec<Driver>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Driver {
            name: Name,
            #[serde(deserialize_with = "null_is_default")]
            allocatable: Allocatable,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Allocatable {
            count: Option<i64>,
        }
        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        let migrated = metadata.annotations.get("storage.alpha.kubernetes.io/migrated-plugins").cloned();
        let drivers = spec.drivers.into_iter().map(|driver| (driver.name, driver.allocatable.count)).collect();
        Ok(Self { name: metadata.name, drivers, migrated: migrated.unwrap_or_default() })
    }
}

/// A CSIDriver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsiDriver {
    /// Its name.
    pub name: Name,
    /// Whether it tells how much room there is.
    pub storage_capacity: bool,
    /// Whether pods must not go to nodes without it.
    pub must_be_installed: bool,
}

impl<'de> Deserialize<'de> for CsiDriver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Spec {
            #[serde(deserialize_with = "null_is_default")]
            storage_capacity: bool,
            #[serde(deserialize_with = "null_is_default")]
            prevent_pod_scheduling_if_missing: bool,
        }
        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        Ok(Self {
            name: metadata.name,
            storage_capacity: spec.storage_capacity,
            must_be_installed: spec.prevent_pod_scheduling_if_missing,
        })
    }
}

/// A CSIStorageCapacity: how much room there is for volumes of a class in some part of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageCapacity {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// The class.
    pub class: Name,
    /// The nodes; `None` for no node at all.
    pub nodes: Option<LabelSelector>,
    /// How large a volume can be, in bytes, if that is known.
    pub volume_size_max: Option<i64>,
}

impl<'de> Deserialize<'de> for StorageCapacity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            storage_class_name: Name,
            #[serde(default)]
            node_topology: Option<LabelSelector>,
            #[serde(default)]
            capacity: Option<Quantity>,
            #[serde(default)]
            maximum_volume_size: Option<Quantity>,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            namespace: wire.metadata.namespace,
            name: wire.metadata.name,
            class: wire.storage_class_name,
            nodes: wire.node_topology,
            volume_size_max: wire.maximum_volume_size.or(wire.capacity).map(|size| size.value()),
        })
    }
}

/// A VolumeAttachment: a volume that is attached to a node, or is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub name: Name,
    /// The node.
    pub node: Name,
    /// The driver.
    pub driver: Name,
    /// The PersistentVolume; empty if it is given inline.
    pub volume: Name,
}

impl<'de> Deserialize<'de> for Attachment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Spec {
            attacher: Name,
            node_name: Name,
            #[serde(deserialize_with = "null_is_default")]
            source: Source,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Source {
            persistent_volume_name: Name,
        }
        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        Ok(Self {
            name: metadata.name,
            node: spec.node_name,
            driver: spec.attacher,
            volume: spec.source.persistent_volume_name,
        })
    }
}
