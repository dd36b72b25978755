//! What a store does in memory, behind the log: reads, ranges, and events for many watches.
//!
//! `cargo bench -p kubewright-store --features disk --bench store`

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use kubewright_store::{
    Key, KeyRange, MemoryStore, RangeOptions, ReadOptions, Revision, Store, StoreExt, WatchOptions, WatchStream,
};
use tokio::runtime::Runtime;

const KEYS: usize = 10_000;
const VALUE: usize = 256;

fn key(n: usize) -> String {
    format!("/registry/pods/{n:010}")
}

fn filled(runtime: &Runtime) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    runtime.block_on(async {
        for n in 0..KEYS {
            store.put(key(n), vec![b'v'; VALUE]).await.expect("put");
        }
    });
    store
}

fn commits(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let store = filled(&runtime);
    let mut n = 0;
    c.bench_function("commit in memory", |bencher| {
        bencher.iter(|| {
            n = (n + 7919) % KEYS;
            runtime.block_on(store.put(key(n), vec![b'v'; VALUE])).expect("put")
        });
    });
}

fn reads(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let store = filled(&runtime);
    let keys: Vec<Key> = (0..KEYS).map(|n| Key::from(key(n))).collect();
    let mut n = 0;
    c.bench_function("get", |bencher| {
        bencher.iter(|| {
            n = (n + 7919) % KEYS;
            let found = runtime.block_on(store.get(&keys[n], ReadOptions::latest())).expect("get");
            assert!(black_box(found).is_some());
        });
    });
    let mut group = c.benchmark_group("range");
    for limit in [100, KEYS] {
        group.throughput(Throughput::Elements(limit as u64));
        group.bench_function(BenchmarkId::new("keys", limit), |bencher| {
            bencher.iter(|| {
                let options = RangeOptions::latest().limit(limit);
                let page = runtime.block_on(store.range(KeyRange::prefix("/registry/pods/"), options)).expect("range");
                assert_eq!(black_box(page).entries.len(), limit);
            });
        });
    }
    group.finish();
}

/// How long it takes until every watch was told of an event.
fn watches(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("an event for all watches");
    for watches in [1, 1000] {
        group.throughput(Throughput::Elements(watches as u64));
        group.bench_function(BenchmarkId::new("watches", watches), |bencher| {
            let store = filled(&runtime);
            let mut open: Vec<WatchStream> = (0..watches)
                .map(|_| {
                    let all = KeyRange::prefix("/registry/pods/");
                    runtime.block_on(store.watch(all, Revision::ZERO, WatchOptions::default())).expect("watch")
                })
                .collect();
            bencher.iter_custom(|events| {
                let mut took = Duration::ZERO;
                for n in 0..events as usize {
                    let begun = Instant::now();
                    runtime.block_on(async {
                        store.put(key(n % KEYS), vec![b'v'; VALUE]).await.expect("put");
                        for watch in &mut open {
                            let told = watch.next().await.expect("goes on").expect("no error");
                            assert_eq!(told.events.len(), 1);
                        }
                    });
                    took += begun.elapsed();
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group!(benches, commits, reads, watches);
criterion_main!(benches);
