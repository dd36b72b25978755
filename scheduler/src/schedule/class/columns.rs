//! Deciding by going through what is kept, where nodes differ in more than one score.

use super::super::decide::{Decision, Progress, View};
use super::kept::{Class, UNFIT, decision};
use crate::framework::{NodeScore, SCORE_MAX, Status};
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
    present: Vec<u32>,
    kinds: Vec<(u32, u32)>,
    scores: Vec<i64>,
}

impl Class {
    pub(super) fn decide_by_columns(
        &mut self,
        view: View<'_>,
        pod: &PodInfo,
        wanted: usize,
        progress: &mut Progress,
    ) -> Option<Result<Decision, Status>> {
        let nodes = view.snapshot.len();
        let mut columns = std::mem::take(&mut self.columns);
        let start = progress.next_start % nodes;
        let length = self.find(&mut columns, start, wanted);
        let chosen = match columns.found.len() {
            0 => None,
            1 => Some(columns.found[0]),
            _ => self.score_cells(view, pod, &mut columns).map(|()| self.best(&columns, progress)),
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
                    let kinds = &self.cells.list[cell].kinds;
                    let accepted = self.filters.iter().zip(kinds).all(|((_, tally), kind)| tally.accepts(*kind));
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

    /// Works out what to add to the totals of the nodes of each cell. `None` if that is the scan's business.
    fn score_cells(&mut self, view: View<'_>, pod: &PodInfo, columns: &mut Columns) -> Option<()> {
        let Columns { counts, added, present, kinds, scores, .. } = columns;
        present.clear();
        present.extend((0..).zip(&*counts).filter(|(_, count)| **count > 0).map(|(cell, _)| cell));
        added.clear();
        added.resize(counts.len(), 0);
        let (mut raw, mut kind) = (0, self.filters.len());
        for scorer in &mut self.scorers {
            let entry = &view.profile.score[scorer.at];
            scores.clear();
            if let Some(tally) = &mut scorer.tally {
                let of = |cell: &u32| (self.cells.list[*cell as usize].kinds[kind], counts[*cell as usize]);
                kinds.clear();
                kinds.extend(present.iter().map(of));
                tally.score(kinds, scores);
                kind += 1;
            } else {
                let of = |cell: &u32| self.cells.list[*cell as usize].raws[raw];
                let same = present.iter().map(of).all(|score| Some(score) == present.first().map(of));
                (same || entry.plugin.normalizes_by_extremes()).then_some(())?;
                let slot = crate::cache::NodeSlot(0);
                let mut raws: Vec<NodeScore> =
                    present.iter().map(|cell| NodeScore { node: slot, score: of(cell) }).collect();
                entry.plugin.normalize(&self.state, pod, &mut raws).ok()?;
                scores.extend(raws.iter().map(|entry| entry.score));
                raw += 1;
            }
            for (cell, score) in present.iter().zip(&*scores) {
                (0..=SCORE_MAX).contains(score).then_some(())?;
                added[*cell as usize] += score * entry.weight;
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
