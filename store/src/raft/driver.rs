//! The thread that owns a replica: it turns the clock's ticks, other replicas' frames and callers'
//! requests into the replica's steps, as many at a time as there are, so that they share a sync.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::disk::SnapshotJob;
use super::frame::Envelope;
use super::members::REMOVED;
use super::replica::{Answer, Effect, Proposal, Replica, Role};
use super::transport::{Transport, Waits};
use crate::driver::Deadlines;
use crate::{Error, LeaseId, Members, Replication};

/// Inputs that are taken before the replica makes a step.
const INPUTS_PER_STEP: usize = 1024;
/// Ticks after which a read that got lost is asked for again.
const READ_AGAIN: u64 = 2;
/// Ticks between looks for callers that have given up.
const CLEAN_UP: u64 = 20;
/// A thread that was kept from running does not make up for more ticks than this.
pub(crate) const TICKS_BEHIND_MAX: u32 = 3;

pub(crate) type Reply = oneshot::Sender<Result<Answer, Error>>;

/// Something for the replica.
pub(crate) enum Input {
    /// A frame, and how many bytes it had.
    Frame(Envelope, usize),
    /// The transport does not get through to this member.
    Unreachable(u64),
    Propose(Proposal, Reply, OwnedSemaphorePermit),
    /// Revoke this lease if it is still due.
    Expire(LeaseId, Reply),
    Read(oneshot::Sender<Result<(), Error>>, OwnedSemaphorePermit),
    TransferLeader(u64),
    /// The job of the snapshot of this index ended.
    SnapshotWritten(u64, Result<Option<u64>, Error>),
    Stop,
}

/// What others see of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) replication: Replication,
    pub(crate) is_leader: bool,
    pub(crate) disk_bytes: u64,
    pub(crate) members: Members,
}

pub(crate) struct Driver {
    pub(crate) replica: Replica,
    pub(crate) inputs: Receiver<Input>,
    /// Where helpers tell that they are done.
    pub(crate) own_inputs: Sender<Input>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) tick: Duration,
    pub(crate) office: Office,
    pub(crate) standing: Arc<Mutex<Standing>>,
    /// Changes of the leader are told here.
    pub(crate) leader: watch::Sender<Option<u64>>,
    /// There was more than one input for the last step.
    pub(crate) is_busy: bool,
}

/// Who waits for what, and whom to tell.
pub(crate) struct Office {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) deadlines: Arc<Deadlines>,
    pub(crate) waiting: Waiting,
    /// Snapshots to be written, of which there is one at a time.
    job: Option<SnapshotJob>,
    replaced: bool,
}

#[derive(Default)]
pub(crate) struct Waiting {
    proposals: BTreeMap<u64, (Reply, Option<OwnedSemaphorePermit>)>,
    /// Reads that share a question, and when it was asked, in ticks.
    reads: BTreeMap<u64, (u64, Vec<Reader>)>,
    new_reads: Vec<Reader>,
    asked: u64,
    ticks: u64,
}

type Reader = (oneshot::Sender<Result<(), Error>>, OwnedSemaphorePermit);

impl Office {
    pub(crate) fn new(transport: Arc<dyn Transport>, deadlines: Arc<Deadlines>) -> Self {
        Self { transport, deadlines, waiting: Waiting::default(), job: None, replaced: false }
    }

    /// Who has stopped waiting needs no answer, here and elsewhere.
    fn follow(&mut self, effect: Effect) {
        match effect {
            Effect::Send(envelope) => self.transport.send(envelope.to, envelope.encode()),
            Effect::Done { number, answer } => {
                if let Some((reply, _)) = self.waiting.proposals.remove(&number) {
                    let _ = reply.send(answer);
                }
            }
            Effect::Read(token) => {
                let readers = self.waiting.reads.remove(&token).into_iter().flat_map(|(_, readers)| readers);
                readers.for_each(|(reply, _)| drop(reply.send(Ok(()))));
            }
            Effect::LeaseStarted(lease) => self.deadlines.start(lease),
            Effect::LeaseEnded(lease) => self.deadlines.forget(lease),
            Effect::Replaced => self.replaced = true,
            Effect::Write(job) => self.job = Some(job),
        }
    }
}

