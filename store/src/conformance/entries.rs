//! One key at a time.

use bytes::Bytes;

use super::Fixture;
use crate::{Error, Key, ReadOptions, Revision, StoreExt};

/// An empty store is at revision 1 and has no keys.
pub async fn an_empty_store_is_at_revision_one(fixture: Fixture) {
    let status = fixture.store.status().await.expect("status");
    assert_eq!(status.revision, Revision::INITIAL);
    let page = fixture.store.read_prefix("").await.expect("range");
    assert!(page.entries.is_empty() && !page.more);
    assert_eq!(page.revision, Revision::INITIAL);
    assert!(fixture.store.read("a").await.expect("get").is_none());
}

/// The status tells how many keys there are, of what size, and at which revision.
pub async fn the_status_counts_what_is_there(fixture: Fixture) {
    let store = &fixture.store;
    for (key, size) in [("a", 100), ("b", 1000), ("a", 300), ("c", 10)] {
        store.put(key, vec![b'v'; size]).await.expect("put");
    }
    store.delete("c").await.expect("delete");
    let status = store.status().await.expect("status");
    assert_eq!((status.revision, status.keys), (Revision(6), 2));
    assert!(status.bytes >= 1302, "{} bytes of two keys", status.bytes);
}

/// A put can be read at once, with the revision it took.
pub async fn a_put_can_be_read(fixture: Fixture) {
    let written = fixture.store.put("a", "1").await.expect("put");
    assert_eq!(written.create_revision, Revision(2));
    assert_eq!(written.mod_revision, Revision(2));
    assert_eq!((written.version, written.lease), (1, None));
    let read = fixture.store.read("a").await.expect("get").expect("there");
    assert_eq!((read.value.as_ref(), &read), (&b"1"[..], &written));
}

/// Every put of a key counts as a version and keeps the revision of its creation.
pub async fn puts_count_versions(fixture: Fixture) {
    for n in 1..=5 {
        let written = fixture.store.put("a", format!("{n}")).await.expect("put");
        assert_eq!(written.version, n);
        assert_eq!(written.create_revision, Revision(2));
        assert_eq!(written.mod_revision, Revision(1 + n));
    }
}

/// A deleted key is gone, and starts afresh when it is put again.
pub async fn a_deleted_key_starts_afresh(fixture: Fixture) {
    fixture.store.put("a", "1").await.expect("put");
    fixture.store.put("a", "2").await.expect("put");
    let deleted = fixture.store.delete("a").await.expect("delete").expect("was there");
    assert_eq!(deleted.value, "2");
    assert!(fixture.store.read("a").await.expect("get").is_none());
    let again = fixture.store.put("a", "3").await.expect("put");
    assert_eq!((again.version, again.create_revision), (1, Revision(5)));
}

/// Deleting what is not there changes nothing and takes no revision.
pub async fn deleting_nothing_takes_no_revision(fixture: Fixture) {
    let before = fixture.store.put("a", "1").await.expect("put").mod_revision;
    assert!(fixture.store.delete("b").await.expect("delete").is_none());
    let after = fixture.store.put("a", "2").await.expect("put").mod_revision;
    assert_eq!(after, before.next());
}

/// An empty value is a value.
pub async fn an_empty_value_is_a_value(fixture: Fixture) {
    fixture.store.put("a", "").await.expect("put");
    let read = fixture.store.read("a").await.expect("get").expect("there");
    assert!(read.value.is_empty());
}

/// Keys and values are any bytes.
pub async fn keys_and_values_are_any_bytes(fixture: Fixture) {
    let all: Vec<u8> = (0..=255).collect();
    for key in [&[0][..], &[255], &[0, 0], &[255, 255, 0], &all] {
        fixture.store.put(key, all.clone()).await.expect("put");
        let read = fixture.store.read(key).await.expect("get").expect("there");
        assert_eq!((&*read.key, &*read.value), (key, &all[..]));
    }
    let page = fixture.store.read_prefix("").await.expect("range");
    assert_eq!(page.entries.len(), 5);
}

/// A value of a mebibyte comes back whole.
pub async fn large_values_come_back_whole(fixture: Fixture) {
    let value: Bytes = (0..1_000_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    fixture.store.put("large", value.clone()).await.expect("put");
    let read = fixture.store.read("large").await.expect("get").expect("there");
    assert!(read.value == value);
}

/// A key can be read as of any revision.
pub async fn a_key_can_be_read_at_any_revision(fixture: Fixture) {
    let store = &fixture.store;
    store.put("other", "x").await.expect("put");
    let first = store.put("a", "1").await.expect("put").mod_revision;
    let second = store.put("a", "2").await.expect("put").mod_revision;
    store.delete("a").await.expect("delete");
    let gone = second.next();
    let last = store.put("a", "3").await.expect("put").mod_revision;
    for (revision, expected) in [
        (Revision(first.0 - 1), None),
        (first, Some("1")),
        (second, Some("2")),
        (gone, None),
        (last, Some("3")),
        (Revision::ZERO, Some("3")),
    ] {
        let found = store.get(&Key::from("a"), ReadOptions::at(revision)).await;
        let found = found.expect("a readable revision").map(|entry| entry.value.clone());
        assert_eq!(found.as_deref(), expected.map(str::as_bytes), "at {revision}");
    }
}

/// A revision that has not come yet cannot be read.
pub async fn a_future_revision_cannot_be_read(fixture: Fixture) {
    let newest = fixture.store.put("a", "1").await.expect("put").mod_revision;
    let read = fixture.store.get(&Key::from("a"), ReadOptions::at(newest.next())).await;
    assert!(matches!(read, Err(Error::FutureRevision { .. })), "{read:?}");
}
