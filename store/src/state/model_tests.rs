//! The state against a model so simple that it is plainly right: a full copy of everything at every
//! revision.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::{Compare, EventKind, KeyRange, Op, OpResult, Put, RangeOptions, ReadOptions, Txn};

type Snapshot = BTreeMap<Key, Entry>;

#[derive(Debug)]
struct Model {
    /// One for each revision, from the first on; the first is for revision 0, which never is.
    states: Vec<Snapshot>,
    compacted: u64,
    leases: BTreeMap<LeaseId, Duration>,
}

impl Model {
    fn new() -> Self {
        Self { states: vec![Snapshot::new(), Snapshot::new()], compacted: 0, leases: BTreeMap::new() }
    }

    fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn now(&self) -> &Snapshot {
        &self.states[self.states.len() - 1]
    }

    fn write(&mut self, ops: &[Op]) -> bool {
        let mut next = self.now().clone();
        let revision = Revision(self.revision() + 1);
        for op in ops {
            match op {
                Op::Put(put) => {
                    if put.lease.is_some_and(|lease| !self.leases.contains_key(&lease)) {
                        return false;
                    }
                    let old = next.get(&put.key);
                    let entry = Entry {
                        key: put.key.clone(),
                        value: put.value.clone(),
                        create_revision: old.map_or(revision, |old| old.create_revision),
                        mod_revision: revision,
                        version: old.map_or(1, |old| old.version + 1),
                        lease: put.lease,
                    };
                    next.insert(put.key.clone(), entry);
                }
                Op::Delete(key) => {
                    next.remove(key);
                }
                Op::DeleteRange(range) => next.retain(|key, _| !range.contains(key)),
                // Transactions within transactions are for the conformance suite.
                Op::Get(_) | Op::Range(..) | Op::Txn(_) => {}
            }
        }
        if next != *self.now() {
            self.states.push(next);
        }
        true
    }

    /// The changes that lead to a revision, as kind and key.
    fn changes(&self, revision: u64) -> BTreeMap<Key, EventKind> {
        let (before, after) = (&self.states[revision as usize - 1], &self.states[revision as usize]);
        let put = after.iter().filter(|(key, entry)| before.get(*key) != Some(entry));
        let gone = before.keys().filter(|key| !after.contains_key(*key));
        let put = put.map(|(key, _)| (key.clone(), EventKind::Put));
        put.chain(gone.map(|key| (key.clone(), EventKind::Delete))).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Op>),
    Guarded(Key, u64, Vec<Op>),
    Compact(u64),
    Grant(i64),
    Revoke(i64),
    Prune(usize),
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![Just("a"), Just("a/1"), Just("a/2"), Just("b"), Just("b/1")].prop_map(Key::from)
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        key().prop_map(KeyRange::key),
        key().prop_map(KeyRange::prefix),
        (key(), key()).prop_map(|(a, b)| KeyRange::between(a, b)),
        key().prop_map(KeyRange::starting_at),
        Just(KeyRange::all()),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (key(), "[xyz]{0,3}", proptest::option::weighted(0.3, 1..3_i64)).prop_map(|(k, v, l)| {
            Op::Put(Put::new(k, v).lease(l.map(LeaseId)))
        }),
        2 => key().prop_map(Op::Delete),
        1 => range().prop_map(Op::DeleteRange),
        1 => key().prop_map(Op::Get),
        1 => range().prop_map(|range| Op::Range(range, RangeOptions::latest())),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => vec(op(), 1..4).prop_map(Step::Write),
        3 => (key(), 0..12_u64, vec(op(), 1..3)).prop_map(|(k, r, o)| Step::Guarded(k, r, o)),
        1 => (0..40_u64).prop_map(Step::Compact),
        2 => (1..3_i64).prop_map(Step::Grant),
        1 => (1..3_i64).prop_map(Step::Revoke),
        2 => (1..5_usize).prop_map(Step::Prune),
    ]
}

