//! Deciding by going through what is kept, where nodes differ in more than one score: by blocks if their cells are few,
//! entry by entry otherwise.

use smallvec::SmallVec;

use super::super::decide::{Decision, Progress, Refusal, View};
use super::blocks::Blocks;
use super::kept::{Class, UNFIT, decision};
use crate::framework::{NodeScore, SCORE_MAX};
use crate::object::PodInfo;

/// Room to work in, kept from one decision to the next.
#[derive(Default)]
pub(super) struct Columns {
    found: Vec<u32>,
    /// For each cell, whether the tallies accept it, if that was asked.
    accepted: Vec<Option<bool>>,
    /// For each cell, how many nodes of it were found, and what to add to their totals.
    counts: Vec<u32>,
    added: Vec<i64>,
    present: Vec<(u32, u32)>,
    scoring: Scoring,
}

/// Room to work out scores in.
#[derive(Default)]
pub(super) struct Scoring {
    kinds: Vec<(u32, u32)>,
    scores: Vec<i64>,
    /// What to add to the totals of each cell's nodes, as the last scoring found.
    pub(super) added: Vec<i64>,
}

/// After how many decisions is looked again whether cells have become few.
const RETRY: u32 = 64;

impl Class {
    pub(super) fn decide_by_cells(
        &mut self,
        view: View<'_>,
        pod: &PodInfo,
        wanted: usize,
        progress: &mut Progress,
    ) -> Option<Result<Decision, Refusal>> {
        if self.blocks.is_none() {
            if self.scattered == 0 {
                self.blocks = Blocks::new(&self.entries);
                self.scattered = RETRY;
            }
            self.scattered -= 1;
        }
        let Some(blocks) = self.blocks.take() else { return self.decide_by_columns(view, pod, wanted, progress) };
        let decision = self.decide_by_blocks(view, pod, wanted, progress, &blocks);
        self.blocks = Some(blocks);
        decision
    }

    fn decide_by_blocks(
        &mut self,
        view: View<'_>,
        pod: &PodInfo,
        wanted: usize,
        progress: &mut Progress,
        blocks: &Blocks,
    ) -> Option<Result<Decision, Refusal>> {
        let nodes = view.snapshot.len();
        let start = progress.next_start % nodes;
        let accepted: SmallVec<[bool; 16]> = blocks.cells().map(|cell| self.accepts(cell)).collect();
        let found = blocks.find(&self.entries, &accepted, start, wanted);
        if found.nodes == 0 {
            return None;
        }
        let present: SmallVec<[(u32, u32); 16]> =
            blocks.cells().zip(&found.sums).map(|(cell, sum)| (cell, sum.nodes)).filter(|(_, n)| *n > 0).collect();
        let mut scoring = std::mem::take(&mut self.columns.scoring);
        scoring.added.clear();
        let scored = if found.nodes > 1 { self.score_cells(view, pod, &present, &mut scoring) } else { Some(()) };
        scoring.added.resize(present.len(), 0);
        let mut added = scoring.added.iter();
        let totals: SmallVec<[Option<i64>; 16]> = (found.sums.iter())
            .map(|sum| (sum.nodes > 0).then(|| i64::from(sum.best) + added.next().copied().unwrap_or(0)))
            .collect();
        self.columns.scoring = scoring;
        scored?;
        let best = totals.iter().flatten().max().copied();
        let wanted: SmallVec<[Option<i32>; 16]> =
            totals.iter().zip(&found.sums).map(|(total, sum)| (*total == best).then_some(sum.best)).collect();
        let ties =
            found.sums.iter().zip(&wanted).filter(|(_, wanted)| wanted.is_some()).map(|(sum, _)| sum.ties as usize);
        let drawn = if found.nodes > 1 { progress.random.below(ties.sum()) } else { 0 };
        let place = blocks.nth(&found, &self.entries, &wanted, drawn)?;
        progress.next_start = (progress.next_start + found.length) % nodes;
        Some(Ok(decision(view, place, found.length, found.nodes)?))
    }

    /// Whether the tallies accept the nodes of a cell.
    fn accepts(&self, cell: u32) -> bool {
        let kinds = &self.cells.list[cell as usize].kinds;
        self.filters.iter().zip(kinds).all(|((_, tally), kind)| tally.accepts(*kind))
    }

