//! The store, with spans of what requests read and write.

use async_trait::async_trait;
use kubewright_store::{
    Committed, Entry, Error, Key, KeyRange, Page, RangeOptions, ReadOptions, Store, Txn, forward_store,
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
impl Store for TracedStore {
    forward_store!(|traced| &traced.inner; watch, compact, status);
    forward_store!(|traced| &traced.inner; lease_grant, lease_keep_alive, lease_revoke, lease_status, leases);

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
}
