//! How far the caches have come, and who waits for them to come further.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The revision up to which everything is in the caches.
///
/// Every write waits for its own revision. Waking all who wait at each revision would make a write dearer the more of
/// them are under way; here a revision wakes those alone who waited for it.
#[derive(Debug, Default)]
pub(crate) struct Published {
    revision: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// Those who wait, by the revision they wait for and the number they drew.
#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    wakers: BTreeMap<(u64, u64), oneshot::Sender<()>>,
}

impl Published {
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// The caches have come that far. They never go back, except when the store was read anew.
    pub(crate) fn set(&self, revision: u64) {
        self.revision.store(revision, Ordering::Release);
        let mut waiting = self.waiting();
        while let Some(first) = waiting.wakers.first_entry().filter(|first| first.key().0 <= revision) {
            // Whoever gave up waiting doesn't hear it.
            let _ = first.remove().send(());
        }
    }

    /// The caches have come at least that far.
    pub(crate) fn advance(&self, revision: u64) {
        if self.revision() < revision {
            self.set(revision);
        }
    }

    /// Waits until the caches have come that far.
    pub(crate) async fn reached(&self, revision: u64) {
        if self.revision() >= revision {
            return;
        }
        let (waker, woken) = oneshot::channel();
        let place = {
            let mut waiting = self.waiting();
            // Whoever sets the revision looks at the list after that: it is on it, or sees the new revision here.
            if self.revision() >= revision {
                return;
            }
            let place = (revision, waiting.next);
            waiting.next += 1;
            waiting.wakers.insert(place, waker);
            Place { published: self, place }
        };
        let _ = woken.await;
        drop(place);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the list, which who gives up leaves.
struct Place<'a> {
    published: &'a Published,
    place: (u64, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.published.waiting().wakers.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_revision_wakes_those_who_waited_for_it() {
        let published = Published::default();
        let mut first = Box::pin(published.reached(5));
        let mut second = Box::pin(published.reached(7));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        published.advance(6);
        assert!(first.as_mut().now_or_never().is_some() && second.as_mut().now_or_never().is_none());
        published.advance(3);
        assert_eq!(published.revision(), 6);
        assert!(published.reached(6).now_or_never().is_some());
        drop(second);
        assert!(published.waiting().wakers.is_empty(), "who gives up is forgotten");
    }
}
