//! Many at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::FutureExt;
use tokio::task::JoinSet;

use super::{Fixture, next};
use crate::{Conditional, KeyRange, Op, Revision, Store, StoreExt, Txn, WatchOptions};

const WRITERS: usize = 8;
const ROUNDS: usize = 25;

async fn increment(store: &dyn Store, key: &str) {
    loop {
        let entry = store.read(key).await.expect("get");
        let (expected, value) = match &entry {
            None => (Revision::ZERO, 0),
            Some(entry) => {
                let text = std::str::from_utf8(&entry.value).expect("a number");
                (entry.mod_revision, text.parse::<usize>().expect("a number"))
            }
        };
        let written = store.update_if(key, expected, (value + 1).to_string()).await.expect("update");
        if matches!(written, Conditional::Done(..)) {
            return;
        }
    }
}

/// Of updates that expect the same version one wins: no increment of a counter is lost.
pub async fn no_increment_is_lost(fixture: Fixture) {
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let store = fixture.store.clone();
        writers.spawn(async move {
            for _ in 0..ROUNDS {
                increment(&*store, "counter").await;
            }
        });
    }
    writers.join_all().await;
    let counter = fixture.store.read("counter").await.expect("get").expect("there");
    assert_eq!(counter.value, (WRITERS * ROUNDS).to_string());
    assert_eq!(counter.version, (WRITERS * ROUNDS) as u64);
}

/// Every commit takes a revision of its own, the next one.
pub async fn every_commit_takes_its_own_revision(fixture: Fixture) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = fixture.store.clone();
        writers.spawn(async move {
            let mut revisions = Vec::new();
            for n in 0..ROUNDS {
                let written = store.put(format!("{writer}/{n}"), "x").await.expect("put");
                assert!(revisions.last() < Some(&written.mod_revision), "a writer's own writes are in order");
                revisions.push(written.mod_revision);
            }
            revisions
        });
    }
    let revisions: BTreeSet<Revision> = writers.join_all().await.into_iter().flatten().collect();
    let expected: BTreeSet<Revision> = (2..2 + (WRITERS * ROUNDS) as u64).map(Revision).collect();
    assert_eq!(revisions, expected);
}

/// A read sees every commit acknowledged before it, and no reader goes back in time.
pub async fn reads_never_go_back(fixture: Fixture) {
    let store = fixture.store.clone();
    store.put("a", "0").await.expect("put");
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 1..=200 {
                let written = store.put("a", n.to_string()).await.expect("put");
                let read = store.read("a").await.expect("get").expect("there");
                assert!(read.mod_revision >= written.mod_revision);
            }
        })
    };
    let mut newest = Revision::ZERO;
    while !writer.is_finished() {
        let read = store.read("a").await.expect("get").expect("there");
        assert!(read.mod_revision >= newest);
        newest = read.mod_revision;
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer");
}

/// Nobody sees half of a transaction.
pub async fn nobody_sees_half_a_transaction(fixture: Fixture) {
    let store = fixture.store.clone();
    let both = |n: usize| Txn::new().then(Op::put("p/a", n.to_string())).then(Op::put("p/b", n.to_string()));
    store.commit(both(0)).await.expect("txn");
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 1..=200 {
                store.commit(both(n)).await.expect("txn");
            }
        })
    };
    while !writer.is_finished() {
        let page = store.read_prefix("p/").await.expect("range");
        let [a, b] = &page.entries[..] else { panic!("{page:?}") };
        assert_eq!((&a.value, a.mod_revision), (&b.value, b.mod_revision));
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer");
}

/// Commits that nobody waits for leave the store sound: each happened or did not.
pub async fn cancelled_commits_do_no_harm(fixture: Fixture) {
    let store = fixture.store.clone();
    for n in 0..50 {
        // Polled once, then dropped.
        let _ = store.put(format!("cancelled/{n}"), "x").now_or_never();
    }
    store.put("after", "1").await.expect("put");
    let page = store.read_prefix("").await.expect("range");
    let revisions: BTreeSet<Revision> = page.entries.iter().map(|entry| entry.mod_revision).collect();
    assert_eq!(revisions.len(), page.entries.len());
    assert_eq!(page.entries.len() as u64, page.revision.0 - 1);
}

/// What was read, and what is watched from the next revision on, make up everything, also while others
/// write.
pub async fn a_list_and_a_watch_from_there_join(fixture: Fixture) {
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let store = fixture.store.clone();
        writers.spawn(async move {
            for n in 0..100 {
                store.put(format!("p/{writer}/{n:03}"), "x").await.expect("put");
            }
        });
    }
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let store: Arc<dyn Store> = fixture.store.clone();
        readers.spawn(async move {
            let page = store.read_prefix("p/").await.expect("range");
            let from = page.revision.next();
            let watch = store.watch(KeyRange::prefix("p/"), from, WatchOptions::default()).await;
            let mut watch = watch.expect("watch");
            let mut keys: BTreeSet<String> = page.entries.iter().map(|entry| entry.key.to_string()).collect();
            // A reader that is late has everything at once, and nothing more comes.
            while !keys.contains("p/end") {
                for event in next(&mut watch).await.events.iter() {
                    assert!(keys.insert(event.entry.key.to_string()), "{} twice", event.entry.key);
                }
            }
            keys.len()
        });
    }
    writers.join_all().await;
    fixture.store.put("p/end", "x").await.expect("put");
    assert_eq!(readers.join_all().await, [401; 3]);
}
