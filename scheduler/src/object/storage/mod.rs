//! Volumes and the claims to them.

mod classes;

use std::collections::BTreeMap;

use kubewright_api::quantity::Quantity;
use kubewright_api::selector::LabelSelector;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::object::wire::null_is_default;
use crate::object::{InTreePlugin, InTreeVolume, Labels, Name, NodeSelector, OwnerReference, Time};

pub use classes::{Attachment, CsiDriver, CsiNode, StorageCapacity, StorageClass};

/// The annotation by which a scheduler says on which node a claim's volume will be needed.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The annotation by which a controller says that a claim is bound for good.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Metadata with annotations, which other kinds do without.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: Name,
    namespace: Name,
    uid: Name,
    resource_version: Name,
    labels: Labels,
    annotations: Labels,
    #[serde(deserialize_with = "crate::object::meta::time")]
    deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "null_is_default")]
    owner_references: Vec<OwnerReference>,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Its identity.
    pub uid: Name,
    /// Which version of it this is.
    pub resource_version: Name,
    /// Whether it is on its way out.
    pub deleting: bool,
    /// The pod that it was made for: the UID of the managing owner, if that is a pod.
    pub owner_pod: Name,
    /// The volume it is bound to, or is to be bound to.
    pub volume_name: Name,
    /// Its storage class; empty for none.
    pub class: Name,
    /// How it may be mounted, such as `ReadWriteOncePod`.
    pub access_modes: Vec<Name>,
    /// Which volumes will do; `None` for any.
    pub selector: Option<LabelSelector>,
    /// How many bytes it asks for, if it says so.
    pub size: Option<i64>,
    /// Whether it wants a raw block device.
    pub block: bool,
    /// Its VolumeAttributesClass.
    pub attributes_class: Name,
    /// Whether its volume was lost.
    pub lost: bool,
    /// Whether a controller said that binding is over.
    pub bind_completed: bool,
    /// The node for which its volume is to be provisioned; empty for none.
    pub selected_node: Name,
}

impl Claim {
    /// Whether it has a volume for good.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        !self.volume_name.is_empty() && self.bind_completed
    }
}

fn bytes(amounts: &BTreeMap<Name, Quantity>) -> Option<i64> {
    amounts.get("storage").map(Quantity::value)
}

fn class_of(annotations: &Labels, class: Name) -> Name {
    annotations.get(BETA_CLASS).cloned().unwrap_or(class)
}

impl<'de> Deserialize<'de> for Claim {
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
        #[serde(rename_all = "camelCase", default)]
        struct Spec {
            volume_name: Name,
            storage_class_name: Name,
            #[serde(deserialize_with = "null_is_default")]
            access_modes: Vec<Name>,
            selector: Option<LabelSelector>,
            #[serde(deserialize_with = "null_is_default")]
            resources: Resources,
            volume_mode: Name,
            volume_attributes_class_name: Name,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Resources {
            #[serde(deserialize_with = "null_is_default")]
            requests: BTreeMap<Name, Quantity>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Status {
            phase: Name,
        }
        let Wire { metadata, spec, status } = Wire::deserialize(deserializer)?;
        let owner = metadata.owner_references.iter().find(|owner| owner.controller && owner.kind == "Pod");
        Ok(Self {
            owner_pod: owner.map(|owner| owner.uid.clone()).unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            class: class_of(&metadata.annotations, spec.storage_class_name),
            bind_completed: metadata.annotations.get(BIND_COMPLETED).is_some(),
            selected_node: metadata.annotations.get(SELECTED_NODE).cloned().unwrap_or_default(),
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            volume_name: spec.volume_name,
            access_modes: spec.access_modes,
            selector: spec.selector,
            size: bytes(&spec.resources.requests),
            block: spec.volume_mode == "Block",
            attributes_class: spec.volume_attributes_class_name,
            lost: status.phase == "Lost",
        })
    }
}

/// The claim that a volume is bound to or kept for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClaimReference {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Its identity; empty if a user wrote the reference.
    pub uid: Name,
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volume {
    /// Its name.
    pub name: Name,
    /// Its identity.
    pub uid: Name,
    /// Which version of it this is.
    pub resource_version: Name,
    /// Its labels.
    pub labels: Labels,
    /// Whether it is on its way out.
    pub deleting: bool,
    /// Its storage class; empty for none.
    pub class: Name,
    /// How it may be mounted.
    pub access_modes: Vec<Name>,
    /// Its size in bytes.
    pub size: i64,
    /// Whether it is a raw block device.
    pub block: bool,
    /// Its VolumeAttributesClass.
    pub attributes_class: Name,
    /// From which nodes it can be reached; `None` for all.
    pub nodes: Option<NodeSelector>,
    /// Whose it is.
    pub claim: Option<ClaimReference>,
    /// Whether anybody may have it.
    pub available: bool,
    /// The CSI driver and its handle for the volume, if it is a CSI volume.
    pub csi: Option<(Name, Name)>,
    /// The volume as a CSI driver sees it, if it is of a plugin in whose place there is one.
    pub in_tree: Option<Box<InTreeVolume>>,
}

impl Volume {
    /// Whether it is bound to that claim, or kept for it.
    #[must_use]
    pub fn is_for(&self, claim: &Claim) -> bool {
        self.claim.as_ref().is_some_and(|own| {
            own.name == claim.name && own.namespace == claim.namespace && (own.uid.is_empty() || own.uid == claim.uid)
        })
    }

