//! One replica: raft and the state behind it, without threads, clocks or networks.
//!
//! A driver feeds it ticks, messages, proposals and reads, and calls [`Replica::ready`], which makes
//! durable what must be, applies what is committed and says what to send and whom to answer.

use std::sync::Arc;

#[cfg(test)]
use raft::Storage;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot};
use raft::{Config, RawNode, ReadOnlyOption, SnapshotStatus, StateRole};

use super::disk::{Checkpoint, Found, RaftDisk};
use super::ledger::Ledger;
use super::log::RaftLog;
use super::questions::Questions;
use crate::codec::{Decoder, Reason, decode_command, encode_command, put_bytes, put_number};
use crate::driver::Core;
use crate::state::{Command, ImageSink, ImageSource, Outcome, State};
use crate::{Clock, Error, Lease, LeaseId};

const COMMAND: u8 = 1;
const KEEP_ALIVE: u8 = 2;
const EXPIRE: u8 = 3;

/// Entries that stay in the log behind a checkpoint, for replicas that are a little behind.
const ENTRIES_KEPT: u64 = 1000;

/// What is fixed for a replica.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaConfig {
    pub(crate) id: u64,
    /// The replicas that vote when the log is empty.
    pub(crate) voters: Vec<u64>,
    /// Ticks without a leader after which this replica stands for election. Different ones keep replicas
    /// from standing at once.
    pub(crate) election_ticks: usize,
    pub(crate) heartbeat_ticks: usize,
    /// Entries in the log after which there is a checkpoint.
    pub(crate) checkpoint_after: u64,
}

/// Something to agree on.
#[derive(Clone, Debug)]
pub(crate) enum Proposal {
    Command(Command),
    KeepAlive(LeaseId),
    /// Revoke a lease that was found due, unless it was kept alive after this index.
    Expire(LeaseId, u64),
}

/// What came of a proposal.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Outcome(Outcome),
    KeptAlive(Lease),
    /// The lease was kept alive in time.
    NotDue,
}

/// What a driver is to do.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) messages: Vec<Message>,
    /// Session and number of proposals that were applied, with their answers.
    pub(crate) done: Vec<(u64, u64, Result<Answer, Error>)>,
    /// Reads that may now look at the state.
    pub(crate) reads: Vec<u64>,
    /// Leases that live for their whole time from now, and leases that are gone.
    pub(crate) started: Vec<Lease>,
    pub(crate) ended: Vec<LeaseId>,
    /// The state was replaced as a whole.
    pub(crate) replaced: bool,
}

#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) is_leader: bool,
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
}

pub(crate) struct Replica {
    config: ReplicaConfig,
    node: RawNode<RaftLog>,
    disk: RaftDisk,
    core: Arc<Core>,
    ledger: Ledger,
    applied: (u64, u64),
    /// Reads that wait for an index to be applied.
    reads: Vec<(u64, u64)>,
    questions: Questions,
    session: u64,
    proposed: u64,
    checkpointed: u64,
    /// To whom a whole state was sent, and how many ticks ago.
    images_sent: Vec<(u64, usize)>,
    /// A proposal that comes twice is applied twice: a bug that only tests switch on.
    trusting: bool,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("id", &self.config.id).field("applied", &self.applied).finish_non_exhaustive()
    }
}

