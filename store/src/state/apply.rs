//! Carrying out commands.

use std::cmp::Ordering;
use std::slice::Iter;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Applied, Command, Outcome, State, Superseded};
use crate::{
    Committed, Compare, CompareOp, CompareTarget, Entry, Error, Event, EventKind, Key, KeyRange, Op, OpResult, Put,
    Revision, Txn, WatchEvents,
};

impl State {
    /// Carries out one command. An error leaves the state as it was, and is as deterministic as an
    /// answer.
    pub fn apply(&mut self, command: Command) -> Applied {
        let (outcome, events) = match command {
            Command::Txn(txn) => match self.apply_txn(txn) {
                Ok((committed, events)) => (Ok(Outcome::Committed(committed)), events),
                Err(error) => (Err(error), None),
            },
            Command::Compact(through) => {
                let compacted = self.compact(through);
                (compacted.map(|()| Outcome::Compacted), None)
            }
            Command::LeaseGrant { id, ttl } => (self.grant_lease(id, ttl).map(Outcome::LeaseGranted), None),
            Command::LeaseRevoke(id) => match self.revoke_lease(id) {
                Ok(events) => (Ok(Outcome::LeaseRevoked(self.revision)), events),
                Err(error) => (Err(error), None),
            },
        };
        Applied { outcome, events }
    }

    /// Carries out a transaction that [cannot write](Txn::is_read_only), without changing anything.
    ///
    /// # Errors
    /// As [`Store::commit`](crate::Store::commit).
    pub fn read_txn(&self, txn: &Txn) -> Result<Committed, Error> {
        txn.validate()?;
        let verdicts = self.judge_all(txn);
        self.check(txn, &mut verdicts.iter())?;
        let (succeeded, results) = self.read_branch(txn, &mut verdicts.iter())?;
        Ok(Committed::new(self.revision, succeeded, results))
    }

    fn read_branch(&self, txn: &Txn, verdicts: &mut Iter<'_, bool>) -> Result<(bool, Vec<OpResult>), Error> {
        let succeeded = verdict(verdicts);
        let read = |op: &Op| match op {
            Op::Txn(inner) => {
                let (succeeded, results) = self.read_branch(inner, verdicts)?;
                Ok(OpResult::Txn { succeeded, results })
            }
            op => self.read_op(op, self.revision),
        };
        Ok((succeeded, txn.branch(succeeded).iter().map(read).collect::<Result<_, _>>()?))
    }

    fn apply_txn(&mut self, txn: Txn) -> Result<(Committed, Option<WatchEvents>), Error> {
        txn.validate()?;
        let verdicts = self.judge_all(&txn);
        self.check(&txn, &mut verdicts.iter())?;
        let mut events = Vec::with_capacity(txn.branch(verdicts.first().is_some_and(|first| *first)).len());
        let (succeeded, results) = self.run(txn, &mut verdicts.iter(), &mut events)?;
        let events = self.publish(events);
        Ok((Committed::new(self.revision, succeeded, results), events))
    }

