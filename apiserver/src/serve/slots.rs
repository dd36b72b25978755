//! Who has a connection, and who has to let go of it when there are no more.
//!
//! Opening a connection takes no credentials. So that nobody keeps others out by holding very many, the one that has been
//! idle for longest without ever having shown who is behind it is closed when another client comes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The connections that there are, up to a limit.
pub(super) struct Slots {
    max: usize,
    begun: Instant,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Default)]
struct Taken {
    next: u64,
    connections: HashMap<u64, Arc<Activity>>,
}

/// What a connection does.
pub(super) struct Activity {
    begun: Instant,
    /// Requests that are under way.
    open: AtomicUsize,
    /// When the last one ended, or the connection came: in milliseconds since `begun`.
    idle_since: AtomicU64,
    /// Somebody showed credentials on it that were believed.
    is_known: AtomicBool,
    /// Cancelled when it has to go.
    pub(super) goes: CancellationToken,
}

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self { max, begun: Instant::now(), taken: Mutex::default(), freed: Notify::new() }
    }

    /// Takes a slot. If there is none, closes a connection that nobody would miss, or waits until one ends.
    pub(super) async fn take(self: &Arc<Self>) -> Slot {
        loop {
            // Before looking, so that nothing is missed.
            let freed = self.freed.notified();
            {
                let mut taken = self.taken();
                if taken.connections.len() < self.max {
                    let (id, activity) = (taken.next, Arc::new(Activity::new(self.begun)));
                    taken.next += 1;
                    taken.connections.insert(id, Arc::clone(&activity));
                    return Slot { slots: Arc::clone(self), id, activity };
                }
                if let Some(idle) = least_missed(&taken) {
                    idle.goes.cancel();
                }
            }
            freed.await;
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one that has been idle for longest of those that nobody is known to be behind, and that stay.
fn least_missed(taken: &Taken) -> Option<&Arc<Activity>> {
    let unknown = |activity: &&Arc<Activity>| {
        !activity.is_known.load(Ordering::Relaxed) && activity.open.load(Ordering::Relaxed) == 0
    };
    // One that goes already frees its slot in a moment.
    if taken.connections.values().any(|activity| activity.goes.is_cancelled()) {
        return None;
    }
    taken.connections.values().filter(unknown).min_by_key(|activity| activity.idle_since.load(Ordering::Relaxed))
}

impl Activity {
    fn new(begun: Instant) -> Self {
        let (open, is_known) = (AtomicUsize::new(0), AtomicBool::new(false));
        let activity = Self { begun, open, idle_since: AtomicU64::new(0), is_known, goes: CancellationToken::new() };
        activity.now_idle();
        activity
    }

    fn now_idle(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.idle_since.store(since, Ordering::Relaxed);
    }

    /// A request is under way until the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> UnderWay {
        self.open.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// Someone showed who is behind it.
    pub(super) fn know(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// Since when nothing has been under way; `None` while something is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let since = std::time::Duration::from_millis(self.idle_since.load(Ordering::Relaxed));
        (self.open.load(Ordering::Relaxed) == 0).then(|| self.begun + since)
    }
}

/// A request that is under way, to the end of its answer's body.
pub(super) struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.now_idle();
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's place, given back when it is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    pub(super) activity: Arc<Activity>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken().connections.remove(&self.id);
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_stranger_makes_room() {
        let slots = Arc::new(Slots::new(3));
        let (known, busy, idle) = (slots.take().await, slots.take().await, slots.take().await);
        known.activity.know();
        let request = busy.activity.request();
        tokio::time::advance(Duration::from_secs(1)).await;
        let waiting = Arc::clone(&slots);
        let mut next = Box::pin(waiting.take());
        assert!(next.as_mut().now_or_never().is_none());
        let going = [&known, &busy, &idle].map(|slot| slot.activity.goes.is_cancelled());
        assert_eq!(going, [false, false, true]);
        drop(idle);
        let next = next.await;
        // Who does something is left alone; one at a time goes.
        let mut another = Box::pin(slots.take());
        assert!(another.as_mut().now_or_never().is_none());
        assert!(next.activity.goes.is_cancelled() && !busy.activity.goes.is_cancelled());
        drop(request);
        assert!(another.as_mut().now_or_never().is_none());
        assert!(!busy.activity.goes.is_cancelled());
        drop(next);
        another.await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_something_under_way_is_not_idle() {
        let slots = Arc::new(Slots::new(1));
        let slot = slots.take().await;
        let came = slot.activity.idle_since();
        assert!(came.is_some());
        let request = slot.activity.request();
        assert_eq!(slot.activity.idle_since(), None);
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(request);
        assert_eq!(slot.activity.idle_since(), came.map(|came| came + Duration::from_secs(5)));
    }
}
