//! What a wrapper looks like: it forwards everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kubewright_store::{
    Committed, Entry, Error, Key, KeyRange, Lease, LeaseId, LeaseStatus, Page, RangeOptions, ReadOptions, Revision,
    Store, StoreStatus, Txn, WatchOptions, WatchStream,
};

/// Counts calls.
pub(crate) struct Counted<S> {
    store: S,
    calls: AtomicU64,
}

impl<S> Counted<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store, calls: AtomicU64::new(0) }
    }

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
