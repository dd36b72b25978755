//! The store's handle.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::config::RaftConfig;
use super::disk::RaftDisk;
use super::driver::{Driver, Input, Office, Reply, Standing};
use super::home;
use super::replica::{Answer, Proposal, Replica};
use super::transport::{Inbox, Transport};
use crate::disk::files::{Directory, Disk};
use crate::disk::{lock_directory, places};
use crate::driver::{Core, Deadlines, Limits};
use crate::memory::unexpected;
use crate::state::{Command, Outcome};
use crate::{
    Committed, Consistency, Entry, Error, Health, Key, KeyRange, Lease, LeaseId, LeaseStatus, Page, RangeOptions,
    ReadOptions, Revision, Store, StoreStatus, Txn, WatchOptions, WatchStream,
};

/// How long a request waits for news of a leader before it is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// One replica of a store that several machines keep together, by raft.
///
/// A commit is acknowledged when a majority of the replicas has it on disk; the store works as long as a
/// majority is up and hears one another. Any replica takes any request. Linearizable reads ask the leader
/// for how far it is, and are then served from this replica's memory; serializable ones are served at once
/// from whatever this replica has.
///
/// The replicas talk through a [`Transport`]. Who they are can be changed while they work: see
/// [`Membership`](crate::Membership).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use kubewright_store::{LocalNetwork, RaftConfig, RaftStore, StoreExt};
///
/// let (network, home) = (LocalNetwork::new(), tempfile::tempdir()?);
/// let mut replicas = Vec::new();
/// for id in 1..=3 {
///     let config = RaftConfig::new(id, [1, 2, 3], home.path().join(id.to_string()));
///     let replica = RaftStore::open(config, network.transport(id)).await?;
///     network.join(id, replica.inbox());
///     replicas.push(replica);
/// }
/// replicas[0].put("greeting", "hello").await?;
/// assert_eq!(replicas[2].read("greeting").await?.unwrap().value, "hello");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RaftStore {
    pub(super) inner: Arc<Inner>,
    inbox: Inbox,
    cancelled: CancellationToken,
    threads: Mutex<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    expiry: Option<tokio::task::JoinHandle<()>>,
    driver: Option<JoinHandle<()>>,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// This replica's number.
    pub(super) id: u64,
    pub(super) core: Arc<Core>,
    deadlines: Arc<Deadlines>,
    limits: Limits,
    inputs: mpsc::Sender<Input>,
    /// How many places there are for requests, and how many are free.
    places: usize,
    room: Arc<Semaphore>,
    pub(super) leader: watch::Receiver<Option<u64>>,
    standing: Arc<Mutex<Standing>>,
    timeout: Duration,
}

impl RaftStore {
    /// Opens a replica. It takes requests at once; they wait until there is a leader.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Corrupt`], [`Error::Format`], [`Error::Io`], [`Error::NoSpace`], and
    /// [`Error::InvalidRequest`] for a configuration that makes no sense.
    pub async fn open(config: RaftConfig, transport: Arc<dyn Transport>) -> Result<Self, Error> {
        config.validate()?;
        match tokio::task::spawn_blocking(move || Self::start(&config, transport)).await {
            Ok(started) => started.map(Self::assemble),
            Err(error) => Err(Error::unavailable(format!("cannot open: {error}"))),
        }
    }

