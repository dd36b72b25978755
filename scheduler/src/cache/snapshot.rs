//! All nodes with their pods, cheap to fork.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use super::groups::PodGroups;
use super::node_tree::NodeTree;
use super::{NodeInfo, NodeSlot, Objects};
use crate::object::{Name, Node, PodInfo, VolumeSource};

/// The whole cluster. A clone is a fork: it shares every node with the original until one of the two changes it, so one
/// can try something out and drop it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    slots: Vec<Option<Arc<NodeInfo>>>,
    free: Vec<NodeSlot>,
    by_name: Arc<HashMap<Name, NodeSlot>>,
    tree: Arc<NodeTree>,
    order: OnceLock<Arc<[NodeSlot]>>,
    strays: HashMap<Name, Vec<Arc<PodInfo>>>,
    images: HashMap<Name, usize>,
    with_affinity: BTreeSet<NodeSlot>,
    with_anti_affinity: BTreeSet<NodeSlot>,
    objects: Arc<Objects>,
    claim_uses: HashMap<(Name, Name), usize>,
    groups: Arc<PodGroups>,
    generation: u64,
    layout: u64,
    changes: Vec<NodeSlot>,
    changes_dropped: u64,
}

impl Snapshot {
    /// An empty cluster.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The nodes in the order in which they are looked at.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.order().iter().filter_map(|slot| self.node_at(*slot))
    }

    /// The order in which nodes are looked at.
    #[must_use]
    pub fn order(&self) -> &[NodeSlot] {
        self.order.get_or_init(|| self.tree.order().into())
    }

    /// The node in a slot.
    #[must_use]
    pub fn node_at(&self, slot: NodeSlot) -> Option<&NodeInfo> {
        self.slots.get(slot.at())?.as_deref()
    }

    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.node_at(*self.by_name.get(name)?)
    }

    /// The nodes that have pods which say anything about pods near or far, in the order of their slots.
    pub fn nodes_with_affinity(&self) -> impl Iterator<Item = &NodeInfo> {
        self.with_affinity.iter().filter_map(|slot| self.node_at(*slot))
    }

    /// The nodes that have pods which insist on being far from some pods, in the order of their slots.
    pub fn nodes_with_anti_affinity(&self) -> impl Iterator<Item = &NodeInfo> {
        self.with_anti_affinity.iter().filter_map(|slot| self.node_at(*slot))
    }

    /// On how many nodes an image is.
    #[must_use]
    pub fn image_spread(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// Everything else that plugins look at.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(crate) fn objects_shared(&self) -> Arc<Objects> {
        self.objects.clone()
    }

    /// How many pods on nodes use a claim.
    #[must_use]
    pub fn claim_uses(&self, namespace: &Name, claim: &Name) -> usize {
        self.claim_uses.get(&(namespace.clone(), claim.clone())).copied().unwrap_or(0)
    }

    fn count_claims(&mut self, pod: &PodInfo, more: bool) {
        for volume in &pod.spec.volumes {
            let VolumeSource::Claim(name) = volume else { continue };
            let key = (pod.namespace.clone(), name.clone());
            let uses = self.claim_uses.entry(key.clone()).or_default();
            *uses = if more { *uses + 1 } else { uses.saturating_sub(1) };
            if *uses == 0 {
                self.claim_uses.remove(&key);
            }
        }
    }

    /// The same, to change.
    pub fn objects_mut(&mut self) -> &mut Objects {
        Arc::make_mut(&mut self.objects)
    }

    /// Adds a node, or changes it. Tells what it was before.
    pub fn put_node(&mut self, node: Arc<Node>) -> Option<Arc<Node>> {
        if let Some(slot) = self.by_name.get(&node.name).copied() {
            return self.change_node(slot, node);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            NodeSlot(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        let mut info = NodeInfo::new(slot, node.clone());
        for pod in self.strays.remove(&node.name).unwrap_or_default() {
            info.enter_group(Arc::make_mut(&mut self.groups).enter(&pod));
            self.count_claims(&pod, true);
            info.add_pod(pod);
        }
        Arc::make_mut(&mut self.by_name).insert(node.name.clone(), slot);
        Arc::make_mut(&mut self.tree).add(node.zone_key(), slot);
        self.order = OnceLock::new();
        self.count_images(&node, true);
        self.slots[slot.at()] = Some(Arc::new(info));
        self.layout += 1;
        self.touch(slot);
        None
    }

    fn change_node(&mut self, slot: NodeSlot, node: Arc<Node>) -> Option<Arc<Node>> {
        let old = self.node_at(slot)?.node.clone();
        if old.zone_key() != node.zone_key() {
            let tree = Arc::make_mut(&mut self.tree);
            tree.remove(&old.zone_key(), slot);
            tree.add(node.zone_key(), slot);
            self.order = OnceLock::new();
            self.layout += 1;
        }
        let same = *old == Node { resource_version: old.resource_version.clone(), ..(*node).clone() };
        if old.images != node.images {
            self.count_images(&old, false);
            self.count_images(&node, true);
        }
        Arc::make_mut(self.slots[slot.at()].as_mut()?).node = node;
        if !same {
            self.touch(slot);
        }
        Some(old)
    }

    /// Takes a node out. Its pods are remembered until they go or it comes back.
    pub fn remove_node(&mut self, name: &str) -> Option<Arc<Node>> {
        let slot = Arc::make_mut(&mut self.by_name).remove(name)?;
        let info = self.slots[slot.at()].take()?;
        Arc::make_mut(&mut self.tree).remove(&info.node.zone_key(), slot);
        self.order = OnceLock::new();
        self.count_images(&info.node, false);
        self.with_affinity.remove(&slot);
        self.with_anti_affinity.remove(&slot);
        for pod in &info.pods {
            Arc::make_mut(&mut self.groups).leave(pod);
            self.count_claims(pod, false);
        }
        if !info.pods.is_empty() {
            self.strays.insert(info.node.name.clone(), info.pods.clone());
        }
        self.free.push(slot);
        self.layout += 1;
        self.note_change(slot);
        Some(info.node.clone())
    }

    /// Puts a pod on its node.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        let Some(slot) = self.by_name.get(&pod.node_name).copied() else {
            self.strays.entry(pod.node_name.clone()).or_default().push(pod);
            return;
        };
        let group = Arc::make_mut(&mut self.groups).enter(&pod);
        self.count_claims(&pod, true);
        self.change_at(slot, |info| {
            info.enter_group(group);
            info.add_pod(pod);
        });
    }

    /// Takes a pod off its node.
    pub fn remove_pod(&mut self, pod: &PodInfo) {
        if let Some(slot) = self.by_name.get(&pod.node_name).copied() {
            let mut gone = None;
            self.change_at(slot, |info| gone = info.remove_pod(&pod.uid));
            let group = gone.and_then(|gone| {
                self.count_claims(&gone, false);
                Arc::make_mut(&mut self.groups).leave(&gone)
            });
            if let (Some(group), Some(info)) = (group, self.slots[slot.at()].as_mut()) {
                Arc::make_mut(info).leave_group(group);
            }
        } else if let Some(strays) = self.strays.get_mut(&pod.node_name) {
            strays.retain(|own| own.uid != pod.uid);
            if strays.is_empty() {
                self.strays.remove(&pod.node_name);
            }
        }
    }

    /// Puts a newer version of a pod in the place of an older one on the same node.
    pub fn replace_pod(&mut self, old: &PodInfo, new: Arc<PodInfo>) {
        let alike = old.node_name == new.node_name
            && old.labels == new.labels
            && old.deletion_timestamp.is_some() == new.deletion_timestamp.is_some()
            && old.start_time == new.start_time
            && old.spec == new.spec;
        let slot = self.by_name.get(&new.node_name).copied().filter(|_| alike);
        let Some(info) = slot.and_then(|slot| self.slots[slot.at()].as_mut()) else {
            self.remove_pod(old);
            self.add_pod(new);
            return;
        };
        // What decisions depend on is the same, so what was computed for the node stays true.
        match Arc::make_mut(info).pods.iter_mut().find(|pod| pod.uid == new.uid) {
            Some(pod) => *pod = new,
            None => self.add_pod(new),
        }
    }

    fn change_at(&mut self, slot: NodeSlot, change: impl FnOnce(&mut NodeInfo)) {
        if let Some(info) = &mut self.slots[slot.at()] {
            change(Arc::make_mut(info));
            self.touch(slot);
        }
    }

    fn touch(&mut self, slot: NodeSlot) {
        self.generation += 1;
        let Some(info) = &mut self.slots[slot.at()] else { return };
        let info = Arc::make_mut(info);
        info.generation = self.generation;
        let keep = |set: &mut BTreeSet<NodeSlot>, wanted: bool| {
            let _ = if wanted { set.insert(slot) } else { !set.is_empty() && set.remove(&slot) };
        };
        keep(&mut self.with_affinity, info.pods_with_affinity > 0);
        keep(&mut self.with_anti_affinity, info.pods_with_anti_affinity > 0);
        self.note_change(slot);
    }

    fn note_change(&mut self, slot: NodeSlot) {
        if self.changes.len() > 4096 + 2 * self.slots.len() {
            self.changes_dropped += self.changes.len() as u64;
            self.changes.clear();
        }
        self.changes.push(slot);
    }

    fn count_images(&mut self, node: &Node, more: bool) {
        for image in node.images.iter() {
            let count = self.images.entry(image.name.clone()).or_default();
            if more {
                *count += 1;
                continue;
            }
            *count -= 1;
            if *count == 0 {
                self.images.remove(&image.name);
            }
        }
    }

    /// The groups of pods on nodes.
    pub(crate) fn groups(&self) -> &PodGroups {
        &self.groups
    }

    /// A number that grows when nodes come, go or move between zones.
    pub(crate) const fn layout(&self) -> u64 {
        self.layout
    }

    /// Where the list of changes ends now.
    pub(crate) const fn changes_end(&self) -> u64 {
        self.changes_dropped + self.changes.len() as u64
    }

    /// The nodes changed since then, some perhaps twice; `None` if that is too long ago.
    pub(crate) fn changes_since(&self, cursor: u64) -> Option<&[NodeSlot]> {
        let at = usize::try_from(cursor.checked_sub(self.changes_dropped)?).ok()?;
        self.changes.get(at..)
    }

    /// How many slots there are, free ones included.
    pub(crate) const fn slot_count(&self) -> usize {
        self.slots.len()
    }
}
