//! The thread that owns a replica: it turns the clock's ticks, other replicas' messages and callers'
//! requests into the replica's steps, as many at a time as there are, so that they share a sync.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use raft::eraftpb::Message;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::disk::message_bytes;
use super::replica::{Answer, Proposal, Replica, Step};
use super::transport::Transport;
use crate::driver::Deadlines;
use crate::{Error, LeaseId, Replication};

/// Inputs that are taken before the replica makes a step.
const INPUTS_PER_STEP: usize = 1024;
/// Ticks after which a read that got lost is asked for again.
const READ_AGAIN: u64 = 2;
/// Ticks between looks for callers that have given up.
const CLEAN_UP: u64 = 20;
/// A thread that was kept from running does not make up for more ticks than this.
const TICKS_BEHIND_MAX: u32 = 3;

pub(crate) type Reply = oneshot::Sender<Result<Answer, Error>>;

/// Something for the replica.
pub(crate) enum Input {
    Message(Box<Message>),
    Propose(Proposal, Reply, OwnedSemaphorePermit),
    /// Revoke this lease if it is still due.
    Expire(LeaseId, Reply),
    Read(oneshot::Sender<Result<(), Error>>, OwnedSemaphorePermit),
    TransferLeader(u64),
    Stop,
}

/// What others see of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) replication: Replication,
    pub(crate) is_leader: bool,
    pub(crate) disk_bytes: u64,
}

pub(crate) struct Driver {
    pub(crate) replica: Replica,
    pub(crate) inputs: Receiver<Input>,
    pub(crate) messages_waiting: Arc<AtomicUsize>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) deadlines: Arc<Deadlines>,
    /// Changes of the leader are told here.
    pub(crate) leader: watch::Sender<Option<u64>>,
    pub(crate) standing: Arc<Mutex<Standing>>,
    pub(crate) tick: Duration,
    pub(crate) waiting: Waiting,
}

/// Who waits for what.
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

impl Driver {
    /// Works until told to stop, or until the disk fails.
    pub(crate) fn run(mut self) {
        let mut due = Instant::now() + self.tick;
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            let goes_on = match self.inputs.recv_timeout(wait) {
                Ok(input) => self.take(input) && self.take_more(),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if !goes_on {
                return self.replica.core().close(Error::Closed);
            }
            let now = Instant::now();
            let earliest = now.checked_sub(self.tick * TICKS_BEHIND_MAX).unwrap_or(due);
            due = due.max(earliest);
            while due <= now {
                due += self.tick;
                self.tick();
            }
            self.ask_for_reads();
            match self.replica.ready() {
                Ok(step) => self.follow(step),
                Err(error) => return self.fail(&error),
            }
        }
    }

    fn take_more(&mut self) -> bool {
        for _ in 0..INPUTS_PER_STEP {
            let Ok(input) = self.inputs.try_recv() else { break };
            if !self.take(input) {
                return false;
            }
        }
        true
    }

    /// Takes one input; says whether to go on.
    fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Message(message) => {
                self.messages_waiting.fetch_sub(1, Ordering::Relaxed);
                self.replica.receive(*message);
            }
            Input::Propose(proposal, reply, permit) => self.propose(&proposal, reply, Some(permit)),
            Input::Expire(lease, reply) => {
                // Kept alive since it was found due.
                if !self.deadlines.remaining(lease).is_zero() {
                    let _ = reply.send(Ok(Answer::NotDue));
                } else if self.replica.role().is_leader {
                    let proposal = Proposal::Expire(lease, self.replica.renewed(lease));
                    self.propose(&proposal, reply, None);
                } else {
                    let _ = reply.send(Err(Error::unavailable("not the leader")));
                }
            }
            Input::Read(reply, permit) => self.waiting.new_reads.push((reply, permit)),
            Input::TransferLeader(to) => self.replica.transfer_leader(to),
            Input::Stop => return false,
        }
        true
    }

    fn propose(&mut self, proposal: &Proposal, reply: Reply, permit: Option<OwnedSemaphorePermit>) {
        match self.replica.propose(proposal) {
            Ok(number) => {
                self.waiting.proposals.insert(number, (reply, permit));
            }
            // Who has stopped waiting needs no answer, here and elsewhere.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn tick(&mut self) {
        self.replica.tick();
        let waiting = &mut self.waiting;
        waiting.ticks += 1;
        let ticks = waiting.ticks;
        for (_, (_, readers)) in waiting.reads.extract_if(.., |_, (asked, _)| *asked + READ_AGAIN <= ticks) {
            waiting.new_reads.extend(readers.into_iter().filter(|(reply, _)| !reply.is_closed()));
        }
        if ticks.is_multiple_of(CLEAN_UP) {
            waiting.proposals.retain(|_, (reply, _)| !reply.is_closed());
        }
    }

    fn ask_for_reads(&mut self) {
        let waiting = &mut self.waiting;
        if waiting.new_reads.is_empty() {
            return;
        }
        waiting.asked += 1;
        let readers = std::mem::take(&mut waiting.new_reads);
        waiting.reads.insert(waiting.asked, (waiting.ticks, readers));
        self.replica.read(waiting.asked);
    }

    fn follow(&mut self, step: Step) {
        for message in &step.messages {
            self.transport.send(message.to, message_bytes(message).into());
        }
        let was_leader = self.stand();
        if step.replaced || (!was_leader && self.replica.role().is_leader) {
            // Nobody knows how long leases have lived elsewhere, and none may live too short.
            let leases: Vec<_> = self.replica.core().state().leases().collect();
            leases.into_iter().for_each(|lease| self.deadlines.start(lease));
        }
        step.started.into_iter().for_each(|lease| self.deadlines.start(lease));
        step.ended.into_iter().for_each(|lease| self.deadlines.forget(lease));
        let session = self.replica.session();
        for (by, number, answer) in step.done {
            let waiting = if by == session { self.waiting.proposals.remove(&number) } else { None };
            if let Some((reply, _)) = waiting {
                let _ = reply.send(answer);
            }
        }
        for token in step.reads {
            for (reply, _) in self.waiting.reads.remove(&token).into_iter().flat_map(|(_, readers)| readers) {
                let _ = reply.send(Ok(()));
            }
        }
    }

    /// Lets others see where the replica stands; says whether it was the leader before.
    fn stand(&self) -> bool {
        let (role, conf) = (self.replica.role(), self.replica.conf_state());
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let was_leader = standing.is_leader;
        standing.is_leader = role.is_leader;
        standing.disk_bytes = self.replica.disk_bytes();
        let replication = &mut standing.replication;
        replication.id = self.replica.id();
        (replication.leader, replication.term) = (role.leader, role.term);
        replication.committed_index = self.replica.committed();
        replication.applied_index = self.replica.applied();
        replication.voters.clone_from(&conf.voters);
        replication.learners.clone_from(&conf.learners);
        drop(standing);
        self.leader.send_if_modified(|leader| {
            let is_new = *leader != role.leader;
            *leader = role.leader;
            is_new
        });
        was_leader
    }

    /// Nothing is certain any more. Whoever waits is told so by the end of their channel.
    fn fail(self, error: &Error) {
        let reason = match error {
            Error::Failed { reason } => reason.clone(),
            other => crate::disk::chain(other),
        };
        tracing::error!(%reason, "the store failed");
        self.replica.core().close(Error::Failed { reason });
    }
}
