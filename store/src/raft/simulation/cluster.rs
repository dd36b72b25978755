//! The replicas, the network between them and the time.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use raft::eraftpb::EntryType;

use super::clients::{Client, Watch};
use super::faults::Operator;
use super::oracle::Oracle;
use super::random::Random;
use super::wire::Job;
use super::{Bug, Options, Report};
use crate::disk::sim::SimDisk;
use crate::raft::disk::RaftDisk;
use crate::raft::frame::{Envelope, Frame};
use crate::raft::replica::{Answer, Replica, ReplicaConfig};
use crate::{Error, KeyRange, ManualClock, Member, Revision, WatchOptions, WatchStream};

/// What passes in a step, and how long a tick takes.
pub(super) const STEP: Duration = Duration::from_millis(10);
const ELECTION_TICKS: usize = 10;
/// No log is as long, so no two starts of a replica have the same session.
const STARTED: u64 = 1 << 32;

pub(super) struct Node {
    pub(super) id: u64,
    pub(super) disk: SimDisk,
    /// `None` while it is down.
    pub(super) replica: Option<Replica>,
    /// It does nothing until this step.
    pub(super) paused_until: u64,
    /// Its clock shows so much more than it should, and runs faster by so many thousandths.
    pub(super) clock_ahead: i64,
    pub(super) clock_drift: i64,
    /// Thousandths of a tick that have passed.
    ticks_due: u64,
    /// Snapshots that are being written.
    pub(super) jobs: Vec<Job>,
    pub(super) client: Client,
    /// What it applies.
    observer: Option<WatchStream>,
    observed: Revision,
    /// It is no member any more, or its disk is beyond repair.
    pub(super) gone: bool,
    /// Its disk was found damaged; it must be removed.
    pub(super) rotten: bool,
}

impl Node {
    /// Nothing of what it had will ever be seen again.
    pub(super) const fn is_lost(&self) -> bool {
        self.gone || self.rotten
    }
}

pub(super) struct Cluster {
    pub(super) random: Random,
    pub(super) options: Options,
    pub(super) lease_reads: bool,
    pub(super) now: u64,
    pub(super) nodes: Vec<Node>,
    founders: Vec<Member>,
    /// Messages on their way, by when they arrive.
    pub(super) flying: BTreeMap<(u64, u64), Envelope>,
    pub(super) sent: u64,
    /// From whom to whom nothing arrives.
    pub(super) cut: BTreeSet<(u64, u64)>,
    pub(super) faulty: bool,
    /// Whether clients still come.
    pub(super) open: bool,
    pub(super) oracle: Oracle,
    pub(super) operator: Operator,
    /// The newest revision that anyone was told of.
    pub(super) known: Revision,
    /// How many values were written.
    pub(super) values: u64,
    pub(super) report: Report,
}

impl Cluster {
    pub(super) fn new(seed: u64, options: Options) -> Result<Self, String> {
        let founders: Vec<Member> = (1..=options.replicas).map(Member::voter).collect();
        let mut cluster = Self {
            random: Random::new(seed),
            options,
            lease_reads: seed % 2 == 1,
            now: 0,
            nodes: Vec::new(),
            founders,
            flying: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            faulty: true,
            open: true,
            oracle: Oracle::default(),
            operator: Operator::default(),
            known: Revision::INITIAL,
            values: 0,
            report: Report::default(),
        };
        for id in 1..=options.replicas {
            cluster.add_node(id)?;
        }
        Ok(cluster)
    }

    /// A machine with an empty disk.
    pub(super) fn add_node(&mut self, id: u64) -> Result<(), String> {
        self.nodes.push(Node {
            id,
            disk: if id.is_multiple_of(2) { SimDisk::indirect() } else { SimDisk::default() },
            replica: None,
            paused_until: 0,
            clock_ahead: 0,
            clock_drift: self.random.below(100) as i64 - 50,
            ticks_due: 0,
            jobs: Vec::new(),
            client: Client::default(),
            observer: None,
            observed: Revision::INITIAL,
            gone: false,
            rotten: false,
        });
        self.start(self.nodes.len() - 1)
    }

