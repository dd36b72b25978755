//! The caches of one manager: each kind is watched once, whoever reads it.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::future::BoxFuture;
use kube::Client;
use tokio_util::sync::CancellationToken;

use super::{Cache, Step, informer};
use crate::api::Api;
use crate::objects::{Kind, Object, ObjectKey};

/// An object before and after a change: created if there is no `old`, deleted if there is no `new`.
#[derive(Debug)]
pub struct Change<K> {
    /// Before.
    pub old: Option<Arc<K>>,
    /// After.
    pub new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The newest known state: after the change, or before a deletion.
    #[must_use]
    pub fn latest(&self) -> Option<&Arc<K>> {
        self.new.as_ref().or(self.old.as_ref())
    }

    /// Every known state, oldest first.
    pub fn states(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.iter().chain(&self.new)
    }
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// A cache and those who want to hear of its changes.
pub(crate) struct Informer<K> {
    pub(super) cache: Arc<Cache<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    pub(super) synced: tokio::sync::watch::Sender<bool>,
}

impl<K: Object> Informer<K> {
    fn new() -> Self {
        let (synced, _) = tokio::sync::watch::channel(false);
        Self { cache: Arc::default(), handlers: RwLock::default(), synced }
    }

    pub(super) fn notify(&self, steps: impl IntoIterator<Item = Step<K>>) {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        for (old, new) in steps {
            let change = Change { old, new };
            handlers.iter().for_each(|handler| handler(&change));
        }
    }
}

/// An informer, whatever its kind.
pub(crate) trait AnyInformer: Send + Sync {
    /// What it watches.
    fn kind(&self) -> Kind;
    /// Takes an object as the server answered it to one of our writes.
    fn absorb(&self, json: &str);
    /// Takes note that an object was deleted by us and nothing of it is left.
    fn forget(&self, key: &ObjectKey, uid: &str);
    /// Lists and watches until cancelled.
    fn run(self: Arc<Self>, client: Client, cancel: CancellationToken) -> BoxFuture<'static, ()>;
    /// Itself, to be found by type again.
    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<K: Object> AnyInformer for Informer<K> {
    fn kind(&self) -> Kind {
        K::KIND
    }

    fn absorb(&self, json: &str) {
        match serde_json::from_str::<K>(json) {
            Ok(object) => self.notify(self.cache.absorb(object)),
            Err(error) => tracing::debug!(kind = %K::KIND, %error, "an answer can't be decoded; the watch will tell"),
        }
    }

    fn forget(&self, key: &ObjectKey, uid: &str) {
        self.notify(self.cache.forget(key, uid));
    }

    fn run(self: Arc<Self>, client: Client, cancel: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let run = informer::run(&self, Api::new(client));
            cancel.run_until_cancelled(run).await;
        })
    }

    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// All caches of one manager. Asking for a kind adds it to what is watched.
#[derive(Default)]
pub struct Caches {
    informers: Mutex<BTreeMap<TypeId, Arc<dyn AnyInformer>>>,
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.informers().iter().map(|informer| informer.kind().plural)).finish()
    }
}

impl Caches {
    /// The cache of that kind.
    pub fn of<K: Object>(&self) -> Arc<Cache<K>> {
        self.informer::<K>().cache.clone()
    }

    /// Calls `handler` after every change of that kind. It must not block: it puts keys on queues.
    pub fn on_change<K: Object>(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let informer = self.informer::<K>();
        informer.handlers.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(handler));
    }

    /// Tells when the first list of that kind has arrived.
    pub(crate) fn synced<K: Object>(&self) -> tokio::sync::watch::Receiver<bool> {
        self.informer::<K>().synced.subscribe()
    }

    /// Every informer there is.
    pub(crate) fn informers(&self) -> Vec<Arc<dyn AnyInformer>> {
        self.informers.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Takes an object as the server answered it to one of our writes.
    pub(crate) fn absorb(&self, kind: Kind, json: &str) {
        for informer in self.informers().iter().filter(|informer| informer.kind() == kind) {
            informer.absorb(json);
        }
    }

    /// Takes note that an object was deleted by us and nothing of it is left.
    pub(crate) fn forget(&self, kind: Kind, key: &ObjectKey, uid: &str) {
        for informer in self.informers().iter().filter(|informer| informer.kind() == kind) {
            informer.forget(key, uid);
        }
    }

    fn informer<K: Object>(&self) -> Arc<Informer<K>> {
        let mut informers = self.informers.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = informers.entry(TypeId::of::<K>()).or_insert_with(|| Arc::new(Informer::<K>::new()));
        // The entry of a type's id is always made for that type, two lines above.
        entry.clone().any().downcast().unwrap_or_else(|_| unreachable!("an informer of another type"))
    }
}
