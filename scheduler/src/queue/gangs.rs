//! Pods that are to be placed together.

use std::collections::{BTreeMap, BTreeSet};

use crate::object::{Name, PodGroup, PodInfo};

/// All pod groups, and how far their pods have come.
#[derive(Clone, Debug, Default)]
pub struct Gangs {
    gangs: BTreeMap<(Name, Name), Gang>,
}

/// A pod group and its pods.
#[derive(Clone, Debug, Default)]
pub struct Gang {
    group: Option<PodGroup>,
    waiting: BTreeSet<Name>,
    assumed: BTreeSet<Name>,
    bound: BTreeSet<Name>,
}

/// How far a pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has no node.
    Waiting,
    /// It has one, but isn't bound.
    Assumed,
    /// It is bound.
    Bound,
}

impl Gang {
    /// The group's object, if there is one.
    #[must_use]
    pub const fn group(&self) -> Option<&PodGroup> {
        self.group.as_ref()
    }

    /// How many pods there are.
    #[must_use]
    pub fn pods(&self) -> usize {
        self.waiting.len() + self.assumed.len() + self.bound.len()
    }

    /// How many pods have a node, bound or not.
    #[must_use]
    pub fn placed(&self) -> usize {
        self.assumed.len() + self.bound.len()
    }

    /// The pods that have no node.
    #[must_use]
    pub const fn waiting(&self) -> &BTreeSet<Name> {
        &self.waiting
    }

    /// The pods that have a node and are not bound.
    #[must_use]
    pub const fn assumed(&self) -> &BTreeSet<Name> {
        &self.assumed
    }
}

fn key(pod: &PodInfo) -> Option<(Name, Name)> {
    let group = &pod.spec.pod_group;
    (!group.is_empty()).then(|| (pod.namespace.clone(), group.clone()))
}

impl Gangs {
    /// The gang that a pod belongs to.
    #[must_use]
    pub fn of(&self, pod: &PodInfo) -> Option<&Gang> {
        self.gangs.get(&key(pod)?)
    }

    /// Takes note of a group; tells whether it is new.
    pub(crate) fn put_group(&mut self, group: PodGroup) -> bool {
        let key = (group.namespace.clone(), group.name.clone());
        self.gangs.entry(key).or_default().group.replace(group).is_none()
    }

    pub(crate) fn remove_group(&mut self, namespace: &Name, name: &Name) {
        let key = (namespace.clone(), name.clone());
        if let Some(gang) = self.gangs.get_mut(&key) {
            gang.group = None;
            if gang.pods() == 0 {
                self.gangs.remove(&key);
            }
        }
    }

    pub(crate) fn put(&mut self, pod: &PodInfo, stage: Stage) {
        let Some(key) = key(pod) else { return };
        let gang = self.gangs.entry(key).or_default();
        for (own, pods) in
            [(Stage::Waiting, &mut gang.waiting), (Stage::Assumed, &mut gang.assumed), (Stage::Bound, &mut gang.bound)]
        {
            if own == stage {
                pods.insert(pod.uid.clone());
            } else {
                pods.remove(&pod.uid);
            }
        }
    }

    pub(crate) fn remove(&mut self, pod: &PodInfo) {
        let Some(key) = key(pod) else { return };
        let Some(gang) = self.gangs.get_mut(&key) else { return };
        for pods in [&mut gang.waiting, &mut gang.assumed, &mut gang.bound] {
            pods.remove(&pod.uid);
        }
        if gang.pods() == 0 && gang.group.is_none() {
            self.gangs.remove(&key);
        }
    }
}
