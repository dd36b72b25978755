use super::*;
use crate::{Compare, KeyRange, Op, OpResult, RangeOptions, ReadOptions, Txn};

fn put(state: &mut State, key: &str, value: &str) -> Revision {
    let txn = Txn::new().then(Op::put(key, value.to_owned()));
    let applied = state.apply(Command::Txn(txn));
    applied.outcome.expect("a plain put");
    applied.events.expect("a put makes events").revision
}

fn delete(state: &mut State, key: &str) {
    let applied = state.apply(Command::Txn(Txn::new().then(Op::delete(key))));
    applied.outcome.expect("a plain delete");
}

fn value_at(state: &State, key: &str, revision: Revision) -> Option<String> {
    let entry = state.get(&Key::from(key), &ReadOptions::at(revision));
    let entry = entry.expect("a readable revision")?;
    Some(String::from_utf8_lossy(&entry.value).into_owned())
}

#[test]
fn every_revision_since_compaction_can_be_read() {
    let mut state = State::new();
    let first = put(&mut state, "a", "1");
    let second = put(&mut state, "a", "2");
    delete(&mut state, "a");
    let gone = state.revision();
    let again = put(&mut state, "a", "3");
    assert_eq!(first, Revision(2));
    for pruned in [false, true] {
        if pruned {
            let through = Command::Compact(second);
            state.apply(through).outcome.expect("compaction");
            assert!(!state.prune(usize::MAX, None));
            let old = state.get(&Key::from("a"), &ReadOptions::at(first));
            assert!(matches!(old, Err(Error::Compacted { .. })));
        } else {
            assert_eq!(value_at(&state, "a", first).as_deref(), Some("1"));
            assert_eq!(value_at(&state, "a", Revision::INITIAL), None);
        }
        assert_eq!(value_at(&state, "a", second).as_deref(), Some("2"));
        assert_eq!(value_at(&state, "a", gone), None);
        assert_eq!(value_at(&state, "a", again).as_deref(), Some("3"));
    }
}

#[test]
fn pruning_in_steps_frees_everything_and_changes_no_digest() {
    let mut state = State::new();
    for round in 0..10 {
        for key in ["a", "b", "c"] {
            put(&mut state, key, &format!("{round}"));
        }
    }
    delete(&mut state, "b");
    let last = state.revision();
    state.apply(Command::Compact(last)).outcome.expect("compaction");
    let digest = state.digest();
    let kept = Revision(20);
    while state.prune(2, Some(kept)) {}
    assert_eq!(state.digest(), digest);
    assert!(state.past_bytes() > 0 && state.history_start == kept);
    let mut steps = 0;
    while state.prune(2, None) {
        steps += 1;
    }
    assert!(steps > 3);
    assert_eq!(state.digest(), digest);
    assert_eq!((state.past_bytes(), state.past.len()), (0, 0));
    assert_eq!(state.history_len(), 1, "the events of the compacted revision stay");
    assert_eq!(state.live_bytes(), 4);
}

#[test]
fn a_transaction_sees_its_own_writes_and_takes_one_revision() {
    let mut state = State::new();
    put(&mut state, "old", "x");
    let txn = Txn::new()
        .then(Op::put("new", "y"))
        .then(Op::get("new"))
        .then(Op::delete("old"))
        .then(Op::Range(KeyRange::all(), RangeOptions::latest()))
        .then(Op::Range(KeyRange::all(), RangeOptions::at(Revision(2))));
    let applied = state.apply(Command::Txn(txn));
    let Ok(Outcome::Committed(committed)) = applied.outcome else {
        panic!("{applied:?}");
    };
    assert_eq!(committed.revision, Revision(3));
    assert_eq!(applied.events.expect("events").events.len(), 2);
    let keys = |result: &OpResult| match result {
        OpResult::Range(page) => page.entries.iter().map(|e| e.key.to_string()).collect(),
        OpResult::Got(entry) => vec![entry.as_ref().expect("there").key.to_string()],
        other => panic!("{other:?}"),
    };
    assert_eq!(keys(&committed.results[1]), ["new"]);
    assert_eq!(keys(&committed.results[3]), ["new"]);
    assert_eq!(keys(&committed.results[4]), ["old"]);
}

#[test]
fn a_failing_transaction_changes_nothing() {
    let mut state = State::new();
    put(&mut state, "a", "1");
    let digest = state.digest();
    let lost = crate::Put::new("b", "1").lease(Some(LeaseId(7)));
    let kept = crate::Put::new("c", "").keep_value();
    for ops in [
        vec![Op::put("a", "2"), Op::Put(lost)],
        vec![Op::put("a", "2"), Op::Put(kept)],
        vec![Op::put("a", "2"), Op::put("a", "3")],
        vec![Op::put("a", "2"), Op::DeleteRange(KeyRange::all())],
        vec![Op::delete("a"), Op::put("", "3")],
        vec![Op::delete("a"), Op::Range(KeyRange::all(), RangeOptions::at(Revision(9)))],
    ] {
        let mut txn = Txn::new();
        txn.success = ops;
        let applied = state.apply(Command::Txn(txn));
        assert!(applied.outcome.is_err() && applied.events.is_none());
        assert_eq!(state.digest(), digest);
    }
}

#[test]
fn compares_judge_absent_keys_as_zeros_without_a_value() {
    let mut state = State::new();
    put(&mut state, "a", "1");
    let mut succeeds = |compare: Compare| {
        let applied = state.apply(Command::Txn(Txn::new().when(compare)));
        match applied.outcome {
            Ok(Outcome::Committed(committed)) => committed.succeeded,
            other => panic!("{other:?}"),
        }
    };
    assert!(succeeds(Compare::absent("b")) && !succeeds(Compare::absent("a")));
    assert!(succeeds(Compare::exists("a")) && !succeeds(Compare::exists("b")));
    assert!(succeeds(Compare::value("a", "1")) && !succeeds(Compare::value("a", "2")));
    assert!(!succeeds(Compare::value("b", "")));
    assert!(succeeds(Compare::version("a", 1)) && succeeds(Compare::version("b", 0)));
}

#[test]
fn changes_come_by_whole_revision_and_bounded_scans() {
    let mut state = State::new();
    for n in 0..10 {
        put(&mut state, &format!("{}/{n}", if n % 2 == 0 { "even" } else { "odd" }), "v");
    }
    let odd = KeyRange::prefix("odd/");
    let (all, next) = state.changes(&odd, Revision::INITIAL, Revision(u64::MAX), 1000).expect("history");
    let revisions: Vec<u64> = all.iter().map(|batch| batch.revision.0).collect();
    assert_eq!((revisions, next), (vec![3, 5, 7, 9, 11], Revision(12)));
    let (some, next) = state.changes(&odd, Revision(4), Revision(u64::MAX), 3).expect("history");
    assert_eq!((some.len(), next), (1, Revision(7)));
    let (none, next) = state.changes(&odd, Revision(40), Revision(u64::MAX), 3).expect("history");
    assert_eq!((none.len(), next), (0, Revision(40)));
}
