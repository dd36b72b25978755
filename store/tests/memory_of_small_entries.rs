//! How much memory small entries take on top of their own bytes, alone in its process, for all of it is looked at.
#![cfg(target_os = "linux")]

use kubewright_store::{MemoryStore, Op, Store, Txn};

const KEYS: u64 = 200_000;
/// What the README says.
const ON_TOP_MAX: u64 = 280;

/// The memory of this process that is in no file, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
}

#[tokio::test]
async fn an_entry_takes_so_many_bytes_on_top_of_its_own() {
    let before = resident();
    let store = MemoryStore::new();
    for first in (0..KEYS).step_by(100) {
        let put = |n: u64| Op::put(format!("/small/{n:08}"), n.to_string());
        let txn = (first..first + 100).map(put).fold(Txn::new(), Txn::then);
        store.commit(txn).await.expect("commit");
    }
    let status = store.status().await.expect("status");
    assert_eq!(status.keys, KEYS);
    let on_top = (resident() - before).saturating_sub(status.bytes) / KEYS;
    assert!(on_top <= ON_TOP_MAX, "{on_top} bytes for each entry on top of its own");
}
