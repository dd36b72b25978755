//! What was found out for pods with the same spec, kept until the nodes concerned change.
//!
//! Most pods are one of many made from a template. As long as every plugin judges a node by the node alone, the verdict
//! and the score for one of them hold for all. They are kept in a [`Tree`], and a decision then looks only at the nodes
//! that changed since the last one for such a pod, and asks the tree for the stretch of nodes and the best one that
//! scanning them all would have come to. What cannot be decided that way is left to the scan.

use std::collections::HashMap;
use std::sync::Arc;

use super::decide::{Decision, Progress, View, draw_best, nodes_to_find, score_all};
use super::tree::{Summary, Tree};
use crate::cache::{NodeInfo, NodeSlot, Snapshot};
use crate::framework::{CycleState, Profile, SCORE_MAX, Status};
use crate::object::{Name, PodInfo, PodSpec};

/// How many classes are kept at most, and how many leaves all of them together.
const CLASSES_MAX: usize = 1024;
const LEAVES_MAX: usize = 1 << 24;

/// All classes that are kept.
#[derive(Default)]
pub(crate) struct Classes {
    classes: HashMap<(Name, Arc<PodSpec>), Class>,
    places: Vec<u32>,
    layout: u64,
    clock: u64,
}

struct Class {
    state: CycleState,
    tree: Tree,
    seen: u64,
    /// The raw scores that normalizing plugins gave the first node that can take the pod; a node with others is odd.
    common: Option<Vec<i64>>,
    used: u64,
}

impl Classes {
    /// Decides, if that can be done without looking at every node.
    pub(super) fn decide(
        &mut self,
        view: View<'_>,
        pod: &Arc<PodInfo>,
        state: &mut CycleState,
        progress: &mut Progress,
    ) -> Option<Result<Decision, Status>> {
        if !view.nominator.is_empty() || view.profile.score.is_empty() || !is_node_local(view, pod) {
            return None;
        }
        if !pod.nominated_node_name.is_empty() {
            return None;
        }
        self.clock += 1;
        self.settle(view.snapshot);
        let key = (view.profile.name().clone(), pod.spec.clone());
        let clock = self.clock;
        if !self.classes.contains_key(&key) {
            self.make_room(view.snapshot.len());
            let class = Class::new(view, pod)?;
            self.classes.insert(key.clone(), class);
        }
        let class = self.classes.get_mut(&key)?;
        class.used = clock;
        if class.catch_up(view, pod, &self.places).is_none() {
            self.classes.remove(&key);
            return None;
        }
        *state = class.state.clone();
        class.decide(view, pod, state, progress)
    }

