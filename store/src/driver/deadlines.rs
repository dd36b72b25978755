//! When leases expire.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{Clock, Error, Lease, LeaseId};

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
        table.insert(lease, self.clock.now());
        drop(table);
        self.changed.notify_one();
    }

    pub(crate) fn keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        let mut table = self.table();
        let removed = table.remove(id);
        let (_, ttl) = removed.ok_or(Error::LeaseNotFound { lease: id })?;
        let lease = Lease::new(id, ttl);
        // Only ever later than before, so nobody needs to wake earlier.
        table.insert(lease, self.clock.now());
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
    async fn next_due(&self) -> LeaseId {
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
                if table.order.remove(&(deadline, id)) {
                    table.leases.remove(&id);
                    return id;
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
                let id = self.next_due().await;
                match revoke(id).await {
                    Ok(()) | Err(Error::LeaseNotFound { .. }) => {}
                    Err(Error::Closed | Error::Failed { .. }) => break,
                    Err(error) => {
                        // A replica that does not lead leaves this to the one that does.
                        tracing::debug!(lease = %id, %error, "cannot revoke an expired lease");
                        self.start(Lease::new(id, Duration::from_secs(1)));
                    }
                }
            }
        };
        cancelled.run_until_cancelled(work).await;
    }
}

impl Table {
    fn insert(&mut self, lease: Lease, now: Duration) {
        let deadline = now.saturating_add(lease.ttl);
        self.leases.insert(lease.id, (deadline, lease.ttl));
        self.order.insert((deadline, lease.id));
    }

    fn remove(&mut self, id: LeaseId) -> Option<(Duration, Duration)> {
        let found = self.leases.remove(&id)?;
        self.order.remove(&(found.0, id));
        Some(found)
    }
}
