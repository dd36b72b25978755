//! A store in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::driver::{Core, Deadlines, Limits};
use crate::state::{Command, Outcome, State};
use crate::{
    Clock, Committed, Entry, Error, Key, KeyRange, Lease, LeaseId, LeaseStatus, Page, RangeOptions, ReadOptions,
    Revision, Store, StoreStatus, TokioClock, Txn, WatchOptions, WatchStream,
};

/// A store that lives and dies with the process. Everything else it does as the others do.
///
/// Share it as `Arc<MemoryStore>`. Dropping it ends its watches with [`Error::Closed`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), kubewright_store::Error> {
/// use kubewright_store::{MemoryStore, StoreExt};
///
/// let store = MemoryStore::new();
/// let written = store.put("greeting", "hello").await?;
/// assert_eq!(store.read("greeting").await?, Some(written));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    inner: Arc<Inner>,
    cancelled: CancellationToken,
    /// Revokes expired leases; started with the first lease.
    expiry: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    deadlines: Deadlines,
    limits: Limits,
    /// Held while a command is applied and its events published, so that both happen in one order.
    order: Mutex<()>,
}

impl MemoryStore {
    /// An empty store whose leases go by tokio's clock.
    pub fn new() -> Self {
        // A store made outside a runtime has no clock to read until it is used inside one.
        Self::with_clock(Arc::new(TokioClock::new()))
    }

    /// An empty store whose leases go by `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let inner = Inner {
            core: Arc::new(Core::new(State::new(), clock.clone())),
            deadlines: Deadlines::new(clock, []),
            limits: Limits::default(),
            order: Mutex::default(),
        };
        Self { inner: Arc::new(inner), cancelled: CancellationToken::new(), expiry: Mutex::default() }
    }

    /// A checksum of everything in the store: see [`State::digest`].
    pub fn digest(&self) -> u32 {
        self.inner.core.state().digest()
    }

    /// Ends all watches, refuses further requests and waits for the store's task.
    pub async fn close(&self) {
        self.cancelled.cancel();
        self.inner.core.close(Error::Closed);
        let expiry = self.expiry().take();
        if let Some(task) = expiry
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "the task that revokes leases failed");
        }
    }

    fn expiry(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.expiry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_expiry(&self) {
        let mut expiry = self.expiry();
        if expiry.is_none() && !self.cancelled.is_cancelled() {
            let (inner, cancelled) = (self.inner.clone(), self.cancelled.clone());
            *expiry = Some(tokio::spawn(async move {
                let revoke = async |id| inner.apply(Command::LeaseRevoke(id)).map(drop);
                inner.deadlines.run(cancelled, revoke).await;
            }));
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.cancelled.cancel();
        self.inner.core.close(Error::Closed);
    }
}

impl Inner {
    fn apply(&self, command: Command) -> Result<Outcome, Error> {
        self.core.check_open()?;
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let applied = self.core.apply_one(command);
        drop(order);
        applied.outcome
    }
}

#[cfg(feature = "disk")]
impl crate::Backup for MemoryStore {
    fn backup(&self) -> Result<crate::BackupStream, Error> {
        self.inner.core.backup()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &Key, options: ReadOptions) -> Result<Option<Arc<Entry>>, Error> {
        self.inner.core.get(key, &options)
    }

    async fn range(&self, range: KeyRange, options: RangeOptions) -> Result<Page, Error> {
        self.inner.core.range(&range, &options)
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        self.inner.limits.check(&txn)?;
        if txn.is_read_only() {
            return self.inner.core.read_txn(&txn);
        }
        match self.inner.apply(Command::Txn(txn))? {
            Outcome::Committed(committed) => Ok(committed),
            other => Err(unexpected(&other)),
        }
    }

    async fn watch(&self, range: KeyRange, from: Revision, options: WatchOptions) -> Result<WatchStream, Error> {
        self.inner.core.watch(range, from, options)
    }

    async fn compact(&self, through: Revision) -> Result<(), Error> {
        self.inner.apply(Command::Compact(through))?;
        self.inner.core.prune(None);
        Ok(())
    }

    async fn lease_grant(&self, id: Option<LeaseId>, ttl: Duration) -> Result<Lease, Error> {
        match self.inner.apply(Command::LeaseGrant { id, ttl })? {
            Outcome::LeaseGranted(lease) => {
                self.inner.deadlines.start(lease);
                self.start_expiry();
                Ok(lease)
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        self.inner.core.check_open()?;
        self.inner.deadlines.keep_alive(id)
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        match self.inner.apply(Command::LeaseRevoke(id))? {
            Outcome::LeaseRevoked(revision) => {
                self.inner.deadlines.forget(id);
                Ok(revision)
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_status(&self, id: LeaseId) -> Result<LeaseStatus, Error> {
        self.inner.core.check_open()?;
        let (lease, keys) = self.inner.core.state().lease(id)?;
        let remaining = self.inner.deadlines.remaining(id);
        Ok(LeaseStatus::new(lease, remaining, keys))
    }

    async fn leases(&self) -> Result<Vec<Lease>, Error> {
        self.inner.core.check_open()?;
        Ok(self.inner.core.state().leases().collect())
    }

    async fn status(&self) -> Result<StoreStatus, Error> {
        self.inner.core.check_open()?;
        Ok(self.inner.core.status())
    }
}

/// The state answers each command with its own outcome; anything else is a bug in this crate.
pub(crate) fn unexpected(outcome: &Outcome) -> Error {
    Error::Failed { reason: format!("unexpected outcome {outcome:?}") }
}
