//! The whole state as a row of blocks, and back.
//!
//! An image shows the state at one moment although it is read in steps between which the state moves
//! on: it is made of what was visible at the compacted revision and of the events since then, and both
//! stay readable as long as nothing after [`ImageSource::keep`] is pruned.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{LeaseRecord, State};
use crate::codec::{Decoder, Reason, put_bytes, put_entry, put_lease, put_number};
use crate::{Entry, Event, EventKind, Key, KeyRange, LeaseId, Put, Revision};

const META: u8 = 1;
const ENTRIES: u8 = 2;
const COMPACTED_EVENTS: u8 = 3;
const EVENTS: u8 = 4;
const END: u8 = 5;

/// About how large a block is.
const BLOCK: usize = 256 << 10;
/// How many things a block has at most, so that the state is not held for long.
const BLOCK_ITEMS: usize = 512;

/// Reads an image out of a state, block by block.
#[derive(Debug)]
pub(crate) struct ImageSource {
    base: Revision,
    until: Revision,
    stage: Stage,
    blocks: u64,
}

#[derive(Debug)]
enum Stage {
    Meta(Vec<u8>),
    Entries(KeyRange),
    CompactedEvents,
    Events(Revision),
    End,
    Done,
}

impl ImageSource {
    /// An image of the state as it is now.
    pub(crate) fn new(state: &State) -> Self {
        let mut meta = vec![META];
        put_number(&mut meta, state.revision.0);
        put_number(&mut meta, state.compacted.0);
        put_number(&mut meta, state.next_lease as u64);
        put_number(&mut meta, state.leases.len() as u64);
        for (id, record) in &state.leases {
            put_number(&mut meta, id.0 as u64);
            put_number(&mut meta, record.ttl.as_secs());
        }
        Self { base: base(state.compacted), until: state.revision, stage: Stage::Meta(meta), blocks: 0 }
    }

    /// From where on history must not be pruned until the image is read.
    pub(crate) const fn keep(&self) -> Revision {
        self.base
    }

    /// The next block; `None` after the last.
    pub(crate) fn next(&mut self, state: &State) -> Option<Vec<u8>> {
        let block = loop {
            match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Meta(meta) => {
                    self.stage = Stage::Entries(KeyRange::all());
                    break meta;
                }
                Stage::Entries(rest) => {
                    if let Some(block) = self.entries(state, &rest) {
                        break block;
                    }
                    self.stage = Stage::CompactedEvents;
                }
                Stage::CompactedEvents => {
                    self.stage = Stage::Events(self.base.next());
                    if let Some(block) = compacted_events(state, self.base) {
                        break block;
                    }
                }
                Stage::Events(from) => {
                    if let Some(block) = self.events(state, from) {
                        break block;
                    }
                    self.stage = Stage::End;
                }
                Stage::End => break end(self.blocks),
                Stage::Done => return None,
            }
        };
        self.blocks += 1;
        Some(block)
    }

    fn entries(&mut self, state: &State, rest: &KeyRange) -> Option<Vec<u8>> {
        let mut block = vec![ENTRIES];
        let mut last = None;
        for entry in state.past_in(rest, self.base).take(BLOCK_ITEMS) {
            put_entry(&mut block, entry);
            last = Some(&entry.key);
            if block.len() >= BLOCK {
                break;
            }
        }
        self.stage = Stage::Entries(rest.after(last?));
        Some(block)
    }

    fn events(&mut self, state: &State, from: Revision) -> Option<Vec<u8>> {
        let mut block = vec![EVENTS];
        let mut revision = from;
        while revision <= self.until && block.len() < BLOCK && revision.0 - from.0 < 512 {
            let events = state.events_of(revision)?;
            put_number(&mut block, events.len() as u64);
            for event in events.iter() {
                block.push(u8::from(event.kind == EventKind::Put));
                put_bytes(&mut block, &event.entry.key);
                if event.kind == EventKind::Put {
                    put_bytes(&mut block, &event.entry.value);
                    put_lease(&mut block, event.entry.lease);
                }
            }
            revision = revision.next();
        }
        self.stage = Stage::Events(revision);
        (revision > from).then_some(block)
    }
}

/// The first block of a state without history, whose leases are these: how long each lives, in seconds, by its number.
pub(crate) fn compacted_meta(revision: Revision, leases: &BTreeMap<u64, u64>) -> Vec<u8> {
    let mut meta = vec![META];
    for number in [revision.0, revision.0, 1, leases.len() as u64] {
        put_number(&mut meta, number);
    }
    for (id, ttl) in leases {
        put_number(&mut meta, *id);
        put_number(&mut meta, *ttl);
    }
    meta
}

