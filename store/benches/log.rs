//! The engine alone: durable commits of 1 KiB into a store on disk, by one writer and by 64, and how long a start takes.
//!
//! `cargo bench -p kubewright-store --features disk`; the disk is that of `TMPDIR`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kubewright_store::{DiskConfig, DiskStore, KeyRange, StoreExt};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const VALUE: usize = 1024;

fn open(runtime: &Runtime, directory: &std::path::Path) -> Arc<DiskStore> {
    Arc::new(runtime.block_on(DiskStore::open(DiskConfig::new(directory))).expect("open"))
}

/// Lets the writers share so many commits; answers how long that took.
fn commit(runtime: &Runtime, store: &Arc<DiskStore>, writers: u64, commits: u64) -> Duration {
    let begun = Instant::now();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let store = store.clone();
            let share = commits / writers + u64::from(writer < commits % writers);
            tasks.spawn(async move {
                for n in 0..share {
                    store.put(format!("bench/{writer}/{}", n % 1000), vec![b'v'; VALUE]).await.expect("put");
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("a writer");
        }
    });
    begun.elapsed()
}

fn commits(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("durable commits of 1 KiB");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(8)).sample_size(20);
    for writers in [1, 64] {
        let home = tempfile::tempdir().expect("a directory");
        let store = open(&runtime, home.path());
        group.bench_function(BenchmarkId::new("writers", writers), |bencher| {
            bencher.iter_custom(|commits| commit(&runtime, &store, writers, commits));
        });
        runtime.block_on(store.close());
    }
    group.finish();
}

fn start(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let home = tempfile::tempdir().expect("a directory");
    let store = open(&runtime, home.path());
    commit(&runtime, &store, 64, 50_000);
    let count = runtime.block_on(store.count(KeyRange::all())).expect("count");
    runtime.block_on(store.close());
    let mut group = c.benchmark_group("start");
    group.sample_size(10);
    group.bench_function(format!("{count} keys after 50,000 commits"), |bencher| {
        bencher.iter(|| {
            let store = open(&runtime, home.path());
            black_box(store.digest());
            runtime.block_on(store.close());
        });
    });
    group.finish();
}

criterion_group!(benches, commits, start);
criterion_main!(benches);
