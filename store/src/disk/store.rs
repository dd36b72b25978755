//! The store's handle.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::config::DiskConfig;
use super::files::{Directory, Disk};
use super::line::{Line, Request};
use super::recover::recover;
use super::writer::{Gauges, Writer, Writing};
use crate::codec::encode_command;
use crate::driver::{Core, Deadlines, Limits};
use crate::memory::unexpected;
use crate::state::{Command, Outcome};
use crate::{
    Committed, Entry, Error, Key, KeyRange, Lease, LeaseId, LeaseStatus, Page, RangeOptions, ReadOptions, Revision,
    Store, StoreStatus, Txn, WatchOptions, WatchStream,
};

/// A store whose every acknowledged commit is on disk.
///
/// Commits go to an append-only log; all that wait at a moment share one sync. Reads and watches
/// are served from memory. Now and then the whole state is written to a snapshot, in the background,
/// and the log before it removed.
///
/// Whatever moment the process or the machine stops at, opening the directory again finds everything
/// that was acknowledged. Files that were damaged later are refused with [`Error::Corrupt`]; damage to
/// the very last batch cannot be told from a write that was cut short by a crash unless the store was
/// closed, or opened again, after it. A full disk is answered with [`Error::NoSpace`] while reads go
/// on. If a sync fails nothing is certain any more: the store then answers everything with
/// [`Error::Failed`] until it is opened again.
///
/// [`close`](DiskStore::close) it to be sure that its thread has ended and the directory is free;
/// dropping it does the same, and may block for as long as one write takes.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use kubewright_store::{DiskConfig, DiskStore, StoreExt};
///
/// let directory = tempfile::tempdir()?;
/// let store = DiskStore::open(DiskConfig::new(directory.path())).await?;
/// store.put("greeting", "hello").await?;
/// store.close().await;
///
/// let store = DiskStore::open(DiskConfig::new(directory.path())).await?;
/// assert_eq!(store.read("greeting").await?.unwrap().value, "hello");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct DiskStore {
    inner: Arc<Inner>,
    cancelled: CancellationToken,
    threads: Mutex<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    expiry: Option<tokio::task::JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    deadlines: Arc<Deadlines>,
    gauges: Arc<Gauges>,
    limits: Limits,
    line: Arc<Line>,
    writer: Arc<Writer>,
    commit_in_place: bool,
    /// How many commits are under way, if some may be made in place.
    committing: AtomicUsize,
}

impl DiskStore {
    /// Opens the store in a directory, or makes one. Leases live for their full time from now.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Corrupt`], [`Error::Format`], [`Error::Io`], [`Error::NoSpace`], and
    /// [`Error::InvalidRequest`] for a configuration that makes no sense.
    pub async fn open(config: DiskConfig) -> Result<Self, Error> {
        config.validate()?;
        let opened = tokio::task::spawn_blocking(move || {
            let lock = lock_directory(&config.directory)?;
            let disk: Arc<dyn Disk> = Arc::new(Directory::new(&config.directory));
            Self::start(&config, disk, Some(lock))
        });
        match opened.await {
            Ok(started) => Ok(Self::assemble(started?)),
            Err(error) => Err(Error::unavailable(format!("cannot open: {error}"))),
        }
    }

    fn assemble((inner, writer): (Arc<Inner>, JoinHandle<()>)) -> Self {
        let cancelled = CancellationToken::new();
        let expiry = tokio::spawn({
            let (inner, cancelled) = (inner.clone(), cancelled.clone());
            async move {
                let revoke = async |id| inner.submit(Command::LeaseRevoke(id)).await.map(drop);
                inner.deadlines.run(cancelled, revoke).await;
            }
        });
        let threads = Threads { expiry: Some(expiry), writer: Some(writer) };
        Self { inner, cancelled, threads: Mutex::new(threads) }
    }

    /// Reads what is on the disk and starts the writer, which keeps `lock` until it ends.
    fn start(
        config: &DiskConfig,
        disk: Arc<dyn Disk>,
        lock: Option<File>,
    ) -> Result<(Arc<Inner>, JoinHandle<()>), Error> {
        let recovered = recover(&disk, config.segment_bytes)?;
        let leases: Vec<Lease> = recovered.state.leases().collect();
        let deadlines = Arc::new(Deadlines::new(config.clock.clone(), leases));
        let core = Arc::new(Core::new(recovered.state, config.clock.clone()));
        let gauges = Arc::new(Gauges::default());
        let line = Arc::new(Line::new(config.queue_max));
        let mut writing = Writing {
            disk,
            core: core.clone(),
            gauges: gauges.clone(),
            log: recovered.log,
            replay_bytes: recovered.replayed,
            snapshot_bytes: recovered.snapshot,
            snapshot_after: config.snapshot_after_bytes,
            snapshot: None,
            is_shared: false,
            is_quick: false,
        };
        writing.seal();
        let writer = Arc::new(Writer {
            core: core.clone(),
            deadlines: deadlines.clone(),
            log: Mutex::new(writing),
            applying: Mutex::default(),
            pruning: true.into(),
        });
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let thread = thread.spawn({
            let (writer, line) = (writer.clone(), line.clone());
            move || {
                writer.run(&line);
                drop(lock);
            }
        });
        let thread = thread.map_err(|e| Error::unavailable(format!("cannot start: {e}")))?;
        let limits = Limits { request_bytes_max: config.request_bytes_max, txn_ops_max: config.txn_ops_max };
        let (commit_in_place, committing) = (config.commit_in_place, AtomicUsize::new(0));
        let inner = Inner { core, deadlines, gauges, limits, line, writer, commit_in_place, committing };
        Ok((Arc::new(inner), thread))
    }

