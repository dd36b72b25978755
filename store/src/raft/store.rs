//! The store's handle.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::disk::RaftDisk;
use super::driver::{Driver, Input, Reply, Standing, Waiting};
use super::replica::{Answer, Proposal, Replica, ReplicaConfig};
use super::transport::{Inbox, Transport};
use crate::disk::files::{Directory, Disk};
use crate::disk::lock_directory;
use crate::driver::{Core, Deadlines, Limits};
use crate::memory::unexpected;
use crate::state::{Command, Outcome};
use crate::{
    Clock, Committed, Consistency, Entry, Error, Health, Key, KeyRange, Lease, LeaseId, LeaseStatus, Page,
    RangeOptions, ReadOptions, Revision, Store, StoreStatus, TokioClock, Txn, WatchOptions, WatchStream,
};

/// How a [`RaftStore`] is set up. All replicas should have the same, but for `id` and `directory`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RaftConfig {
    /// This replica: above 0 and below 65,536.
    pub id: u64,
    /// All replicas, this one too. A majority of them must be up for anything to be written.
    pub voters: Vec<u64>,
    /// Where this replica keeps its part of the log; made if it is not there.
    pub directory: PathBuf,
    /// How long a tick takes. 50 ms.
    pub tick: Duration,
    /// Ticks without a leader after which a replica stands for election; each replica waits two more than
    /// the one before it. 10.
    pub election_ticks: usize,
    /// Ticks between the leader's heartbeats. 2.
    pub heartbeat_ticks: usize,
    /// About how large a segment of the log grows, in bytes. 64 MiB.
    pub segment_bytes: u64,
    /// Entries of the log after which the state is written to a snapshot and the log before it removed.
    /// 50,000.
    pub checkpoint_after: u64,
    /// How long a request waits for an answer before it gets [`Error::Unavailable`]. 5 s.
    pub request_timeout: Duration,
    /// How many requests may be on their way at a time; further ones wait. 4,096.
    pub requests_max: usize,
    /// The largest transaction, in bytes of keys and values. 8 MiB.
    pub request_bytes_max: usize,
    /// The most operations, or compares, in a transaction. 4,096.
    pub txn_ops_max: usize,
    /// What leases go by. Tokio's clock.
    pub clock: Arc<dyn Clock>,
}

impl RaftConfig {
    /// Replica `id` of `voters`, with its files in `directory`.
    pub fn new(id: u64, voters: impl Into<Vec<u64>>, directory: impl Into<PathBuf>) -> Self {
        let limits = Limits::default();
        Self {
            id,
            voters: voters.into(),
            directory: directory.into(),
            tick: Duration::from_millis(50),
            election_ticks: 10,
            heartbeat_ticks: 2,
            segment_bytes: 64 << 20,
            checkpoint_after: 50_000,
            request_timeout: Duration::from_secs(5),
            requests_max: 4096,
            request_bytes_max: limits.request_bytes_max,
            txn_ops_max: limits.txn_ops_max,
            clock: Arc::new(TokioClock::new()),
        }
    }

    /// Checks that the numbers make sense together.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] with everything that is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        let mut wrong = Vec::new();
        if !self.voters.contains(&self.id) {
            wrong.push("id must be one of voters");
        }
        if self.voters.iter().any(|id| *id == 0 || *id >= 1 << 16) {
            wrong.push("each voter must be above 0 and below 65536");
        }
        let mut voters = self.voters.clone();
        voters.sort_unstable();
        voters.dedup();
        if voters.len() != self.voters.len() {
            wrong.push("voters must differ");
        }
        if self.heartbeat_ticks == 0 || self.election_ticks <= self.heartbeat_ticks * 2 {
            wrong.push("election_ticks must be more than twice heartbeat_ticks, and that above 0");
        }
        if self.tick.is_zero() {
            wrong.push("tick must be above 0");
        }
        if self.segment_bytes < 4096 {
            wrong.push("segment_bytes must be at least 4096");
        }
        if self.checkpoint_after == 0 || self.requests_max == 0 {
            wrong.push("checkpoint_after and requests_max must be above 0");
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(wrong.join("; ")))
    }

    fn replica(&self) -> ReplicaConfig {
        let rank = self.voters.iter().filter(|id| **id < self.id).count();
        ReplicaConfig {
            id: self.id,
            voters: self.voters.clone(),
            election_ticks: self.election_ticks + 2 * rank,
            heartbeat_ticks: self.heartbeat_ticks,
            checkpoint_after: self.checkpoint_after,
        }
    }
}

