//! Transactions.

use super::{Fixture, assert_invalid, keys};
use crate::{
    Compare, Error, KeyRange, LeaseId, Op, OpResult, Put, RangeOptions, ReadOptions, Revision, Store, StoreExt, Txn,
};

async fn revision(store: &dyn Store) -> Revision {
    store.range(KeyRange::all(), RangeOptions::latest().count_only()).await.expect("range").latest
}

/// Everything a transaction writes carries one revision.
pub async fn a_transaction_takes_one_revision(fixture: Fixture) {
    let store = &fixture.store;
    store.put("old", "x").await.expect("put");
    let txn = Txn::new().then(Op::put("a", "1")).then(Op::put("b", "2")).then(Op::delete("old"));
    let committed = store.commit(txn).await.expect("txn");
    assert_eq!((committed.revision, committed.succeeded), (Revision(3), true));
    assert_eq!(committed.results.len(), 3);
    let page = store.read_prefix("").await.expect("range");
    assert_eq!(keys(&page.entries), ["a", "b"]);
    assert!(page.entries.iter().all(|entry| entry.mod_revision == Revision(3)));
    assert_eq!(revision(&**store).await, Revision(3));
}

/// Puts answer what they wrote and what was there, deletes what was there.
pub async fn results_tell_what_was_there(fixture: Fixture) {
    let store = &fixture.store;
    let first = store.put("a", "1").await.expect("put");
    let other = store.put("p/2", "x").await.expect("put");
    let txn = Txn::new().then(Op::put("a", "2")).then(Op::put("n", "1"));
    let txn = txn.then(Op::DeleteRange(KeyRange::prefix("p/"))).then(Op::delete("absent"));
    let results = store.commit(txn).await.expect("txn").results;
    let [OpResult::Put { entry, prev }, OpResult::Put { prev: None, .. }, deleted, nothing] = &results[..] else {
        panic!("{results:?}");
    };
    assert_eq!((prev.as_ref(), entry.version), (Some(&first), 2));
    assert_eq!(*deleted, OpResult::Deleted(vec![other]));
    assert_eq!(*nothing, OpResult::Deleted(Vec::new()));
}

/// A step sees what the steps before it wrote, and not what those after it write.
pub async fn a_step_sees_the_steps_before_it(fixture: Fixture) {
    let store = &fixture.store;
    store.put("a", "0").await.expect("put");
    let txn = Txn::new()
        .then(Op::get("a"))
        .then(Op::put("a", "1"))
        .then(Op::get("a"))
        .then(Op::Range(KeyRange::all(), RangeOptions::latest()))
        .then(Op::put("b", "1"));
    let results = store.commit(txn).await.expect("txn").results;
    let [OpResult::Got(Some(before)), _, OpResult::Got(Some(after)), OpResult::Range(page), _] = &results[..] else {
        panic!("{results:?}");
    };
    assert_eq!((&*before.value, &*after.value), (&b"0"[..], &b"1"[..]));
    assert_eq!(keys(&page.entries), ["a"]);
    assert_eq!(page.entries[0].value, "1");
}

/// If a compare does not hold the other branch runs, and may write.
pub async fn the_other_branch_runs_when_a_compare_fails(fixture: Fixture) {
    let store = &fixture.store;
    store.put("a", "1").await.expect("put");
    let guard = Compare::absent("a");
    let txn = Txn::new().when(guard.clone()).then(Op::put("b", "1")).otherwise(Op::get("a"));
    let committed = store.commit(txn).await.expect("txn");
    assert!(!committed.succeeded);
    assert_eq!(committed.revision, Revision(2), "nothing changed");
    assert!(matches!(&committed.results[..], [OpResult::Got(Some(entry))] if entry.value == "1"));
    let txn = Txn::new().when(guard).then(Op::put("b", "1")).otherwise(Op::put("c", "1"));
    let committed = store.commit(txn).await.expect("txn");
    assert_eq!((committed.succeeded, committed.revision), (false, Revision(3)));
    let page = store.read_prefix("").await.expect("range");
    assert_eq!(keys(&page.entries), ["a", "c"]);
}

