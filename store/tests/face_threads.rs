//! A face with threads of its own, over a store that commits in place.

#![cfg(all(feature = "etcd", feature = "face"))]

use std::sync::Arc;
use std::time::Duration;

use kubewright_store::{DiskConfig, DiskStore, EtcdConfig, EtcdStore, Face, FaceConfig, KeyRange, RangeOptions};
use kubewright_store::{Store, StoreExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

async fn open(directory: &tempfile::TempDir) -> Arc<DiskStore> {
    let mut config = DiskConfig::new(directory.path());
    config.commit_in_place = true;
    Arc::new(DiskStore::open(config).await.expect("opens"))
}

#[tokio::test]
async fn one_and_many_clients_write_what_is_there_afterwards() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut config = FaceConfig::default();
    config.threads = 2;
    let (face, cancelled) = (Face::new(store.clone(), config), CancellationToken::new());
    let server = tokio::spawn({
        let cancelled = cancelled.clone();
        async move { face.serve(listener, None, cancelled).await }
    });
    let connect = || {
        let mut config = EtcdConfig::new([format!("http://{address}")]);
        config.request_timeout = Duration::from_secs(20);
        EtcdStore::connect(config).expect("a configuration that makes sense")
    };
    // Alone, one after the other; then several at a time on each of several connections.
    let lone = connect();
    for n in 0..50 {
        lone.put(format!("lone/{n:02}").as_str(), "x").await.expect("written");
    }
    let mut writers = JoinSet::new();
    for client in 0..4 {
        let store = Arc::new(connect());
        for writer in 0..8 {
            let store = store.clone();
            writers.spawn(async move {
                for n in 0..10 {
                    store.put(format!("many/{client}/{writer}/{n}").as_str(), "x").await.expect("written");
                }
            });
        }
    }
    while let Some(done) = writers.join_next().await {
        done.expect("no panic");
    }
    cancelled.cancel();
    tokio::time::timeout(Duration::from_secs(60), server).await.expect("ends").expect("no panic");
    store.close().await;
    drop(store);

    let store = open(&directory).await;
    for (prefix, count) in [("lone/", 50), ("many/", 320)] {
        let prefix = KeyRange::prefix(prefix);
        let page = store.range(prefix, RangeOptions::latest()).await.expect("read");
        assert_eq!(page.entries.len(), count);
    }
    store.close().await;
}
