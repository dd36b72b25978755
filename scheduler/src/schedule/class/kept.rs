//! What is kept for one kind of pod.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::super::decide::{Decision, Progress, Refusal, View};
use super::blocks::Blocks;
use super::columns::Columns;
use super::refusals::Refusals;
use super::tree::{Summary, Tree};
use crate::cache::{NodeInfo, NodeSlot};
use crate::framework::{CycleState, FilterTally, Kept, Profile, SCORE_MAX, ScoreTally, Status};
use crate::object::PodInfo;

/// A node that cannot take the pod, whatever the tallies say.
pub(super) const UNFIT: i32 = i32::MIN;

/// What is kept for one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The scores that need no normalizing, summed up; [`UNFIT`] if it cannot take the pod.
    pub(super) total: i32,
    /// Which cell it is in.
    pub(super) cell: u32,
}

/// Nodes of which all plugins say the same but for scores that need no normalizing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    /// The scores to be normalized, one for each plugin that does and looks at single nodes only.
    pub(super) raws: SmallVec<[i64; 2]>,
    /// The kind that it is to each filter's tally, and then to each scorer's.
    pub(super) kinds: SmallVec<[u32; 4]>,
}

/// Numbers for cells.
#[derive(Default)]
pub(super) struct Cells {
    ids: HashMap<Cell, u32>,
    pub(super) list: Vec<Cell>,
}

/// How many cells there may be beside one for each node before they are numbered anew.
const CELLS_MAX: usize = 1 << 16;

impl Cells {
    fn id(&mut self, cell: Cell, nodes: usize) -> Option<u32> {
        if let Some(id) = self.ids.get(&cell) {
            return Some(*id);
        }
        if self.list.len() > CELLS_MAX + 2 * nodes {
            return None;
        }
        let id = u32::try_from(self.list.len()).ok()?;
        self.list.push(cell.clone());
        self.ids.insert(cell, id);
        Some(id)
    }
}

/// A scorer by its place in the profile.
pub(super) struct Scorer {
    pub(super) at: usize,
    /// Its tally; without one it looks at single nodes and normalizes.
    pub(super) tally: Option<Box<dyn ScoreTally>>,
}

pub(super) struct Class {
    pub(super) state: CycleState,
    pub(super) entries: Vec<Entry>,
    pub(super) cells: Cells,
    pub(super) filters: Vec<(u64, Box<dyn FilterTally>)>,
    pub(super) scorers: Vec<Scorer>,
    pub(super) columns: Columns,
    pub(super) blocks: Option<Blocks>,
    /// For how many decisions the cells are taken to be too many for blocks.
    pub(super) scattered: u32,
    tree: Option<Tree>,
    /// Why nodes can't take the pod, once that was asked.
    pub(super) refusals: Option<Refusals>,
    /// What PostFilter plugins keep.
    pub(super) more: Kept,
    stamp: Vec<u64>,
    seen: u64,
    seen_promises: u64,
    pub(super) used: u64,
}

fn stamps(view: View<'_>, pod: &PodInfo) -> impl Iterator<Item = u64> {
    let View { profile, snapshot, .. } = view;
    let filters = profile.filter.iter().map(move |entry| entry.plugin.stamp(pod, snapshot));
    filters.chain(profile.score.iter().map(move |entry| entry.plugin.stamp(pod, snapshot)))
}

