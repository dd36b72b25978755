//! Who belongs to whom.

use std::collections::{BTreeMap, BTreeSet};

use super::{FOREGROUND, ORPHAN};
use crate::objects::OwnerReference;

/// Which object it is. Of an owner that was not seen itself, what its dependents say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// `group/version` or `version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty if cluster-scoped.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// An object as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Which one.
    pub identity: Identity,
    /// The objects it belongs to.
    pub owners: Vec<OwnerReference>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its finalizers.
    pub finalizers: Vec<String>,
}

impl Item {
    /// Whether it waits for its dependents to go before it.
    #[must_use]
    pub fn waits_for_dependents(&self) -> bool {
        self.deleting && self.finalizers.iter().any(|finalizer| finalizer == FOREGROUND)
    }

    /// Whether it waits for its dependents to be let go before it.
    #[must_use]
    pub fn orphans_dependents(&self) -> bool {
        self.deleting && self.finalizers.iter().any(|finalizer| finalizer == ORPHAN)
    }
}

/// What must be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    /// Whether the object of this UID must go.
    Delete(String),
    /// The object of this UID wants its dependents let go.
    Orphan(String),
    /// The object of this UID is known only from its dependents: does it exist?
    Verify(String),
}

/// All objects that can be owned or own, and their ties.
#[derive(Debug, Default)]
pub struct Graph {
    items: BTreeMap<String, Item>,
    /// Owners that were not seen themselves.
    unseen: BTreeMap<String, Identity>,
    dependents: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Takes an object that was added or changed; returns what must be looked at.
    pub fn put(&mut self, item: Item) -> BTreeSet<Work> {
        let uid = item.identity.uid.clone();
        let mut work = BTreeSet::new();
        let old = self.items.insert(uid.clone(), item.clone());
        if self.unseen.remove(&uid).is_some() {
            // Its dependents may have meant another namespace or kind; they are checked against the real one.
            work.extend(self.dependents_of(&uid).map(|dependent| Work::Delete(dependent.identity.uid.clone())));
        }
        let owners = |item: &Item| item.owners.iter().map(|owner| owner.uid.clone()).collect::<BTreeSet<_>>();
        let (before, after) = (old.as_ref().map(owners).unwrap_or_default(), owners(&item));
        for gone in before.difference(&after) {
            self.untie(gone, &uid);
            // An owner that waits for its dependents may wait for one less.
            if self.items.get(gone).is_some_and(Item::waits_for_dependents) {
                work.insert(Work::Delete(gone.clone()));
            }
        }
        for owner in &item.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
            if !self.items.contains_key(&owner.uid) && !self.unseen.contains_key(&owner.uid) {
                self.unseen.insert(owner.uid.clone(), coordinates(owner, &item.identity.namespace));
                work.insert(Work::Verify(owner.uid.clone()));
            }
        }
        if old.is_none() || before != after {
            let waiting = |owner: &OwnerReference| self.items.get(&owner.uid).is_some_and(Item::waits_for_dependents);
            if item.owners.iter().any(|owner| waiting(owner) || self.is_unseen(&owner.uid))
                || before != after && old.is_some()
            {
                work.insert(Work::Delete(uid.clone()));
            }
        }
        let changed = |state: fn(&Item) -> bool| state(&item) && !old.as_ref().is_some_and(state);
        if changed(Item::orphans_dependents) {
            work.insert(Work::Orphan(uid.clone()));
        }
        if changed(Item::waits_for_dependents) {
            work.extend(self.dependents_of(&uid).map(|dependent| Work::Delete(dependent.identity.uid.clone())));
            work.insert(Work::Delete(uid.clone()));
        }
        // One that no longer blocks its owners' deletion releases them.
        let blocks = |item: &Item| item.owners.iter().filter(|owner| owner.block_owner_deletion).count();
        if old.as_ref().is_some_and(|old| blocks(old) > blocks(&item)) {
            work.extend(self.waiting_owners(&item));
        }
        work
    }

    /// Takes an object that is gone; returns what must be looked at.
    pub fn remove(&mut self, uid: &str) -> BTreeSet<Work> {
        self.unseen.remove(uid);
        let mut work: BTreeSet<Work> =
            self.dependents_of(uid).map(|dependent| Work::Delete(dependent.identity.uid.clone())).collect();
        if let Some(item) = self.items.remove(uid) {
            work.extend(self.waiting_owners(&item));
            for owner in &item.owners {
                self.untie(&owner.uid, uid);
            }
        }
        if self.dependents.get(uid).is_some_and(BTreeSet::is_empty) {
            self.dependents.remove(uid);
        }
        work
    }

    /// The object of that UID, if it was seen.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&Item> {
        self.items.get(uid)
    }

    /// What is said about the object of that UID, if it was not seen itself.
    #[must_use]
    pub fn unseen(&self, uid: &str) -> Option<&Identity> {
        self.unseen.get(uid)
    }

    /// The objects that belong to the one of that UID.
    pub fn dependents_of(&self, uid: &str) -> impl Iterator<Item = &Item> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| self.items.get(uid))
    }

    /// The objects that the one of that UID must wait for.
    pub fn blockers_of(&self, uid: &str) -> impl Iterator<Item = &Item> {
        self.dependents_of(uid).filter(move |dependent| {
            dependent.owners.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion)
        })
    }

    /// The UIDs of all objects of a resource, told by group and kind.
    #[must_use]
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Vec<String> {
        let same = |item: &&Item| item.identity.kind == kind && item.identity.api_version == api_version;
        self.items.values().filter(same).map(|item| item.identity.uid.clone()).collect()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn is_unseen(&self, uid: &str) -> bool {
        !self.items.contains_key(uid)
    }

    fn waiting_owners(&self, item: &Item) -> Vec<Work> {
        let waiting =
            item.owners.iter().filter(|owner| self.items.get(&owner.uid).is_some_and(Item::waits_for_dependents));
        waiting.map(|owner| Work::Delete(owner.uid.clone())).collect()
    }

    fn untie(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
                self.unseen.remove(owner);
            }
        }
    }
}