    fn decide_by_columns(
        &mut self,
        view: View<'_>,
        pod: &PodInfo,
        wanted: usize,
        progress: &mut Progress,
    ) -> Option<Result<Decision, Refusal>> {
        let nodes = view.snapshot.len();
        let mut columns = std::mem::take(&mut self.columns);
        let start = progress.next_start % nodes;
        let length = self.find(&mut columns, start, wanted);
        let chosen = match columns.found.len() {
            0 => None,
            1 => Some(columns.found[0]),
            _ => self.score_columns(view, pod, &mut columns).map(|()| self.best(&columns, progress)),
        };
        let feasible = columns.found.len();
        self.columns = columns;
        let place = chosen? as usize;
        progress.next_start = (progress.next_start + length) % nodes;
        Some(Ok(decision(view, place, length, feasible)?))
    }

    /// Finds so many nodes that can take the pod; tells how many were looked at.
    fn find(&self, columns: &mut Columns, start: usize, wanted: usize) -> usize {
        let cells = self.cells.list.len();
        columns.found.clear();
        columns.accepted.clear();
        columns.accepted.resize(cells, None);
        columns.counts.clear();
        columns.counts.resize(cells, 0);
        let places = (start..self.entries.len()).chain(0..start);
        let mut length = 0;
        for place in places {
            if columns.found.len() == wanted {
                break;
            }
            length += 1;
            let entry = self.entries[place];
            if entry.total == UNFIT {
                continue;
            }
            let cell = entry.cell as usize;
            let accepted = match columns.accepted[cell] {
                Some(accepted) => accepted,
                None => {
                    let accepted = self.accepts(entry.cell);
                    columns.accepted[cell] = Some(accepted);
                    accepted
                }
            };
            if accepted {
                columns.counts[cell] += 1;
                columns.found.push(u32::try_from(place).unwrap_or(u32::MAX));
            }
        }
        length
    }

    /// Works out what to add to the totals of the nodes of each cell that has some. `None` if that is the scan's business.
    fn score_columns(&mut self, view: View<'_>, pod: &PodInfo, columns: &mut Columns) -> Option<()> {
        let Columns { counts, added, present, scoring, .. } = columns;
        present.clear();
        present.extend((0..).zip(counts.iter().copied()).filter(|(_, count)| *count > 0));
        self.score_cells(view, pod, present, scoring)?;
        added.clear();
        added.resize(counts.len(), 0);
        for ((cell, _), score) in present.iter().zip(&scoring.added) {
            added[*cell as usize] = *score;
        }
        Some(())
    }

    /// Works out what to add to the totals of the nodes of each of these cells, of which so many nodes were found. `None`
    /// if that is the scan's business.
    pub(super) fn score_cells(
        &mut self,
        view: View<'_>,
        pod: &PodInfo,
        present: &[(u32, u32)],
        scoring: &mut Scoring,
    ) -> Option<()> {
        let Scoring { kinds, scores, added } = scoring;
        added.clear();
        added.resize(present.len(), 0);
        let (mut raw, mut kind) = (0, self.filters.len());
        for scorer in &mut self.scorers {
            let entry = &view.profile.score[scorer.at];
            scores.clear();
            if let Some(tally) = &mut scorer.tally {
                kinds.clear();
                let of = |(cell, nodes): &(u32, u32)| (self.cells.list[*cell as usize].kinds[kind], *nodes);
                kinds.extend(present.iter().map(of));
                tally.score(kinds, scores);
                kind += 1;
            } else {
                let of = |(cell, _): &(u32, u32)| self.cells.list[*cell as usize].raws[raw];
                let same = present.iter().map(of).all(|score| Some(score) == present.first().map(of));
                (same || entry.plugin.normalizes_by_extremes()).then_some(())?;
                let slot = crate::cache::NodeSlot(0);
                let mut raws: Vec<NodeScore> =
                    present.iter().map(|cell| NodeScore { node: slot, score: of(cell) }).collect();
                entry.plugin.normalize(&self.state, pod, &mut raws).ok()?;
                scores.extend(raws.iter().map(|entry| entry.score));
                raw += 1;
            }
            for (added, score) in added.iter_mut().zip(&*scores) {
                (0..=SCORE_MAX).contains(score).then_some(())?;
                *added += score * entry.weight;
            }
        }
        Some(())
    }

    /// Draws one of the best.
    fn best(&self, columns: &Columns, progress: &mut Progress) -> u32 {
        let total = |place: &u32| {
            let entry = self.entries[*place as usize];
            i64::from(entry.total) + columns.added[entry.cell as usize]
        };
        let (mut best, mut ties) = (i64::MIN, 0);
        for place in &columns.found {
            match total(place).cmp(&best) {
                std::cmp::Ordering::Greater => (best, ties) = (total(place), 1),
                std::cmp::Ordering::Equal => ties += 1,
                std::cmp::Ordering::Less => {}
            }
        }
        let drawn = progress.random.below(ties);
        columns.found.iter().filter(|place| total(place) == best).nth(drawn).copied().unwrap_or(0)
    }
}
