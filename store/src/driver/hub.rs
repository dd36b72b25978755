//! Who watches what, and the newest events for them.
//!
//! Watches of the same range share one group, so that an event is looked at once for all of them. A
//! group keeps its newest batches for as long as slow watches may want them, within bounds; a watch
//! that needs older ones reads them from the state's history.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use futures::task::AtomicWaker;

use crate::state::within;
use crate::{Error, Key, KeyRange, Revision, WatchEvents};

const RECENT_BATCHES_MAX: usize = 512;
const RECENT_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Hub {
    /// The newest revision of which every group has its share.
    published: AtomicU64,
    /// Why it is over.
    closed: OnceLock<Error>,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    exact: HashMap<Key, Arc<Group>>,
    prefix: HashMap<Key, Arc<Group>>,
    /// How many prefixes of each length there are: the lengths at which a key must be looked up.
    prefix_lengths: BTreeMap<usize, usize>,
    other: HashMap<KeyRange, Arc<Group>>,
    next_watch: u64,
}

/// How a group reaches one of its watches.
#[derive(Debug, Default)]
pub(super) struct Signal {
    pub(super) waker: AtomicWaker,
    /// The revision that a progress mark must have reached, 0 if none was asked for.
    pub(super) progress: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) range: KeyRange,
    recent: Mutex<Recent>,
}

#[derive(Debug)]
struct Recent {
    batches: VecDeque<WatchEvents>,
    bytes: usize,
    /// `batches` is complete from this revision on.
    complete_from: Revision,
    watches: HashMap<u64, Arc<Signal>>,
}

/// What a group has for a watch.
pub(super) enum Next {
    Batch(WatchEvents),
    /// Nothing newer yet.
    Nothing,
    /// The watch must catch up from history to just before this revision.
    Behind(Revision),
}

impl Hub {
    pub(super) fn new(revision: Revision) -> Self {
        Self { published: AtomicU64::new(revision.0), closed: OnceLock::new(), index: Mutex::default() }
    }

    pub(super) fn published(&self) -> Revision {
        Revision(self.published.load(Ordering::Acquire))
    }

    pub(super) fn closed(&self) -> Option<&Error> {
        self.closed.get()
    }

    pub(super) fn watches(&self) -> usize {
        let index = lock(&self.index);
        index.groups().map(|g| lock(&g.recent).watches.len()).sum()
    }

    /// Joins the group of a range, making it if there is none.
    pub(super) fn join(&self, range: &KeyRange, signal: &Arc<Signal>) -> (Arc<Group>, u64) {
        let mut index = lock(&self.index);
        index.next_watch += 1;
        let id = index.next_watch;
        // Under the index's lock nothing is published, so this is complete from the next revision on.
        let complete_from = self.published().next();
        let group = index.group(range, complete_from);
        lock(&group.recent).watches.insert(id, signal.clone());
        (group, id)
    }

    /// Leaves a group, which goes away with its last watch.
    pub(super) fn leave(&self, group: &Arc<Group>, id: u64) {
        let mut index = lock(&self.index);
        let mut recent = lock(&group.recent);
        recent.watches.remove(&id);
        if recent.watches.is_empty() {
            index.remove(&group.range);
        }
    }

