//! A cluster of replicas in one thread, from one seed: a network that delays, drops, doubles and parts,
//! disks that forget what was not synced, replicas that crash and pause. Faults first, then they heal,
//! then all must agree with what clients were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use raft::eraftpb::Message;

use super::disk::RaftDisk;
use super::replica::{Answer, Proposal, Replica, ReplicaConfig, is_behind};
use crate::disk::sim::SimDisk;
use crate::state::{Command, Outcome};
use crate::{Key, KeyRange, ManualClock, Op, RangeOptions, ReadOptions, Revision, Txn};

const FAULTY_STEPS: u64 = 1000;
const HEALING_STEPS: u64 = 4000;
const KEYS: u64 = 5;

/// What a run does wrong on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// Writes are acknowledged before they are durable.
    LyingSync,
    /// Reads look at whatever the replica has.
    StaleRead,
    /// A proposal that comes twice is applied twice.
    DoubleApply,
    /// A vote or entry is forgotten by a restart.
    Amnesia,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

struct Node {
    disk: SimDisk,
    /// `None` while it is down.
    replica: Option<Replica>,
    /// It does nothing until this step.
    paused_until: u64,
    /// Writes and reads that clients wait for here, by number.
    writes: BTreeMap<u64, usize>,
    reads: BTreeMap<u64, usize>,
    next_read: u64,
}

/// A write: put once in the whole history, for its value is unique.
#[derive(Debug)]
struct Write {
    key: Key,
    /// The newest revision that anyone had been told of when it began.
    known: Revision,
    revision: Option<Revision>,
}

#[derive(Debug)]
struct Read {
    key: Key,
    known: Revision,
    /// The revision it was answered at, and what was there.
    found: Option<(Revision, Option<Vec<u8>>)>,
}

struct Cluster {
    random: Random,
    bug: Bug,
    now: u64,
    nodes: Vec<Node>,
    /// Messages on their way, by when they arrive.
    flying: BTreeMap<(u64, u64), Message>,
    sent: u64,
    /// Replicas with different numbers here do not hear one another.
    sides: Vec<u64>,
    faulty: bool,
    /// Whether clients still come.
    open: bool,
    writes: Vec<Write>,
    reads: Vec<Read>,
    /// The newest revision that anyone was told of.
    known: Revision,
    trace: u64,
}

