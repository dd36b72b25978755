//! One replica: raft and the state behind it, without threads, clocks or networks.
//!
//! A driver tells it the time, feeds it ticks, frames of other replicas, proposals and reads, and calls
//! [`Replica::ready`], which makes durable what must be, applies what is committed and says, as it goes, what
//! to send and whom to answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, HardState};
use raft::{Config, RawNode, ReadOnlyOption, StateRole};
#[cfg(any(test, feature = "simulation"))]
use raft::{GetEntriesContext, eraftpb::EntryType};

use super::bug::Bug;
use super::checkpoint::Checkpointing;
use super::disk::{Checkpoint, Found, RaftDisk, SnapshotJob, other_format};
use super::frame::Envelope;
use super::home;
use super::image::{Receiving, Sending};
use super::lease::ReadLease;
use super::ledger::Ledger;
use super::log::RaftLog;
use super::members::Leaving;
use super::newborn::Newborn;
use super::questions::Questions;
use super::roster::Roster;
use crate::codec::encode_command;
use crate::driver::Core;
use crate::state::{Command, Outcome, State};
use crate::{Clock, Error, Lease, LeaseId, Member, MemberChange, Members};

pub(super) const COMMAND: u8 = 1;
pub(super) const KEEP_ALIVE: u8 = 2;
pub(super) const EXPIRE: u8 = 3;
pub(super) const MEMBERS: u8 = 4;
pub(super) const REFUSED: u8 = 5;

/// Reads that a replica asks for itself, to renew its lease, have this bit in their number.
pub(super) const OWN_READ: u64 = 1 << 63;

/// Sessions of one replica are numbered up to here.
const SESSION_MAX: u64 = (1 << 48) - 1;

/// What is fixed for a replica.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaConfig {
    pub(crate) id: u64,
    /// Who founds the cluster, if there is none yet; empty for one that joins.
    pub(crate) founders: Vec<Member>,
    pub(crate) cluster_token: String,
    /// Ticks for which a replica that heard a leader votes for nobody else. The first one stands for election two ticks
    /// after that, and each other one two more after the one before it, so that they do not stand at once.
    pub(crate) election_ticks: usize,
    pub(crate) heartbeat_ticks: usize,
    /// Entries in the log, and bytes of them, after which there is a checkpoint.
    pub(crate) checkpoint_after: u64,
    pub(crate) checkpoint_after_bytes: u64,
    pub(crate) inflight_messages_max: usize,
    pub(crate) message_bytes_max: u64,
    pub(crate) uncommitted_bytes_max: u64,
    /// For how long after a majority answered the leader may read alone; zero for never.
    pub(crate) read_lease: Duration,
    /// The time at which it was started, in microseconds since 1970: no two starts of a replica have the same.
    pub(crate) started: u64,
}

/// Something to agree on.
#[derive(Clone, Debug)]
pub(crate) enum Proposal {
    /// A command, encoded by whoever proposes it.
    Command(Bytes),
    KeepAlive(LeaseId),
    /// Revoke a lease that was found due, unless it was kept alive after this index.
    Expire(LeaseId, u64),
    Members(Vec<MemberChange>),
}

impl Proposal {
    /// The proposal to carry out a command.
    pub(crate) fn of(command: &Command) -> Self {
        let mut data = vec![COMMAND];
        encode_command(command, &mut data);
        Self::Command(data.into())
    }
}

/// What came of a proposal.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Outcome(Outcome),
    KeptAlive(Lease),
    /// The lease was kept alive in time.
    NotDue,
    Members(Members),
}

/// What a driver is to do. Answers come as soon as they are certain, before the rest of a step is done.
#[derive(Debug)]
pub(crate) enum Effect {
    Send(Envelope),
    /// The answer to a proposal of this session.
    Done {
        number: u64,
        answer: Result<Answer, Error>,
    },
    /// This read may now look at the state.
    Read(u64),
    /// A lease lives for its whole time from now.
    LeaseStarted(Lease),
    LeaseEnded(LeaseId),
    /// The state was replaced as a whole.
    Replaced,
    /// To be run by somebody, and its outcome told to [`Replica::snapshot_written`].
    Write(SnapshotJob),
}

pub(crate) type Effects<'a> = &'a mut dyn FnMut(Effect);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) is_leader: bool,
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
}