/// One replica of a store that several machines keep together, by raft.
///
/// A commit is acknowledged when a majority of the replicas has it on disk; the store works as long as a
/// majority is up and hears one another. Any replica takes any request. Linearizable reads ask the leader
/// for how far it is, and are then served from this replica's memory; serializable ones are served at once
/// from whatever this replica has.
///
/// The replicas talk through a [`Transport`]. Members are fixed for now: [`RaftConfig::voters`].
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
    inner: Arc<Inner>,
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
struct Inner {
    core: Arc<Core>,
    deadlines: Arc<Deadlines>,
    limits: Limits,
    inputs: mpsc::Sender<Input>,
    room: Arc<Semaphore>,
    leader: watch::Receiver<Option<u64>>,
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
        let opened = RaftDisk::open(disk, config.segment_bytes)?;
        let mut replica = Replica::new(config.replica(), opened, config.clock.clone())?;
        if config.voters.len() == 1 {
            replica.campaign();
        }
        let core = replica.core().clone();
        let leases: Vec<Lease> = core.state().leases().collect();
        let deadlines = Arc::new(Deadlines::new(config.clock.clone(), leases));
        let (inputs, queue) = mpsc::channel();
        let (leader, follow_leader) = watch::channel(None);
        let (inbox, standing) = (Inbox::new(inputs.clone()), Arc::default());
        let driver = Driver {
            replica,
            inputs: queue,
            messages_waiting: inbox.waiting(),
            transport,
            deadlines: deadlines.clone(),
            leader,
            standing: Arc::clone(&standing),
            tick: config.tick,
            waiting: Waiting::default(),
        };
        let thread = std::thread::Builder::new().name("store-raft".to_owned());
        let thread = thread.spawn(move || {
            driver.run();
            drop(lock);
        });
        let thread = thread.map_err(|e| Error::unavailable(format!("cannot start: {e}")))?;
        let limits = Limits { request_bytes_max: config.request_bytes_max, txn_ops_max: config.txn_ops_max };
        let inner = Inner {
            core,
            deadlines,
            limits,
            inputs,
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

    /// Asks the leader, which must be this replica, to let another lead. Whether that works shows in
    /// [`Store::status`].
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn transfer_leader(&self, to: u64) -> Result<(), Error> {
        self.inner.send(Input::TransferLeader(to))
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
    fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn send(&self, input: Input) -> Result<(), Error> {
        self.core.check_open()?;
        self.inputs.send(input).map_err(|_| self.gone())
    }

    /// Why the driver is no more.
    fn gone(&self) -> Error {
        self.core.check_open().err().unwrap_or(Error::Closed)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.room.clone().acquire_owned().await.map_err(|_| Error::Closed)
    }

    /// Gives work as long as requests wait.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) if self.leader.borrow().is_none() => Err(Error::unavailable("no leader")),
            Err(_) => Err(Error::unavailable("request timed out")),
        }
    }

    async fn propose(&self, proposal: Proposal) -> Result<Answer, Error> {
        let ask = |reply: Reply, permit| Input::Propose(proposal.clone(), reply, permit);
        self.in_time(async {
            let mut leader = self.leader.clone();
            loop {
                leader.borrow_and_update();
                let (reply, answer) = oneshot::channel();
                self.send(ask(reply, self.permit().await?))?;
                match answer.await {
                    // Nothing was proposed, so it is safe to try again when there is a leader.
                    Ok(Err(Error::Unavailable { .. })) => leader.changed().await.map_err(|_| self.gone())?,
                    Ok(answer) => return answer,
                    Err(_) => return Err(self.gone()),
                }
            }
        })
        .await
    }

    async fn submit(&self, command: Command) -> Result<Outcome, Error> {
        match self.propose(Proposal::Command(command)).await? {
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
    async fn catch_up(&self) -> Result<(), Error> {
        self.in_time(async {
            let (reply, answer) = oneshot::channel();
            self.send(Input::Read(reply, self.permit().await?))?;
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
        let voters = standing.replication.voters.len();
        let health = match self.inner.core.check_open() {
            Ok(()) if standing.replication.leader.is_some() => Health::Serving,
            Ok(()) => {
                let quorum = voters / 2 + 1;
                Health::ReadOnly(format!("no leader: {quorum} of {voters} replicas must be up and hear one another"))
            }
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