fn run(state: &mut State, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    match step {
        Step::Write(ops) => {
            let mut txn = Txn::new();
            txn.success.clone_from(&ops);
            let valid = txn.validate().is_ok();
            let applied = state.apply(Command::Txn(txn));
            prop_assert_eq!(applied.outcome.is_ok(), valid && model.write(&ops));
        }
        Step::Guarded(key, revision, ops) => {
            let there = model.now().get(&key).map_or(0, |entry| entry.mod_revision.0);
            let mut txn =
                Txn::new().when(Compare::mod_revision(key.clone(), Revision(revision))).otherwise(Op::get(key.clone()));
            txn.success.clone_from(&ops);
            let valid = txn.validate().is_ok();
            let outcome = state.apply(Command::Txn(txn)).outcome;
            if there == revision {
                prop_assert_eq!(outcome.is_ok(), valid && model.write(&ops));
            } else if valid {
                let Ok(Outcome::Committed(committed)) = outcome else {
                    return Err(TestCaseError::fail("a guard is no error"));
                };
                prop_assert!(!committed.succeeded);
                let now = model.now().get(&key).cloned().map(Arc::new);
                prop_assert_eq!(committed.results, vec![OpResult::Got(now)]);
            }
        }
        Step::Compact(through) => {
            let valid = through > model.compacted && through <= model.revision();
            let applied = state.apply(Command::Compact(Revision(through)));
            prop_assert_eq!(applied.outcome.is_ok(), valid);
            if valid {
                model.compacted = through;
            }
        }
        Step::Grant(id) => {
            let ttl = Duration::from_secs(id as u64);
            let id = LeaseId(id);
            let applied = state.apply(Command::LeaseGrant { id: Some(id), ttl });
            prop_assert_eq!(applied.outcome.is_ok(), model.leases.insert(id, ttl).is_none());
        }
        Step::Revoke(id) => {
            let id = LeaseId(id);
            let applied = state.apply(Command::LeaseRevoke(id));
            prop_assert_eq!(applied.outcome.is_ok(), model.leases.remove(&id).is_some());
            let now = model.now().iter();
            let keys = now.filter(|(_, entry)| entry.lease == Some(id)).map(|(key, _)| key.clone());
            let ops: Vec<Op> = keys.map(Op::Delete).collect();
            model.write(&ops);
        }
        Step::Prune(budget) => {
            state.prune(budget, None);
        }
    }
    Ok(())
}

fn compare(state: &State, model: &Model, range: &KeyRange) -> Result<(), TestCaseError> {
    prop_assert_eq!(state.revision().0, model.revision());
    prop_assert_eq!(state.compacted().0, model.compacted);
    let size = |entries: &Snapshot| entries.values().map(Entry::size).sum::<usize>() as u64;
    prop_assert_eq!(state.live_bytes(), size(model.now()));
    for revision in 1..=model.revision() + 1 {
        let at = Revision(revision);
        let page = state.range(range, &RangeOptions::at(at).limit(2).with_count());
        let readable = revision >= model.compacted && revision <= model.revision();
        prop_assert_eq!(page.is_ok(), readable);
        let Ok(page) = page else { continue };
        let expected = &model.states[revision as usize];
        let expected: Vec<&Entry> = expected.values().filter(|e| range.contains(&e.key)).collect();
        prop_assert_eq!(page.count, Some(expected.len() as u64));
        prop_assert_eq!(page.more, expected.len() > 2);
        let found: Vec<&Entry> = page.entries.iter().map(|entry| &**entry).collect();
        prop_assert_eq!(&found[..], &expected[..expected.len().min(2)]);
        for entry in expected {
            let found = state.get(&entry.key, &ReadOptions::at(at));
            let found = found.expect("readable");
            prop_assert_eq!(found.as_deref(), Some(entry));
        }
    }
    let from = Revision(model.compacted.max(2));
    let changes = state.changes(range, from, Revision(u64::MAX), usize::MAX >> 1);
    let (changes, _) = changes.expect("not compacted");
    let mut delivered = BTreeMap::new();
    for batch in &changes {
        let events = batch.events.iter().map(|e| (e.entry.key.clone(), e.kind));
        prop_assert!(delivered.insert(batch.revision.0, events.collect()).is_none());
        for event in batch.events.iter() {
            let before = model.states[batch.revision.0 as usize - 1].get(&event.entry.key);
            prop_assert_eq!(event.prev.as_deref(), before);
        }
    }
    for revision in from.0..=model.revision() {
        let mut expected = model.changes(revision);
        expected.retain(|key, _| range.contains(key));
        let found: BTreeMap<Key, EventKind> = delivered.remove(&revision).unwrap_or_default();
        prop_assert_eq!(found, expected);
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_state_does_what_the_model_does(
        steps in vec(step(), 1..40),
        range in range(),
    ) {
        let (mut state, mut model) = (State::new(), Model::new());
        for step in steps {
            run(&mut state, &mut model, step)?;
        }
        compare(&state, &model, &range)?;
        let digest = state.digest();
        state.prune(usize::MAX, None);
        compare(&state, &model, &range)?;
        prop_assert_eq!(state.digest(), digest);
        for (id, ttl) in &model.leases {
            let (lease, keys) = state.lease(*id).expect("granted");
            let leased = model.now().values().filter(|entry| entry.lease == Some(*id));
            let expected: Vec<Key> = leased.map(|entry| entry.key.clone()).collect();
            prop_assert_eq!((lease.ttl, keys), (*ttl, expected));
        }
    }
}