    /// A store on a disk that only tests have.
    #[cfg(test)]
    pub(super) fn open_on(config: &DiskConfig, disk: Arc<dyn Disk>) -> Result<Self, Error> {
        Self::start(config, disk, None).map(Self::assemble)
    }

    /// A checksum of everything in the store: see [`State::digest`](crate::state::State::digest).
    pub fn digest(&self) -> u32 {
        self.inner.core.state().digest()
    }

    /// Refuses further requests, finishes those that are in line, ends all watches, waits for the
    /// store's thread and task and frees the directory.
    pub async fn close(&self) {
        let Threads { expiry, writer } = self.begin_close();
        if let Some(expiry) = expiry
            && let Err(error) = expiry.await
        {
            tracing::warn!(%error, "the task that revokes leases failed");
        }
        if let Some(writer) = writer
            && !matches!(tokio::task::spawn_blocking(|| writer.join()).await, Ok(Ok(())))
        {
            tracing::error!("the store's thread panicked");
        }
        self.inner.core.close(Error::Closed);
    }

    fn begin_close(&self) -> Threads {
        self.cancelled.cancel();
        self.inner.line.close();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut threads)
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        if let Some(writer) = self.begin_close().writer
            && writer.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
        self.inner.core.close(Error::Closed);
    }
}

pub(crate) fn lock_directory(directory: &Path) -> Result<File, Error> {
    let created = std::fs::create_dir_all(directory);
    created.map_err(|e| Error::io("create", directory.to_owned(), e))?;
    let path = directory.join("LOCK");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|e| Error::io("open", path.clone(), e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { directory: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
    }
}

impl Inner {
    /// Writes a command on this thread if nobody else wants to write; gives it back otherwise.
    async fn commit_in_place(&self, command: Command, encoded: &[u8]) -> Result<Result<Outcome, Error>, Command> {
        let Ok(runtime) = Handle::try_current().map(|handle| handle.runtime_flavor()) else { return Err(command) };
        if !self.is_alone() || !self.writer.may_write_in_place() {
            return Err(command);
        }
        // Whatever else is ready now on this thread may want to commit too, and does so with one write then: first the
        // calls that came by the same connection, which looks at all of its own at once, then other connections.
        for _ in 0..2 {
            tokio::task::yield_now().await;
            if !self.is_alone() {
                return Err(command);
            }
        }
        self.writer.commit_in_place(&self.line, command, encoded, |write| match runtime {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(write),
            _ => write(),
        })
    }

    fn is_alone(&self) -> bool {
        self.committing.load(Ordering::Relaxed) == 1
    }

    async fn submit(&self, mut command: Command) -> Result<Outcome, Error> {
        self.core.check_open()?;
        let mut encoded = Vec::new();
        encode_command(&command, &mut encoded);
        let _under_way = self.commit_in_place.then(|| UnderWay::new(&self.committing));
        if self.commit_in_place && matches!(command, Command::Txn(_)) {
            match self.commit_in_place(command, &encoded).await {
                Ok(outcome) => return outcome,
                Err(again) => command = again,
            }
        }
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.line.join(Request { command, encoded, reply }).await {
            self.core.check_open()?;
            return Err(error);
        }
        match answer.await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.core.check_open()?;
                Err(Error::Closed)
            }
        }
    }
}

/// Counted while it is there.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl crate::Backup for DiskStore {
    fn backup(&self) -> Result<crate::BackupStream, Error> {
        self.inner.core.backup()
    }
}

#[async_trait]
impl Store for DiskStore {
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
        match self.inner.submit(Command::Txn(txn)).await? {
            Outcome::Committed(committed) => Ok(committed),
            other => Err(unexpected(&other)),
        }
    }

    async fn watch(&self, range: KeyRange, from: Revision, options: WatchOptions) -> Result<WatchStream, Error> {
        self.inner.core.watch(range, from, options)
    }

    async fn compact(&self, through: Revision) -> Result<(), Error> {
        self.inner.submit(Command::Compact(through)).await.map(drop)
    }

    async fn lease_grant(&self, id: Option<LeaseId>, ttl: Duration) -> Result<Lease, Error> {
        match self.inner.submit(Command::LeaseGrant { id, ttl }).await? {
            Outcome::LeaseGranted(lease) => Ok(lease),
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        self.inner.core.check_open()?;
        self.inner.deadlines.keep_alive(id)
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        match self.inner.submit(Command::LeaseRevoke(id)).await? {
            Outcome::LeaseRevoked(revision) => Ok(revision),
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
        // A store that failed still says so.
        if let Err(Error::Closed) = self.inner.core.check_open() {
            return Err(Error::Closed);
        }
        let gauges = &self.inner.gauges;
        let health = gauges.health.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(StoreStatus {
            disk_bytes: gauges.disk_bytes.load(Ordering::Relaxed),
            health: health.clone(),
            ..self.inner.core.status()
        })
    }
}
