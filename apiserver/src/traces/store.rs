//! The store, with spans of what requests read and write.

use async_trait::async_trait;
use kubewright_store::{
    Committed, Entry, Error, Key, KeyRange, Lease, LeaseId, LeaseStatus, Page, RangeOptions, ReadOptions, Revision,
    Store, StoreStatus, Txn, WatchOptions, WatchStream,
};

use super::*;

/// A store whose reads and writes are part of a request's trace.
pub(crate) struct TracedStore {
    inner: Arc<dyn Store>,
    traces: Traces,
}

impl TracedStore {
    pub(crate) fn new(inner: Arc<dyn Store>, traces: Traces) -> Self {
        Self { inner, traces }
    }

    fn span(&self, name: &'static str, attributes: Vec<KeyValue>) -> Option<Context> {
        self.traces.child(|| name.to_owned(), SpanKind::Client, attributes)
    }
}

fn fault<T>(outcome: &Result<T, Error>) -> Option<String> {
    outcome.as_ref().err().map(ToString::to_string)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for TracedStore {
    async fn get(&self, key: &Key, options: ReadOptions) -> Result<Option<Arc<Entry>>, Error> {
        let span = self.span("Get etcd3", Vec::new());
        let outcome = self.inner.get(key, options).await;
        end(span, fault(&outcome));
        outcome
    }

    async fn range(&self, range: KeyRange, options: RangeOptions) -> Result<Page, Error> {
        let span = self.span("List(recursive=true) etcd3", Vec::new());
        let outcome = self.inner.range(range, options).await;
        end(span, fault(&outcome));
        outcome
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        let span = self.span("Txn etcd3", Vec::new());
        let outcome = self.inner.commit(txn).await;
        end(span, fault(&outcome));
        outcome
    }

    async fn watch(&self, range: KeyRange, from: Revision, options: WatchOptions) -> Result<WatchStream, Error> {
        self.inner.watch(range, from, options).await
    }

    async fn compact(&self, through: Revision) -> Result<(), Error> {
        self.inner.compact(through).await
    }

    async fn lease_grant(&self, id: Option<LeaseId>, ttl: Duration) -> Result<Lease, Error> {
        self.inner.lease_grant(id, ttl).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        self.inner.lease_keep_alive(id).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        self.inner.lease_revoke(id).await
    }

    async fn lease_status(&self, id: LeaseId) -> Result<LeaseStatus, Error> {
        self.inner.lease_status(id).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, Error> {
        self.inner.leases().await
    }

    async fn status(&self) -> Result<StoreStatus, Error> {
        self.inner.status().await
    }
}
