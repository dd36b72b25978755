//! A real etcd against the suite. It fails where `etcd` is not installed.
#![cfg(feature = "etcd-tests")]

#[path = "conformance/counted.rs"]
mod counted;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use counted::Counted;
use futures::StreamExt;
use kubewright_store::conformance::{Capability, Fixture};
use kubewright_store::{
    Backup, DiskConfig, DiskStore, Error, EtcdConfig, EtcdStore, KeyRange, MemoryStore, Op, Put, RangeOptions,
    Revision, Store, StoreExt, Txn, export_to_etcd, verify_backup,
};

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

fn free_urls() -> [String; 2] {
    free_ports().map(|port| format!("http://127.0.0.1:{port}"))
}

async fn start() -> (EtcdStore, Etcd) {
    start_in(tempfile::tempdir().expect("a directory"), free_urls()).await
}

async fn start_in(directory: tempfile::TempDir, [client, peer]: [String; 2]) -> (EtcdStore, Etcd) {
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
    (store, etcd)
}

fn fixture(store: impl Store, etcd: Etcd) -> Fixture {
    let fixture = Fixture::new(store).guard(etcd).lacks(Capability::ProgressInterval);
    fixture.lacks(Capability::WatchFromCompacted).lacks(Capability::ProgressWhileCatchingUp)
}

async fn fresh() -> Fixture {
    let (store, etcd) = start().await;
    fixture(store, etcd)
}

kubewright_store::conformance_suite!(fresh);

/// What etcd's own client saves of an etcd can be taken over.
#[tokio::test]
async fn a_snapshot_of_etcd_restores() {
    let (store, _etcd) = start().await;
    let lease = store.lease_grant(None, Duration::from_secs(600)).await.expect("a lease");
    for n in 0..400 {
        let put = Put::new(format!("key/{:03}", n % 300), vec![n as u8; 100]);
        let put = put.lease((n % 7 == 0).then_some(lease.id));
        store.commit(Txn::new().then(Op::Put(put))).await.expect("put");
    }
    store.compact(Revision(100)).await.expect("compact");
    store.commit(Txn::new().then(Op::delete("key/005"))).await.expect("delete");
    let mut bytes = Vec::new();
    let mut pieces = store.snapshot().await.expect("a snapshot");
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.expect("a piece").0);
    }
    let home = tempfile::tempdir().expect("a directory");
    let (file, directory) = (home.path().join("snapshot"), home.path().join("store"));
    std::fs::write(&file, &bytes).expect("write");
    let info = DiskStore::restore(&directory, &file, &mut |_, _| ()).expect("restore");
    assert_eq!((info.keys, info.leases, info.revision), (299, 1, Revision(402)));
    assert_eq!(verify_backup(&file, &mut |_, _| ()).expect("sound").digest, info.digest);
    let restored = DiskStore::open(DiskConfig::new(&directory)).await.expect("open");
    let all =
        async |store: &dyn Store| store.range(KeyRange::all(), RangeOptions::latest()).await.expect("all").entries;
    assert_eq!(all(&restored).await, all(&store).await);
    let next = restored.put("after", "1").await.expect("put");
    assert_eq!(next.mod_revision, Revision(403));
    restored.close().await;

    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).expect("write");
    let refused = DiskStore::restore(&home.path().join("other"), &file, &mut |_, _| ());
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
}

/// And the way back: an etcd goes on with what this crate's store held.
#[tokio::test]
async fn an_export_restores_into_an_etcd() {
    let source = MemoryStore::new();
    let lease = source.lease_grant(None, Duration::from_secs(600)).await.expect("a lease");
    for n in 0..3000 {
        let put = Put::new(format!("key/{:04}", n % 2000), vec![n as u8; n % 6000]);
        let put = put.lease((n % 7 == 0).then_some(lease.id));
        source.commit(Txn::new().then(Op::Put(put))).await.expect("put");
    }
    source.commit(Txn::new().then(Op::delete("key/0005"))).await.expect("delete");
    let home = tempfile::tempdir().expect("a directory");
    let (copy, exported) = (home.path().join("copy"), home.path().join("exported"));
    let pieces: Result<Vec<_>, _> = source.backup().expect("a backup").collect();
    std::fs::write(&copy, pieces.expect("all pieces").concat()).expect("write");
    let info = export_to_etcd(&copy, &exported, &mut |_, _| ()).expect("exported");
    assert_eq!((info.keys, info.leases, info.revision), (1999, 1, Revision(3002)));
    let twice = export_to_etcd(&copy, &exported, &mut |_, _| ());
    assert!(matches!(twice, Err(Error::InvalidRequest { .. })), "{twice:?}");

    let (urls, directory) = (free_urls(), tempfile::tempdir().expect("a directory"));
    let made = directory.path().join("etcd");
    let restored = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["snapshot", "restore"])
        .arg(&exported)
        .arg("--data-dir")
        .arg(&made)
        .args(["--name", "default", "--initial-cluster", &format!("default={}", urls[1])])
        .args(["--initial-advertise-peer-urls", &urls[1]])
        .output()
        .expect("etcdctl is installed");
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let place = tempfile::Builder::new().tempdir_in(directory.path()).expect("a directory");
    std::fs::rename(made.join("member"), place.path().join("member")).expect("moved");
    let (etcd, _process) = start_in(place, urls).await;
    let all =
        async |store: &dyn Store| store.range(KeyRange::all(), RangeOptions::latest()).await.expect("all").entries;
    assert_eq!(all(&etcd).await, all(&source).await);
    let next = etcd.put("after", "1").await.expect("put");
    assert_eq!(next.mod_revision, Revision(3003));
    assert_eq!(etcd.lease_status(lease.id).await.expect("the lease").lease.ttl, lease.ttl);
}

mod as_an_object_in_a_wrapper {
    use std::sync::Arc;

    use super::*;

    async fn fresh() -> Fixture {
        let (store, etcd) = start().await;
        let store: Arc<dyn Store> = Arc::new(store);
        fixture(Counted::new(store), etcd)
    }
    kubewright_store::conformance_suite!(fresh);
}