impl Replica {
    /// A replica that goes on from what was on its disk.
    pub(crate) fn new(
        config: ReplicaConfig,
        (disk, found): (RaftDisk, Found),
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let Found { checkpoint, state, hard_state, entries, incarnation } = found;
        let conf_state = if checkpoint.index == 0 {
            ConfState::from((config.voters.clone(), Vec::new()))
        } else {
            checkpoint.conf_state
        };
        let applied = (checkpoint.index, checkpoint.term);
        let mut log = RaftLog::new(hard_state, conf_state, applied, entries);
        // The snapshot was of committed entries only, whatever the last hard state knew.
        log.hard_state.commit = log.hard_state.commit.max(applied.0);
        let raft_config = Config {
            id: config.id,
            election_tick: config.election_ticks,
            min_election_tick: config.election_ticks,
            // The one timeout in this range: nothing is left to chance here.
            max_election_tick: config.election_ticks + 1,
            heartbeat_tick: config.heartbeat_ticks,
            applied: applied.0,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            max_uncommitted_size: 256 << 20,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&raft_config, log, &logger).map_err(|e| broken(&e))?;
        // The id is in the upper bits, so no two replicas have a session in common.
        let session = config.id << 48 | incarnation;
        Ok(Self {
            core: Arc::new(Core::new(state, clock)),
            ledger: checkpoint.ledger,
            applied,
            reads: Vec::new(),
            questions: Questions::default(),
            session,
            proposed: 0,
            checkpointed: applied.0,
            images_sent: Vec::new(),
            trusting: false,
            config,
            node,
            disk,
        })
    }

    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) const fn id(&self) -> u64 {
        self.config.id
    }

    pub(crate) const fn session(&self) -> u64 {
        self.session
    }

    pub(crate) const fn applied(&self) -> u64 {
        self.applied.0
    }

    pub(crate) fn committed(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.disk.bytes()
    }

    pub(crate) fn renewed(&self, lease: LeaseId) -> u64 {
        self.ledger.renewed(lease)
    }

    pub(crate) fn conf_state(&self) -> &ConfState {
        &self.node.store().conf_state
    }

    pub(crate) fn role(&self) -> Role {
        let raft = &self.node.raft;
        let leader = (raft.leader_id != 0).then_some(raft.leader_id);
        Role { is_leader: raft.state == StateRole::Leader, leader, term: raft.term }
    }

    /// Stands for election at once. A replica that is alone need not wait for others.
    pub(crate) fn campaign(&mut self) {
        // A replica that may not stand does not.
        let _ = self.node.campaign();
    }

    pub(crate) fn transfer_leader(&mut self, to: u64) {
        self.node.transfer_leader(to);
    }

    pub(crate) fn tick(&mut self) {
        self.node.tick();
        // Raft sends nothing else to a replica that it sent a whole state, and does not notice if that gets
        // lost. Trying again does no harm if it was only slow.
        for (_, ticks) in &mut self.images_sent {
            *ticks += 1;
        }
        let patience = self.config.election_ticks * 2;
        for (to, _) in self.images_sent.extract_if(.., |(_, ticks)| *ticks >= patience) {
            self.node.report_snapshot(to, SnapshotStatus::Failure);
        }
    }

    /// Takes a message from another replica. One that makes no sense is dropped.
    pub(crate) fn receive(&mut self, message: Message) {
        if message.get_msg_type() == MessageType::MsgReadIndex {
            let question = message.get_entries().first();
            if !question.is_some_and(|question| self.questions.is_new(message.from, &question.data)) {
                return;
            }
        }
        if !raft::raw_node::is_local_msg(message.get_msg_type())
            && let Err(error) = self.node.step(message)
        {
            tracing::debug!(%error, "a message of another replica was dropped");
        }
    }

    /// Proposes something; answers its number, under which its answer will come, if it does not get lost.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a leader.
    pub(crate) fn propose(&mut self, proposal: &Proposal) -> Result<u64, Error> {
        self.proposed += 1;
        let number = self.proposed;
        let mut context = Vec::with_capacity(12);
        put_number(&mut context, self.session);
        put_number(&mut context, number);
        let mut data = Vec::new();
        match proposal {
            Proposal::Command(command) => {
                data.push(COMMAND);
                encode_command(command, &mut data);
            }
            Proposal::KeepAlive(lease) => {
                data.push(KEEP_ALIVE);
                put_number(&mut data, lease.0 as u64);
            }
            Proposal::Expire(lease, renewed) => {
                data.push(EXPIRE);
                put_number(&mut data, lease.0 as u64);
                put_number(&mut data, *renewed);
            }
        }
        match self.node.propose(context, data) {
            Ok(()) => Ok(number),
            Err(raft::Error::ProposalDropped) => Err(Error::unavailable("no leader")),
            Err(error) => Err(Error::unavailable(error.to_string())),
        }
    }

    /// Asks for `token` to come among [`Step::reads`] once this replica has applied everything that
    /// anyone had been told was committed. May get lost: ask again then.
    pub(crate) fn read(&mut self, token: u64) {
        // The leader tells requests apart by their context, so it must differ from other replicas' too.
        let context = [self.session.to_le_bytes(), token.to_le_bytes()].concat();
        self.node.read_index(context);
    }

    /// Does what has become possible.
    ///
    /// # Errors
    /// The disk failed, and this replica can do nothing more.
    pub(crate) fn ready(&mut self) -> Result<Step, Error> {
        let mut step = Step::default();
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            step.messages.extend(ready.take_messages());
            if *ready.snapshot() != Snapshot::default() {
                self.install(ready.snapshot(), &mut step)?;
            }
            let reads = ready.take_read_states();
            self.apply(ready.take_committed_entries(), &mut step)?;
            self.disk.save(ready.entries(), ready.hs())?;
            let log = self.node.mut_store();
            log.append(ready.entries());
            if let Some(hard_state) = ready.hs() {
                log.hard_state = hard_state.clone();
            }
            step.messages.extend(ready.take_persisted_messages());
            let mut light = self.node.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.node.mut_store().hard_state.commit = commit;
            }
            step.messages.extend(light.take_messages());
            self.apply(light.take_committed_entries(), &mut step)?;
            self.node.advance_apply();
            for read in reads {
                let (session, token) = read.request_ctx.split_at(read.request_ctx.len().min(8));
                if let Ok(token) = <[u8; 8]>::try_from(token)
                    && *session == self.session.to_le_bytes()
                {
                    self.reads.push((read.index, u64::from_le_bytes(token)));
                }
            }
        }
        let images = step.messages.iter().filter(|m| m.get_msg_type() == MessageType::MsgSnapshot);
        self.images_sent.extend(images.map(|message| (message.to, 0)));
        let applied = self.applied.0;
        step.reads.extend(self.reads.extract_if(.., |(index, _)| *index <= applied).map(|(_, token)| token));
        self.maintain()?;
        Ok(step)
    }

    /// Checkpoints, and images for those who are far behind.
    fn maintain(&mut self) -> Result<(), Error> {
        if self.node.store().take_image_wanted() {
            let image = self.image();
            self.node.mut_store().offer_image(image);
        }
        if self.applied.0 - self.checkpointed < self.config.checkpoint_after {
            return Ok(());
        }
        let (checkpoint, log) = (self.checkpoint(), self.node.store());
        let entries = log.entries().filter(|entry| entry.index > checkpoint.index);
        self.disk.checkpoint(&self.core, &checkpoint, entries, &log.hard_state)?;
        self.checkpointed = self.applied.0;
        let keep = self.applied.0.saturating_sub(ENTRIES_KEPT.min(self.config.checkpoint_after));
        self.node.mut_store().drop_until(keep);
        Ok(())
    }

    fn checkpoint(&self) -> Checkpoint {
        let (index, term) = self.applied;
        Checkpoint { index, term, conf_state: self.conf_state().clone(), ledger: self.ledger.clone() }
    }

    /// The whole state as of now, as a message.
    fn image(&self) -> Snapshot {
        let mut data = Vec::new();
        let checkpoint = self.checkpoint();
        checkpoint.encode(&mut data);
        let state = self.core.state();
        let mut source = ImageSource::new(&state);
        while let Some(block) = source.next(&state) {
            put_bytes(&mut data, &block);
        }
        drop(state);
        let mut snapshot = Snapshot::default();
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = self.applied;
        meta.set_conf_state(checkpoint.conf_state);
        snapshot.set_data(data.into());
        snapshot
    }

    fn install(&mut self, snapshot: &Snapshot, step: &mut Step) -> Result<(), Error> {
        let (checkpoint, state) = decode_image(snapshot.get_data())
            .map_err(|reason| Error::Failed { reason: format!("a snapshot from another replica: {reason}") })?;
        self.applied = (checkpoint.index, checkpoint.term);
        self.ledger = checkpoint.ledger.clone();
        self.core.replace(state);
        let log = self.node.mut_store();
        log.restart(snapshot);
        let hard_state = log.hard_state.clone();
        self.disk.restart(&self.core, &checkpoint, &hard_state)?;
        self.checkpointed = checkpoint.index;
        step.replaced = true;
        Ok(())
    }

    fn apply(&mut self, entries: Vec<Entry>, step: &mut Step) -> Result<(), Error> {
        for entry in entries {
            self.applied = (entry.index, entry.term);
            match entry.get_entry_type() {
                EntryType::EntryNormal if entry.data.is_empty() => {}
                EntryType::EntryNormal => self.apply_entry(&entry, step).map_err(|reason| Error::Failed {
                    reason: format!("entry {} of the replicated log: {reason}", entry.index),
                })?,
                // Members are fixed: nobody proposes this.
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                    return Err(Error::Failed { reason: "a change of members".to_owned() });
                }
            }
        }
        Ok(())
    }

    fn apply_entry(&mut self, entry: &Entry, step: &mut Step) -> Result<(), Reason> {
        let mut context = Decoder::new(&entry.context);
        let (session, number) = (context.number()?, context.number()?);
        if !self.ledger.admit(session, number, entry.index) && !self.trusting {
            return Ok(());
        }
        let (kind, data) = entry.data.split_first().ok_or("nothing in it")?;
        let mut from = Decoder::new(data);
        let answer = match *kind {
            COMMAND => self.apply_command(decode_command(data)?, entry.index, step),
            KEEP_ALIVE => self.keep_alive(LeaseId(from.number()? as i64), entry.index, step),
            EXPIRE => {
                let (lease, renewed) = (LeaseId(from.number()? as i64), from.number()?);
                if self.ledger.renewed(lease) == renewed {
                    self.apply_command(Command::LeaseRevoke(lease), entry.index, step)
                } else {
                    Ok(Answer::NotDue)
                }
            }
            _ => return Err("unknown kind of proposal"),
        };
        step.done.push((session, number, answer));
        Ok(())
    }

    fn apply_command(&mut self, command: Command, index: u64, step: &mut Step) -> Result<Answer, Error> {
        let revoked = match command {
            Command::LeaseRevoke(lease) => Some(lease),
            _ => None,
        };
        let applied = self.core.apply([command]).pop();
        let outcome = applied.map_or(Err(Error::Closed), |applied| applied.outcome)?;
        match (&outcome, revoked) {
            (Outcome::LeaseGranted(lease), _) => {
                self.ledger.renew(lease.id, index);
                step.started.push(*lease);
            }
            (Outcome::LeaseRevoked(_), Some(lease)) => {
                self.ledger.forget(lease);
                step.ended.push(lease);
            }
            (Outcome::Compacted, _) => self.core.prune(None),
            _ => {}
        }
        Ok(Answer::Outcome(outcome))
    }

    fn keep_alive(&mut self, lease: LeaseId, index: u64, step: &mut Step) -> Result<Answer, Error> {
        let (lease, _) = self.core.state().lease(lease)?;
        self.ledger.renew(lease.id, index);
        step.started.push(lease);
        Ok(Answer::KeptAlive(lease))
    }

    #[cfg(test)]
    pub(crate) fn trust_the_network(&mut self) {
        self.trusting = true;
    }

    /// The log that is in memory: its first and last index.
    #[cfg(test)]
    pub(crate) fn log_span(&self) -> (u64, usize) {
        (self.node.store().start().0, self.node.store().len())
    }
}

fn decode_image(data: &[u8]) -> Result<(Checkpoint, State), Reason> {
    let mut from = Decoder::new(data);
    let checkpoint = Checkpoint::decode(&mut from)?;
    let mut sink = ImageSink::default();
    while !from.is_done() {
        sink.block(from.slice()?)?;
    }
    Ok((checkpoint, sink.finish()?))
}

fn broken(error: &raft::Error) -> Error {
    Error::Failed { reason: format!("raft: {error}") }
}

/// Whether raft's log has entries that this replica has not applied.
#[cfg(test)]
pub(crate) fn is_behind(replica: &Replica) -> bool {
    replica.node.store().last_index().is_ok_and(|last| last > replica.applied())
}
