//! A store whose watch opens and then fails at once, as that of a store whose keys can't be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::{
    Committed, Entry, Error, Key, KeyRange, Lease, LeaseId, LeaseStatus, MemoryStore, Page, RangeOptions, ReadOptions,
    Revision, Store, StoreStatus, Txn, WatchOptions, WatchStream,
};

/// Counts how often it was watched.
#[derive(Default)]
struct Broken(MemoryStore, AtomicUsize);

#[async_trait]
impl Store for Broken {
    async fn get(&self, key: &Key, options: ReadOptions) -> Result<Option<Arc<Entry>>, Error> {
        self.0.get(key, options).await
    }

    async fn range(&self, range: KeyRange, options: RangeOptions) -> Result<Page, Error> {
        self.0.range(range, options).await
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        self.0.commit(txn).await
    }

    async fn watch(&self, _: KeyRange, _: Revision, _: WatchOptions) -> Result<WatchStream, Error> {
        // Who never waits is made to at last, so that the test ends.
        if self.1.fetch_add(1, Ordering::Relaxed) > 1000 {
            return Ok(WatchStream::new(stream::pending(), || {}));
        }
        Ok(WatchStream::new(stream::iter([Err(Error::unavailable("no key"))]), || {}))
    }

    async fn compact(&self, through: Revision) -> Result<(), Error> {
        self.0.compact(through).await
    }

    async fn lease_grant(&self, id: Option<LeaseId>, ttl: Duration) -> Result<Lease, Error> {
        self.0.lease_grant(id, ttl).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        self.0.lease_keep_alive(id).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        self.0.lease_revoke(id).await
    }

    async fn lease_status(&self, id: LeaseId) -> Result<LeaseStatus, Error> {
        self.0.lease_status(id).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, Error> {
        self.0.leases().await
    }

    async fn status(&self) -> Result<StoreStatus, Error> {
        self.0.status().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_at_once_is_opened_again_ever_later() {
    let store = Arc::new(Broken::default());
    let server = ApiServer::builder(Arc::clone(&store) as _).bare().build().await.expect("a server");
    for _ in 0..600 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let asked = store.1.load(Ordering::Relaxed);
    assert!((5..40).contains(&asked), "{asked} watches in a minute");
    server.shutdown().await;
}
