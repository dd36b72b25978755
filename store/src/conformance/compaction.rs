//! Forgetting history.

use super::{Fixture, assert_compacted, keys};
use crate::{Error, Key, KeyRange, RangeOptions, ReadOptions, Revision, Store, StoreExt};

async fn history(store: &dyn Store) {
    store.put("a", "2").await.expect("put");
    store.put("b", "3").await.expect("put");
    store.put("a", "4").await.expect("put");
    store.delete("b").await.expect("delete");
    store.put("a", "6").await.expect("put");
    store.put("b", "7").await.expect("put");
}

/// Revisions before the compacted one cannot be read; the compacted one and later ones can.
pub async fn what_is_before_is_gone_and_what_is_after_stays(fixture: Fixture) {
    let store = &fixture.store;
    history(&**store).await;
    store.compact(Revision(5)).await.expect("compact");
    for revision in 1..5 {
        let at = Revision(revision);
        assert_compacted(store.get(&Key::from("a"), ReadOptions::at(at)).await);
        assert_compacted(store.range(KeyRange::all(), RangeOptions::at(at)).await);
    }
    for (revision, expected) in [(5, &["a=4"][..]), (6, &["a=6"]), (7, &["a=6", "b=7"]), (0, &["a=6", "b=7"])] {
        let page = store.range(KeyRange::all(), RangeOptions::at(Revision(revision))).await.expect("range");
        let found = page.entries.iter().map(|e| format!("{}={}", e.key, e.value.escape_ascii()));
        assert_eq!(found.collect::<Vec<_>>(), expected, "at {revision}");
    }
    assert_eq!(store.status().await.expect("status").compacted, Revision(5));
}

/// Compaction takes no revision and changes no entry.
pub async fn compaction_changes_nothing_else(fixture: Fixture) {
    let store = &fixture.store;
    history(&**store).await;
    let before = store.read_prefix("").await.expect("range");
    store.compact(Revision(7)).await.expect("compact");
    assert_eq!(store.read_prefix("").await.expect("range"), before);
    assert_eq!(keys(&before.entries), ["a", "b"]);
    let next = store.put("a", "8").await.expect("put");
    assert_eq!((next.mod_revision, next.version, next.create_revision), (Revision(8), 4, Revision(2)));
}

/// Only what is after the compacted revision and not after the newest can be compacted.
pub async fn compaction_goes_forward_only(fixture: Fixture) {
    let store = &fixture.store;
    history(&**store).await;
    let future = store.compact(Revision(8)).await;
    assert!(matches!(future, Err(Error::FutureRevision { .. })), "{future:?}");
    store.compact(Revision(4)).await.expect("compact");
    assert_compacted(store.compact(Revision(4)).await);
    assert_compacted(store.compact(Revision(3)).await);
    store.compact(Revision(6)).await.expect("compact");
    assert_compacted(store.range(KeyRange::all(), RangeOptions::at(Revision(5))).await);
}

/// A refused read says what it asked for and what is left.
pub async fn a_refused_read_says_what_is_left(fixture: Fixture) {
    let store = &fixture.store;
    history(&**store).await;
    store.compact(Revision(5)).await.expect("compact");
    let refused = store.get(&Key::from("a"), ReadOptions::at(Revision(3))).await;
    let Err(Error::Compacted { requested, compacted }) = refused else { panic!("{refused:?}") };
    assert_eq!((requested, compacted), (Revision(3), Revision(5)));
}
