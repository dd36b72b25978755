//! When leases expire.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{Clock, Error, Lease, LeaseId};

/// After which a lease that could not be revoked is due again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The deadline of every lease. A lease that is due is taken out first and revoked then, so that it
/// cannot be kept alive in between.
#[derive(Debug)]
pub(crate) struct Deadlines {
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    leases: HashMap<LeaseId, (Duration, Duration)>,
    order: BTreeSet<(Duration, LeaseId)>,
}

impl Deadlines {
    pub(crate) fn new(clock: Arc<dyn Clock>, leases: impl IntoIterator<Item = Lease>) -> Self {
        let deadlines = Self { clock, table: Mutex::default(), changed: Notify::new() };
        for lease in leases {
            deadlines.start(lease);
        }
        deadlines
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease lives for its whole time from now.
    pub(crate) fn start(&self, lease: Lease) {
        let mut table = self.table();
        table.remove(lease.id);
        table.insert(lease, self.clock.now().saturating_add(lease.ttl));
        drop(table);
        self.changed.notify_one();
    }

    /// A lease that was taken out but could not be revoked is due again soon, unless it was started anew meanwhile. Who
    /// keeps it alive before that gets all of its time.
    fn put_back(&self, lease: Lease) {
        let mut table = self.table();
        if !table.leases.contains_key(&lease.id) {
            table.insert(lease, self.clock.now().saturating_add(TRY_AGAIN));
        }
        drop(table);
        self.changed.notify_one();
    }

    pub(crate) fn keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        let mut table = self.table();
        let removed = table.remove(id);
        let (_, ttl) = removed.ok_or(Error::LeaseNotFound { lease: id })?;
        let lease = Lease::new(id, ttl);
        // Later than before, or than what is due again soon, so nobody needs to wake earlier. A lease may live for less
        // than that, but then whoever waits wakes soon.
        table.insert(lease, self.clock.now().saturating_add(ttl));
        Ok(lease)
    }

    pub(crate) fn remaining(&self, id: LeaseId) -> Duration {
        let table = self.table();
        let deadline = table.leases.get(&id).map_or(Duration::ZERO, |(at, _)| *at);
        deadline.saturating_sub(self.clock.now())
    }

    pub(crate) fn forget(&self, id: LeaseId) {
        self.table().remove(id);
    }

    /// Waits for the next lease that is due and takes it out.
    async fn next_due(&self) -> Lease {
        loop {
            let changed = self.changed.notified();
            let first = self.table().order.first().copied();
            let Some((deadline, id)) = first else {
                changed.await;
                continue;
            };
            if deadline <= self.clock.now() {
                let mut table = self.table();
                // It may have been kept alive since.
                if table.order.contains(&(deadline, id))
                    && let Some((_, ttl)) = table.remove(id)
                {
                    return Lease::new(id, ttl);
                }
                continue;
            }
            tokio::select! {
                () = self.clock.sleep_until(deadline) => {}
                () = changed => {}
            }
        }
    }

    /// Revokes leases as they fall due, until cancelled. A lease that cannot be revoked now is due
    /// again a second later.
    pub(crate) async fn run<F>(&self, cancelled: CancellationToken, revoke: impl Fn(LeaseId) -> F)
    where
        F: Future<Output = Result<(), Error>>,
    {
        let work = async {
            loop {
                let lease = self.next_due().await;
                match revoke(lease.id).await {
                    Ok(()) | Err(Error::LeaseNotFound { .. }) => {}
                    Err(Error::Closed | Error::Failed { .. }) => break,
                    Err(error) => {
                        // A replica that does not lead leaves this to the one that does.
                        tracing::debug!(lease = %lease.id, %error, "cannot revoke an expired lease");
                        self.put_back(lease);
                    }
                }
            }
        };
        cancelled.run_until_cancelled(work).await;
    }
}

impl Table {
    fn insert(&mut self, lease: Lease, deadline: Duration) {
        self.leases.insert(lease.id, (deadline, lease.ttl));
        self.order.insert((deadline, lease.id));
    }

    fn remove(&mut self, id: LeaseId) -> Option<(Duration, Duration)> {
        let found = self.leases.remove(&id)?;
        self.order.remove(&(found.0, id));
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::ManualClock;

    #[tokio::test]
    async fn a_lease_that_cannot_be_revoked_keeps_its_time_to_live() {
        const ID: LeaseId = LeaseId(1);
        let (half_a_minute, minute) = (Duration::from_secs(30), Duration::from_secs(60));
        let clock = ManualClock::new();
        let deadlines = Arc::new(Deadlines::new(Arc::new(clock.clone()), [Lease::new(ID, half_a_minute)]));
        let tries = Arc::new(AtomicUsize::new(0));
        let cancelled = CancellationToken::new();
        let task = tokio::spawn({
            let (deadlines, tries, cancelled) = (deadlines.clone(), tries.clone(), cancelled.clone());
            async move {
                let revoke = async |id| {
                    if tries.fetch_add(1, Ordering::Relaxed) == 1 {
                        deadlines.start(Lease::new(id, minute));
                    }
                    Err(Error::NoSpace { reason: "the disk is full".to_owned() })
                };
                deadlines.run(cancelled, revoke).await;
            }
        });
        let tried = async |times| {
            while tries.load(Ordering::Relaxed) < times || deadlines.table().leases.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        clock.advance(half_a_minute);
        tried(1).await;
        assert_eq!(deadlines.remaining(ID), TRY_AGAIN);
        assert_eq!(deadlines.keep_alive(ID).expect("not revoked").ttl, half_a_minute);
        assert_eq!(deadlines.remaining(ID), half_a_minute);
        // Started anew while it is being revoked.
        clock.advance(half_a_minute);
        tried(2).await;
        assert_eq!(deadlines.remaining(ID), minute);
        cancelled.cancel();
        task.await.expect("it ends");
    }
}