impl Class {
    /// Judges every node. `None` if anything is odd, which the scan will find and tell.
    pub(super) fn new(view: View<'_>, pod: &PodInfo, local: bool) -> Option<Self> {
        let View { profile, snapshot, nominator } = view;
        let mut state = CycleState::new();
        let (subset, _) = profile.run_pre_filter(&mut state, pod, snapshot).ok()?;
        if subset.is_some() {
            return None;
        }
        profile.run_pre_score(&mut state, pod, &[], snapshot).ok()?;
        let (mut filters, mut scorers) = (Vec::new(), Vec::new());
        for entry in profile.filter.iter().filter(|entry| !entry.plugin.is_node_local(pod, snapshot)) {
            filters.push((1 << entry.id, entry.plugin.tally(pod, snapshot)?));
            state.skip_filter |= 1 << entry.id;
        }
        for (at, entry) in profile.score.iter().enumerate() {
            if !entry.plugin.is_node_local(pod, snapshot) {
                scorers.push(Scorer { at, tally: Some(entry.plugin.tally(pod, snapshot)?) });
            } else if entry.plugin.normalizes() && !state.skips_score(entry.id) {
                scorers.push(Scorer { at, tally: None });
            }
        }
        let mut class = Self {
            state,
            entries: Vec::with_capacity(snapshot.len()),
            cells: Cells::default(),
            filters,
            scorers,
            columns: Columns::default(),
            blocks: None,
            scattered: 0,
            tree: None,
            refusals: None,
            more: Kept::default(),
            stamp: stamps(view, pod).collect(),
            seen: snapshot.changes_end(),
            seen_promises: nominator.changes_end(),
            used: 0,
        };
        for node in snapshot.nodes() {
            let (entry, _) = class.judge(view, pod, node)?;
            class.entries.push(entry);
        }
        class.state.hide();
        if local {
            let leaves: Vec<Summary> = class.entries.iter().map(|entry| leaf(*entry)).collect();
            class.tree = Some(Tree::new(leaves.into_iter()));
        }
        Some(class)
    }

    /// Whether what is kept still holds, but for nodes that changed.
    pub(super) fn is_current(&self, view: View<'_>, pod: &PodInfo) -> bool {
        let View { profile, snapshot, .. } = view;
        let tallied = |bit: u64| self.filters.iter().any(|(own, _)| *own == bit);
        let scored = |at: usize| self.scorers.iter().any(|scorer| scorer.at == at && scorer.tally.is_some());
        let mut scores = profile.score.iter().enumerate();
        profile.filter.iter().all(|entry| tallied(1 << entry.id) || entry.plugin.is_node_local(pod, snapshot))
            && scores.all(|(at, entry)| scored(at) || entry.plugin.is_node_local(pod, snapshot))
            && stamps(view, pod).eq(self.stamp.iter().copied())
    }

    /// How many changes of nodes have not been taken into account.
    pub(super) fn lag(&self, view: View<'_>) -> u64 {
        view.snapshot.changes_end() - self.seen
    }

    /// Judges the nodes again that changed since the class was last used.
    pub(super) fn catch_up(&mut self, view: View<'_>, pod: &PodInfo, places: &[u32]) -> Option<()> {
        let View { snapshot, nominator, .. } = view;
        for slot in snapshot.changes_since(self.seen)? {
            self.judge_again(view, pod, *slot, places)?;
        }
        self.seen = snapshot.changes_end();
        for name in nominator.changes_since(self.seen_promises)? {
            if let Some(node) = snapshot.node(name) {
                self.judge_again(view, pod, node.slot, places)?;
            }
        }
        self.seen_promises = nominator.changes_end();
        Some(())
    }

    fn judge_again(&mut self, view: View<'_>, pod: &PodInfo, slot: NodeSlot, places: &[u32]) -> Option<()> {
        let node = view.snapshot.node_at(slot)?;
        let (entry, refusal) = self.judge(view, pod, node)?;
        let place = places[slot.at()] as usize;
        if let Some(refusals) = &mut self.refusals
            && refusals.set(place, refusal).is_none()
        {
            self.refusals = None;
        }
        let old = std::mem::replace(&mut self.entries[place], entry);
        if let Some(blocks) = &mut self.blocks
            && blocks.change(place, old, &self.entries).is_none()
        {
            self.blocks = None;
        }
        if let Some(tree) = &mut self.tree {
            tree.set(place, leaf(entry));
        }
        Some(())
    }

