//! Aggregation: APIServices whose groups other servers answer, behind a Service of the cluster.
//!
//! `Aggregator` (feature `serve`) passes their requests on over TLS, with the user in `X-Remote-…` headers and the front proxy's
//! certificate; a task keeps looking whether they answer, and says so in the condition `Available`. What they serve is
//! shown in discovery beside what is served here.

mod available;
mod extension;
#[cfg(feature = "serve")]
mod proxy;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;
use tokio::sync::Notify;

pub(crate) use available::Availability;
pub(crate) use extension::Extension;
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
    changed: Notify,
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

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Keeps what a server says it serves.
    fn discovered(&self, name: &str, resources: Value) {
        let mut all = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(extension) = all.get_mut(name).filter(|extension| extension.resources != resources) {
            let mut changed = Extension::clone(extension);
            changed.resources = resources;
            *extension = Arc::new(changed);
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
                }
                all.insert(name.to_owned(), Arc::new(extension));
            }
            None => _ = all.remove(name),
        }
        self.count.store(all.len(), Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }
}
