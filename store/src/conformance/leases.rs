//! Leases.

use std::time::Duration;

use super::{Capability, Fixture, keys, next};
use crate::{Error, EventKind, Key, KeyRange, Lease, LeaseId, Op, Put, Revision, Store, StoreExt, Txn, WatchOptions};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(2);

async fn put_leased(store: &dyn Store, key: &str, lease: LeaseId) -> Revision {
    let put = Put::new(key, "leased").lease(Some(lease));
    store.commit(Txn::new().then(Op::Put(put))).await.expect("put").revision
}

fn assert_not_found<T>(result: Result<T, Error>, id: LeaseId) {
    assert!(matches!(result, Err(Error::LeaseNotFound { lease }) if lease == id));
}

/// Leases are granted under a given name or one that the store picks.
pub async fn leases_have_names(fixture: Fixture) {
    let store = &fixture.store;
    let named = store.lease_grant(Some(LeaseId(7)), LONG).await.expect("grant");
    assert_eq!(named, Lease::new(LeaseId(7), LONG));
    let (first, second) = (store.lease_grant(None, LONG).await, store.lease_grant(None, LONG).await);
    let (first, second) = (first.expect("grant"), second.expect("grant"));
    assert!(first.id != second.id && first.id.0 > 0 && second.id.0 > 0);
    let again = store.lease_grant(Some(LeaseId(7)), LONG).await;
    assert!(matches!(again, Err(Error::LeaseExists { lease: LeaseId(7) })), "{again:?}");
    let mut expected = vec![LeaseId(7), first.id, second.id];
    expected.sort_unstable();
    let found = store.leases().await.expect("leases");
    assert_eq!(found.iter().map(|lease| lease.id).collect::<Vec<_>>(), expected);
}

/// A lease lives for whole seconds, at least one.
pub async fn leases_live_for_whole_seconds(fixture: Fixture) {
    let lease = fixture.store.lease_grant(None, Duration::from_millis(599_001)).await.expect("grant");
    assert_eq!(lease.ttl, LONG);
    let lease = fixture.store.lease_grant(None, Duration::ZERO).await.expect("grant");
    assert!(lease.ttl >= Duration::from_secs(1));
}

/// Granting, keeping alive and ending leases without keys takes no revision.
pub async fn leases_alone_take_no_revision(fixture: Fixture) {
    let store = &fixture.store;
    let lease = store.lease_grant(None, LONG).await.expect("grant");
    store.lease_keep_alive(lease.id).await.expect("keep alive");
    assert_eq!(store.lease_revoke(lease.id).await.expect("revoke"), Revision::INITIAL);
    assert_eq!(store.put("a", "1").await.expect("put").mod_revision, Revision(2));
}

/// What is not there can neither be kept alive, nor ended, nor asked about.
pub async fn an_unknown_lease_is_not_found(fixture: Fixture) {
    let (store, id) = (&fixture.store, LeaseId(404));
    assert_not_found(store.lease_keep_alive(id).await, id);
    assert_not_found(store.lease_revoke(id).await, id);
    assert_not_found(store.lease_status(id).await, id);
}

/// With a lease all its keys are deleted, in one revision.
pub async fn revoking_deletes_the_keys_at_once(fixture: Fixture) {
    let store = &fixture.store;
    let id = store.lease_grant(None, LONG).await.expect("grant").id;
    for key in ["b", "a", "c"] {
        put_leased(&**store, key, id).await;
    }
    let before = store.put("free", "1").await.expect("put").mod_revision;
    let watch = store.watch(KeyRange::all(), before.next(), WatchOptions::default().prev_value()).await;
    let mut watch = watch.expect("watch");
    assert_eq!(store.lease_revoke(id).await.expect("revoke"), before.next());
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, batch.events.len()), (before.next(), 3));
    assert!(batch.events.iter().all(|e| e.kind == EventKind::Delete && e.prev.is_some()));
    let page = store.read_prefix("").await.expect("range");
    assert_eq!(keys(&page.entries), ["free"]);
    assert_not_found(store.lease_keep_alive(id).await, id);
}

