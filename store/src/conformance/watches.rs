//! Watches.

use std::time::Duration;

use futures::{FutureExt, StreamExt};

use super::{Capability, Fixture, assert_compacted, next, until_put};
use crate::{
    Error, EventKind, Key, KeyRange, Op, Revision, Store, StoreExt, Txn, WatchEvents, WatchOptions, WatchStream,
};

async fn watch(store: &dyn Store, range: KeyRange, from: u64) -> WatchStream {
    store.watch(range, Revision(from), WatchOptions::default()).await.expect("watch")
}

fn revisions(batches: &[WatchEvents]) -> Vec<u64> {
    batches.iter().map(|batch| batch.revision.0).collect()
}

/// A watch from now on delivers what is committed after it was asked for.
pub async fn a_watch_from_now_sees_what_comes(fixture: Fixture) {
    let store = &fixture.store;
    store.put("a", "before").await.expect("put");
    let mut watch = watch(&**store, KeyRange::all(), 0).await;
    let written = store.put("a", "after").await.expect("put");
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, batch.events.len()), (written.mod_revision, 1));
    assert_eq!((batch.events[0].kind, &batch.events[0].entry), (EventKind::Put, &written));
    assert!(!batch.events[0].is_create());
}

/// A watch from an older revision first delivers history, then what comes, in order.
pub async fn a_watch_from_the_past_catches_up(fixture: Fixture) {
    let store = &fixture.store;
    for n in 0..10 {
        store.put("a", n.to_string()).await.expect("put");
    }
    let mut watch = watch(&**store, KeyRange::all(), 5).await;
    store.put("end", "x").await.expect("put");
    let batches = until_put(&mut watch, "end").await;
    assert_eq!(revisions(&batches), [5, 6, 7, 8, 9, 10, 11, 12]);
    let versions: Vec<u64> = batches.iter().map(|b| b.events[0].entry.version).collect();
    assert_eq!(versions, [4, 5, 6, 7, 8, 9, 10, 1]);
}

/// A watch from a revision to come delivers nothing before it.
pub async fn a_watch_from_the_future_waits(fixture: Fixture) {
    let store = &fixture.store;
    let mut watch = watch(&**store, KeyRange::all(), 6).await;
    for n in 0..6 {
        store.put(n.to_string(), "x").await.expect("put");
    }
    assert_eq!(next(&mut watch).await.revision, Revision(6));
    assert_eq!(next(&mut watch).await.revision, Revision(7));
}

/// A watch delivers the changes of its range and no others.
pub async fn a_watch_sees_its_range_only(fixture: Fixture) {
    let store = &fixture.store;
    let ranges = [
        (KeyRange::key("p/2"), &["p/2"][..]),
        (KeyRange::prefix("p/"), &["p/1", "p/2", "p/3"]),
        (KeyRange::between("p/2", "q"), &["p/2", "p/3"]),
        (KeyRange::starting_at("p/3"), &["p/3", "q"]),
        (KeyRange::all(), &["a", "p", "p/1", "p/2", "p/3", "q"]),
        (KeyRange::between("b", "a"), &[]),
    ];
    let mut live = Vec::new();
    for (range, _) in &ranges {
        live.push(watch(&**store, range.clone(), 0).await);
    }
    for key in ["a", "p", "p/1", "p/2", "p/3", "q"] {
        store.put(key, "x").await.expect("put");
    }
    for ((range, expected), mut live) in ranges.into_iter().zip(live) {
        let mut late = watch(&**store, range.clone(), 1).await;
        for watch in [&mut live, &mut late] {
            for key in expected {
                assert_eq!(next(watch).await.events[0].entry.key, Key::from(*key), "{range:?}");
            }
            assert!(watch.next().now_or_never().is_none(), "{range:?}");
        }
    }
}

/// The events of a revision come together, those in the range in the order of the transaction.
pub async fn a_revision_is_delivered_whole(fixture: Fixture) {
    let store = &fixture.store;
    store.put("p/old", "x").await.expect("put");
    let mut live = watch(&**store, KeyRange::prefix("p/"), 0).await;
    let txn = Txn::new()
        .then(Op::put("p/b", "1"))
        .then(Op::put("other", "1"))
        .then(Op::put("p/a", "1"))
        .then(Op::delete("p/old"));
    let revision = store.commit(txn).await.expect("txn").revision;
    let mut late = watch(&**store, KeyRange::prefix("p/"), revision.0).await;
    for watch in [&mut live, &mut late] {
        let batch = next(watch).await;
        assert_eq!(batch.revision, revision);
        let events: Vec<_> = batch.events.iter().map(|e| (e.kind, e.entry.key.to_string())).collect();
        let expected = [(EventKind::Put, "p/b"), (EventKind::Put, "p/a"), (EventKind::Delete, "p/old")];
        assert_eq!(events, expected.map(|(kind, key)| (kind, key.to_owned())));
    }
}