    /// Somebody starts a replica, and sees to it that there is room on its disk.
    pub(super) fn start(&mut self, n: usize) -> Result<(), String> {
        let founders = if self.nodes[n].id <= self.options.replicas { self.founders.clone() } else { Vec::new() };
        let bug = self.options.bug;
        let node = &mut self.nodes[n];
        node.disk.set_capacity(None);
        let config = ReplicaConfig {
            id: node.id,
            founders,
            cluster_token: String::new(),
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: 2,
            checkpoint_after: 40,
            checkpoint_after_bytes: 1 << 20,
            inflight_messages_max: 16,
            message_bytes_max: 1 << 10,
            uncommitted_bytes_max: 1 << 20,
            started: STARTED + self.now,
            read_lease: if self.lease_reads || bug == Bug::StaleRead { STEP * 5 * 9 / 10 } else { Duration::ZERO },
        };
        let opened = match RaftDisk::open(Arc::new(node.disk.clone()), 2 << 10) {
            Ok(opened) => opened,
            Err(Error::Corrupt { .. } | Error::Format { .. }) if node.rotten => {
                node.gone = true;
                self.report.rotten += 1;
                return Ok(());
            }
            Err(error) => return Err(format!("replica {} does not start: {error}", node.id)),
        };
        node.rotten = false;
        let replica = Replica::new(config, opened, Arc::new(ManualClock::new()));
        let mut replica = replica.map_err(|error| format!("replica {} does not start: {error}", node.id))?;
        replica.plant(bug);
        node.observed = node.observed.min(replica.core().state().revision());
        let from = replica.core().state().revision().next();
        node.observer = replica.core().watch(KeyRange::all(), from, WatchOptions::default()).ok();
        node.observed = from;
        node.replica = Some(replica);
        Ok(())
    }

    pub(super) fn crash(&mut self, n: usize) {
        let (random, node) = (&mut self.random, &mut self.nodes[n]);
        node.replica = None;
        (node.jobs, node.observer) = (Vec::new(), None);
        node.disk = node.disk.after_crash(|| random.one_in(2));
        let client = std::mem::take(&mut node.client);
        client.end(&mut self.oracle);
        self.report.crashes += 1;
    }

    pub(super) fn run(mut self) -> Result<Report, String> {
        for _ in 0..self.options.faulty_steps {
            self.faults()?;
            self.step()?;
        }
        self.heal()?;
        let before = self.oracle.answered();
        for _ in 0..self.options.healing_steps {
            self.step()?;
            self.open = self.oracle.answered() <= before + 8;
            if !self.open && self.is_calm() {
                return self.finish();
            }
        }
        Err(format!("no progress after healing: {}", self.describe()))
    }

    pub(super) fn describe(&self) -> String {
        let of = |node: &Node| match &node.replica {
            Some(replica) => format!(
                "{}: {:?}, applied {} of {}, {:?}",
                node.id,
                replica.role(),
                replica.applied(),
                replica.committed(),
                replica.conf_state()
            ),
            None => format!("{}: down", node.id),
        };
        self.nodes.iter().filter(|node| !node.gone).map(of).collect::<Vec<_>>().join("; ")
    }

    pub(super) fn finish(mut self) -> Result<Report, String> {
        // What clients still wait for, and what watches still have to deliver.
        self.poll_watches()?;
        let clients: Vec<Client> = self.nodes.iter_mut().map(|node| std::mem::take(&mut node.client)).collect();
        clients.into_iter().for_each(|client| client.end(&mut self.oracle));
        let replicas: Vec<&Replica> = self.nodes.iter().filter_map(|node| node.replica.as_ref()).collect();
        let digests: BTreeSet<u32> = replicas.iter().map(|replica| replica.core().state().digest()).collect();
        if digests.len() != 1 {
            return Err(format!("replicas differ: {digests:?}"));
        }
        let state = replicas[0].core().state().clone();
        self.oracle.judge(&state)?;
        let mut report = self.report;
        report.answered = self.oracle.answered();
        report.unanswered = self.oracle.asked.len() - report.answered;
        report.revisions = state.revision().0;
        report.delivered = self.oracle.watched.iter().map(|watched| watched.delivered.len()).sum();
        report.unjudged = self.oracle.unknown;
        Ok(report)
    }

    pub(super) fn step(&mut self) -> Result<(), String> {
        self.now += 1;
        self.deliver();
        for n in 0..self.nodes.len() {
            if self.nodes[n].paused_until > self.now || self.nodes[n].replica.is_none() {
                continue;
            }
            self.tick(n);
            if self.open {
                self.client(n);
            }
            self.serve(n);
            self.observe(n)?;
        }
        self.operate()?;
        self.poll_watches()
    }

    /// What a replica's clock shows.
    pub(super) fn clock(&self, n: usize) -> Duration {
        let (node, passed) = (&self.nodes[n], STEP.as_micros() as i64 * self.now as i64);
        // Far from zero, so that it can go back.
        let shown = 1_000_000_000 + passed + passed * node.clock_drift / 1000 + node.clock_ahead;
        Duration::from_micros(shown.max(0) as u64)
    }

