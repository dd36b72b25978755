//! Nodes of few cells, summed up in blocks, so that a decision looks at blocks instead of nodes.
//!
//! Where pods care for domains there are as many cells as domains, and plugins say yes or no to whole cells. For each
//! block of nodes and each cell this holds how many of its nodes can take the pod, the best total among them and how many
//! have it. What a decision comes to is what going through the entries would have come to.

use super::kept::{Entry, UNFIT};

/// How many nodes are in a block; few in tests, so that small clusters have several.
const BLOCK: usize = if cfg!(test) { 4 } else { 256 };
/// How many cells with nodes there may be; with more of them going through the entries is no slower.
const COLUMNS_MAX: usize = 48;
const NONE: u32 = u32::MAX;

/// What is known of one cell's nodes in some stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) nodes: u32,
    pub(super) best: i32,
    pub(super) ties: u32,
}

impl Sum {
    const EMPTY: Self = Self { nodes: 0, best: i32::MIN, ties: 0 };

    const fn add(&mut self, other: Self) {
        self.nodes += other.nodes;
        if other.best > self.best {
            (self.best, self.ties) = (other.best, other.ties);
        } else if other.best == self.best {
            self.ties += other.ties;
        }
    }

    const fn add_node(&mut self, total: i32) {
        self.add(Self { nodes: 1, best: total, ties: 1 });
    }
}

/// The nodes of one cell, block by block.
#[derive(Clone, Debug)]
struct Column {
    cell: u32,
    nodes: u32,
    blocks: Vec<Sum>,
}

/// The cells that have nodes which can take the pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    columns: Vec<Column>,
    /// Where each cell's column is.
    places: Vec<u32>,
    blocks: usize,
}

impl Blocks {
    /// Sums entries up; `None` if they are of too many cells.
    pub(super) fn new(entries: &[Entry]) -> Option<Self> {
        let mut sums = Self { blocks: entries.len().div_ceil(BLOCK), ..Self::default() };
        for (place, entry) in entries.iter().enumerate() {
            sums.enter(place, *entry)?;
        }
        Some(sums)
    }

    /// The cells, in the order in which everything here speaks of them.
    pub(super) fn cells(&self) -> impl ExactSizeIterator<Item = u32> {
        self.columns.iter().map(|column| column.cell)
    }

    /// Takes note that an entry changed; `None` if there are too many cells now.
    pub(super) fn change(&mut self, place: usize, old: Entry, entries: &[Entry]) -> Option<()> {
        let new = entries[place];
        if new == old {
            return Some(());
        }
        self.leave(place, old, entries);
        self.enter(place, new)
    }

    fn enter(&mut self, place: usize, entry: Entry) -> Option<()> {
        if entry.total == UNFIT {
            return Some(());
        }
        let cell = entry.cell as usize;
        if self.places.len() <= cell {
            self.places.resize(cell + 1, NONE);
        }
        if self.places[cell] == NONE {
            (self.columns.len() < COLUMNS_MAX).then_some(())?;
            self.places[cell] = u32::try_from(self.columns.len()).ok()?;
            self.columns.push(Column { cell: entry.cell, nodes: 0, blocks: vec![Sum::EMPTY; self.blocks] });
        }
        let column = &mut self.columns[self.places[cell] as usize];
        column.nodes += 1;
        column.blocks[place / BLOCK].add_node(entry.total);
        Some(())
    }

    /// Takes an entry out, which is no longer among the entries.
    fn leave(&mut self, place: usize, old: Entry, entries: &[Entry]) {
        if old.total == UNFIT {
            return;
        }
        let at = self.places[old.cell as usize];
        let column = &mut self.columns[at as usize];
        column.nodes -= 1;
        if column.nodes == 0 {
            self.columns.swap_remove(at as usize);
            self.places[old.cell as usize] = NONE;
            if let Some(moved) = self.columns.get(at as usize) {
                self.places[moved.cell as usize] = at;
            }
            return;
        }
        let sum = &mut column.blocks[place / BLOCK];
        sum.nodes -= 1;
        if old.total < sum.best || sum.ties > 1 {
            sum.ties -= u32::from(old.total == sum.best);
            return;
        }
        *sum = Sum::EMPTY;
        let from = place - place % BLOCK;
        for (other, entry) in (from..).zip(&entries[from..entries.len().min(from + BLOCK)]) {
            if other != place && entry.total != UNFIT && entry.cell == old.cell {
                sum.add_node(entry.total);
            }
        }
    }

