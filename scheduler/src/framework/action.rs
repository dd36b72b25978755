//! What a decision asks of the cluster. The core only says it; a driver does it.

use std::sync::Arc;
use std::time::Duration;

use crate::object::{Claim, DeviceAllocation, DeviceClaim, ExtendedDevices, Name, PodGroup, PodInfo, Volume};

/// Something to be done through the Kubernetes API.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Bind a pod to a node.
    Bind {
        /// The pod.
        pod: Arc<PodInfo>,
        /// The node's name.
        node: Name,
    },
    /// Have an extender bind a pod to a node.
    BindThrough {
        /// The extender, by its place in the scheduler's list.
        extender: usize,
        /// The pod.
        pod: Arc<PodInfo>,
        /// The node's name.
        node: Name,
        /// How to bind it if the extender fails and can be ignored.
        otherwise: Option<Box<Self>>,
    },
    /// Say on the pod why it waits, and which node it was promised.
    UpdatePodStatus {
        /// The pod.
        pod: Arc<PodInfo>,
        /// The condition to set, if any.
        condition: Option<PodConditionUpdate>,
        /// The promised node to set; `None` leaves it, an empty name clears it.
        nominated_node_name: Option<Name>,
    },
    /// Note on a volume that it is kept for a claim.
    KeepVolume {
        /// The volume, as it was last seen.
        volume: Arc<Volume>,
        /// The claim.
        claim: Arc<Claim>,
    },
    /// Note on a claim for which node its volume is to be made.
    SelectNode {
        /// The claim.
        claim: Arc<Claim>,
        /// The node's name.
        node: Name,
    },
    /// Wait until claims are bound. It fails when one of them is told to look for another node.
    AwaitClaims {
        /// The claims.
        claims: Vec<Arc<Claim>>,
        /// The node on which their volumes will be needed.
        node: Name,
        /// How long they may take.
        timeout: Duration,
    },
    /// Note on a claim that a pod uses it, and which devices it got if it had none.
    ReserveDevices {
        /// The claim.
        claim: Arc<DeviceClaim>,
        /// The devices, unless it has some already.
        allocation: Option<Arc<DeviceAllocation>>,
        /// The pod.
        pod: Arc<PodInfo>,
    },
    /// Make the claim for a pod that asks for devices as extended resources, with what it got; and say on the pod which
    /// it is.
    MakeDeviceClaim {
        /// What the claim asks for, and who uses it.
        devices: Arc<ExtendedDevices>,
        /// What it got.
        allocation: Arc<DeviceAllocation>,
        /// The pod.
        pod: Arc<PodInfo>,
    },
    /// Wait until the devices of claims are ready. It fails when one of them will not be.
    AwaitDevices {
        /// The claims.
        claims: Vec<Arc<DeviceClaim>>,
        /// Whether the claim is meant as well that was made just before.
        extended: bool,
        /// The pod.
        pod: Arc<PodInfo>,
        /// The node on which they will be used.
        node: Name,
        /// How long that may take.
        timeout: Duration,
    },
    /// Take a claim's devices away from it, as it can do nothing with them.
    FreeDevices {
        /// The claim.
        claim: Arc<DeviceClaim>,
    },
    /// Remove a claim that was made for a pod and left behind.
    RemoveDeviceClaim {
        /// The claim.
        claim: Arc<DeviceClaim>,
    },
    /// Say on a pod group whether it was placed.
    UpdatePodGroupStatus {
        /// The group, as it was last seen.
        group: Box<PodGroup>,
        /// The condition to set.
        condition: PodConditionUpdate,
    },
    /// Put victims out of a pod's way, last of all the last one.
    Preempt(Preemption),
}

/// A condition to be set on a pod or a pod group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodConditionUpdate {
    /// What it is about, such as `PodScheduled`.
    pub kind: &'static str,
    /// Whether it holds.
    pub status: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

/// Pods to delete so that another fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Preemption {
    /// Who needs the room; one of its pods if it is a pod group.
    pub preemptor: Arc<PodInfo>,
    /// The pod group that needs the room as a whole, by UID, if one does.
    pub group: Option<Name>,
    /// On which node; `cluster` if the room is made for a whole pod group.
    pub node: Name,
    /// Who must go.
    pub victims: Vec<Arc<PodInfo>>,
    /// Pods of lower priority that were promised this node and must look elsewhere.
    pub lower_nominated: Vec<Arc<PodInfo>>,
}