    fn tick(&mut self, n: usize) {
        let (now, clock) = (self.now, self.clock(n));
        let node = &mut self.nodes[n];
        let Some(replica) = &mut node.replica else { return };
        replica.at(clock);
        node.ticks_due = (node.ticks_due + (1000 + node.clock_drift) as u64).min(4000);
        while node.ticks_due >= 1000 {
            node.ticks_due -= 1000;
            replica.tick();
        }
        let mut has_failed = false;
        for job in std::mem::take(&mut node.jobs) {
            match job.work(now) {
                Ok((index, result)) => has_failed |= replica.snapshot_written(index, result).is_err(),
                Err(job) => node.jobs.push(*job),
            }
        }
        if has_failed {
            self.fail(n);
        }
    }

    /// Time passed while it was paused, which it makes up for as far as it may.
    pub(super) fn pause(&mut self, n: usize, steps: u64) {
        self.nodes[n].paused_until = self.now + steps;
        self.nodes[n].ticks_due = 3000;
    }

    fn serve(&mut self, n: usize) {
        let Some(replica) = &mut self.nodes[n].replica else { return };
        let mut effects = Vec::new();
        let result = replica.ready(&mut |effect| effects.push(effect));
        let is_removed = replica.is_removed();
        self.follow(n, effects);
        if result.is_err() {
            self.fail(n);
        } else if is_removed {
            self.crash(n);
            self.nodes[n].gone = true;
        }
    }

    /// The disk is full, or the power is gone, so the replica ends. Whoever runs it sees to that, and starts it again.
    fn fail(&mut self, n: usize) {
        if self.nodes[n].disk.is_dark() {
            self.report.torn += 1;
        } else {
            self.report.full += 1;
        }
        self.crash(n);
    }

    pub(super) fn trace(&mut self, what: u64) {
        self.report.trace = self.report.trace.wrapping_mul(31).wrapping_add(what ^ self.now);
    }

    pub(super) fn done(&mut self, n: usize, number: u64, answer: Result<Answer, Error>) {
        if self.operator.done(n, number, &answer) {
            self.report.changes += usize::from(answer.is_ok());
        } else {
            self.write_done(n, number, answer);
        }
    }

    /// Takes down what a replica applied.
    fn observe(&mut self, n: usize) -> Result<(), String> {
        let node = &mut self.nodes[n];
        let Some(replica) = &node.replica else { return Ok(()) };
        let mut cx = Context::from_waker(Waker::noop());
        while let Some(observer) = &mut node.observer {
            match Pin::new(observer).poll_next(&mut cx) {
                Poll::Ready(Some(Ok(batch))) => {
                    node.observed = batch.revision.next();
                    self.oracle.applied(batch.revision, self.now, &batch.events)?;
                }
                Poll::Ready(Some(Err(Error::Compacted { .. }))) => {
                    // It was given a whole state, from which what came before is compacted.
                    node.observed = replica.core().state().revision().next();
                    let again = replica.core().watch(KeyRange::all(), node.observed, WatchOptions::default());
                    node.observer = again.ok();
                }
                Poll::Ready(Some(Err(error))) => return Err(format!("a watch ended: {error}")),
                Poll::Ready(None) => return Err("a watch ended without an error".to_owned()),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Whether somebody may still receive a change of members.
    pub(super) fn has_change_on_its_way(&self) -> bool {
        self.flying.values().any(|envelope| match &envelope.frame {
            Frame::Raft(message) => {
                message.get_entries().iter().any(|entry| entry.get_entry_type() != EntryType::EntryNormal)
            }
            _ => false,
        })
    }

    pub(super) fn watches(&mut self) -> impl Iterator<Item = (&mut Watch, &Replica)> {
        self.nodes
            .iter_mut()
            .filter_map(|node| {
                let replica = node.replica.as_ref()?;
                Some(node.client.watches.iter_mut().map(move |watch| (watch, replica)))
            })
            .flatten()
    }

    /// All members are up, have applied everything and agree on one leader.
    pub(super) fn is_calm(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let roster = leader.roster();
        let is_calm = |member: &Member| {
            let node = self.nodes.iter().find(|node| node.id == member.id && !node.gone);
            node.and_then(|node| node.replica.as_ref()).is_some_and(|replica| {
                replica.applied() == leader.applied()
                    && replica.is_up_to_date()
                    && replica.conf_state() == leader.conf_state()
            })
        };
        let ended = self.nodes.iter().all(|node| node.replica.is_none() || roster.get(node.id).is_some());
        ended && leader.conf_state().voters_outgoing.is_empty() && roster.members().all(is_calm)
    }

    /// The replica that leads, if all that are up agree on it.
    pub(super) fn leader(&self) -> Option<&Replica> {
        let replicas = self.nodes.iter().filter_map(|node| node.replica.as_ref());
        let mut leaders = replicas.filter(|replica| replica.role().is_leader);
        leaders.next().filter(|_| leaders.next().is_none())
    }
}
