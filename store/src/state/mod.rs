//! The state that every store drives: one deterministic machine.

mod apply;
mod command;
mod compaction;
mod digest;
#[cfg(feature = "disk")]
pub(crate) mod image;
mod lease;
mod live;
mod read;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::{Entry, Error, Event, Key, LeaseId, Revision, WatchEvents};

pub use command::{Applied, Command, Outcome};
#[cfg(feature = "disk")]
pub(crate) use image::{ImageSink, ImageSource};
use lease::LeaseRecord;
use live::Live;
pub(crate) use read::within;

/// The versioned key-value state: newest entries, older versions and events until they are compacted,
/// and leases.
///
/// The state changes by [`State::apply`] alone, and the same commands in the same order make the same
/// state, answers and events, everywhere and always: there is no IO, clock or randomness in it. The
/// stores of this crate are drivers around it, which decide when a command is safe to apply; time
/// reaches it only as the command that revokes an expired lease.
///
/// ```
/// use kubewright_store::state::{Command, State};
/// use kubewright_store::{Op, Revision, Txn};
///
/// let mut state = State::new();
/// let applied = state.apply(Command::Txn(Txn::new().then(Op::put("a", "1"))));
/// assert_eq!(applied.events.unwrap().revision, Revision(2));
/// ```
#[derive(Clone, Debug)]
pub struct State {
    revision: Revision,
    compacted: Revision,
    live: Live,
    /// Versions that a later put or delete replaced, by key, oldest first.
    past: BTreeMap<Key, Vec<Superseded>>,
    /// The events of each revision from `history_start` to `revision`.
    history: VecDeque<Arc<[Event]>>,
    history_start: Revision,
    /// Versions that were replaced up to this revision are gone from `past`.
    pruned: Revision,
    leases: BTreeMap<LeaseId, LeaseRecord>,
    next_lease: i64,
    live_bytes: u64,
    past_bytes: u64,
}

/// A version that was visible from its `mod_revision` until just before `until`.
#[derive(Clone, Debug)]
struct Superseded {
    until: Revision,
    entry: Arc<Entry>,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// An empty state at [`Revision::INITIAL`].
    pub const fn new() -> Self {
        Self {
            revision: Revision::INITIAL,
            compacted: Revision::ZERO,
            live: Live::new(),
            past: BTreeMap::new(),
            history: VecDeque::new(),
            history_start: Revision::INITIAL.next(),
            pruned: Revision::INITIAL,
            leases: BTreeMap::new(),
            next_lease: 1,
            live_bytes: 0,
            past_bytes: 0,
        }
    }

    /// The newest revision.
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can be read; [`Revision::ZERO`] if there was no compaction.
    pub const fn compacted(&self) -> Revision {
        self.compacted
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// The newest versions of all keys, in key order.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> + '_ {
        self.live.all()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Bytes of the newest keys and values.
    pub const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes of older versions that are still kept.
    pub const fn past_bytes(&self) -> u64 {
        self.past_bytes
    }

    /// How many revisions of events are kept.
    pub fn history_len(&self) -> usize {
        self.history.len()
    }

    /// Takes over the next revision with these events: the only place where the revision moves.
    fn publish(&mut self, events: Vec<Event>) -> Option<WatchEvents> {
        if events.is_empty() {
            return None;
        }
        self.revision = self.revision.next();
        let events: Arc<[Event]> = events.into();
        self.history.push_back(events.clone());
        Some(WatchEvents::new(self.revision, events))
    }

    /// The events of one revision, if they are still there.
    #[cfg(feature = "disk")]
    fn events_of(&self, revision: Revision) -> Option<&Arc<[Event]>> {
        let index = revision.0.checked_sub(self.history_start.0)?;
        self.history.get(index as usize)
    }

    /// Goes back to the revision of the newest entry that is left: a bug that only the simulation plants.
    #[cfg(all(feature = "raft", any(test, feature = "simulation")))]
    pub(crate) fn forget_deletions(&mut self) -> Revision {
        let newest = self.live.all().map(|entry| entry.mod_revision).max().unwrap_or(Revision::INITIAL);
        self.history.truncate((newest.0 + 1).saturating_sub(self.history_start.0) as usize);
        self.revision = newest.max(self.compacted).max(Revision(self.history_start.0 - 1));
        self.revision
    }

    fn check_readable(&self, requested: Revision) -> Result<(), Error> {
        if requested < self.compacted {
            return Err(Error::Compacted { requested, compacted: self.compacted });
        }
        if requested > self.revision {
            return Err(Error::FutureRevision { requested, current: self.revision });
        }
        Ok(())
    }
}
