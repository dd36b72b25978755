//! Replicas as threads: what the simulation of the cores cannot see.
#![cfg(feature = "raft")]

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use kubewright_store::{
    Consistency, Error, Health, KeyRange, LocalNetwork, RaftConfig, RaftStore, ReadOptions, Revision, Store, StoreExt,
    WatchOptions,
};

fn config(id: u64, size: u64, home: &Path) -> RaftConfig {
    let mut config = RaftConfig::new(id, (1..=size).collect::<Vec<u64>>(), home.join(id.to_string()));
    config.tick = Duration::from_millis(10);
    config.checkpoint_after = 100;
    config.segment_bytes = 64 << 10;
    config
}

struct Cluster {
    network: LocalNetwork,
    home: tempfile::TempDir,
    replicas: Vec<RaftStore>,
}

impl Cluster {
    async fn start(size: u64) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let mut cluster = Self { network: LocalNetwork::new(), home, replicas: Vec::new() };
        for id in 1..=size {
            let replica = cluster.open(id, size).await;
            cluster.replicas.push(replica);
        }
        cluster
    }

    async fn open(&self, id: u64, size: u64) -> RaftStore {
        let config = config(id, size, self.home.path());
        let replica = RaftStore::open(config, self.network.transport(id)).await.expect("open");
        self.network.join(id, replica.inbox());
        replica
    }

    /// The place of the replica that leads, once there is one.
    async fn leader(&self, except: Option<usize>) -> usize {
        loop {
            let leads = |(n, replica): &(usize, &RaftStore)| replica.is_leader() && Some(*n) != except;
            if let Some((n, _)) = self.replicas.iter().enumerate().find(leads) {
                return n;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until all replicas have the same.
    async fn agree(&self) {
        loop {
            let newest = self.replicas[0].read_prefix("").await.expect("range").revision;
            let mut all_there = true;
            for replica in &self.replicas {
                all_there &= replica.status().await.expect("status").revision == newest;
            }
            let first = self.replicas[0].digest();
            if all_there && self.replicas.iter().all(|replica| replica.digest() == first) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn put_until_it_works(store: &RaftStore, key: &str) {
    // A write that timed out may have happened; it is the same again.
    while store.put(key, "value").await.is_err() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leads_when_the_leader_is_cut_off() {
    let cluster = Cluster::start(3).await;
    let old = cluster.leader(None).await;
    cluster.replicas[old].put("before", "1").await.expect("put");
    cluster.network.cut_off(old as u64 + 1);
    let new = cluster.leader(Some(old)).await;
    put_until_it_works(&cluster.replicas[new], "after").await;
    // The old leader can neither write nor say what is newest.
    let stale = cluster.replicas[old].read("after").await;
    assert!(matches!(stale, Err(Error::Unavailable { .. })), "{stale:?}");
    let whatever = ReadOptions::latest().consistency(Consistency::Serializable);
    let whatever = cluster.replicas[old].get(&"before".into(), whatever).await.expect("what it has");
    assert!(whatever.is_some());
    let lonely = cluster.replicas[old].status().await.expect("status");
    assert!(matches!(lonely.health, Health::ReadOnly(_)), "{lonely:?}");
    cluster.network.reconnect(old as u64 + 1);
    let caught_up = loop {
        if let Ok(entry) = cluster.replicas[old].read("after").await {
            break entry;
        }
    };
    assert!(caught_up.is_some());
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_down_catches_up_and_its_watches_go_on() {
    let mut cluster = Cluster::start(3).await;
    cluster.replicas[0].put("first", "1").await.expect("put");
    let down = (cluster.leader(None).await + 1) % 3;
    cluster.replicas[down].close().await;
    let up = (down + 1) % 3;
    for n in 0..400 {
        cluster.replicas[up].put(format!("key/{}", n % 7), n.to_string()).await.expect("put");
    }
    let replica = cluster.open(down as u64 + 1, 3).await;
    let mut watch = replica.watch(KeyRange::all(), Revision(2), WatchOptions::default()).await.expect("watch");
    cluster.replicas[down] = replica;
    for revision in 2..=402 {
        let batch = watch.next().await.expect("goes on").expect("no error");
        assert_eq!(batch.revision, Revision(revision));
    }
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_down_and_up_again_have_what_they_had() {
    let mut cluster = Cluster::start(3).await;
    for n in 0..250 {
        cluster.replicas[n % 3].put(format!("key/{n}"), "value").await.expect("put");
    }
    for replica in &cluster.replicas {
        replica.close().await;
    }
    for id in 1..=3 {
        cluster.replicas[id - 1] = cluster.open(id as u64, 3).await;
    }
    assert_eq!(cluster.replicas[1].count(KeyRange::prefix("key/")).await.expect("count"), 250);
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_can_be_handed_over() {
    let cluster = Cluster::start(3).await;
    let old = cluster.leader(None).await;
    cluster.replicas[old].put("a", "1").await.expect("put");
    cluster.agree().await;
    let heir = (old + 1) % 3;
    cluster.replicas[old].transfer_leader(heir as u64 + 1).expect("open");
    assert_eq!(cluster.leader(Some(old)).await, heir);
    put_until_it_works(&cluster.replicas[old], "b").await;
}

#[tokio::test]
async fn a_replica_refuses_a_config_without_itself() {
    let home = tempfile::tempdir().expect("a directory");
    let config = RaftConfig::new(4, [1, 2, 3], home.path());
    let refused = RaftStore::open(config, LocalNetwork::new().transport(4)).await;
    assert!(matches!(refused, Err(Error::InvalidRequest { .. })));
}
