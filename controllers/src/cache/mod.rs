//! Shared copies of the cluster's objects: one watch per resource, whoever reads it.

mod informer;
mod registry;

pub use registry::{Caches, Change};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::objects::{Object, ObjectKey};

/// A copy of all objects of one kind, kept current by a watch.
///
/// What a controller itself wrote is in it at once, before the watch delivers it: a controller always sees its own
/// writes, and so never does the same thing twice because of an old copy. (Upstream keeps "expectations" for that.)
#[derive(Debug)]
pub struct Cache<K> {
    state: RwLock<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    by_controller: HashMap<Box<str>, BTreeSet<ObjectKey>>,
    by_index: HashMap<Box<str>, BTreeSet<ObjectKey>>,
    uncontrolled: BTreeSet<ObjectKey>,
    /// The version up to which the watch has delivered everything.
    delivered: u64,
    /// UIDs of objects that were deleted by us and whose deletion the watch has not delivered yet.
    gone: HashSet<Box<str>>,
    synced: bool,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        let state = State {
            objects: BTreeMap::new(),
            by_controller: HashMap::new(),
            by_index: HashMap::new(),
            uncontrolled: BTreeSet::new(),
            delivered: 0,
            gone: HashSet::new(),
            synced: false,
        };
        Self { state: RwLock::new(state) }
    }
}

/// An object before and after a change.
pub(crate) type Step<K> = (Option<Arc<K>>, Option<Arc<K>>);

impl<K: Object> Cache<K> {
    /// The object of that key.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read().objects.get(key).cloned()
    }

    /// The object of that namespace and name.
    #[must_use]
    pub fn named(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&ObjectKey::new(namespace, name))
    }

    /// All objects, in the order of their keys.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().objects.values().cloned().collect()
    }

    /// The objects of that namespace, in the order of their names.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.read();
        range(&state.objects, namespace).map(|(_, object)| object.clone()).collect()
    }

    /// The objects that the one of that UID manages.
    #[must_use]
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        let state = self.read();
        state.by_controller.get(uid).map(|keys| state.pick(keys)).unwrap_or_default()
    }

    /// The objects of that namespace which nobody manages.
    #[must_use]
    pub fn uncontrolled_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.read();
        let keys = state.uncontrolled.range((Bound::Included(ObjectKey::new(namespace, "")), Bound::Unbounded));
        let here = keys.take_while(|key| *key.namespace == *namespace);
        here.filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// The objects whose [`Object::index`] is that value.
    #[must_use]
    pub fn indexed(&self, value: &str) -> Vec<Arc<K>> {
        let state = self.read();
        state.by_index.get(value).map(|keys| state.pick(keys)).unwrap_or_default()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list has arrived.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.read().synced
    }

    /// Takes what a list at that version returned; what isn't in it and isn't newer is gone.
    pub(crate) fn replace(&self, listed: Vec<K>, version: u64) -> Vec<Step<K>> {
        let mut state = self.write();
        let mut steps = Vec::new();
        state.gone.clear();
        let keys: BTreeSet<ObjectKey> = listed.iter().map(|object| object.meta().key()).collect();
        for object in listed {
            steps.extend(state.put(object));
        }
        let newer = |object: &K| version > 0 && object.meta().version().is_some_and(|at| at > version);
        let stale = |(key, object): &(&ObjectKey, &Arc<K>)| !keys.contains(*key) && !newer(object);
        for key in state.objects.iter().filter(stale).map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            steps.extend(state.take(&key).map(|old| (Some(old), None)));
        }
        state.delivered = version;
        state.synced = true;
        steps
    }

    /// Takes what the watch delivered.
    pub(crate) fn deliver(&self, object: K, deleted: bool) -> Option<Step<K>> {
        let mut state = self.write();
        let version = object.meta().version();
        state.delivered = state.delivered.max(version.unwrap_or(0));
        if deleted {
            state.gone.remove(object.meta().uid.as_str());
            let key = object.meta().key();
            let newer = state.objects.get(&key).is_some_and(|held| newer(held.as_ref(), &object));
            return if newer { None } else { state.take(&key).map(|old| (Some(old), None)) };
        }
        if state.gone.contains(object.meta().uid.as_str()) {
            return None;
        }
        state.put(object)
    }

    /// Takes note that the watch has delivered everything up to that version.
    pub(crate) fn delivered(&self, version: u64) {
        let mut state = self.write();
        state.delivered = state.delivered.max(version);
    }

    /// Takes an object as the server answered it to one of our writes.
    pub(crate) fn absorb(&self, object: K) -> Option<Step<K>> {
        let mut state = self.write();
        // What is not newer than the watch's position has been delivered already, perhaps with later changes.
        let news = object.meta().version().is_some_and(|version| version > state.delivered);
        if news && !state.gone.contains(object.meta().uid.as_str()) { state.put(object) } else { None }
    }

    /// Takes note that we deleted that object and nothing of it is left.
    pub(crate) fn forget(&self, key: &ObjectKey, uid: &str) -> Option<Step<K>> {
        let mut state = self.write();
        if state.objects.get(key)?.meta().uid != uid {
            return None;
        }
        state.gone.insert(uid.into());
        state.take(key).map(|old| (Some(old), None))
    }

    fn read(&self) -> RwLockReadGuard<'_, State<K>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<K>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn range<'a, K>(
    objects: &'a BTreeMap<ObjectKey, Arc<K>>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<K>)> {
    let from = Bound::Included(ObjectKey::new(namespace, ""));
    objects.range((from, Bound::Unbounded)).take_while(move |(key, _)| *key.namespace == *namespace)
}

