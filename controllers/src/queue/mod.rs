//! A queue of keys to work on: each at most once, one worker a key, and failures ever less often.

mod backoff;

pub use backoff::Backoff;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A queue of keys to work on.
///
/// - A key that is added again before a worker takes it is worked on once.
/// - A key that is added while a worker has it is worked on again afterwards, never by two workers at once.
/// - A key may be added after a delay; of several delays the shortest holds.
/// - A key whose work failed is added with a delay that doubles with each failure.
///
/// It holds every key at most three times (ready, in work, delayed), so that its size is bounded by the number of
/// objects it is about.
pub struct WorkQueue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
    first_delay: Duration,
    longest_delay: Duration,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Keys that need work: those in `ready`, and those in work that were added again.
    dirty: HashSet<K>,
    in_work: HashSet<K>,
    due: BTreeMap<(Instant, u64), K>,
    due_of: HashMap<K, (Instant, u64)>,
    sequence: u64,
    failures: HashMap<K, u32>,
    closed: bool,
}

impl<K> fmt::Debug for WorkQueue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("WorkQueue")
            .field("ready", &state.ready.len())
            .field("in_work", &state.in_work.len())
            .field("delayed", &state.due.len())
            .finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash> Default for WorkQueue<K> {
    /// Retries after 5 ms, 10 ms, 20 ms, … up to 1000 s, as upstream's controllers do.
    fn default() -> Self {
        Self::new(Duration::from_millis(5), Duration::from_secs(1000))
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    /// A queue that retries a failed key after `first_delay`, twice that, and so on up to `longest_delay`.
    #[must_use]
    pub fn new(first_delay: Duration, longest_delay: Duration) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            in_work: HashSet::new(),
            due: BTreeMap::new(),
            due_of: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            closed: false,
        };
        Self { state: Mutex::new(state), wake: Notify::new(), first_delay, longest_delay }
    }

    /// Adds a key to be worked on as soon as possible.
    pub fn add(&self, key: K) {
        let mut state = self.lock();
        state.add(key);
        drop(state);
        self.wake.notify_one();
    }

    /// Adds a key after a delay, unless it is due earlier anyway.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let at = Instant::now() + delay;
        if let Some(known) = state.due_of.get(&key).copied() {
            if known.0 <= at {
                return;
            }
            state.due.remove(&known);
        }
        state.sequence += 1;
        let slot = (at, state.sequence);
        state.due.insert(slot, key.clone());
        state.due_of.insert(key, slot);
        drop(state);
        self.wake.notify_one();
    }

    /// Adds a key whose work failed; returns the delay.
    pub fn add_failed(&self, key: K) -> Duration {
        let mut state = self.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let factor = 1_u32.checked_shl(*failures).unwrap_or(u32::MAX);
        *failures = failures.saturating_add(1);
        drop(state);
        let delay = self.first_delay.saturating_mul(factor).min(self.longest_delay);
        self.add_after(key, delay);
        delay
    }

    /// Forgets a key's failures: its work succeeded.
    pub fn forget(&self, key: &K) {
        self.lock().failures.remove(key);
    }

    /// How often the key's work has failed in a row.
    #[must_use]
    pub fn failures(&self, key: &K) -> u32 {
        self.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// The next key to work on; give it back with [`done`](Self::done). `None` once the queue is closed.
    ///
    /// Dropping the future before it is ready loses nothing.
    pub async fn next(&self) -> Option<K> {
        loop {
            let wait_until = {
                let mut state = self.lock();
                if state.closed {
                    // Whoever else waits must see it too.
                    self.wake.notify_one();
                    return None;
                }
                state.ripen(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.in_work.insert(key.clone());
                    if !state.ready.is_empty() || !state.due.is_empty() {
                        self.wake.notify_one();
                    }
                    return Some(key);
                }
                state.due.keys().next().map(|(at, _)| *at)
            };
            let woken = self.wake.notified();
            match wait_until {
                Some(at) => _ = tokio::time::timeout_at(at, woken).await,
                None => woken.await,
            }
        }
    }

    /// The next key to work on, if one is ready now.
    #[must_use]
    pub fn try_next(&self) -> Option<K> {
        let mut state = self.lock();
        state.ripen(Instant::now());
        let key = state.ready.pop_front()?;
        state.dirty.remove(&key);
        state.in_work.insert(key.clone());
        Some(key)
    }

    /// Gives back a key; if it was added meanwhile, it is ready again.
    pub fn done(&self, key: &K) {
        let mut state = self.lock();
        state.in_work.remove(key);
        if state.dirty.contains(key) && !state.closed {
            state.ready.push_back(key.clone());
            drop(state);
            self.wake.notify_one();
        }
    }

    /// How many keys are ready.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().ready.len()
    }

    /// Whether no key is ready.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes nothing new; everyone who waits gets `None`.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K) {
        if self.closed || !self.dirty.insert(key.clone()) {
            return;
        }
        if !self.in_work.contains(&key) {
            self.ready.push_back(key);
        }
    }

    /// Moves the keys that are due to the ready ones.
    fn ripen(&mut self, now: Instant) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due_of.remove(&key);
            self.add(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn queue() -> WorkQueue<&'static str> {
        WorkQueue::default()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_twice_is_worked_on_once() {
        let queue = queue();
        queue.add("a");
        queue.add("b");
        queue.add("a");
        assert_eq!((queue.next().await, queue.next().await), (Some("a"), Some("b")));
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_during_its_work_is_worked_on_again_afterwards() {
        let queue = queue();
        queue.add("a");
        queue.next().await;
        queue.add("a");
        assert!(queue.is_empty(), "two workers must not have it");
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_shortest_delay_holds() {
        let queue = queue();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(7));
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 3);
        queue.done(&"a");
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_ever_longer_until_forgotten() {
        let queue = queue();
        let delays: Vec<u128> = (0..4).map(|_| queue.add_failed("a").as_millis()).collect();
        assert_eq!(delays, [5, 10, 20, 40]);
        for _ in 0..60 {
            queue.add_failed("a");
        }
        assert_eq!(queue.add_failed("a"), Duration::from_secs(1000));
        queue.forget(&"a");
        assert_eq!(queue.add_failed("a").as_millis(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_wakes_everyone() {
        let queue = Arc::new(queue());
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn several_workers_share_what_is_ready() {
        let queue = Arc::new(queue());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        for key in ["a", "b", "c"] {
            queue.add(key);
        }
        let mut taken = Vec::new();
        for worker in workers {
            taken.push(worker.await.unwrap().unwrap());
        }
        taken.sort_unstable();
        assert_eq!(taken, ["a", "b", "c"]);
    }
}