/// What a reference says about an owner. It lives in its dependent's namespace or in none.
pub(super) fn coordinates(owner: &OwnerReference, namespace: &str) -> Identity {
    Identity {
        api_version: owner.api_version.clone(),
        kind: owner.kind.clone(),
        namespace: namespace.to_owned(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(uid: &str, owners: &[&str]) -> Item {
        let reference = |owner: &&str| OwnerReference {
            uid: (*owner).into(),
            block_owner_deletion: true,
            ..OwnerReference::default()
        };
        Item {
            identity: Identity { uid: uid.into(), ..Identity::default() },
            owners: owners.iter().map(reference).collect(),
            ..Item::default()
        }
    }

    fn deleting(uid: &str, owners: &[&str], finalizer: &str) -> Item {
        Item { deleting: true, finalizers: vec![finalizer.into()], ..item(uid, owners) }
    }

    fn delete(uid: &str) -> Work {
        Work::Delete(uid.into())
    }

    #[test]
    fn a_gone_owner_brings_up_its_dependents() {
        let mut graph = Graph::default();
        assert!(graph.put(item("owner", &[])).is_empty());
        assert!(graph.put(item("a", &["owner"])).is_empty());
        assert_eq!(graph.remove("owner"), [delete("a")].into());
    }

    #[test]
    fn an_owner_never_seen_is_verified_once() {
        let mut graph = Graph::default();
        let work = graph.put(item("a", &["ghost"]));
        assert!(work.contains(&Work::Verify("ghost".into())));
        assert!(!graph.put(item("b", &["ghost"])).contains(&Work::Verify("ghost".into())));
        assert_eq!(graph.remove("ghost"), [delete("a"), delete("b")].into());
    }

    #[test]
    fn foreground_deletion_goes_down_and_comes_back_up() {
        let mut graph = Graph::default();
        graph.put(item("owner", &[]));
        graph.put(item("a", &["owner"]));
        assert_eq!(graph.put(deleting("owner", &[], FOREGROUND)), [delete("a"), delete("owner")].into());
        assert_eq!(graph.blockers_of("owner").count(), 1);
        assert_eq!(graph.remove("a"), [delete("owner")].into());
        assert_eq!(graph.blockers_of("owner").count(), 0);
    }

    #[test]
    fn orphaning_is_noticed_once() {
        let mut graph = Graph::default();
        graph.put(item("owner", &[]));
        assert_eq!(graph.put(deleting("owner", &[], ORPHAN)), [Work::Orphan("owner".into())].into());
        assert!(graph.put(deleting("owner", &[], ORPHAN)).is_empty());
    }

    #[test]
    fn nothing_is_kept_of_what_is_gone() {
        let mut graph = Graph::default();
        graph.put(item("owner", &[]));
        graph.put(item("a", &["owner", "ghost"]));
        graph.remove("owner");
        graph.remove("a");
        assert!(graph.items.is_empty() && graph.unseen.is_empty() && graph.dependents.is_empty());
    }
}
