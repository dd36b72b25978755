//! Writes that depend on what is there.

use super::Fixture;
use crate::{Compare, CompareOp, CompareTarget, Conditional, KeyRange, LeaseId, Op, Revision, StoreExt, Txn};

/// A key is created only if it is not there; otherwise the answer is what is there.
pub async fn create_only_what_is_not_there(fixture: Fixture) {
    let created = fixture.store.create("a", "1").await.expect("create").done().expect("done");
    let again = fixture.store.create("a", "2").await.expect("create");
    let Conditional::Conflict(Some(there), revision) = again else { panic!("{again:?}") };
    assert_eq!((&there, revision), (&created, created.mod_revision));
    fixture.store.delete("a").await.expect("delete");
    assert!(fixture.store.create("a", "3").await.expect("create").done().is_some());
}

/// A key is updated only if its newest version is the one expected.
pub async fn update_only_what_is_expected(fixture: Fixture) {
    let first = fixture.store.put("a", "1").await.expect("put").mod_revision;
    let second = fixture.store.update_if("a", first, "2").await.expect("update").done().expect("done");
    let stale = fixture.store.update_if("a", first, "3").await.expect("update");
    assert_eq!(stale, Conditional::Conflict(Some(second.clone()), second.mod_revision));
    assert_eq!(fixture.store.read("a").await.expect("get"), Some(second));
    let absent = fixture.store.update_if("b", first, "1").await.expect("update");
    assert!(matches!(absent, Conditional::Conflict(None, _)));
}

/// A key is deleted only if its newest version is the one expected.
pub async fn delete_only_what_is_expected(fixture: Fixture) {
    let first = fixture.store.put("a", "1").await.expect("put").mod_revision;
    let second = fixture.store.put("a", "2").await.expect("put");
    let stale = fixture.store.delete_if("a", first).await.expect("delete");
    assert!(matches!(stale, Conditional::Conflict(Some(entry), _) if entry == second));
    let deleted = fixture.store.delete_if("a", second.mod_revision).await.expect("delete");
    assert_eq!(deleted, Conditional::Done(second.clone(), second.mod_revision.next()));
    assert!(fixture.store.read("a").await.expect("get").is_none());
}

/// Each target is compared in each way; a key that is not there counts as zeros without a value.
pub async fn compares_judge_every_part_of_an_entry(fixture: Fixture) {
    let store = &fixture.store;
    store.lease_grant(Some(LeaseId(5)), std::time::Duration::from_secs(600)).await.expect("lease");
    let put = crate::Put::new("a", "m").lease(Some(LeaseId(5)));
    store.commit(Txn::new().then(Op::Put(put.clone()))).await.expect("put");
    store.commit(Txn::new().then(Op::Put(put))).await.expect("put");
    // The entry has version 2, create revision 2, mod revision 3, lease 5, value "m".
    type Target = fn(u64) -> CompareTarget;
    let targets: [(Target, u64); 4] = [
        (CompareTarget::Version, 2),
        (|n| CompareTarget::CreateRevision(Revision(n)), 2),
        (|n| CompareTarget::ModRevision(Revision(n)), 3),
        (|n| CompareTarget::Lease((n > 0).then_some(LeaseId(n as i64))), 5),
    ];
    for (target, there) in targets {
        for (key, is) in [("a", there), ("absent", 0)] {
            for right in [is.saturating_sub(1), is, is + 1] {
                for (op, holds) in [
                    (CompareOp::Equal, is == right),
                    (CompareOp::NotEqual, is != right),
                    (CompareOp::Greater, is > right),
                    (CompareOp::Less, is < right),
                ] {
                    let compare = Compare::new(KeyRange::key(key), op, target(right));
                    let committed = store.commit(Txn::new().when(compare.clone())).await;
                    assert_eq!(committed.expect("compare").succeeded, holds, "{compare:?}");
                }
            }
        }
    }
    for (value, op, holds) in [
        ("m", CompareOp::Equal, true),
        ("n", CompareOp::Equal, false),
        ("n", CompareOp::NotEqual, true),
        ("l", CompareOp::Greater, true),
        ("n", CompareOp::Less, true),
        ("m", CompareOp::Less, false),
    ] {
        for (key, holds) in [("a", holds), ("absent", false)] {
            let target = CompareTarget::Value(value.into());
            let txn = Txn::new().when(Compare::new(KeyRange::key(key), op, target));
            assert_eq!(store.commit(txn).await.expect("compare").succeeded, holds, "{key} {op:?} {value}");
        }
    }
}

/// A compare over a range must hold for every key in it.
pub async fn a_compare_over_a_range_holds_for_all(fixture: Fixture) {
    let store = &fixture.store;
    store.put("p/1", "x").await.expect("put");
    store.put("p/2", "x").await.expect("put");
    let all_are = |prefix: &str, value: &str| {
        let target = CompareTarget::Value(value.to_owned().into());
        Txn::new().when(Compare::new(KeyRange::prefix(prefix), CompareOp::Equal, target))
    };
    assert!(store.commit(all_are("p/", "x")).await.expect("compare").succeeded);
    store.put("p/2", "y").await.expect("put");
    assert!(!store.commit(all_are("p/", "x")).await.expect("compare").succeeded);
    assert!(!store.commit(all_are("q/", "x")).await.expect("compare").succeeded);
    let absent = Compare::new(KeyRange::prefix("q/"), CompareOp::Equal, CompareTarget::Version(0));
    assert!(store.commit(Txn::new().when(absent)).await.expect("compare").succeeded);
}

/// All compares must hold, and none at all do.
pub async fn all_compares_must_hold(fixture: Fixture) {
    let store = &fixture.store;
    let revision = store.put("a", "1").await.expect("put").mod_revision;
    let both = Txn::new().when(Compare::mod_revision("a", revision)).when(Compare::absent("b"));
    assert!(store.commit(both.clone()).await.expect("txn").succeeded);
    store.put("b", "1").await.expect("put");
    assert!(!store.commit(both).await.expect("txn").succeeded);
    assert!(store.commit(Txn::new()).await.expect("txn").succeeded);
}