    /// Forgets everything when nodes came or went.
    fn settle(&mut self, snapshot: &Snapshot) {
        if self.layout == snapshot.layout() {
            return;
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
        let most = CLASSES_MAX.min(LEAVES_MAX / nodes.max(1)).max(1);
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

impl Class {
    fn new(view: View<'_>, pod: &PodInfo) -> Option<Self> {
        let mut state = CycleState::new();
        let (subset, _) = view.profile.run_pre_filter(&mut state, pod, view.snapshot).ok()?;
        if subset.is_some() {
            return None;
        }
        view.profile.run_pre_score(&mut state, pod, &[], view.snapshot).ok()?;
        let mut common = None;
        let nodes: Vec<&NodeInfo> = view.snapshot.nodes().collect();
        let mut leaves = Vec::with_capacity(nodes.len());
        for node in nodes {
            leaves.push(judge(view, &state, pod, node, &mut common)?);
        }
        let seen = view.snapshot.changes_end();
        Some(Self { state, tree: Tree::new(leaves.into_iter()), seen, common, used: 0 })
    }

    /// Judges the nodes again that changed since the class was last used.
    fn catch_up(&mut self, view: View<'_>, pod: &PodInfo, places: &[u32]) -> Option<()> {
        let changed = view.snapshot.changes_since(self.seen)?;
        for slot in changed {
            let node = view.snapshot.node_at(*slot)?;
            let leaf = judge(view, &self.state, pod, node, &mut self.common)?;
            self.tree.set(places[slot.at()] as usize, leaf);
        }
        self.seen = view.snapshot.changes_end();
        Some(())
    }

    fn decide(
        &self,
        view: View<'_>,
        pod: &PodInfo,
        state: &mut CycleState,
        progress: &mut Progress,
    ) -> Option<Result<Decision, Status>> {
        let nodes = view.snapshot.len();
        let all = self.tree.all();
        if all.feasible == 0 {
            return None;
        }
        let wanted = nodes_to_find(nodes, progress.percentage(view.profile));
        let start = progress.next_start % nodes;
        let window = self.window(nodes, start, u32::try_from(wanted).unwrap_or(u32::MAX));
        let [first, second] = window.parts.map(|(from, to)| self.tree.range(from, to));
        let feasible = first.feasible + second.feasible;
        progress.next_start = (progress.next_start + window.length) % nodes;
        let place = if feasible > 1 && first.odd + second.odd > 0 {
            match self.decide_in_company(view, pod, state, progress, &window) {
                Ok(place) => place,
                Err(status) => return Some(Err(status)),
            }
        } else {
            let best = first.best.max(second.best);
            let ties = |sum: Summary| if sum.best == best { sum.ties } else { 0 };
            let drawn = progress.random.below((ties(first) + ties(second)) as usize);
            let drawn = u32::try_from(drawn).unwrap_or(0);
            let [(from, to), (from_2, to_2)] = window.parts;
            match drawn.checked_sub(ties(first)) {
                None => self.tree.nth_best(from, to, best, drawn)?,
                Some(rest) => self.tree.nth_best(from_2, to_2, best, rest)?,
            }
        };
        let slot: NodeSlot = view.snapshot.order()[place];
        let node = view.snapshot.node_at(slot)?.name().clone();
        Some(Ok(Decision { node, slot, evaluated: window.length, feasible: feasible as usize }))
    }

    /// Scores the nodes of the window as the scan would, because some of them are judged by comparison.
    fn decide_in_company(
        &self,
        view: View<'_>,
        pod: &PodInfo,
        state: &mut CycleState,
        progress: &mut Progress,
        window: &Window,
    ) -> Result<usize, Status> {
        let places = window.parts.into_iter().flat_map(|(from, to)| from..to);
        let places: Vec<usize> = places.filter(|at| self.tree.leaf(*at).feasible > 0).collect();
        let order = view.snapshot.order();
        let nodes: Vec<&NodeInfo> = places.iter().filter_map(|at| view.snapshot.node_at(order[*at])).collect();
        let totals = score_all(view, pod, state, &nodes, |_, _| {})?;
        Ok(places[draw_best(&totals, &mut progress.random)])
    }

    /// The stretch of nodes that a scan from `start` on would look at to find so many: up to the end, and from the
    /// beginning again.
    fn window(&self, nodes: usize, start: usize, wanted: u32) -> Window {
        let all = self.tree.all().feasible;
        if all < wanted {
            return Window { parts: [(start, nodes), (0, start)], length: nodes };
        }
        let before = self.tree.range(0, start).feasible;
        if before + wanted <= all {
            let end = self.tree.nth_feasible(before + wanted - 1) + 1;
            return Window { parts: [(start, end), (0, 0)], length: end - start };
        }
        let end = self.tree.nth_feasible(before + wanted - all - 1) + 1;
        Window { parts: [(start, nodes), (0, end)], length: nodes - start + end }
    }
}

struct Window {
    parts: [(usize, usize); 2],
    length: usize,
}

/// Judges one node; `None` if something is wrong, which the scan will find and tell.
fn judge(
    view: View<'_>,
    state: &CycleState,
    pod: &PodInfo,
    node: &NodeInfo,
    common: &mut Option<Vec<i64>>,
) -> Option<Summary> {
    let profile: &Profile = view.profile;
    match profile.run_filter(state, pod, node) {
        Ok(()) => {}
        Err(status) if status.is_rejection() => return Some(Summary::infeasible()),
        Err(_) => return None,
    }
    let mut total = 0;
    let mut raws = Vec::new();
    for entry in profile.score.iter().filter(|entry| !state.skips_score(entry.id)) {
        let raw = entry.plugin.score(state, pod, node, view.snapshot).ok()?;
        let score = if entry.plugin.normalizes() {
            raws.push(raw);
            entry.plugin.normalized_when_equal(raw)?
        } else {
            raw
        };
        if !(0..=SCORE_MAX).contains(&score) {
            return None;
        }
        total += score * entry.weight;
    }
    let common = common.get_or_insert_with(|| raws.clone());
    let odd = u32::from(*common != raws);
    Some(Summary { feasible: 1, odd, best: i32::try_from(total).ok()?, ties: 1 })
}