    /// What a scan from `start` on finds until it has so many nodes of accepted cells.
    pub(super) fn find(&self, entries: &[Entry], accepted: &[bool], start: usize, wanted: usize) -> Found {
        let mut found = Found { sums: vec![Sum::EMPTY; self.columns.len()], nodes: 0, length: 0, parts: Vec::new() };
        for (from, to) in [(start, entries.len()), (0, start)] {
            let mut at = from;
            while at < to && found.nodes < wanted {
                let end = to.min(at - at % BLOCK + BLOCK);
                let whole = at.is_multiple_of(BLOCK) && end == entries.len().min(at + BLOCK);
                if whole && found.nodes + self.count(at / BLOCK, accepted) < wanted {
                    self.take_block(&mut found, at / BLOCK, accepted);
                    found.length += end - at;
                    at = end;
                    continue;
                }
                at = self.take_entries(&mut found, entries, accepted, (at, end), wanted);
            }
        }
        found
    }

    /// How many nodes of accepted cells a block has.
    fn count(&self, block: usize, accepted: &[bool]) -> usize {
        let counts = self.columns.iter().zip(accepted).filter(|(_, accepted)| **accepted);
        counts.map(|(column, _)| column.blocks[block].nodes as usize).sum()
    }

    fn take_block(&self, found: &mut Found, block: usize, accepted: &[bool]) {
        for ((column, sum), accepted) in self.columns.iter().zip(&mut found.sums).zip(accepted) {
            if *accepted {
                sum.add(column.blocks[block]);
                found.nodes += column.blocks[block].nodes as usize;
            }
        }
        match found.parts.last_mut() {
            Some(Part::Blocks(_, end)) if *end == block => *end += 1,
            _ => found.parts.push(Part::Blocks(block, block + 1)),
        }
    }

    /// Takes entries one by one; tells where it ended.
    fn take_entries(
        &self,
        found: &mut Found,
        entries: &[Entry],
        accepted: &[bool],
        (from, to): (usize, usize),
        wanted: usize,
    ) -> usize {
        let mut at = from;
        while at < to && found.nodes < wanted {
            let entry = entries[at];
            at += 1;
            if entry.total == UNFIT {
                continue;
            }
            let column = self.places[entry.cell as usize] as usize;
            if accepted[column] {
                found.sums[column].add_node(entry.total);
                found.nodes += 1;
            }
        }
        found.length += at - from;
        found.parts.push(Part::Entries(from, at));
        at
    }

    /// Where the so-manyth of the found nodes is whose total is what is wanted of its cell.
    pub(super) fn nth(&self, found: &Found, entries: &[Entry], wanted: &[Option<i32>], nth: usize) -> Option<usize> {
        let mut left = nth;
        for part in &found.parts {
            match *part {
                Part::Entries(from, to) => match self.nth_entry(entries, (from, to), wanted, left) {
                    Ok(place) => return Some(place),
                    Err(rest) => left = rest,
                },
                Part::Blocks(from, to) => {
                    for block in from..to {
                        let ties = self.ties(block, wanted);
                        if left < ties {
                            let to = entries.len().min((block + 1) * BLOCK);
                            return self.nth_entry(entries, (block * BLOCK, to), wanted, left).ok();
                        }
                        left -= ties;
                    }
                }
            }
        }
        None
    }

    /// How many nodes of a block have the total that is wanted of their cell, which none there exceeds.
    fn ties(&self, block: usize, wanted: &[Option<i32>]) -> usize {
        let ties = |(column, wanted): (&Column, &Option<i32>)| {
            let sum = column.blocks[block];
            if Some(sum.best) == *wanted { sum.ties as usize } else { 0 }
        };
        self.columns.iter().zip(wanted).map(ties).sum()
    }

