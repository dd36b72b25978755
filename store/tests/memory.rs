//! How much memory a store takes, alone in its process, for all of the process is looked at.
#![cfg(target_os = "linux")]

use kubewright_store::{MemoryStore, Op, Put, Store, Txn};

const KEYS: u64 = 100_000;
const VALUE: usize = 256;

/// The memory of this process that is in no file, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
}

fn key(n: u64) -> String {
    format!("/registry/pods/default/pod-{n:08}")
}

async fn put_all(store: &MemoryStore, value: u8) {
    for first in (0..KEYS).step_by(100) {
        let put = |n| Op::Put(Put::new(key(n), vec![value; VALUE]));
        let txn = (first..first + 100).map(put).fold(Txn::new(), Txn::then);
        store.commit(txn).await.expect("commit");
    }
}

#[tokio::test]
async fn memory_is_at_most_two_and_a_half_times_what_is_live_plus_history() {
    let before = resident();
    let store = MemoryStore::new();
    put_all(&store, 1).await;
    let status = store.status().await.expect("status");
    assert_eq!((status.keys, status.bytes), (KEYS, KEYS * (key(0).len() + VALUE) as u64));
    let taken = resident() - before;
    let times = taken as f64 / status.bytes as f64;
    assert!(times <= 2.5, "{taken} bytes for {} of keys and values: {times:.2} times", status.bytes);

    // What is replaced is history, which counts beside it until it is forgotten, and then makes room.
    put_all(&store, 2).await;
    let status = store.status().await.expect("status");
    let (taken, live) = (resident() - before, status.bytes);
    assert!(status.history_bytes >= live, "{status:?}");
    assert!(taken as f64 <= 2.5 * (live + status.history_bytes) as f64, "{taken} bytes with history: {status:?}");
    store.compact(status.revision).await.expect("compact");
    let forgotten = async {
        while store.status().await.expect("status").history_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(120), forgotten).await.expect("history is forgotten");
    put_all(&store, 3).await;
    let after = resident() - before;
    // The allocator keeps what was given back, and uses it again.
    assert!(after as f64 <= taken as f64 * 1.2, "{after} bytes after {taken}: what was forgotten is not used again");
}