    fn start(config: &RaftConfig, transport: Arc<dyn Transport>) -> Result<(Arc<Inner>, Inbox, JoinHandle<()>), Error> {
        let lock = lock_directory(&config.directory)?;
        let disk: Arc<dyn Disk> = Arc::new(Directory::new(&config.directory));
        home::claim(&*disk, config.id)?;
        let opened = RaftDisk::open(disk, config.segment_bytes)?;
        let mut replica = Replica::new(config.replica(), opened, config.clock.clone())?;
        replica.campaign_if_alone();
        let core = replica.core().clone();
        let leases: Vec<Lease> = core.state().leases().collect();
        let deadlines = Arc::new(Deadlines::new(config.clock.clone(), leases));
        let (inputs, queue) = mpsc::channel();
        let (leader, follow_leader) = watch::channel(None);
        let (inbox, standing) = (Inbox::new(inputs.clone()), Arc::default());
        let mut driver = Driver {
            replica,
            inputs: queue,
            own_inputs: inputs.clone(),
            waits: inbox.waits(),
            tick: config.tick,
            office: Office::new(transport, deadlines.clone()),
            standing: Arc::clone(&standing),
            leader,
            is_busy: false,
        };
        // Whoever asks at once is told who this is.
        driver.stand(None);
        let thread = std::thread::Builder::new().name("store-raft".to_owned());
        let thread = thread.spawn(move || {
            driver.run();
            drop(lock);
        });
        let thread = thread.map_err(|e| Error::unavailable(format!("cannot start: {e}")))?;
        let limits = Limits { request_bytes_max: config.request_bytes_max, txn_ops_max: config.txn_ops_max };
        let inner = Inner {
            id: config.id,
            core,
            deadlines,
            limits,
            inputs,
            places: config.requests_max,
            room: Arc::new(Semaphore::new(config.requests_max)),
            leader: follow_leader,
            standing,
            timeout: config.request_timeout,
        };
        Ok((Arc::new(inner), inbox, thread))
    }

    fn assemble((inner, inbox, driver): (Arc<Inner>, Inbox, JoinHandle<()>)) -> Self {
        let cancelled = CancellationToken::new();
        let expiry = tokio::spawn({
            let (inner, cancelled) = (inner.clone(), cancelled.clone());
            async move {
                inner.deadlines.run(cancelled, async |lease| inner.expire(lease).await).await;
            }
        });
        let threads = Threads { expiry: Some(expiry), driver: Some(driver) };
        Self { inner, inbox, cancelled, threads: Mutex::new(threads) }
    }

    /// Where the transport hands in other replicas' messages.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Whether this replica leads. It may have lost that already to one it does not hear.
    pub fn is_leader(&self) -> bool {
        self.inner.standing().is_leader
    }

    /// A checksum of everything this replica has: see [`State::digest`](crate::state::State::digest).
    pub fn digest(&self) -> u32 {
        self.inner.core.state().digest()
    }

    /// Ends all watches, refuses further requests, waits for the replica's thread and task and frees the
    /// directory. The other replicas go on without it.
    pub async fn close(&self) {
        let Threads { expiry, driver } = self.begin_close();
        if let Some(expiry) = expiry
            && let Err(error) = expiry.await
        {
            tracing::warn!(%error, "the task that revokes leases failed");
        }
        if let Some(driver) = driver
            && !matches!(tokio::task::spawn_blocking(|| driver.join()).await, Ok(Ok(())))
        {
            tracing::error!("the store's thread panicked");
        }
    }

    fn begin_close(&self) -> Threads {
        self.cancelled.cancel();
        // The thread may have ended by itself.
        let _ = self.inner.inputs.send(Input::Stop);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut threads)
    }
}

impl Drop for RaftStore {
    fn drop(&mut self) {
        if let Some(driver) = self.begin_close().driver
            && driver.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }
}

impl Inner {
    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn send(&self, input: Input) -> Result<(), Error> {
        self.core.check_open()?;
        self.inputs.send(input).map_err(|_| self.gone())
    }

    /// Why the driver is no more.
    pub(super) fn gone(&self) -> Error {
        self.core.check_open().err().unwrap_or(Error::Closed)
    }