impl Driver {
    /// Works until told to stop, until the disk fails, or until the replica is removed from its cluster.
    pub(crate) fn run(mut self) {
        let mut writer = None;
        let why = self.work(&mut writer);
        self.replica.core().close(why);
        if writer.is_some_and(|writer: JoinHandle<()>| writer.join().is_err()) {
            tracing::error!("the thread that writes the snapshot panicked");
        }
    }

    fn work(&mut self, writer: &mut Option<JoinHandle<()>>) -> Error {
        let started = Instant::now();
        let mut due = started + self.tick;
        let mut role = None;
        loop {
            let until_due = due.saturating_duration_since(Instant::now());
            let wait = if self.replica.is_pruning() { Duration::ZERO } else { until_due };
            let input = self.inputs.recv_timeout(wait);
            let now = Instant::now();
            self.replica.at(uptime(started));
            let goes_on = match input {
                Ok(input) => self.take(input).and_then(|goes_on| Ok(goes_on && self.take_more()?)),
                Err(RecvTimeoutError::Timeout) => Ok(true),
                Err(RecvTimeoutError::Disconnected) => Ok(false),
            };
            let earliest = now.checked_sub(self.tick * TICKS_BEHIND_MAX).unwrap_or(due);
            due = due.max(earliest);
            while due <= now {
                due += self.tick;
                self.tick();
            }
            // What was taken may have had the disk written to, and this thread may have been kept from running.
            self.ask_for_reads(uptime(started));
            let (replica, office) = (&mut self.replica, &mut self.office);
            let result = goes_on.and_then(|goes_on| {
                if goes_on {
                    replica.ready(&mut |effect| office.follow(effect))?;
                }
                Ok(goes_on)
            });
            match result {
                Ok(true) => role = Some(self.stand(role)),
                Ok(false) => return Error::Closed,
                Err(error) => return failed(&error),
            }
            if let Some(job) = self.office.job.take() {
                self.write(job, writer);
            }
            if self.replica.is_removed() {
                tracing::warn!(id = self.replica.id(), "this replica was removed from its cluster");
                return Error::Failed { reason: REMOVED.to_owned() };
            }
        }
    }

