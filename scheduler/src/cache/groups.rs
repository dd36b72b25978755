//! Pods that other pods cannot tell apart.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::object::PodInfo;

/// A group's number. Numbers of groups that died out are given again.
pub(crate) type GroupId = u32;

/// All pods on nodes, by what other pods' selectors and their own terms can tell: namespace, labels, affinity, and
/// whether they are on their way out. Pods of a template are one group, so whoever wants to know which pods match
/// something asks once for each group.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodGroups {
    ids: HashMap<Alike, GroupId>,
    members: Vec<Member>,
    free: Vec<GroupId>,
    born: u64,
}

#[derive(Clone, Debug, Default)]
struct Member {
    pod: Option<Arc<PodInfo>>,
    count: usize,
    serial: u64,
}

#[derive(Clone, Debug)]
struct Alike(Arc<PodInfo>);

impl PartialEq for Alike {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        let terms = || {
            let (a, b) = (&a.spec, &b.spec);
            Arc::ptr_eq(a, b)
                || (a.affinity == b.affinity
                    && a.anti_affinity == b.anti_affinity
                    && a.preferred_affinity == b.preferred_affinity
                    && a.preferred_anti_affinity == b.preferred_anti_affinity)
        };
        a.namespace == b.namespace
            && a.labels == b.labels
            && a.deletion_timestamp.is_some() == b.deletion_timestamp.is_some()
            && terms()
    }
}

impl Eq for Alike {}

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let pod = &*self.0;
        (&pod.namespace, &pod.labels, pod.deletion_timestamp.is_some()).hash(state);
        (&pod.spec.affinity, &pod.spec.anti_affinity).hash(state);
        (&pod.spec.preferred_affinity, &pod.spec.preferred_anti_affinity).hash(state);
    }
}

impl PodGroups {
    /// Counts a pod in.
    pub(super) fn enter(&mut self, pod: &Arc<PodInfo>) -> GroupId {
        if let Some(id) = self.ids.get(&Alike(pod.clone())) {
            self.members[*id as usize].count += 1;
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.members.push(Member::default());
            GroupId::try_from(self.members.len() - 1).unwrap_or(GroupId::MAX)
        });
        self.born += 1;
        self.members[id as usize] = Member { pod: Some(pod.clone()), count: 1, serial: self.born };
        self.ids.insert(Alike(pod.clone()), id);
        id
    }

    /// Counts a pod out.
    pub(super) fn leave(&mut self, pod: &Arc<PodInfo>) -> Option<GroupId> {
        let key = Alike(pod.clone());
        let id = *self.ids.get(&key)?;
        let member = &mut self.members[id as usize];
        member.count -= 1;
        if member.count == 0 {
            member.pod = None;
            self.ids.remove(&key);
            self.free.push(id);
        }
        Some(id)
    }

    /// Asks something about each group's pods; the answers are in the order of the groups' numbers, with the default
    /// where there is no group.
    pub(crate) fn ask<T: Default>(&self, question: impl Fn(&PodInfo) -> T) -> Vec<T> {
        let answer = |member: &Member| member.pod.as_deref().map(&question).unwrap_or_default();
        self.members.iter().map(answer).collect()
    }

    /// One of a group's pods, and the group's serial number, which no other group ever has.
    pub(crate) fn member(&self, group: usize) -> Option<(&PodInfo, u64)> {
        let member = self.members.get(group)?;
        Some((member.pod.as_deref()?, member.serial))
    }
}