    /// A place for something of so many bytes.
    async fn permit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        self.room.clone().acquire_many_owned(places(bytes, self.places)).await.map_err(|_| Error::Closed)
    }

    /// Gives work as long as requests wait.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) if self.leader.borrow().is_none() => Err(Error::unavailable("no leader")),
            Err(_) => Err(Error::unavailable("request timed out")),
        }
    }

    pub(super) async fn propose(&self, proposal: Proposal) -> Result<Answer, Error> {
        let bytes = if let Proposal::Command(encoded) = &proposal { encoded.len() } else { 0 };
        let ask = |reply: Reply, permit| Input::Propose(proposal.clone(), reply, permit);
        self.in_time(async {
            let mut leader = self.leader.clone();
            loop {
                leader.borrow_and_update();
                let (reply, answer) = oneshot::channel();
                self.send(ask(reply, self.permit(bytes).await?))?;
                match answer.await {
                    // Nothing was proposed, so it is safe to try again when there is a leader, or when the one
                    // there is has room again or did not hand over after all.
                    Ok(Err(Error::Unavailable { .. })) => {
                        if let Ok(Err(_)) = tokio::time::timeout(TRY_AGAIN, leader.changed()).await {
                            return Err(self.gone());
                        }
                    }
                    Ok(answer) => return answer,
                    Err(_) => return Err(self.gone()),
                }
            }
        })
        .await
    }

    async fn submit(&self, command: Command) -> Result<Outcome, Error> {
        match self.propose(Proposal::of(&command)).await? {
            Answer::Outcome(outcome) => Ok(outcome),
            other => Err(Error::Failed { reason: format!("unexpected answer {other:?}") }),
        }
    }

    async fn expire(&self, lease: LeaseId) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Expire(lease, reply))?;
        self.in_time(async { answer.await.map_err(|_| self.gone())? }).await.map(drop)
    }

    /// Waits until this replica has everything that anyone had been told of when this was called.
    pub(super) async fn catch_up(&self) -> Result<(), Error> {
        self.in_time(async {
            let (reply, answer) = oneshot::channel();
            self.send(Input::Read(reply, self.permit(0).await?))?;
            answer.await.map_err(|_| self.gone())?
        })
        .await
    }

    async fn fresh(&self, consistency: Consistency) -> Result<(), Error> {
        match consistency {
            Consistency::Linearizable => self.catch_up().await,
            Consistency::Serializable => Ok(()),
        }
    }
}

impl crate::Backup for RaftStore {
    fn backup(&self) -> Result<crate::BackupStream, Error> {
        self.inner.core.backup()
    }
}

#[async_trait]
impl Store for RaftStore {
    async fn get(&self, key: &Key, options: ReadOptions) -> Result<Option<Arc<Entry>>, Error> {
        self.inner.fresh(options.consistency).await?;
        self.inner.core.get(key, &options)
    }

    async fn range(&self, range: KeyRange, options: RangeOptions) -> Result<Page, Error> {
        self.inner.fresh(options.consistency).await?;
        self.inner.core.range(&range, &options)
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        self.inner.limits.check(&txn)?;
        if txn.is_read_only() {
            self.inner.catch_up().await?;
            return self.inner.core.read_txn(&txn);
        }
        match self.inner.submit(Command::Txn(txn)).await? {
            Outcome::Committed(committed) => Ok(committed),
            other => Err(unexpected(&other)),
        }
    }

    async fn watch(&self, range: KeyRange, from: Revision, options: WatchOptions) -> Result<WatchStream, Error> {
        if from.is_zero() {
            // From now on means after everything that was acknowledged, here or elsewhere.
            self.inner.catch_up().await?;
        }
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
        match self.inner.propose(Proposal::KeepAlive(id)).await? {
            Answer::KeptAlive(lease) => Ok(lease),
            other => Err(Error::Failed { reason: format!("unexpected answer {other:?}") }),
        }
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        match self.inner.submit(Command::LeaseRevoke(id)).await? {
            Outcome::LeaseRevoked(revision) => Ok(revision),
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_status(&self, id: LeaseId) -> Result<LeaseStatus, Error> {
        self.inner.catch_up().await?;
        let (lease, keys) = self.inner.core.state().lease(id)?;
        Ok(LeaseStatus::new(lease, self.inner.deadlines.remaining(id), keys))
    }

    async fn leases(&self) -> Result<Vec<Lease>, Error> {
        self.inner.catch_up().await?;
        Ok(self.inner.core.state().leases().collect())
    }

    async fn status(&self) -> Result<StoreStatus, Error> {
        let standing = self.inner.standing();
        let health = match self.inner.core.check_open() {
            Ok(()) if standing.replication.leader.is_some() => Health::Serving,
            Ok(()) => Health::ReadOnly(format!("no leader; {}", standing.replication.explain())),
            Err(Error::Failed { reason }) => Health::Failed(reason),
            Err(error) => return Err(error),
        };
        Ok(StoreStatus {
            disk_bytes: standing.disk_bytes,
            health,
            replication: Some(standing.replication),
            ..self.inner.core.status()
        })
    }
}