pub(crate) struct Replica {
    pub(super) config: ReplicaConfig,
    pub(super) node: RawNode<RaftLog>,
    pub(super) disk: RaftDisk,
    pub(super) core: Arc<Core>,
    pub(super) ledger: Ledger,
    pub(super) roster: Roster,
    pub(super) applied: (u64, u64),
    /// Reads that wait for an index to be applied.
    pub(super) reads: Vec<(u64, u64)>,
    pub(super) lease: ReadLease,
    pub(super) questions: Questions,
    own_reads: u64,
    pub(super) session: u64,
    pub(super) proposed: u64,
    /// Proposals that raft does not have yet.
    pub(super) proposals: Vec<(u64, Entry)>,
    pub(super) now: Duration,
    /// Ticks since the start.
    pub(super) ticks: u64,
    /// The tick at which each member was last heard.
    pub(super) heard: BTreeMap<u64, u64>,
    pub(super) checkpointed: u64,
    pub(super) checkpointing: Option<Checkpointing>,
    /// The index of the snapshot that somebody writes, though it may have been called off: there is one at a time.
    pub(super) writing: Option<u64>,
    pub(super) pruning: bool,
    pub(super) sending: Vec<Sending>,
    pub(super) transfers: u64,
    pub(super) receiving: Option<Receiving>,
    pub(super) received: Option<(Checkpoint, State)>,
    /// A change of members that is decided, but not through: who asked for it.
    pub(super) changing: Option<(u64, u64)>,
    /// This replica is no member any more, and stays only until it may go.
    pub(super) leaving: Option<Leaving>,
    /// No leader was heard for long: is this replica a member still?
    pub(super) wonders: bool,
    pub(super) removed: bool,
    /// This replica founds the cluster with an empty directory, and does not vote yet.
    pub(super) newborn: Option<Newborn>,
    /// A bug that only the simulation plants, and what it has kept from the disk.
    pub(super) bug: Bug,
    pub(super) unsaved: Vec<Entry>,
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
        (mut disk, found): (RaftDisk, Found),
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let Found { mut checkpoint, state, mut hard_state, entries, incarnation, .. } = found;
        let core = Arc::new(Core::new(state, clock));
        if checkpoint.index == 0 && !config.founders.is_empty() {
            if hard_state != HardState::default() {
                return Err(other_format(disk.path()));
            }
            // All founders write the same first entry by themselves. A member that joins later lacks it, so it
            // is given the whole state, and with it the members of that moment.
            (checkpoint, hard_state) = home::found(&mut disk, &core, &config.founders, &config.cluster_token)?;
        }
        let Checkpoint { index, term, conf_state, roster, ledger } = checkpoint;
        let votes = conf_state.voters.contains(&config.id);
        let mut log = RaftLog::new(hard_state, conf_state, (index, term), entries);
        // The snapshot was of committed entries only, whatever the last hard state knew.
        log.hard_state.commit = log.hard_state.commit.max(index);
        let rank = if roster.get(config.id).is_some() {
            roster.members().filter(|member| member.id < config.id).count().min(7)
        } else {
            config.id as usize % 8
        };
        let raft_config = raft_config(&config, config.election_ticks + 2 * (rank + 1), index);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&raft_config, log, &logger).map_err(|e| broken(&e))?;
        // The id is in the upper bits, so no two replicas have a session in common.
        // Nor have two starts of one, though its directory was lost in between: the time makes the difference then.
        let session = config.id << 48 | (config.started.wrapping_add(incarnation) & SESSION_MAX);
        let newborn = (votes && disk.is_newborn()).then(Newborn::default);
        let mut this = Self {
            core,
            ledger,
            roster,
            applied: (index, term),
            reads: Vec::new(),
            lease: ReadLease::new(config.read_lease),
            questions: Questions::default(),
            own_reads: 0,
            session,
            proposed: 0,
            proposals: Vec::new(),
            now: Duration::ZERO,
            ticks: 0,
            heard: BTreeMap::new(),
            checkpointed: index,
            checkpointing: None,
            writing: None,
            pruning: true,
            sending: Vec::new(),
            transfers: 0,
            receiving: None,
            received: None,
            changing: None,
            leaving: None,
            wonders: false,
            removed: false,
            newborn,
            bug: Bug::None,
            unsaved: Vec::new(),
            config,
            node,
            disk,
        };
        this.note_removal();
        Ok(this)
    }

    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) const fn id(&self) -> u64 {
        self.config.id
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

    pub(crate) const fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(crate) fn conf_state(&self) -> &ConfState {
        &self.node.store().conf_state
    }

    /// Whether this replica is no member any more, and has nothing left to do.
    pub(crate) const fn is_removed(&self) -> bool {
        self.removed
    }

    pub(crate) fn role(&self) -> Role {
        let raft = &self.node.raft;
        let leader = (raft.leader_id != 0).then_some(raft.leader_id);
        Role { is_leader: raft.state == StateRole::Leader, leader, term: raft.term }
    }

    pub(super) fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Makes this replica do something wrong on purpose.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn plant(&mut self, bug: Bug) {
        self.bug = bug;
        self.core.skip_gaps(bug.is(Bug::WatchGap));
        if bug.is(Bug::RevisionReuse) {
            self.core.forget_deletions();
        }
    }

    /// Whether this replica does not vote yet, because its directory was empty.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) const fn is_newborn(&self) -> bool {
        self.newborn.is_some()
    }

    /// Whether nothing is in the log that is not applied.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn is_up_to_date(&self) -> bool {
        self.node.raft.raft_log.last_index() <= self.applied()
    }

    /// Whether a change of members is in the log that is not applied.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn is_to_change(&self) -> bool {
        let entries = self.node.raft.raft_log.entries(self.applied() + 1, None, GetEntriesContext::empty(false));
        entries.is_ok_and(|entries| entries.iter().any(|entry| entry.get_entry_type() != EntryType::EntryNormal))
    }

    /// Stands for election at once, if this replica is alone and so need not wait for others.
    pub(crate) fn campaign_if_alone(&mut self) {
        if self.conf_state().voters == [self.config.id] {
            // A replica that may not stand does not.
            let _ = self.node.campaign();
        }
    }

    /// Asks the leader, this replica or another, to hand over.
    pub(crate) fn transfer_leader(&mut self, to: u64) {
        self.lease.bar(self.node.raft.term);
        self.node.transfer_leader(to);
    }

    /// A member cannot be reached now: it is probed instead of being sent all that is new.
    pub(crate) fn unreachable(&mut self, id: u64) {
        self.node.report_unreachable(id);
    }

    /// Tells the time: what has passed since some moment, by a clock that never goes back and does not stand
    /// still while the process does.
    pub(crate) fn at(&mut self, now: Duration) {
        if now < self.now {
            // It did go back, so nobody knows how much has passed.
            self.lease.give_up();
        }
        self.now = now;
    }

    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
        self.tick_newborn();
        self.node.tick();
        let term = self.node.raft.term;
        if self.leads() && !self.hears_majority() {
            // Raft looks for this once in an election timeout, so it may take two of them to see it, and meanwhile others
            // follow a leader that can do nothing.
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
        if self.leads() && self.lease.wants_renewal(term, self.now) {
            self.own_reads += 1;
            self.ask(OWN_READ | self.own_reads);
        }
        self.tick_images();
        self.tick_members();
    }
}

fn raft_config(config: &ReplicaConfig, stands_after: usize, applied: u64) -> Config {
    Config {
        id: config.id,
        // So long nobody votes against a leader that was heard. Whoever stands first stands later than that for all,
        // so that the first election succeeds.
        election_tick: config.election_ticks,
        min_election_tick: stands_after,
        // The one timeout in this range: nothing is left to chance here.
        max_election_tick: stands_after + 1,
        heartbeat_tick: config.heartbeat_ticks,
        applied,
        max_size_per_msg: config.message_bytes_max,
        max_inflight_msgs: config.inflight_messages_max,
        check_quorum: true,
        pre_vote: true,
        // Leases are kept by clocks, not by ticks: see `ReadLease`.
        read_only_option: ReadOnlyOption::Safe,
        max_uncommitted_size: config.uncommitted_bytes_max,
        ..Config::default()
    }
}

pub(super) fn broken(error: &raft::Error) -> Error {
    Error::Failed { reason: format!("raft: {error}") }
}
