//! What happens in the cluster, and whether that is news for a waiting pod.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};
use std::sync::Arc;

use super::Status;
use crate::object::{
    Claim, Condition, CsiDriver, CsiNode, DeviceClaim, DeviceClass, Name, Node, PodGroup, PodInfo, StorageCapacity,
    StorageClass, Volume,
};

/// Kinds of objects that events are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EventResource {
    /// Any pod.
    Pod,
    /// A pod that has a node.
    AssignedPod,
    /// A pod that has none yet.
    UnscheduledPod,
    /// A node.
    Node,
    /// A persistent volume.
    PersistentVolume,
    /// A persistent volume claim.
    PersistentVolumeClaim,
    /// A storage class.
    StorageClass,
    /// A node's CSI drivers.
    CsiNode,
    /// A CSI driver.
    CsiDriver,
    /// How much room there is for volumes somewhere.
    CsiStorageCapacity,
    /// A volume attached to a node.
    VolumeAttachment,
    /// A namespace.
    Namespace,
    /// A pod group.
    PodGroup,
    /// A device claim.
    ResourceClaim,
    /// A class of devices.
    DeviceClass,
    /// Devices on offer.
    ResourceSlice,
    /// Anything at all.
    Any,
}

/// What happened to an object; a set of such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionType(u32);

impl ActionType {
    /// It came.
    pub const ADD: Self = Self(1);
    /// It went.
    pub const DELETE: Self = Self(1 << 1);
    /// A node offers more or less.
    pub const UPDATE_NODE_ALLOCATABLE: Self = Self(1 << 2);
    /// A node's labels changed.
    pub const UPDATE_NODE_LABEL: Self = Self(1 << 3);
    /// A node's taints changed, or it was uncordoned.
    pub const UPDATE_NODE_TAINT: Self = Self(1 << 4);
    /// A node's conditions changed.
    pub const UPDATE_NODE_CONDITION: Self = Self(1 << 5);
    /// A node declares other features.
    pub const UPDATE_NODE_DECLARED_FEATURE: Self = Self(1 << 6);
    /// A pod's labels changed.
    pub const UPDATE_POD_LABEL: Self = Self(1 << 7);
    /// A pod asks for less.
    pub const UPDATE_POD_SCALE_DOWN: Self = Self(1 << 8);
    /// A pod tolerates more.
    pub const UPDATE_POD_TOLERATION: Self = Self(1 << 9);
    /// A pod's last scheduling gate was lifted.
    pub const UPDATE_POD_GATES_ELIMINATED: Self = Self(1 << 10);
    /// Something else about it changed.
    pub const UPDATE_OTHER: Self = Self(1 << 11);
    /// Any change.
    pub const UPDATE: Self = Self(0b1111_1111_1100);
    /// Anything.
    pub const ALL: Self = Self(0b1111_1111_1111);

    /// Whether the two sets share something.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for ActionType {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ActionType {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Something that happened, as a kind of object and a kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterEvent {
    /// To what.
    pub resource: EventResource,
    /// What.
    pub action: ActionType,
}

/// What it is called in upstream's logs and metrics.
impl fmt::Display for ClusterEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use EventResource as R;
        f.write_str(match self.resource {
            R::Pod => "Pod",
            R::AssignedPod => "AssignedPod",
            R::UnscheduledPod => "UnschedulablePod",
            R::Node => "Node",
            R::PersistentVolume => "PersistentVolume",
            R::PersistentVolumeClaim => "PersistentVolumeClaim",
            R::StorageClass => "StorageClass",
            R::CsiNode => "storage.k8s.io/CSINode",
            R::CsiDriver => "storage.k8s.io/CSIDriver",
            R::CsiStorageCapacity => "storage.k8s.io/CSIStorageCapacity",
            R::VolumeAttachment => "storage.k8s.io/VolumeAttachment",
            R::Namespace => "Namespace",
            R::PodGroup => "scheduling.k8s.io/PodGroup",
            R::ResourceClaim => "resource.k8s.io/ResourceClaim",
            R::DeviceClass => "resource.k8s.io/DeviceClass",
            R::ResourceSlice => "resource.k8s.io/ResourceSlice",
            R::Any => "*",
        })?;
        f.write_str(match self.action {
            ActionType::ADD => "Add",
            ActionType::DELETE => "Delete",
            ActionType::UPDATE_NODE_ALLOCATABLE => "UpdateNodeAllocatable",
            ActionType::UPDATE_NODE_LABEL => "UpdateNodeLabel",
            ActionType::UPDATE_NODE_TAINT => "UpdateNodeTaint",
            ActionType::UPDATE_NODE_CONDITION => "UpdateNodeCondition",
            ActionType::UPDATE_NODE_DECLARED_FEATURE => "UpdateNodeDeclaredFeature",
            ActionType::UPDATE_POD_LABEL => "UpdatePodLabel",
            ActionType::UPDATE_POD_SCALE_DOWN => "UpdatePodScaleDown",
            ActionType::UPDATE_POD_TOLERATION => "UpdatePodToleration",
            ActionType::UPDATE_POD_GATES_ELIMINATED => "UpdatePodSchedulingGatesEliminated",
            ActionType::ALL => "All",
            _ => "Update",
        })
    }
}

