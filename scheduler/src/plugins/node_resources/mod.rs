//! Resources: whether a pod fits, and how evenly or tightly nodes are filled.

mod balanced;
mod devices;
mod fit;
mod strategy;

pub use balanced::BalancedAllocation;
pub use fit::{NodeResourcesFit, NodeResourcesFitArgs};
pub use strategy::{ResourceWeight, ScoringStrategy, ShapePoint};

use crate::cache::{Devices, NodeInfo, Snapshot};
use crate::object::{Name, PodInfo, Resources};
use devices::DeviceCounter;

/// A resource whose name was looked at once and for all.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    Cpu,
    Memory,
    EphemeralStorage,
    Scalar(Name),
    /// A name that no node offers.
    Unknown,
}

/// How much of a resource a node has and has given away, and how much the pod asks for.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    allocatable: i64,
    allocated: i64,
    asked: i64,
}

impl Resource {
    fn of(name: &str) -> Self {
        match name {
            "cpu" => Self::Cpu,
            "memory" => Self::Memory,
            "ephemeral-storage" => Self::EphemeralStorage,
            name if crate::object::is_scalar(name) => Self::Scalar(name.into()),
            _ => Self::Unknown,
        }
    }

    fn amount(&self, resources: &Resources) -> i64 {
        match self {
            Self::Cpu => resources.cpu,
            Self::Memory => resources.memory,
            Self::EphemeralStorage => resources.ephemeral_storage,
            Self::Scalar(name) => resources.scalar(name),
            Self::Unknown => 0,
        }
    }

    /// Nothing, if the node doesn't have it or it is a scalar that the pod doesn't ask for. `nonzero` counts something
    /// for pods that ask for no cpu or memory, and counts what this pod's containers ask for, not the pod as a whole.
    /// What the node doesn't list may be devices.
    fn share(
        &self,
        pod: &PodInfo,
        node: &NodeInfo,
        nonzero: bool,
        (counter, devices): (&DeviceCounter, &Devices),
    ) -> Option<Share> {
        let common = matches!(self, Self::Cpu | Self::Memory);
        let spec = &*pod.spec;
        let asked = self.amount(match &spec.requests_scored {
            Some(own) if nonzero => own,
            _ if nonzero && common => &spec.requests_nonzero,
            _ => &spec.requests,
        });
        if asked == 0 && matches!(self, Self::Scalar(_)) {
            return None;
        }
        let allocatable = self.amount(&node.node.allocatable);
        if allocatable == 0 {
            let (allocatable, allocated) = counter.count(self, node, devices)?;
            return Some(Share { allocatable, allocated, asked });
        }
        let given = if nonzero && common { &node.requested_nonzero } else { &node.requested };
        Some(Share { allocatable, allocated: self.amount(given), asked })
    }
}

/// A number that grows when other classes of devices come to stand behind resources, if that matters to a pod.
fn classes_stamp(pod: &PodInfo, snapshot: &Snapshot) -> u64 {
    if pod.spec.device_asks.is_empty() { 0 } else { snapshot.objects().devices.behind_version() }
}
