//! Reading ranges.

use super::{Fixture, keys};
use crate::{Consistency, Error, KeyRange, RangeOptions, Revision, Store, StoreExt};

async fn fill(store: &dyn Store, keys: &[&str]) {
    for key in keys {
        store.put(*key, "value").await.expect("put");
    }
}

/// A range comes in the order of its bytes.
pub async fn a_range_is_in_byte_order(fixture: Fixture) {
    fill(&*fixture.store, &["b", "a/2", "a", "a/10", "B", "a0"]).await;
    let page = fixture.store.read_prefix("").await.expect("range");
    assert_eq!(keys(&page.entries), ["B", "a", "a/10", "a/2", "a0", "b"]);
}

/// Each kind of range holds what it says.
pub async fn each_kind_of_range_holds_what_it_says(fixture: Fixture) {
    fill(&*fixture.store, &["a", "a/1", "a/2", "a0", "b"]).await;
    for (range, expected) in [
        (KeyRange::key("a"), &["a"][..]),
        (KeyRange::key("absent"), &[]),
        (KeyRange::prefix("a/"), &["a/1", "a/2"]),
        (KeyRange::between("a/1", "a0"), &["a/1", "a/2"]),
        (KeyRange::between("b", "a"), &[]),
        (KeyRange::between("a", "a"), &[]),
        (KeyRange::starting_at("a0"), &["a0", "b"]),
        (KeyRange::all(), &["a", "a/1", "a/2", "a0", "b"]),
    ] {
        let page = fixture.store.range(range.clone(), RangeOptions::latest()).await.expect("range");
        assert_eq!(keys(&page.entries), expected, "{range:?}");
        assert!(!page.more && page.count.is_none());
    }
}

/// A limit leaves the rest out and says so; the count is of all.
pub async fn a_limit_says_what_it_leaves_out(fixture: Fixture) {
    fill(&*fixture.store, &["p/1", "p/2", "p/3", "q"]).await;
    for (limit, found, more) in [(1, 1, true), (2, 2, true), (3, 3, false), (9, 3, false)] {
        let options = RangeOptions::latest().limit(limit);
        let page = fixture.store.range(KeyRange::prefix("p/"), options).await.expect("range");
        assert_eq!((page.entries.len(), page.more), (found, more), "limit {limit}");
        let page = fixture.store.range(KeyRange::prefix("p/"), options.with_count()).await.expect("range");
        assert_eq!((page.entries.len(), page.more, page.count), (found, more, Some(3)), "limit {limit}");
    }
}

/// Pages at one revision make up what was there then, whatever is written meanwhile.
pub async fn pages_show_one_revision(fixture: Fixture) {
    let store = &fixture.store;
    for n in 0..10 {
        store.put(format!("p/{n}"), "old").await.expect("put");
    }
    let mut found = Vec::new();
    let (mut range, mut revision) = (KeyRange::prefix("p/"), None);
    loop {
        let options = RangeOptions::latest().revision(revision).limit(3);
        let page = store.range(range.clone(), options).await.expect("range");
        assert_eq!(page.revision, *revision.get_or_insert(page.revision));
        assert!(page.latest >= page.revision);
        let last = page.entries.last().expect("no page is empty").clone();
        found.extend(page.entries);
        if !page.more {
            break;
        }
        range = range.after(&last.key);
        store.put("p/3x", "new").await.expect("put");
        store.put("p/9", "new").await.expect("put");
        store.delete("p/8").await.expect("delete");
    }
    let expected: Vec<String> = (0..10).map(|n| format!("p/{n}")).collect();
    assert_eq!(keys(&found), expected);
    assert!(found.iter().all(|entry| entry.value == "old"));
}

/// Keys can be had without values, and counts without keys.
pub async fn keys_and_counts_can_be_had_alone(fixture: Fixture) {
    fill(&*fixture.store, &["p/1", "p/2", "q"]).await;
    let page = fixture.store.range(KeyRange::prefix("p/"), RangeOptions::latest().keys_only()).await;
    let page = page.expect("range");
    assert_eq!(keys(&page.entries), ["p/1", "p/2"]);
    for (n, entry) in page.entries.iter().enumerate() {
        assert!(entry.value.is_empty());
        assert_eq!((entry.mod_revision, entry.version), (Revision(2 + n as u64), 1));
    }
    let page = fixture.store.range(KeyRange::prefix("p/"), RangeOptions::latest().count_only().limit(1)).await;
    let page = page.expect("range");
    assert!(page.entries.is_empty());
    assert_eq!(page.count, Some(2));
    assert_eq!(fixture.store.count(KeyRange::all()).await.expect("count"), 3);
}

/// A range can be read as of any revision: what was deleted since is there, what came since is not.
pub async fn a_range_can_be_read_at_any_revision(fixture: Fixture) {
    let store = &fixture.store;
    fill(&**store, &["a", "b", "c"]).await;
    store.delete("b").await.expect("delete");
    store.put("a", "new").await.expect("put");
    store.put("d", "new").await.expect("put");
    store.delete("a").await.expect("delete");
    for (revision, expected) in [
        (1, &[][..]),
        (2, &["a"]),
        (4, &["a", "b", "c"]),
        (5, &["a", "c"]),
        (6, &["a", "c"]),
        (7, &["a", "c", "d"]),
        (8, &["c", "d"]),
        (0, &["c", "d"]),
    ] {
        let options = RangeOptions::at(Revision(revision)).with_count();
        let page = store.range(KeyRange::all(), options).await.expect("range");
        assert_eq!(keys(&page.entries), expected, "at {revision}");
        assert_eq!(page.count, Some(expected.len() as u64));
        assert_eq!(page.revision, Revision(if revision == 0 { 8 } else { revision }));
        assert_eq!(page.latest, Revision(8));
    }
    let then = store.range(KeyRange::key("a"), RangeOptions::at(Revision(5))).await.expect("range");
    assert_eq!(then.entries[0].value, "value");
    let future = store.range(KeyRange::all(), RangeOptions::at(Revision(9))).await;
    assert!(matches!(future, Err(Error::FutureRevision { .. })), "{future:?}");
}

/// A serializable read answers a whole revision as well.
pub async fn a_serializable_read_is_of_one_revision(fixture: Fixture) {
    fill(&*fixture.store, &["a", "b"]).await;
    let options = RangeOptions::latest().consistency(Consistency::Serializable);
    let page = fixture.store.range(KeyRange::all(), options).await.expect("range");
    let newest = page.entries.iter().map(|entry| entry.mod_revision).max();
    assert!(newest <= Some(page.revision) || page.entries.is_empty());
}