impl Cluster {
    fn new(seed: u64, size: u64, bug: Bug) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        let node = |_| Node {
            disk: SimDisk::default(),
            replica: None,
            paused_until: 0,
            writes: BTreeMap::new(),
            reads: BTreeMap::new(),
            next_read: 0,
        };
        let mut cluster = Self {
            random,
            bug,
            now: 0,
            nodes: (0..size).map(node).collect(),
            flying: BTreeMap::new(),
            sent: 0,
            sides: vec![0; size as usize],
            faulty: true,
            open: true,
            writes: Vec::new(),
            reads: Vec::new(),
            known: Revision::INITIAL,
            trace: 0,
        };
        (0..size as usize).for_each(|n| cluster.start(n));
        cluster
    }

    fn start(&mut self, n: usize) {
        let size = self.nodes.len() as u64;
        let node = &mut self.nodes[n];
        if self.bug == Bug::LyingSync {
            node.disk.lie_about_syncs();
        }
        let config = ReplicaConfig {
            id: n as u64 + 1,
            voters: (1..=size).collect(),
            election_ticks: 10 + n * 2,
            heartbeat_ticks: 2,
            checkpoint_after: 40,
        };
        let opened = RaftDisk::open(Arc::new(node.disk.clone()), 16 << 10).expect("a sound disk");
        let replica = Replica::new(config, opened, Arc::new(ManualClock::new()));
        let mut replica = replica.expect("a sound replica");
        if self.bug == Bug::DoubleApply {
            replica.trust_the_network();
        }
        node.replica = Some(replica);
    }

    fn crash(&mut self, n: usize) {
        let (random, node) = (&mut self.random, &mut self.nodes[n]);
        node.replica = None;
        (node.writes, node.reads) = (BTreeMap::new(), BTreeMap::new());
        node.disk = match self.bug {
            Bug::Amnesia => SimDisk::default(),
            _ => node.disk.after_crash(|| random.one_in(2)),
        };
    }

    fn faults(&mut self) {
        let n = self.random.below(self.nodes.len() as u64) as usize;
        if self.random.one_in(60) && self.nodes[n].replica.is_some() {
            self.crash(n);
        }
        if self.random.one_in(20) && self.nodes[n].replica.is_none() {
            self.start(n);
        }
        if self.random.one_in(80) {
            self.nodes[n].paused_until = self.now + self.random.below(60);
        }
        if self.random.one_in(70) {
            let random = &mut self.random;
            self.sides.iter_mut().for_each(|side| *side = random.below(2));
        }
        if self.random.one_in(50) {
            self.sides.fill(0);
        }
    }

    fn heal(&mut self) {
        self.faulty = false;
        self.sides.fill(0);
        for n in 0..self.nodes.len() {
            self.nodes[n].paused_until = 0;
            if self.nodes[n].replica.is_none() {
                self.start(n);
            }
        }
    }

    fn send(&mut self, message: Message) {
        self.trace = self.trace.wrapping_mul(31).wrapping_add(message.index ^ message.term << 20 ^ message.to << 40);
        let copies = match self.faulty {
            true if self.random.one_in(12) => 0,
            true if self.random.one_in(12) => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay =
                if self.faulty && self.random.one_in(10) { self.random.below(40) } else { self.random.below(3) };
            self.sent += 1;
            self.flying.insert((self.now + 1 + delay, self.sent), message.clone());
        }
    }

    fn step(&mut self) {
        self.now += 1;
        if self.faulty {
            self.faults();
        }
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let message = entry.remove();
            let (from, to) = (message.from as usize - 1, message.to as usize - 1);
            let node = &mut self.nodes[to];
            if self.sides[from] == self.sides[to]
                && node.paused_until <= self.now
                && let Some(replica) = &mut node.replica
            {
                replica.receive(message);
            }
        }
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            if node.paused_until > self.now {
                continue;
            }
            if let Some(replica) = &mut node.replica {
                replica.tick();
            }
            if self.open {
                self.client(n);
            }
            self.serve(n);
        }
    }

    /// Now and then somebody wants something of this replica.
    fn client(&mut self, n: usize) {
        let (is_write, is_read) = (self.random.one_in(6), self.random.one_in(6));
        let key = Key::from(format!("key/{}", self.random.below(KEYS)));
        let node = &mut self.nodes[n];
        let Some(replica) = &mut node.replica else { return };
        if is_write {
            let id = self.writes.len();
            let txn = Txn::new().then(Op::put(key.clone(), id.to_string()));
            self.writes.push(Write { key: key.clone(), known: self.known, revision: None });
            if let Ok(number) = replica.propose(&Proposal::Command(Command::Txn(txn))) {
                node.writes.insert(number, id);
            }
        }
        if is_read {
            let id = self.reads.len();
            self.reads.push(Read { key, known: self.known, found: None });
            if self.bug == Bug::StaleRead {
                self.answer_read(n, id);
                return;
            }
            node.next_read += 1;
            node.reads.insert(node.next_read, id);
            replica.read(node.next_read);
        }
    }

    fn answer_read(&mut self, n: usize, id: usize) {
        let Some(replica) = &self.nodes[n].replica else { return };
        let state = replica.core().state();
        let entry = state.get(&self.reads[id].key, &ReadOptions::latest()).expect("readable");
        let revision = state.revision();
        drop(state);
        self.reads[id].found = Some((revision, entry.map(|entry| entry.value.to_vec())));
        self.known = self.known.max(revision);
    }

    fn serve(&mut self, n: usize) {
        let Some(replica) = &mut self.nodes[n].replica else { return };
        let session = replica.session();
        let step = replica.ready().expect("a sound disk");
        for message in step.messages {
            self.send(message);
        }
        for (by, number, answer) in step.done {
            let Some(id) = self.nodes[n].writes.remove(&number).filter(|_| by == session) else { continue };
            let Ok(Answer::Outcome(Outcome::Committed(committed))) = answer else { panic!("{answer:?}") };
            self.writes[id].revision = Some(committed.revision);
            self.known = self.known.max(committed.revision);
        }
        for token in step.reads {
            if let Some(id) = self.nodes[n].reads.remove(&token) {
                self.answer_read(n, id);
            }
        }
    }

    /// Everyone is up and has applied everything.
    fn is_calm(&self) -> bool {
        let replicas: Vec<&Replica> = self.nodes.iter().filter_map(|node| node.replica.as_ref()).collect();
        let applied = replicas.iter().map(|replica| replica.applied()).max();
        replicas.iter().all(|replica| Some(replica.applied()) == applied && !is_behind(replica))
            && replicas.iter().filter(|replica| replica.role().is_leader).count() == 1
    }

    fn check(&self) -> Result<(), String> {
        let replicas: Vec<&Replica> = self.nodes.iter().filter_map(|node| node.replica.as_ref()).collect();
        let digests: BTreeSet<u32> = replicas.iter().map(|replica| replica.core().state().digest()).collect();
        if digests.len() != 1 {
            return Err(format!("replicas differ: {digests:?}"));
        }
        let state = replicas[0].core().state();
        let all = state.changes(&KeyRange::all(), Revision(2), Revision(u64::MAX), usize::MAX >> 1);
        let (history, _) = all.expect("nothing was compacted");
        let mut where_put = BTreeMap::new();
        for batch in &history {
            let value = batch.events[0].entry.value.clone();
            if let Some(other) = where_put.insert(value.to_vec(), batch.revision) {
                return Err(format!("{value:?} was applied twice, at {other} and {}", batch.revision));
            }
        }
        for (id, write) in self.writes.iter().enumerate() {
            let Some(revision) = write.revision else { continue };
            if where_put.get(id.to_string().as_bytes()) != Some(&revision) {
                return Err(format!("write {id} of {} was acknowledged at {revision} and is lost", write.key));
            }
            if revision <= write.known {
                return Err(format!("write {id} at {revision} began after {} was known", write.known));
            }
        }
        for (id, read) in self.reads.iter().enumerate() {
            let Some((revision, found)) = &read.found else { continue };
            if *revision < read.known {
                return Err(format!("read {id} saw {revision} after {} was known", read.known));
            }
            let then = state.get(&read.key, &ReadOptions::at(*revision)).map_err(|error| error.to_string())?;
            if then.map(|entry| entry.value.to_vec()) != *found {
                return Err(format!("read {id} saw at {revision} what never was"));
            }
        }
        Ok(())
    }
}