    /// Has a snapshot written beside. The one before has told that it is done, so it ends soon.
    fn write(&self, job: SnapshotJob, writer: &mut Option<JoinHandle<()>>) {
        if writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes the snapshot panicked");
        }
        let (done, index) = (self.own_inputs.clone(), job.index());
        let thread = std::thread::Builder::new().name("store-snapshot".to_owned());
        // Nobody listens any more if the store was closed.
        let spawned = thread.spawn(move || drop(done.send(Input::SnapshotWritten(index, job.run()))));
        match spawned {
            Ok(thread) => *writer = Some(thread),
            Err(error) => {
                let failed = Err(Error::unavailable(format!("cannot start a thread: {error}")));
                let _ = self.own_inputs.send(Input::SnapshotWritten(index, failed));
            }
        }
    }

    fn take_more(&mut self) -> Result<bool, Error> {
        if self.is_busy {
            // Whoever can run now, but for this thread, may bring more to share the next sync and messages with:
            // see `DiskStore`'s writer.
            std::thread::yield_now();
        }
        self.is_busy = false;
        for _ in 0..INPUTS_PER_STEP {
            let Ok(input) = self.inputs.try_recv() else { break };
            self.is_busy = true;
            if !self.take(input)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes one input; says whether to go on.
    fn take(&mut self, input: Input) -> Result<bool, Error> {
        match input {
            Input::Frame(envelope, bytes) => {
                self.waits.leave(bytes);
                let office = &mut self.office;
                self.replica.receive(envelope, &mut |effect| office.follow(effect));
            }
            Input::Unreachable(id) => self.replica.unreachable(id),
            Input::Propose(proposal, reply, permit) => self.propose(&proposal, reply, Some(permit)),
            Input::Expire(lease, reply) => {
                // Kept alive since it was found due.
                if !self.office.deadlines.remaining(lease).is_zero() {
                    let _ = reply.send(Ok(Answer::NotDue));
                } else if self.replica.role().is_leader {
                    let proposal = Proposal::Expire(lease, self.replica.renewed(lease));
                    self.propose(&proposal, reply, None);
                } else {
                    let _ = reply.send(Err(Error::unavailable("not the leader")));
                }
            }
            Input::Read(reply, permit) => self.office.waiting.new_reads.push((reply, permit)),
            Input::TransferLeader(to) => self.replica.transfer_leader(to),
            Input::SnapshotWritten(index, result) => self.replica.snapshot_written(index, result)?,
            Input::Stop => return Ok(false),
        }
        Ok(true)
    }

    fn propose(&mut self, proposal: &Proposal, reply: Reply, permit: Option<OwnedSemaphorePermit>) {
        match self.replica.propose(proposal) {
            Ok(number) => {
                self.office.waiting.proposals.insert(number, (reply, permit));
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn tick(&mut self) {
        self.replica.tick();
        let waiting = &mut self.office.waiting;
        waiting.ticks += 1;
        let ticks = waiting.ticks;
        for (_, (_, readers)) in waiting.reads.extract_if(.., |_, (asked, _)| *asked + READ_AGAIN <= ticks) {
            waiting.new_reads.extend(readers.into_iter().filter(|(reply, _)| !reply.is_closed()));
        }
        if ticks.is_multiple_of(CLEAN_UP) {
            waiting.proposals.retain(|_, (reply, _)| !reply.is_closed());
        }
    }

    fn ask_for_reads(&mut self, now: Duration) {
        let waiting = &mut self.office.waiting;
        if waiting.new_reads.is_empty() {
            return;
        }
        waiting.asked += 1;
        let readers = std::mem::take(&mut waiting.new_reads);
        match self.replica.read(waiting.asked, now) {
            Ok(()) => drop(waiting.reads.insert(waiting.asked, (waiting.ticks, readers))),
            Err(error) => readers.into_iter().for_each(|(reply, _)| drop(reply.send(Err(error.clone())))),
        }
    }

    /// Lets others see where the replica stands.
    pub(crate) fn stand(&mut self, before: Option<Role>) -> Role {
        let (role, conf) = (self.replica.role(), self.replica.conf_state());
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.is_leader = role.is_leader;
        standing.disk_bytes = self.replica.disk_bytes();
        let replication = &mut standing.replication;
        replication.id = self.replica.id();
        (replication.leader, replication.term) = (role.leader, role.term);
        replication.committed_index = self.replica.committed();
        replication.applied_index = self.replica.applied();
        replication.cluster_id = self.replica.roster().cluster_id;
        replication.voters.clone_from(&conf.voters);
        replication.voters_outgoing.clone_from(&conf.voters_outgoing);
        replication.learners.clone_from(&conf.learners);
        if !standing.members.members.iter().eq(self.replica.roster().members()) {
            standing.members = self.replica.members();
            self.office.transport.set_members(&standing.members);
        }
        standing.members.leader = role.leader;
        drop(standing);
        self.leader.send_if_modified(|leader| {
            let is_new = *leader != role.leader;
            *leader = role.leader;
            is_new
        });
        let was_leader = before.is_some_and(|before| before.is_leader);
        if std::mem::take(&mut self.office.replaced) || (!was_leader && role.is_leader) {
            // Nobody knows how long leases have lived elsewhere, and none may live too short.
            let leases: Vec<_> = self.replica.core().state().leases().collect();
            leases.into_iter().for_each(|lease| self.office.deadlines.start(lease));
        }
        role
    }
}

/// What has passed since some moment, by a clock that does not stand still while the machine sleeps: another one may have
/// become the leader meanwhile.
#[cfg(target_os = "linux")]
fn uptime(started: Instant) -> Duration {
    // Every Linux in use has this clock.
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    time.map_or_else(|_| started.elapsed(), Duration::from)
}

#[cfg(not(target_os = "linux"))]
fn uptime(started: Instant) -> Duration {
    started.elapsed()
}

/// Nothing is certain any more. Whoever waits is told so by the end of their channel.
fn failed(error: &Error) -> Error {
    let reason = match error {
        Error::Failed { reason } => reason.clone(),
        other => crate::disk::chain(other),
    };
    tracing::error!(%reason, "the store failed");
    Error::Failed { reason }
}
