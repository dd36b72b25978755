//! A process that writes is killed at random moments, and nothing it had acknowledged may be missing.
#![cfg(feature = "disk")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use kubewright_store::{DiskConfig, DiskStore, StoreExt};

/// Tells the test process that it is the child, and where to write.
const DIRECTORY: &str = "KUBEWRIGHT_STORE_TEST_DIRECTORY";
const ROUND: &str = "KUBEWRIGHT_STORE_TEST_ROUND";
const WRITERS: usize = 8;

fn config(directory: &Path) -> DiskConfig {
    let mut config = DiskConfig::new(directory);
    // Small, so that segments and snapshots come and go while the process is killed.
    config.segment_bytes = 256 << 10;
    config.snapshot_after_bytes = 512 << 10;
    config
}

/// Not a test of its own: what the child does. Without the variable there is nothing to do.
#[test]
#[expect(clippy::print_stdout, reason = "the parent reads what was acknowledged")]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let round = std::env::var(ROUND).expect("the parent sets it");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut config = config(Path::new(&directory));
        // One writer, which then writes to the disk by itself, or several, for whom the store's thread does.
        config.commit_in_place = true;
        let writers_now = if round.ends_with(['0', '2', '4', '6', '8']) { WRITERS } else { 1 };
        let store = Arc::new(DiskStore::open(config).await.expect("open"));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..writers_now {
            let (store, round) = (store.clone(), round.clone());
            writers.spawn(async move {
                for n in 0.. {
                    let key = format!("{round}/{writer}/{n}");
                    store.put(key.clone(), vec![b'v'; 700]).await.expect("put");
                    println!("\nacknowledged {key}");
                }
            });
        }
        while writers.join_next().await.is_some() {}
    });
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets a child write until so many writes were acknowledged, kills it and answers all that were.
fn write_and_kill(directory: &Path, round: usize, enough: usize) -> Vec<String> {
    let program = std::env::current_exe().expect("this program");
    let child = Command::new(program)
        .args(["child", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Killed(child.expect("a child"));
    let output = child.0.stdout.take().expect("piped");
    let mut acknowledged = Vec::new();
    for line in BufReader::new(output).lines() {
        // The last line may be cut.
        let Ok(line) = line else { break };
        if let Some(key) = line.strip_prefix("acknowledged ") {
            acknowledged.push(key.to_owned());
        }
        if acknowledged.len() == enough {
            child.0.kill().expect("kill");
        }
    }
    // Whole lines that were in the pipe when it died were acknowledged as well.
    if acknowledged.len() > enough {
        acknowledged.pop();
    }
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut acknowledged = Vec::new();
    for round in 0..40 {
        let enough = 1 + (round * 7919) % 900;
        let written = write_and_kill(directory.path(), round, enough);
        assert!(written.len() >= enough, "round {round}: {}", written.len());
        acknowledged.extend(written);
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = DiskStore::open(config(directory.path())).await;
        let store = store.expect("open after kill");
        for key in &acknowledged {
            let entry = store.read(key.as_str()).await.expect("read");
            assert!(entry.is_some(), "{key} was acknowledged and is gone");
        }
        store.close().await;
    });
}
