//! What scheduling needs to know of Kubernetes' objects, decoded straight from their JSON.
//!
//! A full `Pod` takes 20 KB of memory; a [`PodInfo`] of an ordinary pod takes a tenth of that, and clones of it share
//! all but a few words. Fields that no plugin looks at are skipped while decoding.

mod affinity;
mod devices;
mod in_tree;
mod meta;
mod node;
mod pod;
mod pod_group;
mod pod_wire;
mod resources;
mod storage;
mod text;
mod wire;
mod workload;

pub use affinity::{NodeSelector, NodeSelectorTerm, PodAffinityTerm, Preferred, RequiredNodeAffinity, Weighted};
pub use devices::{
    Access, Attribute, CapacityPolicy, CapacityRange, Counters, Device, DeviceAllocation, DeviceClaim, DeviceClass,
    DeviceId, DeviceRequest, DeviceShare, DeviceSlice, DeviceTaintRule, ExtendedDevices, GivenDevice, MadeClaims,
    PodDevices, Readying, RequestMapping,
};
pub use in_tree::{InTreePlugin, InTreeVolume, Translated};
pub(crate) use meta::is_older;
pub use meta::{Meta, OwnerReference};
pub use node::{ImageState, Node};
pub(crate) use pod::may_be_devices;
pub use pod::{
    Condition, DeviceAsk, HostPort, InclusionPolicy, PodInfo, PodSpec, SpreadConstraint, Unsatisfiable, VolumeSource,
    normalized_image,
};
pub use pod_group::PodGroup;
pub(crate) use resources::is_extended;
pub use resources::{Resources, is_scalar};
pub use storage::{
    Attachment, BIND_COMPLETED, Claim, ClaimReference, CsiDriver, CsiNode, SELECTED_NODE, StorageCapacity,
    StorageClass, Volume,
};
pub use text::{Labels, Name};
pub use workload::{Budget, Namespace, Workload, WorkloadKind};

/// A point in time, as given by whoever drives the scheduler.
pub type Time = jiff::Timestamp;