    /// Where the so-manyth such entry is, or how many are left to be found elsewhere.
    fn nth_entry(
        &self,
        entries: &[Entry],
        (from, to): (usize, usize),
        wanted: &[Option<i32>],
        mut nth: usize,
    ) -> Result<usize, usize> {
        for (place, entry) in (from..to).zip(&entries[from..to]) {
            if entry.total == UNFIT || wanted[self.places[entry.cell as usize] as usize] != Some(entry.total) {
                continue;
            }
            if nth == 0 {
                return Ok(place);
            }
            nth -= 1;
        }
        Err(nth)
    }
}

/// A stretch that was found: entries, or whole blocks.
#[derive(Clone, Copy, Debug)]
enum Part {
    Entries(usize, usize),
    Blocks(usize, usize),
}

/// What a scan finds.
#[derive(Debug)]
pub(super) struct Found {
    /// What is known of each cell's nodes.
    pub(super) sums: Vec<Sum>,
    /// How many nodes there are.
    pub(super) nodes: usize,
    /// How many were looked at.
    pub(super) length: usize,
    parts: Vec<Part>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(of: Option<(i32, u32)>) -> Entry {
        of.map_or(Entry { total: UNFIT, cell: 0 }, |(total, cell)| Entry { total, cell })
    }

    fn entries() -> impl Strategy<Value = Vec<Option<(i32, u32)>>> {
        proptest::collection::vec(proptest::option::weighted(0.8, (0_i32..4, 0_u32..5)), 1..60)
    }

    proptest! {
        #[test]
        fn agrees_with_going_through_the_entries(
            given in entries(),
            changes in proptest::collection::vec((0_usize..60, proptest::option::of((0_i32..4, 0_u32..6))), 0..30),
            refused in 0_u32..6,
            (start, wanted) in (0_usize..60, 1_usize..60),
        ) {
            let mut entries: Vec<Entry> = given.into_iter().map(entry).collect();
            let mut blocks = Blocks::new(&entries).unwrap();
            for (place, new) in changes {
                let place = place % entries.len();
                let old = std::mem::replace(&mut entries[place], entry(new));
                blocks.change(place, old, &entries).unwrap();
            }
            let accepted: Vec<bool> = blocks.cells().map(|cell| cell != refused).collect();
            let start = start % entries.len();
            let found = blocks.find(&entries, &accepted, start, wanted);
            let (mut places, mut length) = (Vec::new(), 0);
            for place in (start..entries.len()).chain(0..start) {
                if places.len() == wanted {
                    break;
                }
                length += 1;
                if entries[place].total != UNFIT && entries[place].cell != refused {
                    places.push(place);
                }
            }
            prop_assert_eq!((found.nodes, found.length), (places.len(), length));
            let mut best = Vec::new();
            for (cell, sum) in blocks.cells().zip(&found.sums) {
                let totals = || places.iter().map(|place| entries[*place]).filter(|entry| entry.cell == cell);
                prop_assert_eq!(sum.nodes as usize, totals().count());
                best.push(totals().map(|entry| entry.total).max());
                prop_assert_eq!(best.last().unwrap().unwrap_or(i32::MIN), sum.best);
            }
            let of = |entry: Entry| blocks.cells().position(|cell| cell == entry.cell).and_then(|at| best[at]);
            let tied: Vec<usize> =
                places.into_iter().filter(|place| of(entries[*place]) == Some(entries[*place].total)).collect();
            for (nth, place) in tied.iter().enumerate() {
                prop_assert_eq!(blocks.nth(&found, &entries, &best, nth), Some(*place));
            }
            prop_assert_eq!(blocks.nth(&found, &entries, &best, tied.len()), None);
        }
    }

    #[test]
    fn too_many_cells_are_not_summed_up() {
        let most = u32::try_from(COLUMNS_MAX).unwrap();
        let mut entries: Vec<Entry> = (0..=most).map(|cell| entry(Some((1, cell)))).collect();
        assert!(Blocks::new(&entries).is_none());
        let last = entries.len() - 1;
        entries[last].cell = 0;
        let mut blocks = Blocks::new(&entries).unwrap();
        let old = std::mem::replace(&mut entries[last], entry(Some((1, most))));
        assert!(blocks.change(last, old, &entries).is_none());
    }
}
