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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PodMaker, node, pod};

    fn at(second: i64) -> Time {
        Time::from_second(second).unwrap()
    }

    fn small(name: &str, on: &str) -> PodMaker {
        pod(name).on(on).requests(&[("cpu", "100m"), ("memory", "500")]).host_ports(&["TCP/127.0.0.1/80"])
    }

    fn large(name: &str, on: &str) -> PodMaker {
        pod(name).on(on).requests(&[("cpu", "200m"), ("memory", "1Ki")]).host_ports(&["TCP/127.0.0.1/8080"])
    }

    fn made(maker: PodMaker) -> Arc<PodInfo> {
        Arc::new(maker.build())
    }

    fn with_node(ttl: Option<u64>) -> Cache {
        let mut cache = Cache::new(ttl.map(Duration::from_secs));
        cache.put_node(Arc::new(node("n").build()));
        cache
    }

    /// How many pods a node has, what they ask for and which ports they take.
    fn sums(cache: &Cache, name: &str) -> (usize, i64, i64, Vec<i64>) {
        let Some(info) = cache.snapshot().node(name) else { return (0, 0, 0, Vec::new()) };
        let mut ports: Vec<i64> = info.used_ports.iter().map(|port| i64::from(port.port)).collect();
        ports.sort_unstable();
        (info.pods.len(), info.requested.cpu, info.requested.memory, ports)
    }

    #[test]
    fn an_assumed_pod_counts_until_it_is_forgotten() {
        let mut cache = with_node(None);
        for maker in [small("a", "n"), large("b", "n")] {
            cache.assume(made(maker)).unwrap();
        }
        assert_eq!(sums(&cache, "n"), (2, 300, 1524, vec![80, 8080]));
        let again = cache.assume(made(small("a", "n"))).unwrap_err();
        assert_eq!(again, CacheError::AlreadyThere("a".into()));
        assert!(cache.is_assumed("a") && cache.is_assumed("b"));
        assert_eq!(cache.forget(&"a".into()).unwrap().name, "a");
        assert_eq!(cache.forget(&"a".into()), Err(CacheError::NotAssumed("a".into())));
        assert_eq!(sums(&cache, "n"), (1, 200, 1024, vec![8080]));
    }

    #[test]
    fn what_the_api_server_says_confirms_and_corrects() {
        let mut cache = with_node(None);
        cache.put_node(Arc::new(node("m").build()));
        cache.assume(made(small("a", "n"))).unwrap();
        cache.assume(made(large("b", "n"))).unwrap();
        assert_eq!(cache.put_pod(made(small("a", "n"))).unwrap().name, "a");
        assert!(!cache.is_assumed("a") && cache.is_assumed("b"));
        assert!(cache.forget(&"a".into()).is_err(), "it was confirmed");
        cache.forget(&"b".into()).unwrap();
        assert_eq!(sums(&cache, "n"), (1, 100, 500, vec![80]));
        // Elsewhere than was assumed; then it changes there.
        cache.assume(made(small("c", "n"))).unwrap();
        cache.put_pod(made(small("c", "m")));
        assert_eq!((sums(&cache, "n").0, sums(&cache, "m").0), (1, 1));
        cache.put_pod(made(large("c", "m")));
        assert_eq!(sums(&cache, "m"), (1, 200, 1024, vec![8080]));
        cache.put_pod(made(small("c", "m")));
        assert_eq!(sums(&cache, "m"), (1, 100, 500, vec![80]));
    }

    #[test]
    fn a_pod_is_always_as_it_was_told_last() {
        let mut cache = with_node(None);
        cache.assume(made(small("a", "n"))).unwrap();
        let told =
            small("a", "n").status("conditions", serde_json::json!([{"type": "PodScheduled", "status": "True"}]));
        cache.put_pod(made(told));
        let held = &cache.snapshot().node("n").unwrap().pods[0];
        assert_eq!((held.conditions.len(), cache.pod("a").unwrap().conditions.len()), (1, 1));
        assert!(cache.pod("unknown").is_none() && cache.remove_pod("unknown").is_none());
    }

    #[test]
    fn what_nobody_confirms_expires_once_it_was_bound() {
        let mut cache = with_node(Some(30));
        for name in ["bound", "confirmed", "binding"] {
            cache.assume(made(small(name, "n"))).unwrap();
        }
        for name in ["bound", "confirmed"] {
            cache.finish_binding(&name.into(), at(0));
        }
        cache.put_pod(made(small("confirmed", "n")));
        cache.finish_binding(&"confirmed".into(), at(0));
        assert!(cache.expire(at(29)).is_empty());
        let gone: Vec<String> = cache.expire(at(30)).iter().map(|pod| pod.name.to_string()).collect();
        assert_eq!(gone, ["bound"]);
        assert!(cache.expire(at(1_000_000)).is_empty() && cache.is_assumed("binding"));
        assert_eq!((cache.pod_count(), sums(&cache, "n").0), (2, 2));
        // One that comes after all is simply there.
        assert!(cache.put_pod(made(small("bound", "n"))).is_none());
        assert_eq!(sums(&cache, "n").0, 3);
        let mut patient = with_node(None);
        patient.assume(made(small("a", "n"))).unwrap();
        patient.finish_binding(&"a".into(), at(0));
        assert!(patient.expire(at(1_000_000)).is_empty(), "without a limit it is believed in for ever");
    }

    #[test]
    fn pods_are_remembered_without_their_node() {
        let mut cache = Cache::new(None);
        cache.put_pod(made(small("early", "n")));
        assert!(cache.snapshot().node("n").is_none());
        cache.put_node(Arc::new(node("n").build()));
        assert_eq!(sums(&cache, "n"), (1, 100, 500, vec![80]));
        assert_eq!(cache.remove_node("n").unwrap().name, "n");
        assert!(cache.remove_node("n").is_none());
        cache.put_pod(made(large("late", "n")));
        cache.remove_pod("early");
        assert!(cache.put_node(Arc::new(node("n").build())).is_none());
        assert_eq!(sums(&cache, "n"), (1, 200, 1024, vec![8080]));
        let generation = cache.snapshot().node("n").unwrap().generation;
        assert!(cache.put_node(Arc::new(node("n").labels(&[("a", "b")]).build())).is_some());
        assert!(cache.snapshot().node("n").unwrap().generation > generation && sums(&cache, "n").0 == 1);
        assert_eq!(cache.snapshot().node("n").unwrap().labels().get("a").map(Name::as_str), Some("b"));
    }

    #[test]
    fn a_snapshot_stays_as_it_was_taken() {
        let mut cache = with_node(None);
        cache.assume(made(small("a", "n"))).unwrap();
        let taken = cache.snapshot().clone();
        cache.forget(&"a".into()).unwrap();
        cache.put_node(Arc::new(node("m").build()));
        cache.remove_node("n");
        assert_eq!((taken.len(), taken.node("n").unwrap().pods.len()), (1, 1));
        assert_eq!((cache.snapshot().len(), cache.snapshot().node("n").is_none()), (1, true));
    }
}