/// A transaction that only reads takes no revision.
pub async fn a_transaction_that_reads_takes_no_revision(fixture: Fixture) {
    let store = &fixture.store;
    store.put("a", "1").await.expect("put");
    let txn = Txn::new().then(Op::get("a")).then(Op::Range(KeyRange::all(), RangeOptions::latest()));
    let committed = store.commit(txn).await.expect("txn");
    assert_eq!((committed.revision, committed.results.len()), (Revision(2), 2));
    assert_eq!(revision(&**store).await, Revision(2));
}

/// A transaction may read older revisions.
pub async fn a_transaction_may_read_the_past(fixture: Fixture) {
    let store = &fixture.store;
    store.put("a", "1").await.expect("put");
    store.put("a", "2").await.expect("put");
    let then = RangeOptions::at(Revision(2));
    let txn = Txn::new().then(Op::put("b", "1")).then(Op::Range(KeyRange::all(), then));
    let results = store.commit(txn).await.expect("txn").results;
    let OpResult::Range(page) = &results[1] else { panic!("{results:?}") };
    assert_eq!(keys(&page.entries), ["a"]);
    assert_eq!(page.entries[0].value, "1");
    let txn = Txn::new().then(Op::put("b", "2")).then(Op::Range(KeyRange::all(), RangeOptions::at(Revision(9))));
    assert!(matches!(store.commit(txn).await, Err(Error::FutureRevision { .. })));
    assert_eq!(store.read("b").await.expect("get").expect("there").value, "1");
}

/// No key changes twice in one transaction.
pub async fn a_key_changes_once_in_a_transaction(fixture: Fixture) {
    let store = &fixture.store;
    let twice = Txn::new().then(Op::put("a", "1")).then(Op::put("a", "2"));
    assert_invalid(store.commit(twice).await);
    let both = Txn::new().then(Op::delete("a")).then(Op::put("a", "2"));
    assert_invalid(store.commit(both).await);
    let inside = Txn::new().then(Op::put("a", "2")).then(Op::DeleteRange(KeyRange::all()));
    assert_invalid(store.commit(inside).await);
    // Each branch counts for itself, and deleting twice is deleting.
    let fine = Txn::new().then(Op::put("a", "1")).otherwise(Op::put("a", "2"));
    store.commit(fine).await.expect("one in each branch");
    let fine = Txn::new().then(Op::delete("a")).then(Op::DeleteRange(KeyRange::all()));
    let results = store.commit(fine).await.expect("deleted once").results;
    assert!(matches!(&results[..], [OpResult::Deleted(one), OpResult::Deleted(none)]
        if one.len() == 1 && none.is_empty()));
}

/// A transaction that is refused changes nothing.
pub async fn a_refused_transaction_changes_nothing(fixture: Fixture) {
    let store = &fixture.store;
    store.put("a", "1").await.expect("put");
    let unknown = Put::new("b", "1").lease(Some(LeaseId(404)));
    let refused = store.commit(Txn::new().then(Op::put("a", "2")).then(Op::Put(unknown))).await;
    assert!(matches!(refused, Err(Error::LeaseNotFound { lease: LeaseId(404) })), "{refused:?}");
    let absent = Put::new("b", "").keep_value();
    let refused = store.commit(Txn::new().then(Op::delete("a")).then(Op::Put(absent))).await;
    assert!(matches!(refused, Err(Error::KeyNotFound { .. })), "{refused:?}");
    assert_eq!(store.read("a").await.expect("get").expect("there").value, "1");
    assert_eq!(revision(&**store).await, Revision(2));
}

/// An empty key is refused.
pub async fn an_empty_key_is_refused(fixture: Fixture) {
    for op in [Op::put("", "1"), Op::delete(""), Op::get("")] {
        assert_invalid(fixture.store.commit(Txn::new().then(op)).await);
    }
}

