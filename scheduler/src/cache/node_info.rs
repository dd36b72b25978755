//! A node together with its pods.

use std::sync::Arc;

use super::groups::GroupId;
use crate::object::{HostPort, Labels, Name, Node, PodInfo, Resources};

/// A node's place in a [`Snapshot`](super::Snapshot). It stays the same as long as the node is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeSlot(pub u32);

impl NodeSlot {
    pub(crate) const fn at(self) -> usize {
        self.0 as usize
    }
}

/// A node, the pods on it, and their sums.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Its place in the snapshot.
    pub slot: NodeSlot,
    /// The node itself.
    pub node: Arc<Node>,
    /// The pods on it.
    pub pods: Vec<Arc<PodInfo>>,
    /// What they ask for together.
    pub requested: Resources,
    /// The same, counting something for pods that ask for no cpu or memory; only those two are kept.
    pub requested_nonzero: Resources,
    /// The host ports they take.
    pub used_ports: Vec<HostPort>,
    /// How many of them say anything about pods near or far.
    pub pods_with_affinity: usize,
    /// How many of them insist on being far from some pods.
    pub pods_with_anti_affinity: usize,
    /// How many pods of each group there are; kept by the snapshot.
    pub(crate) groups: Vec<(GroupId, u32)>,
    /// Grows whenever anything about the node or its pods changes; never the same twice in one snapshot.
    pub generation: u64,
}

impl NodeInfo {
    /// A node without pods.
    #[must_use]
    pub fn new(slot: NodeSlot, node: Arc<Node>) -> Self {
        Self {
            slot,
            node,
            pods: Vec::new(),
            requested: Resources::default(),
            requested_nonzero: Resources::default(),
            used_ports: Vec::new(),
            pods_with_affinity: 0,
            pods_with_anti_affinity: 0,
            groups: Vec::new(),
            generation: 0,
        }
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.node.name
    }

    /// The node's labels.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.node.labels
    }

    /// Puts a pod on it.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.count(&pod, 1);
        self.used_ports.extend(pod.spec.host_ports.iter().cloned());
        self.pods_with_affinity += usize::from(pod.has_affinity());
        self.pods_with_anti_affinity += usize::from(!pod.spec.anti_affinity.is_empty());
        self.pods.push(pod);
    }

    /// Takes a pod off it.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|pod| *pod.uid == *uid)?;
        let pod = self.pods.swap_remove(at);
        self.count(&pod, -1);
        for port in &pod.spec.host_ports {
            if let Some(at) = self.used_ports.iter().position(|used| used == port) {
                self.used_ports.swap_remove(at);
            }
        }
        self.pods_with_affinity -= usize::from(pod.has_affinity());
        self.pods_with_anti_affinity -= usize::from(!pod.spec.anti_affinity.is_empty());
        Some(pod)
    }

    pub(super) fn enter_group(&mut self, id: GroupId) {
        match self.groups.iter_mut().find(|(own, _)| *own == id) {
            Some((_, count)) => *count += 1,
            None => self.groups.push((id, 1)),
        }
    }

    pub(super) fn leave_group(&mut self, id: GroupId) {
        if let Some((_, count)) = self.groups.iter_mut().find(|(own, _)| *own == id) {
            *count -= 1;
        }
        self.groups.retain(|(_, count)| *count > 0);
    }

    fn count(&mut self, pod: &PodInfo, sign: i64) {
        self.requested.shift(&pod.spec.requests, sign);
        self.requested_nonzero.cpu += sign * pod.spec.requests_nonzero.cpu;
        self.requested_nonzero.memory += sign * pod.spec.requests_nonzero.memory;
    }

    /// Whether one of those ports is taken.
    #[must_use]
    pub fn conflicts_with(&self, wanted: &[HostPort]) -> bool {
        ports_conflict(wanted, &self.used_ports)
    }
}

/// Whether two lists of ports share one, `0.0.0.0` being every address.
pub(crate) fn ports_conflict(wanted: &[HostPort], used: &[HostPort]) -> bool {
    const ALL: &str = "0.0.0.0";
    wanted.iter().any(|want| {
        used.iter().any(|has| {
            has.port == want.port
                && has.protocol == want.protocol
                && (has.ip == want.ip || has.ip == ALL || want.ip == ALL)
        })
    })
}