/// Whether `held` is a later state than `other` (or at least not an earlier one).
fn newer<K: Object>(held: &K, other: &K) -> bool {
    held.meta().version().zip(other.meta().version()).is_some_and(|(held, other)| held > other)
}

impl<K: Object> State<K> {
    fn pick(&self, keys: &BTreeSet<ObjectKey>) -> Vec<Arc<K>> {
        keys.iter().filter_map(|key| self.objects.get(key).cloned()).collect()
    }

    fn put(&mut self, object: K) -> Option<Step<K>> {
        let key = object.meta().key();
        let same = |held: &Arc<K>| held.meta().resource_version == object.meta().resource_version;
        if self.objects.get(&key).is_some_and(|held| newer(held.as_ref(), &object) || same(held)) {
            return None;
        }
        let old = self.take(&key);
        let object = Arc::new(object);
        match object.meta().controller() {
            Some(owner) => _ = self.by_controller.entry(owner.uid.as_str().into()).or_default().insert(key.clone()),
            None => _ = self.uncontrolled.insert(key.clone()),
        }
        if let Some(value) = object.index() {
            self.by_index.entry(value.into()).or_default().insert(key.clone());
        }
        self.objects.insert(key, object.clone());
        Some((old, Some(object)))
    }

    fn take(&mut self, key: &ObjectKey) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        self.uncontrolled.remove(key);
        if let Some(owner) = old.meta().controller() {
            remove_from(&mut self.by_controller, &owner.uid, key);
        }
        if let Some(value) = old.index() {
            remove_from(&mut self.by_index, value, key);
        }
        Some(old)
    }
}

fn remove_from(index: &mut HashMap<Box<str>, BTreeSet<ObjectKey>>, value: &str, key: &ObjectKey) {
    if let Some(keys) = index.get_mut(value) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Meta, OwnerReference, Pod};

    fn pod(name: &str, version: u64) -> Pod {
        let metadata = Meta {
            name: name.into(),
            namespace: "ns".into(),
            uid: format!("uid-{name}"),
            resource_version: version.to_string(),
            ..Meta::default()
        };
        Pod { metadata, ..Pod::default() }
    }

    fn names(cache: &Cache<Pod>) -> Vec<String> {
        cache.all().iter().map(|pod| format!("{}@{}", pod.metadata.name, pod.metadata.resource_version)).collect()
    }

    #[test]
    fn own_writes_are_seen_before_the_watch_delivers_them() {
        let cache = Cache::default();
        cache.replace(vec![pod("a", 3)], 5);
        assert!(cache.absorb(pod("b", 7)).is_some());
        assert_eq!(names(&cache), ["a@3", "b@7"]);
        // The watch brings an older and then the same state of it: neither is news.
        assert!(cache.deliver(pod("b", 6), false).is_none());
        assert!(cache.deliver(pod("b", 7), false).is_none());
        assert!(cache.deliver(pod("b", 8), false).is_some());
        // A list from before the write doesn't take it away; a later one does.
        cache.absorb(pod("c", 20));
        cache.replace(vec![pod("b", 8)], 15);
        assert_eq!(names(&cache), ["b@8", "c@20"]);
        cache.replace(vec![pod("b", 8)], 25);
        assert_eq!(names(&cache), ["b@8"]);
    }

    #[test]
    fn a_late_answer_does_not_raise_the_dead() {
        let cache = Cache::default();
        cache.replace(vec![], 5);
        cache.deliver(pod("a", 6), false);
        cache.deliver(pod("a", 8), true);
        assert!(cache.absorb(pod("a", 7)).is_none());
        assert!(cache.is_empty());
    }

    #[test]
    fn what_we_deleted_stays_gone() {
        let cache = Cache::default();
        cache.replace(vec![pod("a", 3)], 5);
        assert!(cache.forget(&ObjectKey::new("ns", "a"), "uid-a").is_some());
        assert!(cache.deliver(pod("a", 6), false).is_none());
        assert!(cache.is_empty());
        cache.deliver(pod("a", 7), true);
        assert!(cache.read().gone.is_empty());
    }

    #[test]
    fn finds_by_owner_namespace_and_index() {
        let cache = Cache::default();
        let mut owned = pod("a", 1);
        owned.metadata.owner_references =
            vec![OwnerReference { uid: "o".into(), controller: true, ..OwnerReference::default() }];
        owned.spec.node_name = "n".into();
        cache.replace(vec![owned, pod("b", 2)], 2);
        assert_eq!(cache.controlled_by("o").len(), 1);
        assert_eq!(cache.uncontrolled_in("ns").len(), 1);
        assert_eq!(
            (cache.indexed("n").len(), cache.in_namespace("ns").len(), cache.in_namespace("n").len()),
            (1, 2, 0)
        );
        cache.deliver(pod("a", 3), false);
        assert_eq!(
            (cache.controlled_by("o").len(), cache.uncontrolled_in("ns").len(), cache.indexed("n").len()),
            (0, 2, 0)
        );
    }
}
