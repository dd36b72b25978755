//! The network between the replicas: what it loses, doubles and delays; and what replicas want done.

use super::cluster::Cluster;
use crate::Error;
use crate::raft::disk::SnapshotJob;
use crate::raft::frame::Envelope;
use crate::raft::replica::Effect;

/// What a snapshot's job answers.
type Written = Result<Option<u64>, Error>;

/// A snapshot that somebody writes.
pub(super) struct Job {
    pub(super) index: u64,
    /// When it is written, and when the replica is told of that.
    pub(super) written: u64,
    pub(super) told: u64,
    pub(super) work: Work,
}

pub(super) enum Work {
    Waits(SnapshotJob),
    Ended(Written),
}

impl Job {
    /// Does what is to be done by now; answers what the replica is to be told.
    pub(super) fn work(self, now: u64) -> Result<(u64, Written), Box<Self>> {
        let Self { index, written, told, work } = self;
        let work = match work {
            Work::Waits(job) if written <= now => Work::Ended(job.run()),
            work => work,
        };
        match work {
            Work::Ended(result) if told <= now => Ok((index, result)),
            work => Err(Box::new(Self { index, written, told, work })),
        }
    }
}

impl Cluster {
    /// Hands over what has arrived by now.
    pub(super) fn deliver(&mut self) {
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let envelope = entry.remove();
            let Some(n) = self.nodes.iter().position(|node| node.id == envelope.to && !node.gone) else { continue };
            if self.cut.contains(&(envelope.from, envelope.to)) || self.nodes[n].paused_until > self.now {
                continue;
            }
            let mut effects = Vec::new();
            if let Some(replica) = &mut self.nodes[n].replica {
                replica.receive(envelope, &mut |effect| effects.push(effect));
            }
            self.follow(n, effects);
        }
    }

    /// Does what a replica said.
    pub(super) fn follow(&mut self, n: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(envelope) => self.send(envelope),
                Effect::Done { number, answer } => self.done(n, number, answer),
                Effect::Read(token) => self.read_done(n, token),
                Effect::Write(job) => {
                    let written = self.now + self.random.below(20);
                    // Whoever wrote it may be kept from telling.
                    let late = if self.faulty && self.random.one_in(4) { self.random.below(200) } else { 0 };
                    let job = Job { index: job.index(), written, told: written + late, work: Work::Waits(job) };
                    self.nodes[n].jobs.push(job);
                }
                Effect::Replaced => self.report.images += 1,
                Effect::LeaseStarted(_) | Effect::LeaseEnded(_) => {}
            }
        }
    }

    fn send(&mut self, envelope: Envelope) {
        self.trace(envelope.from << 32 ^ envelope.to << 40);
        let copies = match self.faulty {
            true if self.random.one_in(12) => 0,
            true if self.random.one_in(12) => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let late = self.faulty && self.random.one_in(10);
            let delay = if late { self.random.below(60) } else { self.random.below(3) };
            self.sent += 1;
            // As over a wire, now and then: what decodes is what was sent.
            let copy = match self.sent % 8 {
                0 => Envelope::decode(&envelope.encode()).expect("it was encoded"),
                _ => envelope.clone(),
            };
            self.flying.insert((self.now + 1 + delay, self.sent), copy);
        }
    }
}