/// Events tell the version before, if asked for, and whether the key is new.
pub async fn events_tell_what_was_there_before(fixture: Fixture) {
    let store = &fixture.store;
    let options = WatchOptions::default().prev_value();
    let mut live = store.watch(KeyRange::all(), Revision::ZERO, options).await.expect("watch");
    let first = store.put("a", "1").await.expect("put");
    let second = store.put("a", "2").await.expect("put");
    store.delete("a").await.expect("delete");
    store.put("a", "3").await.expect("put");
    let mut late = store.watch(KeyRange::all(), Revision(2), options).await.expect("watch");
    for watch in [&mut live, &mut late] {
        let created = next(watch).await;
        assert!(created.events[0].is_create() && created.events[0].prev.is_none());
        let updated = next(watch).await;
        assert_eq!(updated.events[0].prev.as_ref(), Some(&first));
        let deleted = next(watch).await;
        assert_eq!(deleted.events[0].prev.as_ref(), Some(&second));
        let again = next(watch).await;
        assert!(again.events[0].is_create() && again.events[0].prev.is_none());
    }
}

/// The entry of a delete event is the key and the revision of the deletion.
pub async fn a_delete_event_tells_when(fixture: Fixture) {
    let store = &fixture.store;
    store.put("a", "1").await.expect("put");
    let mut watch = watch(&**store, KeyRange::key("a"), 0).await;
    store.delete("a").await.expect("delete");
    let batch = next(&mut watch).await;
    let event = &batch.events[0];
    assert_eq!((event.kind, &event.entry.key), (EventKind::Delete, &Key::from("a")));
    assert_eq!((event.entry.mod_revision, event.entry.version), (Revision(3), 0));
    assert!(event.entry.value.is_empty() && event.entry.create_revision.is_zero());
}

/// Watches deliver every revision once, in order, while many write.
pub async fn watches_are_ordered_and_without_gaps(fixture: Fixture) {
    let mut watches = Vec::new();
    for from in [0, 2, 50] {
        watches.push((from.max(2), watch(&*fixture.store, KeyRange::all(), from).await));
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let store = fixture.store.clone();
        writers.spawn(async move {
            for n in 0..50 {
                store.put(format!("{writer}/{n}"), "x").await.expect("put");
            }
        });
    }
    writers.join_all().await;
    fixture.store.put("end", "x").await.expect("put");
    for (from, mut watch) in watches {
        let batches = until_put(&mut watch, "end").await;
        assert_eq!(revisions(&batches), (from..=202).collect::<Vec<u64>>());
    }
}

/// A watch that was dropped goes on from the revision after the last one delivered.
pub async fn a_watch_resumes_where_it_stopped(fixture: Fixture) {
    let store = &fixture.store;
    let mut seen = Vec::new();
    let mut from = 2;
    for round in 0..5 {
        for n in 0..7 {
            store.put("a", format!("{round}/{n}")).await.expect("put");
        }
        let mut watch = watch(&**store, KeyRange::all(), from).await;
        for _ in 0..5 {
            let batch = next(&mut watch).await;
            from = batch.revision.0 + 1;
            seen.push(batch.revision.0);
        }
    }
    assert_eq!(seen, (2..27).collect::<Vec<u64>>());
}

/// A watch that nobody polls for long misses nothing.
pub async fn a_slow_watch_misses_nothing(fixture: Fixture) {
    let store = &fixture.store;
    let mut watch = watch(&**store, KeyRange::prefix("p/"), 0).await;
    for n in 0..700 {
        let op = Op::put("p/a", n.to_string());
        store.commit(Txn::new().then(op).then(Op::put("other", "x"))).await.expect("txn");
    }
    store.put("p/end", "x").await.expect("put");
    let batches = until_put(&mut watch, "p/end").await;
    assert_eq!(revisions(&batches), (2..=702).collect::<Vec<u64>>());
}