/// A block of the next entries, if there are any.
pub(crate) fn entries(of: &mut dyn Iterator<Item = Entry>) -> Option<Vec<u8>> {
    let mut block = vec![ENTRIES];
    for entry in of.take(BLOCK_ITEMS) {
        put_entry(&mut block, &entry);
    }
    (block.len() > 1).then_some(block)
}

/// The last block, after so many.
pub(crate) fn end(blocks: u64) -> Vec<u8> {
    let mut block = vec![END];
    put_number(&mut block, blocks);
    block
}

/// The events of the compacted revision itself: they can still be watched, but not be told from the
/// entries that they led to, since the versions before them may be gone.
fn compacted_events(state: &State, base: Revision) -> Option<Vec<u8>> {
    let events = state.events_of(base)?;
    let mut block = vec![COMPACTED_EVENTS];
    for event in events.iter() {
        block.push(u8::from(event.kind == EventKind::Put) | u8::from(event.prev.is_some()) << 1);
        put_entry(&mut block, &event.entry);
        if let Some(prev) = &event.prev {
            put_entry(&mut block, prev);
        }
    }
    Some(block)
}

/// What an uncompacted state starts from is the empty state.
fn base(compacted: Revision) -> Revision {
    compacted.max(Revision::INITIAL)
}

/// Makes a state out of the blocks of an image.
#[derive(Debug, Default)]
pub(crate) struct ImageSink {
    state: State,
    /// The revision that the image shows, once the first block is there.
    until: Option<Revision>,
    blocks: u64,
    done: bool,
}

impl ImageSink {
    /// Takes the next block.
    pub(crate) fn block(&mut self, block: &[u8]) -> Result<(), Reason> {
        if self.done {
            return Err("a block after the last");
        }
        let mut from = Decoder::new(block);
        match (from.byte()?, self.until) {
            (META, None) => self.meta(&mut from)?,
            (ENTRIES, Some(_)) => self.entries(&mut from)?,
            (COMPACTED_EVENTS, Some(_)) => self.compacted_events(&mut from)?,
            (EVENTS, Some(until)) => self.events(&mut from, until)?,
            (END, Some(until)) => {
                if from.number()? != self.blocks || self.state.revision != until {
                    return Err("blocks are missing");
                }
                self.done = true;
            }
            _ => return Err("a block in the wrong place"),
        }
        self.blocks += 1;
        from.finish()
    }

    /// Whether the image is complete.
    #[cfg(feature = "raft")]
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// The state, if the image is complete.
    pub(crate) fn finish(self) -> Result<State, Reason> {
        if self.done { Ok(self.state) } else { Err("the last block is missing") }
    }

    fn meta(&mut self, from: &mut Decoder<'_>) -> Result<(), Reason> {
        let (until, compacted) = (from.revision()?, from.revision()?);
        let base = base(compacted);
        if until < base {
            return Err("compacted in the future");
        }
        let state = &mut self.state;
        state.compacted = compacted;
        (state.revision, state.pruned) = (base, base);
        state.history_start = base.next();
        state.next_lease = from.number()? as i64;
        for _ in 0..from.count(2)? {
            let id = LeaseId(from.number()? as i64);
            let ttl = from.seconds()?;
            let keys = Default::default();
            state.leases.insert(id, LeaseRecord { ttl, keys });
        }
        self.until = Some(until);
        Ok(())
    }

    fn entries(&mut self, from: &mut Decoder<'_>) -> Result<(), Reason> {
        let state = &mut self.state;
        while !from.is_done() {
            let entry = Arc::new(from.entry()?);
            if entry.mod_revision > state.revision {
                return Err("an entry from the future");
            }
            state.move_lease(&entry.key, None, entry.lease);
            state.live_bytes += entry.size() as u64;
            if state.live.insert(entry).is_some() {
                return Err("a key that is there twice");
            }
        }
        Ok(())
    }