    /// Judges one node, and says why it cannot take the pod if so; `None` if something is wrong, which the scan will find
    /// and tell.
    fn judge(&mut self, view: View<'_>, pod: &PodInfo, node: &NodeInfo) -> Option<(Entry, Option<Status>)> {
        let View { profile, snapshot, nominator } = view;
        let mut cell = Cell::default();
        for (_, tally) in &mut self.filters {
            cell.kinds.push(tally.put(node, snapshot)?);
        }
        for scorer in &mut self.scorers {
            if let Some(tally) = &mut scorer.tally {
                cell.kinds.push(tally.put(node, snapshot)?);
            }
        }
        match profile.run_filter_with_nominated(&self.state, pod, node, nominator) {
            Ok(()) => {}
            Err(status) if status.is_rejection() => return Some((Entry { total: UNFIT, cell: 0 }, Some(status))),
            Err(_) => return None,
        }
        let total = self.score(profile, view, pod, node, &mut cell)?;
        let cell = self.cells.id(cell, snapshot.len())?;
        Some((Entry { total: i32::try_from(total).ok()?, cell }, None))
    }

    fn score(&self, profile: &Profile, view: View<'_>, pod: &PodInfo, node: &NodeInfo, cell: &mut Cell) -> Option<i64> {
        let mut total = 0;
        let mut scorers = self.scorers.iter().peekable();
        for (at, entry) in profile.score.iter().enumerate() {
            let special = scorers.next_if(|scorer| scorer.at == at);
            if self.state.skips_score(entry.id) || special.is_some_and(|scorer| scorer.tally.is_some()) {
                continue;
            }
            entry.count();
            let score = entry.plugin.score(&self.state, pod, node, view.snapshot).ok()?;
            if special.is_some() {
                cell.raws.push(score);
                // Where all nodes have it, it must come to something.
                let equal = entry.plugin.normalized_when_equal(score)?;
                (0..=SCORE_MAX).contains(&equal).then_some(())?;
                continue;
            }
            (0..=SCORE_MAX).contains(&score).then_some(())?;
            total += score * entry.weight;
        }
        Some(total)
    }

    pub(super) fn decide(
        &mut self,
        view: View<'_>,
        pod: &PodInfo,
        wanted: usize,
        progress: &mut Progress,
    ) -> Option<Result<Decision, Refusal>> {
        let Some(tree) = &self.tree else { return self.decide_by_cells(view, pod, wanted, progress) };
        let nodes = view.snapshot.len();
        let start = progress.next_start % nodes;
        if tree.all().feasible == 0 {
            progress.next_start = start;
            return Some(Err(self.refuse(view, pod)?));
        }
        let window = tree.window(nodes, start, u32::try_from(wanted).unwrap_or(u32::MAX));
        let [first, second] = window.parts.map(|(from, to)| tree.range(from, to));
        let feasible = first.feasible + second.feasible;
        if feasible > 1 && (first.is_mixed() || second.is_mixed() || first.differs_from(second)) {
            return self.decide_by_cells(view, pod, wanted, progress);
        }
        progress.next_start = (progress.next_start + window.length) % nodes;
        let best = first.best.max(second.best);
        let ties = |sum: Summary| if sum.best == best { sum.ties } else { 0 };
        let drawn = progress.random.below((ties(first) + ties(second)) as usize);
        let drawn = u32::try_from(drawn).unwrap_or(0);
        let [(from, to), (from_2, to_2)] = window.parts;
        let place = match drawn.checked_sub(ties(first)) {
            None => tree.nth_best(from, to, best, drawn)?,
            Some(rest) => tree.nth_best(from_2, to_2, best, rest)?,
        };
        Some(Ok(decision(view, place, window.length, feasible as usize)?))
    }
}

fn leaf(entry: Entry) -> Summary {
    if entry.total == UNFIT { Summary::infeasible() } else { Summary::one(entry.total, entry.cell) }
}

pub(super) fn decision(view: View<'_>, place: usize, evaluated: usize, feasible: usize) -> Option<Decision> {
    let slot: NodeSlot = view.snapshot.order()[place];
    let node = view.snapshot.node_at(slot)?.name().clone();
    Some(Decision { node, slot, evaluated, feasible })
}