/// A watch whose history is compacted before it gets there delivers all of it or ends with an error
/// that says so: it does not skip.
pub async fn a_slow_watch_never_skips_compacted_history(fixture: Fixture) {
    let store = &fixture.store;
    let mut watch = watch(&**store, KeyRange::all(), 0).await;
    for n in 0..700 {
        store.put("a", n.to_string()).await.expect("put");
    }
    store.compact(Revision(701)).await.expect("compact");
    let mut expected = 2;
    loop {
        match watch.next().await {
            Some(Ok(batch)) if batch.is_progress() => {}
            Some(Ok(batch)) => {
                assert_eq!(batch.revision, Revision(expected));
                expected += 1;
                if expected == 702 {
                    return;
                }
            }
            Some(Err(Error::Compacted { .. } | Error::Lagged { .. })) => {
                assert!(watch.next().await.is_none(), "after an error it is over");
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A watch from before the compacted revision is refused, at once or as its first item.
pub async fn compacted_history_cannot_be_watched(fixture: Fixture) {
    let store = &fixture.store;
    for n in 0..5 {
        store.put("a", n.to_string()).await.expect("put");
    }
    store.compact(Revision(4)).await.expect("compact");
    for from in [1, 3] {
        match store.watch(KeyRange::all(), Revision(from), WatchOptions::default()).await {
            Ok(mut watch) => assert_compacted(watch.next().await.expect("an answer")),
            refused => assert_compacted(refused),
        }
    }
    let mut watch = watch(&**store, KeyRange::all(), 5).await;
    assert_eq!(next(&mut watch).await.revision, Revision(5));
}

/// The compacted revision itself can still be watched from.
pub async fn the_compacted_revision_can_be_watched(fixture: Fixture) {
    if !fixture.can(Capability::WatchFromCompacted) {
        return;
    }
    let store = &fixture.store;
    store.put("a", "1").await.expect("put");
    store.put("b", "1").await.expect("put");
    store.delete("a").await.expect("delete");
    store.put("b", "2").await.expect("put");
    store.compact(Revision(4)).await.expect("compact");
    let mut watch = watch(&**store, KeyRange::all(), 4).await;
    let deleted = next(&mut watch).await;
    assert_eq!((deleted.revision, deleted.events[0].kind), (Revision(4), EventKind::Delete));
    assert_eq!(next(&mut watch).await.revision, Revision(5));
}

/// A progress mark comes when asked for, and says that everything up to it was delivered.
pub async fn a_progress_mark_comes_when_asked_for(fixture: Fixture) {
    let store = &fixture.store;
    let mut watch = watch(&**store, KeyRange::prefix("p/"), 0).await;
    let progress = watch.progress();
    store.put("other", "x").await.expect("put");
    progress.ask();
    let mark = watch.next().await.expect("goes on").expect("no error");
    assert!(mark.is_progress() && mark.revision == Revision(2), "{mark:?}");
    for n in 0..20 {
        store.put(format!("p/{n}"), "x").await.expect("put");
    }
    let last = store.put("other", "y").await.expect("put").mod_revision;
    progress.ask();
    let mut delivered = 0;
    loop {
        let batch = watch.next().await.expect("goes on").expect("no error");
        if !batch.is_progress() {
            delivered += 1;
        } else if batch.revision >= last {
            break;
        }
    }
    assert_eq!(delivered, 20, "events come before the mark");
}

/// A watch that catches up marks no progress that it has not made.
pub async fn a_progress_mark_never_runs_ahead(fixture: Fixture) {
    if !fixture.can(Capability::ProgressWhileCatchingUp) {
        return;
    }
    let store = &fixture.store;
    for n in 0..500 {
        store.put(format!("p/{n}"), "x").await.expect("put");
    }
    let mut watch = watch(&**store, KeyRange::prefix("p/"), 1).await;
    let progress = watch.progress();
    progress.ask();
    let mut last = Revision::ZERO;
    loop {
        let batch = watch.next().await.expect("goes on").expect("no error");
        if batch.is_progress() {
            assert!(batch.revision <= last.max(Revision::INITIAL) || last == Revision(501));
            if last == Revision(501) {
                return;
            }
        } else {
            assert!(batch.revision > last);
            last = batch.revision;
        }
    }
}

/// Progress marks come by themselves at the interval asked for.
pub async fn progress_marks_come_at_intervals(fixture: Fixture) {
    if !fixture.can(Capability::ProgressInterval) {
        return;
    }
    let store = &fixture.store;
    let interval = Duration::from_secs(2);
    let options = WatchOptions::default().progress_every(interval);
    let mut watch = store.watch(KeyRange::prefix("p/"), Revision::ZERO, options).await.expect("watch");
    for n in 0..3 {
        let written = store.put("other", n.to_string()).await.expect("put");
        let mark = loop {
            tokio::select! {
                item = watch.next() => break item.expect("goes on").expect("no error"),
                () = fixture.pass(interval / 4) => tokio::task::yield_now().await,
            }
        };
        assert!(mark.is_progress() && mark.revision <= written.mod_revision);
    }
}

/// All watches of a range see the same.
pub async fn many_watches_see_the_same(fixture: Fixture) {
    let store = &fixture.store;
    let mut watches = Vec::new();
    for n in 0..200 {
        watches.push(watch(&**store, KeyRange::prefix(if n % 2 == 0 { "p/" } else { "" }), 0).await);
    }
    for n in 0..10 {
        store.put(format!("p/{n}"), "x").await.expect("put");
    }
    store.put("p/end", "x").await.expect("put");
    for mut watch in watches {
        let batches = until_put(&mut watch, "p/end").await;
        assert_eq!(revisions(&batches), (2..=12).collect::<Vec<u64>>());
    }
}

/// A watch that is dropped ends; the others of the same range go on.
pub async fn a_dropped_watch_disturbs_no_other(fixture: Fixture) {
    let store = &fixture.store;
    let dropped = watch(&**store, KeyRange::all(), 0).await;
    let mut other = watch(&**store, KeyRange::all(), 0).await;
    store.put("a", "1").await.expect("put");
    drop(dropped);
    store.put("end", "2").await.expect("put");
    assert_eq!(revisions(&until_put(&mut other, "end").await), [2, 3]);
}
