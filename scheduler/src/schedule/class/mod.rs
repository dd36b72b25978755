//! What was found out for pods of one kind, kept until the nodes concerned change.
//!
//! Most pods are one of many made from a template. What plugins say of a node by the node alone holds for all of them
//! and is kept, one entry for each node; what they say by more than that is kept in tallies. A decision then looks only
//! at the nodes that changed since the last one for such a pod, and comes to what scanning all nodes would have come to:
//! by a [`Tree`](tree::Tree) where nodes differ in nothing but a score, by [`Blocks`](blocks::Blocks) where they are of few
//! cells, by going through the entries otherwise. What cannot be decided in any of these ways is left to the scan.

mod blocks;
mod columns;
mod kept;
mod refusals;
mod tree;

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use super::decide::{Decision, Progress, Refusal, View, nodes_to_find};
use crate::cache::SpecKey;
use crate::framework::{CycleState, Kept, Seen};
use crate::object::{Labels, Name, OwnerReference, PodInfo};
use kept::Class;

/// How many classes are kept at most, and how many entries all of them together.
const CLASSES_MAX: usize = 1024;
const ENTRIES_MAX: usize = 1 << 24;
/// How many kinds of pods are remembered to have been seen once.
const SEEN_MAX: usize = 1 << 16;
/// A class is brought up to date although it fell far behind if it was asked for so few decisions ago.
const LATELY: u64 = 8;

/// All classes that are kept.
#[derive(Default)]
pub(crate) struct Classes {
    classes: HashMap<Key, Class>,
    seen: BTreeSet<u64>,
    places: Vec<u32>,
    layout: u64,
    clock: u64,
    /// The pod that was refused last, by what was kept for pods of its kind.
    refused: Option<(Name, Key)>,
}

/// What pods of a class have in common: the spec, and where more than nodes matters all that other pods can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    profile: Name,
    spec: SpecKey,
    more: Option<(Name, Labels, Option<OwnerReference>)>,
}

impl Classes {
    /// Decides, if that can be done without looking at every node.
    pub(super) fn decide(
        &mut self,
        view: View<'_>,
        pod: &Arc<PodInfo>,
        state: &mut CycleState,
        progress: &mut Progress,
    ) -> Option<Result<Decision, Refusal>> {
        self.refused = None;
        if view.profile.score.is_empty() || !pod.nominated_node_name.is_empty() {
            return None;
        }
        if view.nominator.node_of(&pod.uid).is_some() {
            return None;
        }
        let local = is_node_local(view, pod);
        if !local && (!view.nominator.is_empty() || !is_tallied(view, pod)) {
            return None;
        }
        self.clock += 1;
        self.settle(view);
        let more = (!local).then(|| (pod.namespace.clone(), pod.labels.clone(), pod.controller.clone()));
        let key = Key { profile: view.profile.name().clone(), spec: SpecKey(pod.spec.clone()), more };
        let clock = self.clock;
        let wanted = nodes_to_find(view.snapshot.len(), progress.percentage(view.profile));
        if self.classes.get(&key).is_some_and(|class| !class.is_current(view, pod)) {
            self.forget(view, &key);
        }
        if !self.classes.contains_key(&key) {
            if !self.saw_before(&key) {
                return None;
            }
            self.make_room(view.snapshot.len());
            let watch = &view.profile.watch;
            let since = watch.start();
            let class = Class::new(view, pod, local)?;
            watch.took(since, |seconds| Seen::Kept { profile: view.profile.name(), seconds });
            self.classes.insert(key.clone(), class);
        }
        let class = self.classes.get_mut(&key)?;
        let lately = clock - std::mem::replace(&mut class.used, clock) <= LATELY;
        if !lately && class.lag(view) > 2 * wanted as u64 {
            return None;
        }
        if class.catch_up(view, pod, &self.places).is_none() {
            self.forget(view, &key);
            return None;
        }
        let closely = state.closely;
        *state = class.state.clone();
        state.closely = closely;
        let decision = class.decide(view, pod, wanted, progress);
        if matches!(decision, Some(Err(_))) {
            // Who makes room asks the plugins on.
            state.show(view.snapshot);
            self.refused = local.then(|| (pod.uid.clone(), key));
        }
        decision
    }

