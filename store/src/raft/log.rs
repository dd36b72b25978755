//! The replicated log as raft wants to see it: what is durable, in memory.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::util::limit_size;
use raft::{GetEntriesContext, RaftState, Result, Storage, StorageError};

#[derive(Debug, Default)]
pub(crate) struct RaftLog {
    pub(crate) hard_state: HardState,
    pub(crate) conf_state: ConfState,
    /// Index and term of the entry before the first one here.
    start: (u64, u64),
    entries: VecDeque<Entry>,
    /// A whole state, for a replica that is too far behind for entries.
    image: Option<Snapshot>,
    image_wanted: AtomicBool,
}

impl RaftLog {
    pub(crate) fn new(hard_state: HardState, conf_state: ConfState, start: (u64, u64), entries: Vec<Entry>) -> Self {
        Self { hard_state, conf_state, start, entries: entries.into(), ..Self::default() }
    }

    fn last(&self) -> u64 {
        self.start.0 + self.entries.len() as u64
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.start.0 && first.index <= self.last() + 1, "the log has a gap");
        self.entries.truncate((first.index - self.start.0 - 1) as usize);
        self.entries.extend(entries.iter().cloned());
    }

    /// Drops entries up to `index`, which must be applied.
    pub(crate) fn drop_until(&mut self, index: u64) {
        while self.start.0 < index {
            let Some(entry) = self.entries.pop_front() else { break };
            self.start = (entry.index, entry.term);
        }
    }

    /// Starts over from a state that came as a whole.
    pub(crate) fn restart(&mut self, snapshot: &Snapshot) {
        let meta = snapshot.get_metadata();
        self.start = (meta.index, meta.term);
        self.conf_state = meta.get_conf_state().clone();
        self.entries.clear();
        self.image = None;
        self.hard_state.commit = self.hard_state.commit.max(meta.index);
        self.hard_state.term = self.hard_state.term.max(meta.term);
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    #[cfg(test)]
    pub(crate) const fn start(&self) -> (u64, u64) {
        self.start
    }

    /// Whether raft asked for an image since the last time.
    pub(crate) fn take_image_wanted(&self) -> bool {
        self.image_wanted.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn offer_image(&mut self, image: Snapshot) {
        self.image = Some(image);
    }
}

impl Storage for RaftLog {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.start.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let (from, to) = (low - self.start.0 - 1, high - self.start.0 - 1);
        let mut entries = self.entries.range(from as usize..to as usize).cloned().collect();
        limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.start.0 {
            return Ok(self.start.1);
        }
        if index < self.start.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get((index - self.start.0 - 1) as usize);
        entry.map(|entry| entry.term).ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.start.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> Result<Snapshot> {
        match &self.image {
            // One that is older than the log would not help.
            Some(image) if image.get_metadata().index >= request_index.max(self.start.0) => Ok(image.clone()),
            _ => {
                self.image_wanted.store(true, Ordering::Relaxed);
                Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}
