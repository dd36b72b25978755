//! The engine alone: durable commits of 1 KiB into a store on disk, by one writer and by 64, beside the same in `redb`,
//! whose writers share transactions as ours share syncs; and how long a start takes. A log of our own is to earn its keep
//! here: the ratio to redb is printed first.
//!
//! `cargo bench -p kubewright-store --features disk --bench log`; the disk is that of `TMPDIR`.

#![allow(clippy::print_stdout, reason = "a bench tells what it found")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use kubewright_store::{DiskConfig, DiskStore, KeyRange, StoreExt};
use redb::{Database, TableDefinition};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

const VALUE: usize = 1024;
const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("bench");

fn open(runtime: &Runtime, directory: &std::path::Path) -> Arc<DiskStore> {
    Arc::new(runtime.block_on(DiskStore::open(DiskConfig::new(directory))).expect("open"))
}

/// Lets the writers share so many commits; answers how long that took.
fn share<F: Future<Output = ()> + Send>(
    runtime: &Runtime,
    (writers, commits): (u64, u64),
    put: impl Fn(String) -> F + Clone + Send + 'static,
) -> Duration {
    let begun = Instant::now();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let put = put.clone();
            let share = commits / writers + u64::from(writer < commits % writers);
            tasks.spawn(async move {
                for n in 0..share {
                    put(format!("bench/{writer}/{}", n % 1000)).await;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("a writer");
        }
    });
    begun.elapsed()
}

fn commit(runtime: &Runtime, store: &Arc<DiskStore>, writers: u64, commits: u64) -> Duration {
    let store = store.clone();
    share(runtime, (writers, commits), move |key| {
        let store = store.clone();
        async move { drop(store.put(key, vec![b'v'; VALUE]).await.expect("put")) }
    })
}

type Waiting = (String, oneshot::Sender<()>);

/// A redb to which one thread writes whatever waits, as one durable transaction.
fn open_redb(directory: &std::path::Path) -> mpsc::Sender<Waiting> {
    let database = Database::create(directory.join("redb")).expect("create");
    let (sender, mut waiting) = mpsc::channel::<Waiting>(1024);
    std::thread::spawn(move || {
        while let Some(first) = waiting.blocking_recv() {
            let mut batch = vec![first];
            while let Ok(more) = waiting.try_recv() {
                batch.push(more);
            }
            let txn = database.begin_write().expect("begin");
            let mut table = txn.open_table(TABLE).expect("a table");
            for (key, _) in &batch {
                table.insert(key.as_str(), &[b'v'; VALUE][..]).expect("insert");
            }
            drop(table);
            txn.commit().expect("commit");
            batch.into_iter().for_each(|(_, done)| done.send(()).expect("somebody waits"));
        }
    });
    sender
}

fn commit_redb(runtime: &Runtime, redb: &mpsc::Sender<Waiting>, writers: u64, commits: u64) -> Duration {
    let redb = redb.clone();
    share(runtime, (writers, commits), move |key| {
        let redb = redb.clone();
        async move {
            let (done, wait) = oneshot::channel();
            redb.send((key, done)).await.expect("redb's thread");
            wait.await.expect("redb's thread");
        }
    })
}

/// Both in turn, three times, and the ratio of the medians.
fn compare() {
    let runtime = Runtime::new().expect("a runtime");
    for (writers, commits) in [(1, 2_000), (64, 40_000)] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..3 {
            let home = tempfile::tempdir().expect("a directory");
            let (store, redb) = (open(&runtime, home.path()), open_redb(home.path()));
            let took = [commit(&runtime, &store, writers, commits), commit_redb(&runtime, &redb, writers, commits)];
            for (rates, took) in rates.iter_mut().zip(took) {
                rates.push(commits as f64 / took.as_secs_f64());
            }
            runtime.block_on(store.close());
        }
        let [ours, redb] = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates[1]
        });
        println!(
            "durable commits of 1 KiB, {writers} writers: {ours:.0}/s, redb {redb:.0}/s, ratio {:.2}",
            ours / redb
        );
    }
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
        let redb = open_redb(home.path());
        group.bench_function(BenchmarkId::new("redb, writers", writers), |bencher| {
            bencher.iter_custom(|commits| commit_redb(&runtime, &redb, writers, commits));
        });
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

fn main() {
    compare();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
