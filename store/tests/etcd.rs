//! A real etcd against the suite. It fails where `etcd` is not installed.
#![cfg(feature = "etcd-tests")]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use kubewright_store::conformance::{Capability, Fixture};
use kubewright_store::{EtcdConfig, EtcdStore, Store};

struct Etcd {
    process: Child,
    _directory: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ports that nobody uses: each test has its own, below those that the system gives out by itself.
fn free_ports() -> [u16; 2] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 8_000).expect("small");
    [(); 2].map(|()| {
        loop {
            let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 4_000;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        }
    })
}

async fn fresh() -> Fixture {
    let directory = tempfile::tempdir().expect("a directory");
    let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
    let process = Command::new("etcd")
        .arg("--data-dir")
        .arg(directory.path())
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        // Leases no shorter than the suite's.
        .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let etcd = Etcd { process: process.expect("etcd is installed"), _directory: directory };
    let store = EtcdStore::connect(EtcdConfig::new([client.clone()])).expect("a configuration that makes sense");
    let begin = Instant::now();
    while store.leases().await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(60), "etcd does not answer at {client}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fixture = Fixture::new(store).guard(etcd).lacks(Capability::ProgressInterval);
    fixture.lacks(Capability::WatchFromCompacted).lacks(Capability::ProgressWhileCatchingUp)
}

kubewright_store::conformance_suite!(fresh);