impl ClusterEvent {
    /// Pods that waited too long are tried whatever happened.
    pub const TIMEOUT: Self = Self::new(EventResource::Any, ActionType::ALL);
    /// A pod got a node.
    pub const ASSIGNED_POD_ADD: Self = Self::new(EventResource::AssignedPod, ActionType::ADD);
    /// A pod that had a node went.
    pub const ASSIGNED_POD_DELETE: Self = Self::new(EventResource::AssignedPod, ActionType::DELETE);
    /// A pod that had no node came.
    pub const UNSCHEDULED_POD_ADD: Self = Self::new(EventResource::UnscheduledPod, ActionType::ADD);
    /// A node came.
    pub const NODE_ADD: Self = Self::new(EventResource::Node, ActionType::ADD);
    /// A node went.
    pub const NODE_DELETE: Self = Self::new(EventResource::Node, ActionType::DELETE);

    /// An event.
    #[must_use]
    pub const fn new(resource: EventResource, action: ActionType) -> Self {
        Self { resource, action }
    }

    /// Whether it stands for everything.
    #[must_use]
    pub fn is_wildcard(self) -> bool {
        self.resource == EventResource::Any && self.action == ActionType::ALL
    }

    /// Whether an interest registered as `self` covers `event`.
    #[must_use]
    pub fn covers(self, event: Self) -> bool {
        use EventResource as R;
        let resource = self.resource == R::Any
            || self.resource == event.resource
            || (self.resource == R::Pod && matches!(event.resource, R::AssignedPod | R::UnscheduledPod));
        // A change that is not looked into is every update at once, and only news for who is interested in as much.
        self.is_wildcard() || (resource && self.action.overlaps(event.action) && event.action.0 <= self.action.0)
    }
}

/// The object that an event is about, before and after: at least one of the two is there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Object {
    /// A pod.
    Pod(Option<Arc<PodInfo>>, Option<Arc<PodInfo>>),
    /// A node.
    Node(Option<Arc<Node>>, Option<Arc<Node>>),
    /// A claim.
    Claim(Option<Arc<Claim>>, Option<Arc<Claim>>),
    /// A volume.
    Volume(Option<Arc<Volume>>, Option<Arc<Volume>>),
    /// A storage class.
    StorageClass(Option<Arc<StorageClass>>, Option<Arc<StorageClass>>),
    /// A node's CSI drivers.
    CsiNode(Option<Arc<CsiNode>>, Option<Arc<CsiNode>>),
    /// A CSI driver.
    CsiDriver(Option<CsiDriver>, Option<CsiDriver>),
    /// How much room there is for volumes somewhere.
    StorageCapacity(Option<StorageCapacity>, Option<StorageCapacity>),
    /// A claim to devices.
    DeviceClaim(Option<Arc<DeviceClaim>>, Option<Arc<DeviceClaim>>),
    /// A class of devices.
    DeviceClass(Option<Arc<DeviceClass>>, Option<Arc<DeviceClass>>),
    /// A pod group.
    PodGroup(PodGroup),
    /// Something that no hint looks into.
    Other,
}

/// Whether a waiting pod should be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// It should: the event may have made room for it.
    Queue,
    /// It should not: nothing changed for it.
    Skip,
}

/// Decides whether an event is news for a pod that its plugin rejected.
pub type HintFn = Arc<dyn Fn(&PodInfo, &Object) -> Hint + Send + Sync>;

/// A kind of event that may make a pod schedulable which a plugin rejected.
#[derive(Clone)]
pub struct Interest {
    /// The kind of event.
    pub event: ClusterEvent,
    /// Looks closer; without it every such event is news.
    pub hint: Option<HintFn>,
}

impl Interest {
    /// An interest in every such event.
    #[must_use]
    pub const fn any(resource: EventResource, action: ActionType) -> Self {
        Self { event: ClusterEvent::new(resource, action), hint: None }
    }

    /// An interest in such events as `hint` approves of.
    pub fn hinted(
        resource: EventResource,
        action: ActionType,
        hint: impl Fn(&PodInfo, &Object) -> Hint + Send + Sync + 'static,
    ) -> Self {
        Self { event: ClusterEvent::new(resource, action), hint: Some(Arc::new(hint)) }
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interest").field("event", &self.event).finish_non_exhaustive()
    }
}

impl From<bool> for Hint {
    fn from(news: bool) -> Self {
        if news { Self::Queue } else { Self::Skip }
    }
}