    /// Carries out the branch that was found to run.
    fn run(
        &mut self,
        txn: Txn,
        verdicts: &mut Iter<'_, bool>,
        events: &mut Vec<Event>,
    ) -> Result<(bool, Vec<OpResult>), Error> {
        let succeeded = verdict(verdicts);
        let ops = if succeeded { txn.success } else { txn.failure };
        let revision = self.revision.next();
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                Op::Put(put) => self.put(put, revision, events),
                Op::Delete(key) => {
                    let deleted = self.delete(&key, revision, events);
                    OpResult::Deleted(deleted.into_iter().collect())
                }
                Op::DeleteRange(range) => OpResult::Deleted(self.delete_range(&range, revision, events)),
                Op::Txn(inner) => {
                    let (succeeded, results) = self.run(inner, verdicts, events)?;
                    OpResult::Txn { succeeded, results }
                }
                read => {
                    let seen = if events.is_empty() { self.revision } else { revision };
                    self.read_op(&read, seen)?
                }
            });
        }
        Ok((succeeded, results))
    }

    /// Which branches run, in the order in which they are come upon: all is judged before the first write.
    fn judge_all(&self, txn: &Txn) -> SmallVec<[bool; 8]> {
        let mut verdicts = SmallVec::new();
        self.judge(txn, &mut verdicts);
        verdicts
    }

    fn judge(&self, txn: &Txn, verdicts: &mut SmallVec<[bool; 8]>) {
        let succeeded = self.all_hold(&txn.compares);
        verdicts.push(succeeded);
        for op in txn.branch(succeeded) {
            if let Op::Txn(inner) = op {
                self.judge(inner, verdicts);
            }
        }
    }

    /// Whatever can fail is checked here, before the first write.
    fn check(&self, txn: &Txn, verdicts: &mut Iter<'_, bool>) -> Result<(), Error> {
        for op in txn.branch(verdict(verdicts)) {
            match op {
                Op::Put(put) => {
                    if (put.keep_value || put.keep_lease) && self.live.get(&put.key).is_none() {
                        return Err(Error::KeyNotFound { key: put.key.clone() });
                    }
                    if let Some(lease) = put.lease
                        && !put.keep_lease
                        && !self.leases.contains_key(&lease)
                    {
                        return Err(Error::LeaseNotFound { lease });
                    }
                }
                Op::Range(_, options) => {
                    if let Some(revision) = options.revision.filter(|r| !r.is_zero()) {
                        self.check_readable(revision)?;
                    }
                }
                Op::Txn(inner) => self.check(inner, verdicts)?,
                Op::Get(_) | Op::Delete(_) | Op::DeleteRange(_) => {}
            }
        }
        Ok(())
    }

    fn read_op(&self, op: &Op, seen: Revision) -> Result<OpResult, Error> {
        Ok(match op {
            Op::Range(range, options) => OpResult::Range(self.page(range, options, seen, options.revision)),
            Op::Get(key) => OpResult::Got(self.live.get(key).cloned()),
            Op::Put(_) | Op::Delete(_) | Op::DeleteRange(_) | Op::Txn(_) => {
                return Err(Error::invalid("a write in a read-only transaction"));
            }
        })
    }

    pub(super) fn put(&mut self, put: Put, revision: Revision, events: &mut Vec<Event>) -> OpResult {
        let prev = self.live.get(&put.key);
        let (mut value, mut lease) = (put.value, put.lease);
        let (mut create_revision, mut version) = (revision, 1);
        // The key that is already there is kept, so that all versions share its bytes.
        let mut key = put.key;
        if let Some(prev) = prev {
            key = prev.key.clone();
            create_revision = prev.create_revision;
            version = prev.version + 1;
            if put.keep_value {
                value = prev.value.clone();
            }
            if put.keep_lease {
                lease = prev.lease;
            }
        }
        let entry = Arc::new(Entry { key, value, create_revision, mod_revision: revision, version, lease });
        let prev = self.live.insert(entry.clone());
        self.move_lease(&entry.key, prev.as_ref().and_then(|prev| prev.lease), lease);
        self.live_bytes += entry.size() as u64;
        if let Some(prev) = &prev {
            self.supersede(prev.clone(), revision);
        }
        events.push(Event::new(EventKind::Put, entry.clone(), prev.clone()));
        OpResult::Put { entry, prev }
    }

    pub(super) fn delete(&mut self, key: &Key, revision: Revision, events: &mut Vec<Event>) -> Option<Arc<Entry>> {
        let prev = self.live.remove(key)?;
        self.move_lease(&prev.key, prev.lease, None);
        self.supersede(prev.clone(), revision);
        let tombstone = Arc::new(Entry {
            key: prev.key.clone(),
            value: Bytes::new(),
            create_revision: Revision::ZERO,
            mod_revision: revision,
            version: 0,
            lease: None,
        });
        events.push(Event::new(EventKind::Delete, tombstone, Some(prev.clone())));
        Some(prev)
    }

    fn delete_range(&mut self, range: &KeyRange, revision: Revision, events: &mut Vec<Event>) -> Vec<Arc<Entry>> {
        let keys: Vec<Key> = self.live.range(range).map(|entry| entry.key.clone()).collect();
        keys.iter().filter_map(|key| self.delete(key, revision, events)).collect()
    }

    fn supersede(&mut self, entry: Arc<Entry>, until: Revision) {
        let size = entry.size() as u64;
        self.live_bytes -= size;
        self.past_bytes += size;
        let key = entry.key.clone();
        let version = Superseded { until, entry };
        self.past.entry(key).or_default().push(version);
    }

    fn all_hold(&self, compares: &[Compare]) -> bool {
        compares.iter().all(|compare| {
            let mut found = self.live.range(&compare.range).peekable();
            if found.peek().is_none() {
                return holds(compare, None);
            }
            found.all(|entry| holds(compare, Some(entry)))
        })
    }
}

/// The next verdict. There is one for each transaction that is come upon.
fn verdict(verdicts: &mut Iter<'_, bool>) -> bool {
    verdicts.next().is_some_and(|verdict| *verdict)
}

/// Judges one entry; a key that is not there counts as one with zeros, whose value nothing equals.
fn holds(compare: &Compare, entry: Option<&Arc<Entry>>) -> bool {
    let revision = |pick: fn(&Entry) -> Revision| entry.map_or(Revision::ZERO, |e| pick(e));
    let order = match &compare.target {
        CompareTarget::Version(version) => entry.map_or(0, |e| e.version).cmp(version),
        CompareTarget::CreateRevision(right) => revision(|e| e.create_revision).cmp(right),
        CompareTarget::ModRevision(right) => revision(|e| e.mod_revision).cmp(right),
        CompareTarget::Lease(right) => {
            let number = |lease: Option<crate::LeaseId>| lease.map_or(0, |lease| lease.0);
            number(entry.and_then(|e| e.lease)).cmp(&number(*right))
        }
        CompareTarget::Value(right) => {
            let Some(entry) = entry else { return false };
            entry.value.cmp(right)
        }
    };
    match compare.op {
        CompareOp::Equal => order == Ordering::Equal,
        CompareOp::NotEqual => order != Ordering::Equal,
        CompareOp::Greater => order == Ordering::Greater,
        CompareOp::Less => order == Ordering::Less,
    }
}
