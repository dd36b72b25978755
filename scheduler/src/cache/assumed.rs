//! Pods placed but not yet confirmed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::Snapshot;
use crate::object::{Name, Node, PodInfo, Time};

/// The cluster, with the pods that were placed and are not yet confirmed counted in.
///
/// A pod is assumed when it is placed, and confirmed when the API server tells of it on its node. If the binding fails
/// it is forgotten. If it succeeds and yet nobody ever confirms it, it expires after `ttl`, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    snapshot: Snapshot,
    pods: HashMap<Name, Entry>,
    bound: BTreeMap<Name, Time>,
    ttl: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Entry {
    pod: Arc<PodInfo>,
    assumed: bool,
}

/// Why the cache refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The pod is there already.
    #[error("pod {0} is in the cache already, so it can't be assumed")]
    AlreadyThere(Name),
    /// The pod was confirmed, so there is nothing to forget.
    #[error("pod {0} was not assumed, so it can't be forgotten")]
    NotAssumed(Name),
}

impl Cache {
    /// An empty cache. `ttl` is how long after a binding succeeded an unconfirmed pod is believed in; upstream's
    /// default is for ever.
    #[must_use]
    pub fn new(ttl: Option<Duration>) -> Self {
        Self { ttl, ..Self::default() }
    }

    /// The cluster as it is now.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The same, to change objects other than pods.
    pub const fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    /// Adds a node, or changes it. Tells what it was before.
    pub fn put_node(&mut self, node: Arc<Node>) -> Option<Arc<Node>> {
        self.snapshot.put_node(node)
    }

    /// Takes a node out.
    pub fn remove_node(&mut self, name: &str) -> Option<Arc<Node>> {
        self.snapshot.remove_node(name)
    }

    /// Believes that a pod is on its node.
    ///
    /// # Errors
    /// It is known already.
    pub fn assume(&mut self, pod: Arc<PodInfo>) -> Result<(), CacheError> {
        if self.pods.contains_key(&pod.uid) {
            return Err(CacheError::AlreadyThere(pod.uid.clone()));
        }
        self.snapshot.add_pod(pod.clone());
        self.pods.insert(pod.uid.clone(), Entry { pod, assumed: true });
        Ok(())
    }

    /// Notes that the API server took the binding: from now on the belief expires.
    pub fn finish_binding(&mut self, uid: &Name, now: Time) {
        if let Some(ttl) = self.ttl
            && self.is_assumed(uid)
        {
            self.bound.insert(uid.clone(), now.checked_add(ttl).unwrap_or(Time::MAX));
        }
    }

    /// Stops believing.
    ///
    /// # Errors
    /// The pod was confirmed or never assumed.
    pub fn forget(&mut self, uid: &Name) -> Result<Arc<PodInfo>, CacheError> {
        if !self.is_assumed(uid) {
            return Err(CacheError::NotAssumed(uid.clone()));
        }
        self.drop_pod(uid).ok_or_else(|| CacheError::NotAssumed(uid.clone()))
    }

    /// Adds a pod that has a node, confirms it, or changes it. Tells what it was before.
    pub fn put_pod(&mut self, pod: Arc<PodInfo>) -> Option<Arc<PodInfo>> {
        self.bound.remove(&pod.uid);
        let old = self.pods.insert(pod.uid.clone(), Entry { pod: pod.clone(), assumed: false });
        match &old {
            Some(old) => self.snapshot.replace_pod(&old.pod, pod),
            None => self.snapshot.add_pod(pod),
        }
        old.map(|entry| entry.pod)
    }

    /// Takes a pod out, assumed or not.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.drop_pod(uid)
    }

    fn drop_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let entry = self.pods.remove(uid)?;
        self.bound.remove(uid);
        self.snapshot.remove_pod(&entry.pod);
        Some(entry.pod)
    }

    /// A pod by its identity.
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.pods.get(uid).map(|entry| &entry.pod)
    }

    /// Whether a pod is believed in but not confirmed.
    #[must_use]
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|entry| entry.assumed)
    }

    /// How many pods there are.
    #[must_use]
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// Takes out the pods whose confirmation is overdue, and tells which.
    pub fn expire(&mut self, now: Time) -> Vec<Arc<PodInfo>> {
        let overdue: Vec<Name> =
            self.bound.iter().filter(|(_, deadline)| **deadline <= now).map(|(uid, _)| uid.clone()).collect();
        overdue.iter().filter_map(|uid| self.drop_pod(uid)).collect()
    }
}
