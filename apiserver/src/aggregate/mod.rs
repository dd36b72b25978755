//! Aggregation: APIServices whose groups other servers answer, behind a Service of the cluster.
//!
//! `Aggregator` (feature `serve`) passes their requests on over TLS, with the user in `X-Remote-…` headers and the front proxy's
//! certificate; a task keeps looking whether they answer, and says so in the condition `Available`. What they serve is
//! shown in discovery beside what is served here. The groups that are served here have APIServices, too, which the server
//! keeps.

mod available;
mod extension;
mod local;
#[cfg(feature = "serve")]
mod proxy;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;
use tokio::sync::watch;

pub(crate) use available::Availability;
pub(crate) use extension::Extension;
pub(crate) use local::{LocalServices, at_start, priority};
#[cfg(feature = "serve")]
pub use proxy::Aggregator;

use crate::objects::{GroupResource, Objects, Observer};

pub(crate) const API_SERVICES: GroupResource<'_> = GroupResource::new("apiregistration.k8s.io", "apiservices");

/// The servers behind this one, as the APIServices say.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    by_name: RwLock<BTreeMap<String, Arc<Extension>>>,
    /// How many there are: most servers have none, and every request asks.
    count: AtomicUsize,
    /// Counts changes of what discovery shows.
    generation: AtomicU64,
    changed: watch::Sender<()>,
}

impl Extensions {
    /// Follows the APIServices of a server, if it has any.
    pub(crate) fn observing(objects: &dyn Objects) -> Arc<Self> {
        let extensions = Arc::new(Self::default());
        objects.observe(API_SERVICES, Arc::clone(&extensions) as _);
        extensions
    }

    #[cfg(feature = "serve")]
    pub(crate) fn of(&self, group: &str, version: &str) -> Option<Arc<Extension>> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.read().get(&format!("{version}.{group}")).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Extension>> {
        if self.count.load(Ordering::Relaxed) == 0 { Vec::new() } else { self.read().values().cloned().collect() }
    }

    /// Tells of changes of APIServices.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Keeps what a server says it serves.
    fn discovered(&self, name: &str, resources: Value) {
        self.change(name, |extension| {
            let changed = extension.resources != resources;
            extension.resources = resources;
            changed
        });
    }

    /// Keeps the structure that a server says its objects have, out of a document of that tag.
    fn described(&self, name: &str, openapi: Value, tag: Option<String>) {
        self.change(name, |extension| {
            let changed = extension.openapi.as_deref() != Some(&openapi);
            (extension.openapi, extension.openapi_tag) = (Some(Arc::new(openapi)), tag);
            changed
        });
    }

    /// Changes what is known of a server; `change` tells whether others will see that.
    fn change(&self, name: &str, change: impl FnOnce(&mut Extension) -> bool) {
        let mut all = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let Some(extension) = all.get_mut(name) else { return };
        if change(Arc::make_mut(extension)) {
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Extension>>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Extensions {
    fn changed(&self, _: &str, name: &str, object: Option<&Value>) {
        let mut all = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        match object.and_then(Extension::of) {
            Some(mut extension) => {
                if let Some(known) = all.get(name) {
                    extension.resources = known.resources.clone();
                    extension.openapi.clone_from(&known.openapi);
                    extension.openapi_tag.clone_from(&known.openapi_tag);
                }
                all.insert(name.to_owned(), Arc::new(extension));
            }
            None => _ = all.remove(name),
        }
        self.count.store(all.len(), Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.changed.send_replace(());
    }
}
