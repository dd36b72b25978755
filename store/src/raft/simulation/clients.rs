//! What clients do and are told.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::Stream;

use super::cluster::Cluster;
use super::linear::{Action, Operation};
use super::oracle::{Asked, Oracle, Watched, number};
use crate::raft::replica::{Answer, Proposal};
use crate::state::{Command, Outcome};
use crate::{Compare, Error, Key, KeyRange, Op, ReadOptions, Revision, Txn, WatchOptions, WatchStream};

const KEYS: u64 = 5;
/// Watches at one replica.
const WATCHES_MAX: usize = 3;

/// Those who talk to one replica.
#[derive(Default)]
pub(super) struct Client {
    /// What they wait for, by the number of the proposal or read: where it is in the oracle's list.
    writes: BTreeMap<u64, usize>,
    reads: BTreeMap<u64, usize>,
    next_read: u64,
    pub(super) watches: Vec<Watch>,
}

pub(super) struct Watch {
    stream: WatchStream,
    watched: Watched,
    /// It is not looked at until this step.
    slow_until: u64,
    over: bool,
}

impl Client {
    /// Nobody will be answered any more.
    pub(super) fn end(self, oracle: &mut Oracle) {
        oracle.watched.extend(self.watches.into_iter().map(|watch| watch.watched));
    }
}

impl Cluster {
    /// Now and then somebody wants something of this replica.
    pub(super) fn client(&mut self, n: usize) {
        if self.random.one_in(6) {
            self.write(n);
        }
        if self.random.one_in(6) {
            self.read(n);
        }
        if self.random.one_in(60) {
            self.watch(n);
        }
        if self.random.one_in(90) {
            self.compact(n);
        }
    }

    fn key(&mut self) -> Key {
        Key::from(format!("key/{}", self.random.below(KEYS)))
    }

    fn write(&mut self, n: usize) {
        let key = self.key();
        self.values += 1;
        let value = self.values;
        let Some(replica) = &self.nodes[n].replica else { return };
        let put = || Op::put(key.clone(), value.to_string());
        let (txn, action) = match self.random.below(4) {
            0 => (Txn::new().then(Op::Delete(key.clone())), Action::Write(None)),
            1 => {
                // Whatever this replica has is what the client believes to be there.
                let there = replica.core().state().get(&key, &ReadOptions::latest()).ok().flatten();
                let revision = there.as_ref().map_or(Revision::ZERO, |entry| entry.mod_revision);
                let txn = Txn::new().when(Compare::mod_revision(key.clone(), revision)).then(put());
                (txn, Action::MaybeSwap(there.map(|entry| number(&entry.value)), Some(value)))
            }
            _ => (Txn::new().then(put()), Action::Write(Some(value))),
        };
        let proposal = Proposal::of(&Command::Txn(txn));
        let asked = self.asked(key.clone(), action);
        let node = &mut self.nodes[n];
        let Some(replica) = &mut node.replica else { return };
        if let Ok(number) = replica.propose(&proposal) {
            node.client.writes.insert(number, self.oracle.asked.len());
            self.oracle.asked.push(asked);
        }
    }

    fn asked(&self, key: Key, action: Action) -> Asked {
        let operation = Operation { called: self.now, answered: None, action };
        Asked { key, operation, known: self.known, revision: None }
    }

    pub(super) fn write_done(&mut self, n: usize, number: u64, answer: Result<Answer, Error>) {
        let Some(id) = self.nodes[n].client.writes.remove(&number) else { return };
        // Compactions may be too late.
        let Ok(Answer::Outcome(Outcome::Committed(committed))) = answer else { return };
        let asked = &mut self.oracle.asked[id];
        if let Action::MaybeSwap(from, to) = asked.operation.action {
            asked.operation.action = Action::Swap(from, to, committed.succeeded);
        }
        asked.revision = Some(committed.revision);
        asked.operation.answered = Some(self.now);
        self.known = self.known.max(committed.revision);
        self.trace(committed.revision.0);
    }