    /// Where PostFilter plugins may keep something for pods of this one's kind, if it was just refused by what is kept
    /// already; and the nodes' places by their slots.
    pub(super) fn kept_for(&mut self, pod: &PodInfo) -> (Option<&mut Kept>, &[u32]) {
        let refused = self.refused.take().filter(|(uid, _)| *uid == pod.uid);
        let class = refused.and_then(|(_, key)| self.classes.get_mut(&key));
        (class.map(|class| &mut class.more), &self.places)
    }

    /// For how many kinds of pods PostFilter plugins keep something.
    #[cfg(test)]
    pub(super) fn kept_more(&self) -> usize {
        self.classes.values().filter(|class| !class.more.is_empty()).count()
    }

    /// Whether such a pod was seen before. What is seen only once is not worth keeping anything for.
    fn saw_before(&mut self, key: &Key) -> bool {
        use std::hash::{Hash, Hasher};
        let mut hasher = std::hash::DefaultHasher::new();
        key.hash(&mut hasher);
        if self.seen.len() >= SEEN_MAX {
            self.seen.clear();
        }
        !self.seen.insert(hasher.finish())
    }

    /// Forgets what no longer holds.
    fn forget(&mut self, view: View<'_>, key: &Key) {
        self.classes.remove(key);
        view.profile.watch.tell(Seen::Flushed { profile: view.profile.name(), reason: "expired" });
    }

    /// Forgets everything when nodes came or went.
    fn settle(&mut self, view: View<'_>) {
        let View { profile, snapshot, .. } = view;
        if self.layout == snapshot.layout() {
            return;
        }
        if !self.classes.is_empty() {
            profile.watch.tell(Seen::Flushed { profile: profile.name(), reason: "node_missing" });
        }
        self.layout = snapshot.layout();
        self.classes.clear();
        self.places.clear();
        self.places.resize(snapshot.slot_count(), u32::MAX);
        for (place, slot) in snapshot.order().iter().enumerate() {
            self.places[slot.at()] = u32::try_from(place).unwrap_or(u32::MAX);
        }
    }

    fn make_room(&mut self, nodes: usize) {
        let most = CLASSES_MAX.min(ENTRIES_MAX / nodes.max(1)).max(1);
        while self.classes.len() >= most {
            let oldest = self.classes.values().map(|class| class.used).min();
            self.classes.retain(|_, class| Some(class.used) != oldest);
        }
    }
}

/// Whether all plugins judge nodes for this pod by nothing but the pod's spec and the node.
fn is_node_local(view: View<'_>, pod: &PodInfo) -> bool {
    let View { profile, snapshot, .. } = view;
    profile.filter.iter().all(|entry| entry.plugin.is_node_local(pod, snapshot))
        && profile.score.iter().all(|entry| entry.plugin.is_node_local(pod, snapshot))
        && profile.pre_filter.iter().all(|entry| entry.plugin.is_node_local(pod, snapshot))
}

/// Whether all other plugins promise tallies.
fn is_tallied(view: View<'_>, pod: &PodInfo) -> bool {
    let View { profile, snapshot, .. } = view;
    let filters = |id: u32| profile.filter.iter().any(|entry| entry.id == id && entry.plugin.has_tally());
    profile.filter.iter().all(|entry| entry.plugin.has_tally() || entry.plugin.is_node_local(pod, snapshot))
        && profile.score.iter().all(|entry| entry.plugin.has_tally() || entry.plugin.is_node_local(pod, snapshot))
        && profile.pre_filter.iter().all(|entry| filters(entry.id) || entry.plugin.is_node_local(pod, snapshot))
}
