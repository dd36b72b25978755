use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::objects::Pod;
use crate::worker::{Desired, Eviction};

/// The way to one pod's worker.
#[derive(Clone)]
pub(crate) struct PodEntry {
    pub(crate) desired: watch::Sender<Desired>,
    pub(crate) poke: Arc<Notify>,
    /// It was refused, and so counts for nothing.
    pub(crate) rejected: bool,
}

impl PodEntry {
    pub(crate) fn pod(&self) -> Arc<Pod> {
        self.desired.borrow().pod.clone()
    }
}

/// The pods of this node, by uid: those with a worker.
#[derive(Default)]
pub(crate) struct Pods {
    entries: Mutex<BTreeMap<String, PodEntry>>,
}

impl Pods {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, PodEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, uid: &str, entry: PodEntry) {
        self.entries().insert(uid.to_owned(), entry);
    }

    pub(crate) fn remove(&self, uid: &str) {
        self.entries().remove(uid);
    }

    pub(crate) fn get(&self, uid: &str) -> Option<PodEntry> {
        self.entries().get(uid).cloned()
    }

    pub(crate) fn uids(&self) -> Vec<String> {
        self.entries().keys().cloned().collect()
    }

    /// Every pod.
    #[cfg(feature = "server")]
    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        self.entries().values().map(PodEntry::pod).collect()
    }

    /// Every pod that uses the node: not those that were refused, have ended, or are in the way of ending for good.
    pub(crate) fn active(&self) -> Vec<Arc<Pod>> {
        let entries = self.entries();
        let active = entries.values().filter(|entry| !entry.rejected).map(PodEntry::pod);
        active.filter(|pod| !pod.is_terminal()).collect()
    }

    /// Has a pod looked at.
    pub(crate) fn poke(&self, uid: &str) {
        if let Some(entry) = self.entries().get(uid) {
            entry.poke.notify_one();
        }
    }

    /// Has every pod looked at.
    pub(crate) fn poke_all(&self) {
        for entry in self.entries().values() {
            entry.poke.notify_one();
        }
    }

    /// Has a pod end.
    pub(crate) fn evict(&self, uid: &str, eviction: Eviction) {
        if let Some(entry) = self.entries().get(uid) {
            entry.desired.send_modify(|desired| {
                desired.evicted.get_or_insert(eviction);
            });
        }
    }

    /// The pod of that name.
    #[cfg(feature = "server")]
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.all().into_iter().find(|pod| pod.namespace() == namespace && pod.name() == name)
    }
}