    fn read(&mut self, n: usize) {
        let key = self.key();
        let asked = self.asked(key, Action::Read(None));
        let now = self.clock(n);
        let node = &mut self.nodes[n];
        let Some(replica) = &mut node.replica else { return };
        node.client.next_read += 1;
        // A replica that was removed answers nobody.
        if replica.read(node.client.next_read, now).is_ok() {
            node.client.reads.insert(node.client.next_read, self.oracle.asked.len());
            self.oracle.asked.push(asked);
        }
    }

    pub(super) fn read_done(&mut self, n: usize, token: u64) {
        let node = &mut self.nodes[n];
        let (Some(id), Some(replica)) = (node.client.reads.remove(&token), &node.replica) else { return };
        let state = replica.core().state();
        let asked = &mut self.oracle.asked[id];
        let Ok(entry) = state.get(&asked.key, &ReadOptions::latest()) else { return };
        asked.operation.action = Action::Read(entry.map(|entry| number(&entry.value)));
        asked.revision = Some(state.revision());
        asked.operation.answered = Some(self.now);
        self.known = self.known.max(state.revision());
        let revision = state.revision().0;
        drop(state);
        self.trace(revision);
    }

    fn compact(&mut self, n: usize) {
        let back = self.random.below(30);
        let Some(replica) = &mut self.nodes[n].replica else { return };
        let through = Revision(replica.core().state().revision().0.saturating_sub(back).max(1));
        // Nobody waits for it.
        let _ = replica.propose(&Proposal::of(&Command::Compact(through)));
    }

    fn watch(&mut self, n: usize) {
        let back = self.random.below(40);
        let range = match self.random.below(3) {
            0 => KeyRange::key(self.key()),
            _ => KeyRange::prefix("key/"),
        };
        let slow_until = if self.random.one_in(3) { self.now + self.random.below(200) } else { 0 };
        let node = &mut self.nodes[n];
        let Some(replica) = &node.replica else { return };
        if node.client.watches.len() >= WATCHES_MAX {
            return;
        }
        let from = Revision(replica.core().state().revision().next().0.saturating_sub(back).max(1));
        if let Ok(stream) = replica.core().watch(range.clone(), from, WatchOptions::default()) {
            let watched = Watched { from, delivered: Vec::new(), complete_to: from, range };
            node.client.watches.push(Watch { stream, watched, slow_until, over: false });
        }
    }

    /// Lets watches deliver what they have.
    pub(super) fn poll_watches(&mut self) -> Result<(), String> {
        let (now, faulty) = (self.now, self.faulty);
        let mut wrong = None;
        for (watch, replica) in self.watches() {
            if watch.slow_until > now && faulty {
                continue;
            }
            let (revision, compacted) = {
                let state = replica.core().state();
                (state.revision(), state.compacted())
            };
            if let Err(error) = watch.poll(revision, compacted) {
                wrong = Some(error);
            }
        }
        for node in &mut self.nodes {
            let over = node.client.watches.extract_if(.., |watch| watch.over);
            self.oracle.watched.extend(over.map(|watch| watch.watched));
        }
        wrong.map_or(Ok(()), Err)
    }
}

impl Watch {
    /// Takes what there is; until it has everything up to `revision`.
    fn poll(&mut self, revision: Revision, compacted: Revision) -> Result<(), String> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut idle = 0;
        while !self.over {
            match Pin::new(&mut self.stream).poll_next(&mut cx) {
                Poll::Ready(Some(Ok(batch))) => {
                    self.watched.complete_to = batch.revision.next();
                    self.watched.delivered.push((batch.revision, batch.events));
                }
                Poll::Ready(Some(Err(Error::Compacted { requested, .. }))) => {
                    // Everything up to there was delivered.
                    self.over = true;
                    let complete_to = self.watched.complete_to;
                    if requested >= compacted || requested < complete_to {
                        return Err(format!(
                            "a watch ended for revision {requested} of {compacted} compacted, after it had delivered \
                             everything before {complete_to}"
                        ));
                    }
                    self.watched.complete_to = requested;
                }
                Poll::Ready(Some(Err(error))) => return Err(format!("a watch ended: {error}")),
                Poll::Ready(None) => self.over = true,
                // It may only have made way for others.
                Poll::Pending if idle < 3 => idle += 1,
                Poll::Pending => {
                    self.watched.complete_to = self.watched.complete_to.max(revision.next());
                    break;
                }
            }
        }
        Ok(())
    }
}