/// A put may keep the value or the lease that is there.
pub async fn a_put_may_keep_value_or_lease(fixture: Fixture) {
    let store = &fixture.store;
    store.lease_grant(Some(LeaseId(5)), std::time::Duration::from_secs(600)).await.expect("lease");
    let first = Put::new("a", "1").lease(Some(LeaseId(5)));
    store.commit(Txn::new().then(Op::Put(first))).await.expect("put");
    let keep_lease = Put::new("a", "2").keep_lease();
    store.commit(Txn::new().then(Op::Put(keep_lease))).await.expect("put");
    let entry = store.read("a").await.expect("get").expect("there");
    assert_eq!((&*entry.value, entry.lease), (&b"2"[..], Some(LeaseId(5))));
    let keep_value = Put::new("a", "ignored").keep_value();
    store.commit(Txn::new().then(Op::Put(keep_value))).await.expect("put");
    let entry = store.read("a").await.expect("get").expect("there");
    assert_eq!((&*entry.value, entry.lease, entry.version), (&b"2"[..], None, 3));
}

/// Deleting a range deletes what is in it and nothing else.
pub async fn deleting_a_range_deletes_what_is_in_it(fixture: Fixture) {
    let store = &fixture.store;
    for key in ["a", "p/1", "p/2", "p/3", "q"] {
        store.put(key, "x").await.expect("put");
    }
    let txn = Txn::new().then(Op::DeleteRange(KeyRange::between("p/2", "q")));
    let results = store.commit(txn).await.expect("txn").results;
    assert!(matches!(&results[..], [OpResult::Deleted(gone)] if keys(gone) == ["p/2", "p/3"]));
    let page = store.read_prefix("").await.expect("range");
    assert_eq!(keys(&page.entries), ["a", "p/1", "q"]);
    let before = store.get(&"p/3".into(), ReadOptions::at(Revision(6))).await;
    assert!(before.expect("history").is_some());
}

/// A transaction within another is judged before anything is written, and takes the same revision.
pub async fn a_transaction_may_hold_others(fixture: Fixture) {
    let store = &fixture.store;
    store.put("a", "1").await.expect("put");
    let judged = Txn::new().when(Compare::value("a", "1")).then(Op::put("b", "then")).then(Op::get("a"));
    let judged = judged.otherwise(Op::put("b", "otherwise"));
    let empty = Txn::new().when(Compare::exists("nowhere")).then(Op::put("d", "1"));
    let deep = Txn::new().then(Op::Txn(Txn::new().then(Op::put("c", "1"))));
    let outer = Txn::new().then(Op::put("a", "2")).then(Op::Txn(judged)).then(Op::Txn(empty)).then(Op::Txn(deep));
    let committed = store.commit(outer).await.expect("txn");
    assert_eq!((committed.revision, committed.succeeded), (Revision(3), true));
    let [_, judged, empty, deep] = &committed.results[..] else { panic!("{committed:?}") };
    let OpResult::Txn { succeeded: true, results } = judged else { panic!("{judged:?}") };
    let [OpResult::Put { entry, .. }, OpResult::Got(Some(seen))] = &results[..] else { panic!("{results:?}") };
    assert_eq!((&entry.value[..], &seen.value[..]), (&b"then"[..], &b"2"[..]));
    assert_eq!(*empty, OpResult::Txn { succeeded: false, results: Vec::new() });
    assert!(matches!(deep, OpResult::Txn { succeeded: true, results } if results.len() == 1), "{deep:?}");
    let page = store.read_prefix("").await.expect("range");
    assert_eq!(keys(&page.entries), ["a", "b", "c"]);
    assert!(page.entries.iter().all(|entry| entry.mod_revision == Revision(3)));
}

/// Also across transactions within one another a key is put once, and not put and deleted; but of two branches
/// only one runs.
pub async fn a_key_changes_once_also_across_transactions_within(fixture: Fixture) {
    let store = &fixture.store;
    let put = || Op::Txn(Txn::new().then(Op::put("a", "1")));
    assert_invalid(store.commit(Txn::new().then(put()).then(put())).await);
    assert_invalid(store.commit(Txn::new().then(Op::put("a", "1")).then(put())).await);
    assert_invalid(store.commit(Txn::new().then(Op::delete("a")).then(put())).await);
    let either = Txn::new().then(Op::put("a", "1")).otherwise(Op::put("a", "2"));
    let committed = store.commit(Txn::new().then(Op::Txn(either))).await.expect("txn");
    assert_eq!(committed.revision, Revision(2));
}