/// A lease's status tells its keys and how long it will live.
pub async fn status_tells_keys_and_remaining_time(fixture: Fixture) {
    let store = &fixture.store;
    let lease = store.lease_grant(None, LONG).await.expect("grant");
    put_leased(&**store, "b", lease.id).await;
    put_leased(&**store, "a", lease.id).await;
    let status = store.lease_status(lease.id).await.expect("status");
    assert_eq!((status.lease, status.keys), (lease, vec![Key::from("a"), Key::from("b")]));
    assert!(status.remaining <= LONG && status.remaining > LONG / 2);
}

/// A key hangs on the lease of its newest put alone, or on none.
pub async fn a_key_hangs_on_its_newest_lease(fixture: Fixture) {
    let store = &fixture.store;
    let first = store.lease_grant(None, LONG).await.expect("grant").id;
    let second = store.lease_grant(None, LONG).await.expect("grant").id;
    for key in ["freed", "moved", "deleted", "kept"] {
        put_leased(&**store, key, first).await;
    }
    store.put("freed", "1").await.expect("put");
    put_leased(&**store, "moved", second).await;
    store.delete("deleted").await.expect("delete");
    assert_eq!(store.lease_status(first).await.expect("status").keys, [Key::from("kept")]);
    store.lease_revoke(first).await.expect("revoke");
    let page = store.read_prefix("").await.expect("range");
    assert_eq!(keys(&page.entries), ["freed", "moved"]);
    assert_eq!(page.entries[0].lease, None);
    assert_eq!(page.entries[1].lease, Some(second));
}

/// A lease that nobody keeps alive expires, and its keys are deleted as if it had been revoked.
pub async fn a_lease_expires(fixture: Fixture) {
    if !fixture.can(Capability::ShortLeases) {
        return;
    }
    let store = &fixture.store;
    let id = store.lease_grant(None, SHORT).await.expect("grant").id;
    put_leased(&**store, "a", id).await;
    let before = put_leased(&**store, "b", id).await;
    let watch = store.watch(KeyRange::all(), before.next(), WatchOptions::default()).await;
    let mut watch = watch.expect("watch");
    fixture.pass(SHORT + Duration::from_millis(1)).await;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, batch.events.len()), (before.next(), 2));
    assert!(store.read_prefix("").await.expect("range").entries.is_empty());
    assert_not_found(store.lease_keep_alive(id).await, id);
    assert_not_found(store.lease_status(id).await, id);
    assert!(store.leases().await.expect("leases").is_empty());
}

/// A lease that is kept alive does not expire, and then does.
pub async fn keeping_alive_puts_expiry_off(fixture: Fixture) {
    if !fixture.can(Capability::ShortLeases) {
        return;
    }
    let store = &fixture.store;
    let id = store.lease_grant(None, SHORT).await.expect("grant").id;
    let other = store.lease_grant(None, SHORT).await.expect("grant").id;
    let put = put_leased(&**store, "kept", id).await;
    put_leased(&**store, "other", other).await;
    for _ in 0..4 {
        fixture.pass(SHORT / 2).await;
        assert_eq!(store.lease_keep_alive(id).await.expect("alive").id, id);
    }
    let watch = store.watch(KeyRange::all(), put.next().next(), WatchOptions::default()).await;
    let mut watch = watch.expect("watch");
    let gone = next(&mut watch).await;
    assert_eq!(gone.events[0].entry.key, Key::from("other"));
    assert!(store.read("kept").await.expect("get").is_some());
    fixture.pass(SHORT + Duration::from_millis(1)).await;
    let gone = next(&mut watch).await;
    assert_eq!(gone.events[0].entry.key, Key::from("kept"));
}
