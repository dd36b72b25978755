//! Every store of this crate, as itself, as an object and through a wrapper, against the suite.
#![cfg(feature = "conformance")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kubewright_store::conformance::Fixture;
use kubewright_store::{
    Committed, Entry, Error, Key, KeyRange, Lease, LeaseId, LeaseStatus, ManualClock, MemoryStore, Page, RangeOptions,
    ReadOptions, Revision, Store, StoreStatus, Txn, WatchOptions, WatchStream,
};

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
        Fixture::new(Counted { store, calls: AtomicU64::new(0) }).clock(clock)
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
        let config = DiskConfig::new(directory.path()).clock(Arc::new(clock.clone()));
        let store: Arc<dyn Store> = Arc::new(DiskStore::open(config).await.expect("open"));
        Fixture::new(Counted { store, calls: AtomicU64::new(0) }).clock(clock).guard(directory)
    }
    kubewright_store::conformance_suite!(fresh);
}

#[cfg(feature = "raft")]
mod raft_alone {
    use kubewright_store::{LocalNetwork, RaftConfig, RaftStore};

    use super::*;

    async fn fresh() -> Fixture {
        let clock = ManualClock::new();
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = RaftConfig::new(1, [1], directory.path());
        config.clock = Arc::new(clock.clone());
        config.checkpoint_after = 200;
        let network = LocalNetwork::new();
        let store = RaftStore::open(config, network.transport(1)).await.expect("open");
        Fixture::new(store).clock(clock).guard(directory)
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

    async fn fresh() -> Fixture {
        let clock = ManualClock::new();
        let store = Arc::new(MemoryStore::with_clock(Arc::new(clock.clone())));
        let mut config = FaceConfig::default();
        config.progress_interval = Duration::from_secs(2);
        Fixture::new(EtcdStore::behind(Face::new(store, config))).clock(clock)
    }
    kubewright_store::conformance_suite!(fresh);
}

/// What a wrapper looks like: it forwards everything.
struct Counted<S> {
    store: S,
    calls: AtomicU64,
}

impl<S> Counted<S> {
    fn store(&self) -> &S {
        self.calls.fetch_add(1, Ordering::Relaxed);
        &self.store
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Store> Store for Counted<S> {
    async fn get(&self, key: &Key, options: ReadOptions) -> Result<Option<Arc<Entry>>, Error> {
        self.store().get(key, options).await
    }

    async fn range(&self, range: KeyRange, options: RangeOptions) -> Result<Page, Error> {
        self.store().range(range, options).await
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        self.store().commit(txn).await
    }

    async fn watch(&self, range: KeyRange, from: Revision, options: WatchOptions) -> Result<WatchStream, Error> {
        self.store().watch(range, from, options).await
    }

    async fn compact(&self, through: Revision) -> Result<(), Error> {
        self.store().compact(through).await
    }

    async fn lease_grant(&self, id: Option<LeaseId>, ttl: Duration) -> Result<Lease, Error> {
        self.store().lease_grant(id, ttl).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        self.store().lease_keep_alive(id).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        self.store().lease_revoke(id).await
    }

    async fn lease_status(&self, id: LeaseId) -> Result<LeaseStatus, Error> {
        self.store().lease_status(id).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, Error> {
        self.store().leases().await
    }

    async fn status(&self) -> Result<StoreStatus, Error> {
        self.store().status().await
    }
}
