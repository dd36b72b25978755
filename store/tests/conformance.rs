//! Every store of this crate, as itself, as an object and through a wrapper, against the suite.
#![cfg(feature = "conformance")]

#[path = "conformance/counted.rs"]
mod counted;

use std::sync::Arc;
use std::time::Duration;

use counted::Counted;
use kubewright_store::conformance::Fixture;
use kubewright_store::{ManualClock, MemoryStore, Store};

mod memory {
    use super::*;

    async fn fresh() -> Fixture {
        let clock = ManualClock::new();
        Fixture::new(MemoryStore::with_clock(Arc::new(clock.clone()))).clock(clock)
    }
    kubewright_store::conformance_suite!(fresh);
}

mod memory_as_an_object {
    use super::*;

    async fn fresh() -> Fixture {
        let clock = ManualClock::new();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::with_clock(Arc::new(clock.clone())));
        let store: Box<dyn Store> = Box::new(store);
        Fixture::new(store).clock(clock)
    }
    kubewright_store::conformance_suite!(fresh);
}

mod memory_in_a_wrapper {
    use super::*;

    async fn fresh() -> Fixture {
        let clock = ManualClock::new();
        let store = MemoryStore::with_clock(Arc::new(clock.clone()));
        Fixture::new(Counted::new(store)).clock(clock)
    }
    kubewright_store::conformance_suite!(fresh);
}

#[cfg(feature = "disk")]
mod disk {
    use kubewright_store::{DiskConfig, DiskStore};

    use super::*;

    async fn fresh() -> Fixture {
        let clock = ManualClock::new();
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = DiskConfig::new(directory.path()).clock(Arc::new(clock.clone()));
        // Small, so that segments and snapshots come and go.
        config.segment_bytes = 64 << 10;
        config.snapshot_after_bytes = 128 << 10;
        let store = DiskStore::open(config).await.expect("open");
        Fixture::new(store).clock(clock).guard(directory)
    }
    kubewright_store::conformance_suite!(fresh);
}

#[cfg(feature = "disk")]
mod disk_as_an_object_in_a_wrapper {
    use kubewright_store::{DiskConfig, DiskStore};

    use super::*;

    async fn fresh() -> Fixture {
        let clock = ManualClock::new();
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = DiskConfig::new(directory.path()).clock(Arc::new(clock.clone()));
        config.commit_in_place = true;
        let store: Arc<dyn Store> = Arc::new(DiskStore::open(config).await.expect("open"));
        Fixture::new(Counted::new(store)).clock(clock).guard(directory)
    }
    kubewright_store::conformance_suite!(fresh);
}

#[cfg(feature = "raft")]
mod raft_alone {
    use kubewright_store::{LocalNetwork, RaftConfig, RaftStore};

    use super::*;

    pub(super) async fn open() -> (RaftStore, ManualClock, tempfile::TempDir) {
        let clock = ManualClock::new();
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = RaftConfig::new(1, [1], directory.path());
        config.clock = Arc::new(clock.clone());
        config.checkpoint_after = 200;
        let network = LocalNetwork::new();
        let store = RaftStore::open(config, network.transport(1)).await.expect("open");
        (store, clock, directory)
    }

    async fn fresh() -> Fixture {
        let (store, clock, directory) = open().await;
        Fixture::new(store).clock(clock).guard(directory)
    }
    kubewright_store::conformance_suite!(fresh);
}

#[cfg(feature = "raft")]
mod raft_as_an_object_in_a_wrapper {
    use super::*;

    async fn fresh() -> Fixture {
        let (store, clock, directory) = raft_alone::open().await;
        let store: Arc<dyn Store> = Arc::new(store);
        Fixture::new(Counted::new(store)).clock(clock).guard(directory)
    }
    kubewright_store::conformance_suite!(fresh);
}

/// Through one of three replicas, whether it leads or not.
#[cfg(feature = "raft")]
mod raft_of_three {
    use kubewright_store::{LocalNetwork, RaftConfig, RaftStore};

    use super::*;

    async fn fresh() -> Fixture {
        let clock = ManualClock::new();
        let directory = tempfile::tempdir().expect("a directory");
        let network = LocalNetwork::new();
        let mut replicas = Vec::new();
        for id in 1..=3 {
            let mut config = RaftConfig::new(id, [1, 2, 3], directory.path().join(id.to_string()));
            config.clock = Arc::new(clock.clone());
            config.tick = Duration::from_millis(20);
            // Long enough for a machine that is short of processors.
            config.election_ticks = 20;
            config.request_timeout = Duration::from_secs(60);
            let replica = RaftStore::open(config, network.transport(id)).await.expect("open");
            network.join(id, replica.inbox());
            replicas.push(replica);
        }
        let store = replicas.pop().expect("three");
        Fixture::new(store).clock(clock).guard(replicas).guard(directory)
    }
    kubewright_store::conformance_suite!(fresh);
}

/// Through the face of etcd and back: what a client of the face sees.
#[cfg(all(feature = "etcd", feature = "face"))]
mod memory_behind_the_face_of_etcd {
    use kubewright_store::{EtcdStore, Face, FaceConfig};

    use super::*;

    pub(super) fn open() -> (EtcdStore, ManualClock) {
        let clock = ManualClock::new();
        let store = Arc::new(MemoryStore::with_clock(Arc::new(clock.clone())));
        let mut config = FaceConfig::default();
        config.progress_interval = Duration::from_secs(2);
        (EtcdStore::behind(Face::new(store, config)), clock)
    }

    async fn fresh() -> Fixture {
        let (store, clock) = open();
        Fixture::new(store).clock(clock)
    }
    kubewright_store::conformance_suite!(fresh);
}

#[cfg(all(feature = "etcd", feature = "face"))]
mod etcd_as_an_object_in_a_wrapper {
    use super::*;

    async fn fresh() -> Fixture {
        let (store, clock) = memory_behind_the_face_of_etcd::open();
        let store: Arc<dyn Store> = Arc::new(store);
        Fixture::new(Counted::new(store)).clock(clock)
    }
    kubewright_store::conformance_suite!(fresh);
}