/// Runs one seed; answers what went wrong, or how many writes were acknowledged, and a trace.
fn run(seed: u64, size: u64, bug: Bug) -> Result<(usize, u64), String> {
    let mut cluster = Cluster::new(seed, size, bug);
    for _ in 0..FAULTY_STEPS {
        cluster.step();
    }
    cluster.heal();
    let acknowledged = |cluster: &Cluster| cluster.writes.iter().filter(|w| w.revision.is_some()).count();
    let before = acknowledged(&cluster);
    for _ in 0..HEALING_STEPS {
        cluster.step();
        cluster.open = acknowledged(&cluster) <= before + 5;
        if !cluster.open && cluster.is_calm() {
            cluster.check()?;
            return Ok((acknowledged(&cluster), cluster.trace));
        }
    }
    Err("no progress after healing".to_owned())
}

fn check_seeds(size: u64, seeds: std::ops::Range<u64>) {
    let mut acknowledged = 0;
    for seed in seeds {
        match run(seed, size, Bug::None) {
            Ok((writes, _)) => acknowledged += writes,
            Err(error) => panic!("seed {seed} of {size} replicas: {error}"),
        }
    }
    assert!(acknowledged > 1000, "only {acknowledged} writes were acknowledged");
}

#[test]
fn one_replica_keeps_what_it_promised() {
    check_seeds(1, 0..40);
}

#[test]
fn three_replicas_keep_what_they_promised() {
    check_seeds(3, 0..80);
}

#[test]
fn five_replicas_keep_what_they_promised() {
    check_seeds(5, 0..20);
}

#[test]
fn a_seed_replays() {
    for seed in [3, 99] {
        assert_eq!(run(seed, 3, Bug::None), run(seed, 3, Bug::None));
    }
}

#[test]
fn planted_bugs_are_found() {
    let mut missed = Vec::new();
    for bug in [Bug::LyingSync, Bug::StaleRead, Bug::DoubleApply, Bug::Amnesia] {
        let found = (0..60).any(|seed| {
            // What a broken replica trips over may as well be an assertion.
            let result = std::panic::catch_unwind(|| run(seed, 3, bug));
            !matches!(result, Ok(Ok(_)))
        });
        if !found {
            missed.push(bug);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn a_replica_that_was_away_gets_the_state_as_a_whole() {
    let mut cluster = Cluster::new(7, 3, Bug::None);
    cluster.faulty = false;
    while cluster.known < Revision(20) {
        cluster.step();
    }
    cluster.crash(2);
    while cluster.known < Revision(3000) {
        cluster.step();
    }
    let (start, _) = cluster.nodes[0].replica.as_ref().expect("up").log_span();
    assert!(start > 100, "the log was cut");
    cluster.start(2);
    cluster.open = false;
    while !(cluster.is_calm() && cluster.nodes[2].replica.as_ref().expect("up").applied() > 3000) {
        cluster.step();
    }
    cluster.check().expect("all agree");
    let page =
        cluster.nodes[2].replica.as_ref().expect("up").core().state().range(&KeyRange::all(), &RangeOptions::latest());
    assert_eq!(page.expect("readable").entries.len() as u64, KEYS);
}
