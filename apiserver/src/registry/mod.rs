//! The generic registry: every kind, built in or custom, passes through this code.

pub(crate) mod cache;
mod call;
mod compaction;
mod create;
mod delete;
mod errors;
mod info;
mod list;
mod metrics;
mod modify;
mod own;
mod ownership;
mod published;
pub(crate) mod storage;
mod strategy;
pub(crate) mod table;
mod update;

pub(crate) use call::{Call, Written};
pub(crate) use delete::{DeleteOptions, Preconditions};
pub use info::{ResourceInfo, SubresourceInfo, Text};
pub(crate) use list::{ListParams, Listed};
pub(crate) use metrics::StorageMetrics;
pub(crate) use own::OwnObjects;
pub use strategy::{
    Column, CommitHook, GarbageCollection, Reservation, Scale, Scaling, SelectableField, Strategy, StrategyContext,
};
pub use table::OwnResource;
pub(crate) use update::UpdateRules;

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use kubewright_api::status::Status;
use kubewright_store::{KeyRange, RangeOptions, ReadOptions, Store};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::custom::Converter;
use crate::environment::Environment;
use crate::fairness::Extent;
use crate::objects::GroupResource;
use cache::feed::Feed;
use published::Published;
use storage::{Served, Storage};
use table::Resources;

/// How long a read waits for the cache to reach the revision it needs.
const FRESHNESS_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a write waits to be seen by those who decide by it.
const DECISION_TIMEOUT: Duration = Duration::from_secs(30);

/// Every stored resource over one store.
pub(crate) struct Registry {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) resources: Arc<Resources>,
    /// Everything up to this revision is in the caches.
    published: Arc<Published>,
    /// The greatest revision that someone waits for.
    ask: watch::Sender<u64>,
    leases: create::Leases,
    /// Converts between versions of custom resources; nobody does before the server runs.
    converter: OnceLock<Weak<Converter>>,
}

impl Registry {
    /// Reads the store and follows it until cancelled.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        environment: Arc<dyn Environment>,
        resources: Arc<Resources>,
        history: Duration,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Arc<Self>, kubewright_store::Error> {
        let (published, ask) = (Arc::new(Published::default()), watch::Sender::new(0));
        let feed = Feed::new(Arc::clone(&store), Arc::clone(&resources), Arc::clone(&published), ask.subscribe());
        let stream = feed.start().await?;
        tasks.spawn(feed.run(stream, cancel.clone()));
        tasks.spawn(compaction::run(Arc::clone(&store), history, cancel));
        let leases = create::Leases::default();
        let converter = OnceLock::new();
        Ok(Arc::new(Self { store, environment, resources, published, ask, leases, converter }))
    }

    /// Has this one convert objects that the server itself looks at.
    pub(crate) fn lend(&self, converter: &Arc<Converter>) {
        let _ = self.converter.set(Arc::downgrade(converter));
    }

    /// The resource of a request.
    pub(crate) fn served(&self, group: &str, version: &str, resource: &str) -> Option<Arc<Served>> {
        self.resources.served(group, version, resource)
    }

    /// Where a resource is stored, whatever the version.
    pub(crate) fn storage(&self, resource: GroupResource<'_>) -> Option<Arc<Storage>> {
        self.resources.storage(resource.group, resource.resource)
    }

    /// How much there is of a resource; nothing of one that is not served here.
    pub(crate) fn extent(&self, resource: GroupResource<'_>) -> Extent {
        self.storage(resource).map(|storage| storage.cache.extent()).unwrap_or_default()
    }

    /// Everything up to this revision is in the caches.
    pub(crate) fn published(&self) -> u64 {
        self.published.revision()
    }

    /// Waits until the caches hold everything that was acknowledged, by whatever server, before this call.
    pub(crate) async fn wait_for_latest(&self) -> Result<(), Status> {
        let options = RangeOptions::latest().count_only();
        let page = self.store.range(KeyRange::key("/registry/"), options).await.map_err(errors::of_store)?;
        self.wait_for(page.latest.get()).await
    }

    /// Waits until the caches hold everything up to a revision.
    pub(crate) async fn wait_for(&self, revision: u64) -> Result<(), Status> {
        if self.published() >= revision {
            return Ok(());
        }
        // Always: who asked for more before may have asked for what never comes.
        self.ask.send_modify(|asked| *asked = (*asked).max(revision));
        let reached = tokio::time::timeout(FRESHNESS_TIMEOUT, self.published.reached(revision)).await;
        reached.map_err(|_| errors::too_large_version(revision, self.published()))
    }

    /// Waits until a write of this server is in the caches, so that who hears of it finds it there. Where decisions are
    /// made by what is written, such as who may do what, it is not acknowledged before.
    async fn settle(&self, storage: &Storage, revision: u64) -> Result<(), Status> {
        let decides = storage.cache.is_observed();
        let patience = if decides { DECISION_TIMEOUT } else { FRESHNESS_TIMEOUT };
        if tokio::time::timeout(patience, self.published.reached(revision)).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(revision, resource = &*storage.info.plural, "the watch cache is behind a write");
        match decides {
            true => Err(Status::timeout("the change was stored, but it is not in force here yet", 0)),
            false => Ok(()),
        }
    }

    /// Reads the newest state of an object, in its stored version.
    pub(crate) async fn get(&self, storage: &Storage, namespace: &str, name: &str) -> Result<Written, Status> {
        let key = storage.key_of(namespace, name);
        let entry = self.store.get(&key, ReadOptions::latest()).await.map_err(errors::of_store)?;
        let entry = entry.ok_or_else(|| Status::not_found(&storage.info.group, &storage.info.plural, name))?;
        Written::of_entry(storage, &entry)
    }

    /// Reads the newest state of an object as JSON, without decoding it.
    pub(crate) async fn get_bytes(&self, storage: &Storage, namespace: &str, name: &str) -> Result<Bytes, Status> {
        let key = storage.key_of(namespace, name);
        let entry = self.store.get(&key, ReadOptions::latest()).await.map_err(errors::of_store)?;
        let entry = entry.ok_or_else(|| Status::not_found(&storage.info.group, &storage.info.plural, name))?;
        storage::check_decrypted(&entry)?;
        storage.splice(&entry.value, entry.mod_revision.get())
    }

    pub(crate) fn defaulted(storage: &Storage, mut object: Value) -> Value {
        storage.strategy.default(&mut object);
        object
    }
}
