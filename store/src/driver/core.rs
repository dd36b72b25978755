//! The state behind a lock, with the watches of it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::hub::Hub;
#[cfg(feature = "disk")]
use super::pins::Pins;
use super::watcher::Watcher;
use crate::state::{Applied, Command, State};
use crate::{
    Clock, Committed, Entry, Error, Key, KeyRange, Page, RangeOptions, ReadOptions, Revision, StoreStatus, Txn,
    WatchEvents, WatchOptions, WatchStream,
};

/// How many events one pruning step frees before readers and writers get their turn.
const PRUNE_STEP: usize = 2048;

/// What a request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) request_bytes_max: usize,
    pub(crate) txn_ops_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes_max: 8 << 20, txn_ops_max: 4096 }
    }
}

impl Limits {
    /// Everything that can be refused before a transaction gets in line.
    pub(crate) fn check(&self, txn: &Txn) -> Result<(), Error> {
        for (size, limit, unit) in
            [(txn.ops_max(), self.txn_ops_max, "operations"), (txn.size(), self.request_bytes_max, "bytes")]
        {
            if size > limit {
                return Err(Error::TooLarge { size, limit, unit });
            }
        }
        txn.validate()
    }
}

#[derive(Debug)]
pub(crate) struct Core {
    state: RwLock<State>,
    pub(super) hub: Hub,
    pub(super) clock: Arc<dyn Clock>,
    /// What backups still read.
    #[cfg(feature = "disk")]
    pub(super) pins: Pins,
    /// Watches that are behind compaction go on after it: a bug that only the simulation plants.
    #[cfg(any(test, feature = "simulation"))]
    skips_gaps: std::sync::atomic::AtomicBool,
}

impl Core {
    pub(crate) fn new(state: State, clock: Arc<dyn Clock>) -> Self {
        Self {
            hub: Hub::new(state.revision()),
            state: RwLock::new(state),
            clock,
            #[cfg(feature = "disk")]
            pins: Pins::default(),
            #[cfg(any(test, feature = "simulation"))]
            skips_gaps: false.into(),
        }
    }

    /// The changes since a revision, for a watch that catches up: see [`State::changes`].
    pub(super) fn changes(
        &self,
        range: &KeyRange,
        from: Revision,
        to: Revision,
        scan: usize,
    ) -> Result<(Vec<WatchEvents>, Revision), Error> {
        let state = self.state();
        #[cfg(any(test, feature = "simulation"))]
        let from =
            if self.skips_gaps.load(std::sync::atomic::Ordering::Relaxed) { from.max(state.compacted()) } else { from };
        state.changes(range, from, to, scan)
    }

    #[cfg(all(feature = "raft", any(test, feature = "simulation")))]
    pub(crate) fn skip_gaps(&self, skips: bool) {
        self.skips_gaps.store(skips, std::sync::atomic::Ordering::Relaxed);
    }

    #[cfg(all(feature = "raft", any(test, feature = "simulation")))]
    pub(crate) fn forget_deletions(&self) {
        let revision = self.state_mut().forget_deletions();
        self.hub.reset(revision);
    }

    // A panic inside the state leaves it between two revisions at worst in memory that is never
    // written anywhere; poisoning would turn one failed request into a dead store.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies commands in order and hands their events to the watches. The caller makes sure that
    /// nobody else applies at the same time.
    #[cfg(feature = "disk")]
    pub(crate) fn apply(&self, commands: impl IntoIterator<Item = Command>) -> Vec<Applied> {
        let mut state = self.state_mut();
        let applied: Vec<Applied> = commands.into_iter().map(|c| state.apply(c)).collect();
        drop(state);
        for events in applied.iter().filter_map(|a| a.events.as_ref()) {
            self.hub.publish(events);
        }
        applied
    }

    /// The same, of one command.
    pub(crate) fn apply_one(&self, command: Command) -> Applied {
        let applied = self.state_mut().apply(command);
        if let Some(events) = &applied.events {
            self.hub.publish(events);
        }
        applied
    }

    /// Puts another replica's newer state in the place of this one. Watches go on from its history.
    #[cfg(feature = "raft")]
    pub(crate) fn replace(&self, state: State) {
        let revision = state.revision();
        let mut current = self.state_mut();
        *current = state;
        self.pins.start_over();
        drop(current);
        self.hub.reset(revision);
    }

    /// Frees what compaction made unreachable, except from `keep` on, letting others in between.
    pub(crate) fn prune(&self, keep: Option<Revision>) {
        while self.prune_step(keep) {
            std::thread::yield_now();
        }
    }

    /// Frees some of it and says whether there is more.
    pub(crate) fn prune_step(&self, keep: Option<Revision>) -> bool {
        let mut state = self.state_mut();
        #[cfg(feature = "disk")]
        let keep = keep.into_iter().chain(self.pins.oldest()).min();
        state.prune(PRUNE_STEP, keep)
    }

    pub(crate) fn get(&self, key: &Key, options: &ReadOptions) -> Result<Option<Arc<Entry>>, Error> {
        self.check_open()?;
        self.state().get(key, options)
    }

    pub(crate) fn range(&self, range: &KeyRange, options: &RangeOptions) -> Result<Page, Error> {
        self.check_open()?;
        self.state().range(range, options)
    }

    pub(crate) fn read_txn(&self, txn: &Txn) -> Result<Committed, Error> {
        self.check_open()?;
        self.state().read_txn(txn)
    }

    pub(crate) fn watch(
        self: &Arc<Self>,
        range: KeyRange,
        from: Revision,
        options: WatchOptions,
    ) -> Result<WatchStream, Error> {
        self.check_open()?;
        let state = self.state();
        let compacted = state.compacted();
        if !from.is_zero() && from < compacted {
            return Err(Error::Compacted { requested: from, compacted });
        }
        let from = if from.is_zero() { state.revision().next() } else { from };
        drop(state);
        Ok(Watcher::open(self, range, from, options))
    }

    #[cfg(feature = "disk")]
    pub(crate) fn backup(self: &Arc<Self>) -> Result<crate::BackupStream, Error> {
        self.check_open()?;
        let image = super::PinnedImage::new(self);
        Ok(crate::BackupStream::new(image, &self.state()))
    }

    pub(crate) fn status(&self) -> StoreStatus {
        let state = self.state();
        StoreStatus {
            revision: state.revision(),
            compacted: state.compacted(),
            keys: state.len() as u64,
            bytes: state.live_bytes(),
            history_bytes: state.past_bytes(),
            leases: state.leases().len() as u64,
            watches: self.hub.watches() as u64,
            ..StoreStatus::default()
        }
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.hub.closed().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Whether what was in line may still be written.
    #[cfg(feature = "disk")]
    pub(crate) fn check_not_failed(&self) -> Result<(), Error> {
        match self.hub.closed() {
            Some(why @ Error::Failed { .. }) => Err(why.clone()),
            _ => Ok(()),
        }
    }

    /// Ends every watch and refuses new requests, with `why` as the error. The first call counts.
    pub(crate) fn close(&self, why: Error) {
        self.hub.close(why);
    }
}
