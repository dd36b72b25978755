//! Objects as the watch decodes them: lean, with just enough metadata for `kube`.

use std::borrow::Cow;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer};

use crate::object::{
    Attachment, Budget, Claim, CsiDriver, CsiNode, DeviceClaim, DeviceClass, DeviceSlice, DeviceTaintRule, Meta, Name,
    Namespace, Node, PodGroup, PodInfo, StorageCapacity, StorageClass, Volume, Workload, WorkloadKind,
};

/// A kind of object that the scheduler watches in all namespaces.
pub(super) trait Kind: Clone + Debug + Send + Sync + 'static {
    /// What is kept of an object.
    type Object: Clone + Debug + Send + Sync + 'static;
    const GROUP: &'static str;
    const VERSION: &'static str;
    const KIND: &'static str;
    const PLURAL: &'static str;

    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(Identity, Self::Object), D::Error>;
}

/// Which object it is, and which version of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    pub(super) namespace: Name,
    pub(super) name: Name,
    pub(super) uid: Name,
    pub(super) resource_version: Name,
}

/// An object of a kind.
#[derive(Clone, Debug)]
pub(super) struct Watched<K: Kind> {
    pub(super) identity: Identity,
    pub(super) object: Arc<K::Object>,
    meta: ObjectMeta,
    kind: PhantomData<K>,
}

impl<'de, K: Kind> Deserialize<'de> for Watched<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (identity, object) = K::decode(deserializer)?;
        // All that the watch itself looks at.
        let version = &identity.resource_version;
        let resource_version = (!version.is_empty()).then(|| version.to_string());
        let meta = ObjectMeta { resource_version, ..ObjectMeta::default() };
        Ok(Self { identity, object: Arc::new(object), meta, kind: PhantomData })
    }
}

impl<K: Kind> Resource for Watched<K> {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        K::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// Pods.
#[derive(Clone, Debug)]
pub(super) struct Pods;

impl Kind for Pods {
    type Object = PodInfo;
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Pod";
    const PLURAL: &'static str = "pods";

    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(Identity, PodInfo), D::Error> {
        let pod = PodInfo::deserialize(deserializer)?;
        let identity = Identity {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version.clone(),
        };
        Ok((identity, pod))
    }
}

/// Nodes.
#[derive(Clone, Debug)]
pub(super) struct Nodes;

impl Kind for Nodes {
    type Object = Node;
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Node";
    const PLURAL: &'static str = "nodes";

    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(Identity, Node), D::Error> {
        let node = Node::deserialize(deserializer)?;
        let identity = Identity {
            namespace: Name::default(),
            name: node.name.clone(),
            uid: node.uid.clone(),
            resource_version: node.resource_version.clone(),
        };
        Ok((identity, node))
    }
}

/// Reads an object twice, once for its metadata. Good enough for kinds that don't change a thousand times a second.
fn decode_twice<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&serde_json::Value) -> Result<T, serde_json::Error>,
) -> Result<(Identity, T), D::Error> {
    use serde::de::Error;
    let value = serde_json::Value::deserialize(deserializer)?;
    let meta = Meta::deserialize(&value["metadata"]).map_err(D::Error::custom)?;
    let object = read(&value).map_err(D::Error::custom)?;
    let Meta { namespace, name, uid, resource_version, .. } = meta;
    Ok((Identity { namespace, name, uid, resource_version }, object))
}

macro_rules! small_kind {
    ($(#[$doc:meta])* $name:ident, $object:ty, $group:literal, $version:literal, $kind:literal, $plural:literal, $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(super) struct $name;

        impl Kind for $name {
            type Object = $object;
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const KIND: &'static str = $kind;
            const PLURAL: &'static str = $plural;

            fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(Identity, $object), D::Error> {
                decode_twice(deserializer, $read)
            }
        }
    };
}

small_kind!(
    /// Nodes with all that the API server says of them.
    FullNodes, serde_json::Value, "", "v1", "Node", "nodes", |value| Ok(value.clone())
);
small_kind!(
    /// Namespaces.
    Namespaces, Namespace, "", "v1", "Namespace", "namespaces", |value| Namespace::deserialize(value)
);
small_kind!(
    /// Services.
    Services, Workload, "", "v1", "Service", "services",
    |value| Workload::read(WorkloadKind::Service, value)
);
small_kind!(
    /// Replication controllers.
    ReplicationControllers, Workload, "", "v1", "ReplicationController", "replicationcontrollers",
    |value| Workload::read(WorkloadKind::ReplicationController, value)
);
small_kind!(
    /// Replica sets.
    ReplicaSets, Workload, "apps", "v1", "ReplicaSet", "replicasets",
    |value| Workload::read(WorkloadKind::ReplicaSet, value)
);
small_kind!(
    /// Stateful sets.
    StatefulSets, Workload, "apps", "v1", "StatefulSet", "statefulsets",
    |value| Workload::read(WorkloadKind::StatefulSet, value)
);
small_kind!(
    /// Disruption budgets.
    Budgets, Budget, "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets",
    |value| Budget::deserialize(value)
);
small_kind!(
    /// Claims to volumes.
    Claims, Claim, "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", |value| Claim::deserialize(value)
);
small_kind!(
    /// Volumes.
    Volumes, Volume, "", "v1", "PersistentVolume", "persistentvolumes", |value| Volume::deserialize(value)
);
small_kind!(
    /// Storage classes.
    StorageClasses, StorageClass, "storage.k8s.io", "v1", "StorageClass", "storageclasses", |value| StorageClass::deserialize(value)
);
small_kind!(
    /// The CSI drivers of nodes.
    CsiNodes, CsiNode, "storage.k8s.io", "v1", "CSINode", "csinodes", |value| CsiNode::deserialize(value)
);
small_kind!(
    /// CSI drivers.
    CsiDrivers, CsiDriver, "storage.k8s.io", "v1", "CSIDriver", "csidrivers", |value| CsiDriver::deserialize(value)
);
small_kind!(
    /// Room for volumes.
    StorageCapacities, StorageCapacity, "storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", |value| StorageCapacity::deserialize(value)
);
small_kind!(
    /// Volumes attached to nodes.
    Attachments, Attachment, "storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", |value| Attachment::deserialize(value)
);
small_kind!(
    /// Pod groups.
    PodGroups, PodGroup, "scheduling.k8s.io", "v1alpha2", "PodGroup", "podgroups", |value| PodGroup::deserialize(value)
);
small_kind!(
    /// Claims to devices.
    DeviceClaims, DeviceClaim, "resource.k8s.io", "v1", "ResourceClaim", "resourceclaims", |value| DeviceClaim::deserialize(value)
);
small_kind!(
    /// Classes of devices.
    DeviceClasses, DeviceClass, "resource.k8s.io", "v1", "DeviceClass", "deviceclasses", |value| DeviceClass::deserialize(value)
);
small_kind!(
    /// Devices on offer.
    DeviceSlices, DeviceSlice, "resource.k8s.io", "v1", "ResourceSlice", "resourceslices", |value| DeviceSlice::deserialize(value)
);
small_kind!(
    /// Rules that taint devices.
    DeviceTaintRules, DeviceTaintRule, "resource.k8s.io", "v1beta2", "DeviceTaintRule", "devicetaintrules", |value| DeviceTaintRule::deserialize(value)
);