    /// Whether a node can reach it.
    #[must_use]
    pub fn is_reachable_from(&self, node: &super::Node) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| nodes.matches(node))
    }

    /// Whether a node can reach it that has given up those plugins for their CSI drivers.
    ///
    /// # Errors
    /// The driver could not make sense of the volume.
    pub fn is_reachable_through_csi(&self, node: &super::Node, migrated: &str) -> Result<bool, String> {
        match self.in_tree.as_ref().filter(|own| own.plugin.is_migrated(migrated)) {
            Some(own) => {
                let translated = own.translated.as_ref().map_err(|why| format!("could not translate pv: {why}"))?;
                Ok(translated.nodes.as_ref().is_none_or(|nodes| nodes.matches(node)))
            }
            None => Ok(self.is_reachable_from(node)),
        }
    }
}

impl<'de> Deserialize<'de> for Volume {
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
        #[serde(rename_all = "camelCase", default)]
        struct Spec {
            storage_class_name: Name,
            #[serde(deserialize_with = "null_is_default")]
            access_modes: Vec<Name>,
            #[serde(deserialize_with = "null_is_default")]
            capacity: BTreeMap<Name, Quantity>,
            volume_mode: Name,
            volume_attributes_class_name: Name,
            #[serde(deserialize_with = "null_is_default")]
            node_affinity: Affinity,
            claim_ref: Option<ClaimReference>,
            csi: Option<Csi>,
            #[serde(flatten)]
            source: serde_json::Map<String, Value>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Affinity {
            required: Option<NodeSelector>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Csi {
            driver: Name,
            volume_handle: Name,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Status {
            phase: Name,
        }
        let Wire { metadata, spec, status } = Wire::deserialize(deserializer)?;
        let (source, nodes) = (Value::from(spec.source), spec.node_affinity.required.as_ref());
        Ok(Self {
            in_tree: InTreePlugin::volume(&source, &metadata.labels, nodes),
            class: class_of(&metadata.annotations, spec.storage_class_name),
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            labels: metadata.labels,
            deleting: metadata.deletion_timestamp.is_some(),
            access_modes: spec.access_modes,
            size: bytes(&spec.capacity).unwrap_or(0),
            block: spec.volume_mode == "Block",
            attributes_class: spec.volume_attributes_class_name,
            nodes: spec.node_affinity.required,
            claim: spec.claim_ref,
            available: status.phase == "Available",
            csi: spec.csi.map(|csi| (csi.driver, csi.volume_handle)),
        })
    }
}