    fn compacted_events(&mut self, from: &mut Decoder<'_>) -> Result<(), Reason> {
        let mut events = Vec::new();
        while !from.is_done() {
            let flags = from.byte()?;
            let kind = if flags & 1 != 0 { EventKind::Put } else { EventKind::Delete };
            let entry = Arc::new(from.entry()?);
            // The version that is still visible is shared with it.
            let entry = match self.state.live.get(&entry.key) {
                Some(live) if *live == entry => live.clone(),
                _ => entry,
            };
            let prev = match flags & 2 {
                0 => None,
                _ => Some(Arc::new(from.entry()?)),
            };
            events.push(Event::new(kind, entry, prev));
        }
        let state = &mut self.state;
        if !state.history.is_empty() || state.revision == Revision::INITIAL {
            return Err("a block in the wrong place");
        }
        state.history.push_back(events.into());
        state.history_start = state.revision;
        Ok(())
    }

    fn events(&mut self, from: &mut Decoder<'_>, until: Revision) -> Result<(), Reason> {
        let state = &mut self.state;
        while !from.is_done() {
            let revision = state.revision.next();
            let mut events = Vec::new();
            for _ in 0..from.count(2)? {
                if from.byte()? != 0 {
                    let put = Put::new(from.key()?, from.bytes()?).lease(from.lease()?);
                    state.put(put, revision, &mut events);
                } else {
                    let key: Key = from.key()?;
                    let deleted = state.delete(&key, revision, &mut events);
                    deleted.ok_or("a deletion of what is not there")?;
                }
            }
            if events.is_empty() || revision > until {
                return Err("too many or too few events");
            }
            state.publish(events);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Command;
    use crate::{Op, Txn};

    fn image(state: &State) -> Vec<Vec<u8>> {
        let mut source = ImageSource::new(state);
        std::iter::from_fn(|| source.next(state)).collect()
    }

    fn restore(blocks: &[Vec<u8>]) -> Result<State, Reason> {
        let mut sink = ImageSink::default();
        blocks.iter().try_for_each(|block| sink.block(block))?;
        sink.finish()
    }

    fn sample() -> State {
        let mut state = State::new();
        let ttl = std::time::Duration::from_secs(9);
        state.apply(Command::LeaseGrant { id: None, ttl });
        for n in 0..2000_u32 {
            let put = Put::new(format!("key/{:03}", n % 700), vec![b'v'; (n % 90) as usize]);
            let lease = (n % 7 == 0).then_some(LeaseId(1));
            let mut txn = Txn::new().then(Op::Put(put.lease(lease)));
            if n % 3 == 0 {
                txn = txn.then(Op::delete(format!("key/{:03}", (n * 7 + 1) % 700)));
            }
            state.apply(Command::Txn(txn));
        }
        state
    }

    #[test]
    fn a_state_comes_back_from_its_image() {
        for compacted in [0, 1, 2, 777, 2001] {
            let mut state = sample();
            if compacted > 0 {
                let compact = state.apply(Command::Compact(Revision(compacted)));
                compact.outcome.expect("compaction");
                state.prune(usize::MAX, None);
            }
            let restored = restore(&image(&state)).expect("a whole image");
            assert_eq!(restored.digest(), state.digest());
            assert_eq!(restored.live_bytes, state.live_bytes);
            assert_eq!(restored.past_bytes, state.past_bytes);
            assert_eq!(restored.history_start, state.history_start);
            assert_eq!(restored.lease(LeaseId(1)).expect("lease"), state.lease(LeaseId(1)).expect("lease"));
        }
    }

    #[test]
    fn an_image_shows_the_moment_it_was_begun_at() {
        let mut state = sample();
        let then = state.digest();
        let mut source = ImageSource::new(&state);
        let mut sink = ImageSink::default();
        let mut n = 0;
        while let Some(block) = source.next(&state) {
            sink.block(&block).expect("a good block");
            n += 1;
            let txn = Txn::new().then(Op::put(format!("key/{n}"), "later"));
            state.apply(Command::Txn(txn));
            state.apply(Command::Compact(state.revision()));
            state.prune(usize::MAX, Some(source.keep()));
        }
        assert!(n > 4);
        assert_eq!(sink.finish().expect("a whole image").digest(), then);
    }

    #[test]
    fn a_damaged_image_is_refused() {
        let blocks = image(&sample());
        for missing in 0..blocks.len() {
            let mut damaged = blocks.clone();
            damaged.remove(missing);
            assert!(restore(&damaged).is_err(), "without block {missing}");
        }
        for block in 0..blocks.len() {
            for at in (0..blocks[block].len()).step_by(997) {
                let mut damaged = blocks.clone();
                damaged[block].truncate(at);
                assert!(restore(&damaged).is_err(), "block {block} cut at {at}");
            }
        }
    }
}