    /// Hands the events of the next revision to those who watch their keys.
    pub(super) fn publish(&self, events: &WatchEvents) {
        let mut wakers = Vec::new();
        let index = lock(&self.index);
        let mut groups: Vec<&Arc<Group>> = Vec::new();
        for event in events.events.iter() {
            index.find(&event.entry.key, &mut groups);
        }
        if events.events.len() > 1 {
            groups.sort_by_key(|group| Arc::as_ptr(group));
            groups.dedup_by_key(|group| Arc::as_ptr(group));
        }
        for group in groups {
            if let Some(inside) = within(&group.range, &events.events) {
                group.push(WatchEvents::new(events.revision, inside), &mut wakers);
            }
        }
        self.published.store(events.revision.0, Ordering::Release);
        drop(index);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Everything up to `revision` is in the state's history, and not all of it was handed out.
    #[cfg(feature = "raft")]
    pub(super) fn reset(&self, revision: Revision) {
        let mut wakers = Vec::new();
        let index = lock(&self.index);
        for group in index.groups() {
            let mut recent = lock(&group.recent);
            recent.batches.clear();
            recent.bytes = 0;
            recent.complete_from = revision.next();
            wakers.extend(recent.watches.values().filter_map(|s| s.waker.take()));
        }
        self.published.store(revision.0, Ordering::Release);
        drop(index);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends all watches with an error. The first call counts.
    pub(super) fn close(&self, why: Error) {
        if self.closed.set(why).is_err() {
            return;
        }
        let mut wakers = Vec::new();
        let index = lock(&self.index);
        for group in index.groups() {
            let recent = lock(&group.recent);
            wakers.extend(recent.watches.values().filter_map(|s| s.waker.take()));
        }
        drop(index);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Index {
    fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        let ranges = self.prefix.values().chain(self.other.values());
        self.exact.values().chain(ranges)
    }

    fn group(&mut self, range: &KeyRange, complete_from: Revision) -> Arc<Group> {
        let new = || Arc::new(Group::new(range.clone(), complete_from));
        if let Some(key) = range.as_exact() {
            return self.exact.entry(key.clone()).or_insert_with(new).clone();
        }
        if let Some(prefix) = range.as_prefix() {
            if let Some(group) = self.prefix.get(prefix) {
                return group.clone();
            }
            *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
            let group = new();
            self.prefix.insert(prefix.clone(), group.clone());
            return group;
        }
        let group = self.other.entry(range.clone()).or_insert_with(new);
        group.clone()
    }

    fn remove(&mut self, range: &KeyRange) {
        if let Some(key) = range.as_exact() {
            self.exact.remove(key);
        } else if let Some(prefix) = range.as_prefix() {
            self.prefix.remove(prefix);
            if let Some(count) = self.prefix_lengths.get_mut(&prefix.len()) {
                *count -= 1;
                if *count == 0 {
                    self.prefix_lengths.remove(&prefix.len());
                }
            }
        } else {
            self.other.remove(range);
        }
    }

    fn find<'a>(&'a self, key: &[u8], groups: &mut Vec<&'a Arc<Group>>) {
        groups.extend(self.exact.get(key));
        for length in self.prefix_lengths.keys() {
            let Some(prefix) = key.get(..*length) else {
                break;
            };
            groups.extend(self.prefix.get(prefix));
        }
        groups.extend(self.other.values().filter(|g| g.range.contains(key)));
    }
}

impl Group {
    fn new(range: KeyRange, complete_from: Revision) -> Self {
        let recent = Recent { batches: VecDeque::new(), bytes: 0, complete_from, watches: HashMap::new() };
        Self { range, recent: Mutex::new(recent) }
    }

    fn push(&self, batch: WatchEvents, wakers: &mut Vec<Waker>) {
        let mut recent = lock(&self.recent);
        recent.bytes += size(&batch);
        recent.batches.push_back(batch);
        while recent.batches.len() > RECENT_BATCHES_MAX || (recent.bytes > RECENT_BYTES_MAX && recent.batches.len() > 1)
        {
            let Some(oldest) = recent.batches.pop_front() else {
                break;
            };
            recent.bytes -= size(&oldest);
            recent.complete_from = oldest.revision.next();
        }
        wakers.extend(recent.watches.values().filter_map(|s| s.waker.take()));
    }

    /// The first batch of revision `from` or later.
    pub(super) fn next(&self, from: Revision) -> Next {
        let recent = lock(&self.recent);
        if from < recent.complete_from {
            return Next::Behind(recent.complete_from);
        }
        // Most watches want the newest batch or nothing.
        if recent.batches.back().is_none_or(|b| b.revision < from) {
            return Next::Nothing;
        }
        let at = recent.batches.partition_point(|b| b.revision < from);
        match recent.batches.get(at) {
            Some(batch) => Next::Batch(batch.clone()),
            None => Next::Nothing,
        }
    }
}

fn size(batch: &WatchEvents) -> usize {
    batch.events.iter().map(|event| event.entry.size()).sum()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks leaves them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
