//! The replicated log as raft wants to see it: what is durable, in memory.

use std::collections::VecDeque;

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
    /// Bytes of the entries.
    bytes: usize,
    /// Index and term of the last entry that was applied.
    pub(crate) applied: (u64, u64),
}

impl RaftLog {
    pub(crate) fn new(hard_state: HardState, conf_state: ConfState, start: (u64, u64), entries: Vec<Entry>) -> Self {
        let bytes = entries.iter().map(size).sum();
        Self { hard_state, conf_state, start, entries: entries.into(), bytes, applied: start }
    }

    fn last(&self) -> u64 {
        self.start.0 + self.entries.len() as u64
    }

    /// About how much memory the entries take.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.start.0 && first.index <= self.last() + 1, "the log has a gap");
        let replaced = self.entries.drain((first.index - self.start.0 - 1) as usize..);
        self.bytes -= replaced.map(|entry| size(&entry)).sum::<usize>();
        self.bytes += entries.iter().map(size).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Drops entries up to `index`, and further ones up to `index_max` while there are more than so many bytes of
    /// them. All of these must be applied.
    pub(crate) fn drop_until(&mut self, index: u64, index_max: u64, bytes: usize) {
        while self.start.0 < index || (self.start.0 < index_max && self.bytes > bytes) {
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= size(&entry);
            self.start = (entry.index, entry.term);
        }
    }

    /// Starts over from a state that came as a whole.
    pub(crate) fn restart(&mut self, snapshot: &Snapshot) {
        let meta = snapshot.get_metadata();
        self.start = (meta.index, meta.term);
        self.conf_state = meta.get_conf_state().clone();
        self.entries.clear();
        self.bytes = 0;
        self.applied = self.start;
        self.hard_state.commit = self.hard_state.commit.max(meta.index);
        self.hard_state.term = self.hard_state.term.max(meta.term);
    }
}

/// What an entry takes, about.
fn size(entry: &Entry) -> usize {
    size_of::<Entry>() + entry.data.len() + entry.context.len()
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

    /// What has been applied so far. The state itself travels beside raft's message: see `Sending`.
    fn snapshot(&self, request_index: u64, _to: u64) -> Result<Snapshot> {
        if self.applied.0 < request_index.max(1) {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = self.applied;
        meta.set_conf_state(self.conf_state.clone());
        Ok(snapshot)
    }
}