/// What changed about a pod, as events.
#[must_use]
pub fn pod_changes(old: &PodInfo, new: &PodInfo) -> Vec<ClusterEvent> {
    let resource = if new.is_assigned() { EventResource::AssignedPod } else { EventResource::UnscheduledPod };
    let mut actions = Vec::new();
    if old.labels != new.labels {
        actions.push(ActionType::UPDATE_POD_LABEL);
    }
    if asks_less(old, new) {
        actions.push(ActionType::UPDATE_POD_SCALE_DOWN);
    }
    if !old.spec.scheduling_gates.is_empty() && new.spec.scheduling_gates.is_empty() {
        actions.push(ActionType::UPDATE_POD_GATES_ELIMINATED);
    }
    if old.spec.tolerations.len() != new.spec.tolerations.len() {
        actions.push(ActionType::UPDATE_POD_TOLERATION);
    }
    if actions.is_empty() {
        actions.push(ActionType::UPDATE);
    }
    actions.into_iter().map(|action| ClusterEvent::new(resource, action)).collect()
}

fn asks_less(old: &PodInfo, new: &PodInfo) -> bool {
    let (old, new) = (&old.spec.requests, &new.spec.requests);
    old.cpu > new.cpu
        || old.memory > new.memory
        || old.ephemeral_storage > new.ephemeral_storage
        || old.scalars.iter().any(|(name, amount)| *amount > new.scalar(name))
}

/// What changed about a node, as events.
#[must_use]
pub fn node_changes(old: &Node, new: &Node) -> Vec<ClusterEvent> {
    let mut actions = Vec::new();
    if old.unschedulable && !new.unschedulable {
        actions.push(ActionType::UPDATE_NODE_TAINT);
    }
    if old.allocatable != new.allocatable {
        actions.push(ActionType::UPDATE_NODE_ALLOCATABLE);
    }
    if old.labels != new.labels {
        actions.push(ActionType::UPDATE_NODE_LABEL);
    }
    if old.taints != new.taints {
        actions.push(ActionType::UPDATE_NODE_TAINT);
    }
    let strip = |conditions: &[Condition]| -> std::collections::BTreeMap<Name, Name> {
        conditions.iter().map(|c| (c.kind.clone(), c.status.clone())).collect()
    };
    if strip(&old.conditions) != strip(&new.conditions) {
        actions.push(ActionType::UPDATE_NODE_CONDITION);
    }
    if old.declared_features != new.declared_features {
        actions.push(ActionType::UPDATE_NODE_DECLARED_FEATURE);
    }
    actions.dedup();
    actions.into_iter().map(|action| ClusterEvent::new(EventResource::Node, action)).collect()
}

/// A gate that a plugin holds a pod at is lifted by events it is interested in, or by any when it names none.
pub(crate) fn lifts_gate(interests: &[Interest], event: ClusterEvent) -> bool {
    event.is_wildcard() || interests.iter().any(|interest| interest.event.covers(event))
}

/// Shortens the type of plugin verdicts.
pub(crate) type Verdict = Result<(), Status>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};

    #[test]
    fn interests_cover_what_they_name() {
        let interest = ClusterEvent::new(EventResource::Pod, ActionType::DELETE | ActionType::UPDATE_POD_SCALE_DOWN);
        assert!(interest.covers(ClusterEvent::ASSIGNED_POD_DELETE));
        let scaled = ClusterEvent::new(EventResource::UnscheduledPod, ActionType::UPDATE_POD_SCALE_DOWN);
        assert!(interest.covers(scaled));
        assert!(!interest.covers(ClusterEvent::ASSIGNED_POD_ADD));
        assert!(!interest.covers(ClusterEvent::NODE_ADD));
        let anything = ClusterEvent::new(EventResource::UnscheduledPod, ActionType::UPDATE);
        assert!(!interest.covers(anything), "a change of no particular kind");
        assert!(ClusterEvent::new(EventResource::Pod, ActionType::UPDATE).covers(anything));
        assert!(ClusterEvent::TIMEOUT.covers(anything));
    }

    #[test]
    fn changes_are_told_apart() {
        let actions = |events: Vec<ClusterEvent>| events.into_iter().map(|e| e.action).collect::<Vec<_>>();
        let old = pod("p").requests(&[("cpu", "2")]).build();
        assert_eq!(actions(pod_changes(&old, &old)), [ActionType::UPDATE]);
        let smaller = pod("p").requests(&[("cpu", "1")]).labels(&[("a", "b")]).build();
        let both = [ActionType::UPDATE_POD_LABEL, ActionType::UPDATE_POD_SCALE_DOWN];
        assert_eq!(actions(pod_changes(&old, &smaller)), both);
        let (open, closed) = (node("n").build(), node("n").cordoned(true).build());
        assert_eq!(actions(node_changes(&closed, &open)), [ActionType::UPDATE_NODE_TAINT]);
        assert!(node_changes(&open, &closed).is_empty(), "nothing fits because a node closes");
    }
}
