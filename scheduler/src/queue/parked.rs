//! Pods that wait for an event, by what they wait for.

use std::collections::{BTreeMap, BTreeSet};

use super::QueuedPod;
use super::hints::QueueProfile;
use crate::framework::{ClusterEvent, lifts_gate};
use crate::object::Name;

/// Pods that wait for an event.
///
/// An event concerns few of them as a rule, while there may be very many: those that were kept out or rejected by the same
/// plugins are one set, which an event that none of these plugins cares for passes by as a whole.
#[derive(Default)]
pub(super) struct Parked {
    pods: BTreeMap<Name, QueuedPod>,
    causes: BTreeMap<Cause, BTreeSet<Name>>,
}

/// All that decides which events a pod hears of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    profile: Name,
    gate: Option<Name>,
    rejected: BTreeSet<Name>,
    pending: BTreeSet<Name>,
}

impl Cause {
    fn of(queued: &QueuedPod) -> Self {
        Self {
            profile: queued.pod.spec.scheduler_name.clone(),
            gate: queued.gating_plugin.clone(),
            rejected: queued.unschedulable_plugins.clone(),
            pending: queued.pending_plugins.clone(),
        }
    }

    /// Whether such an event may be news for a pod.
    fn hears(&self, profile: Option<&QueueProfile>, event: ClusterEvent) -> bool {
        let Some(profile) = profile else { return true };
        if let Some(gate) = &self.gate
            && !lifts_gate(profile.interests_of(gate), event)
        {
            return false;
        }
        if event.is_wildcard() || (self.rejected.is_empty() && self.pending.is_empty()) {
            return true;
        }
        let concerned = |plugin: &Name| self.rejected.contains(plugin) || self.pending.contains(plugin);
        let mut interests = profile.interests.iter().filter(|(plugin, _)| concerned(plugin));
        interests.any(|(_, interests)| interests.iter().any(|interest| interest.event.covers(event)))
    }
}

impl Parked {
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    pub(super) fn get(&self, uid: &str) -> Option<&QueuedPod> {
        self.pods.get(uid)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &QueuedPod)> {
        self.pods.iter()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &QueuedPod> {
        self.pods.values()
    }

    pub(super) fn insert(&mut self, queued: QueuedPod) {
        let uid = queued.pod.uid.clone();
        self.remove(&uid);
        self.causes.entry(Cause::of(&queued)).or_default().insert(uid.clone());
        self.pods.insert(uid, queued);
    }

    pub(super) fn remove(&mut self, uid: &str) -> Option<QueuedPod> {
        let queued = self.pods.remove(uid)?;
        let cause = Cause::of(&queued);
        if let Some(uids) = self.causes.get_mut(&cause) {
            uids.remove(uid);
            if uids.is_empty() {
                self.causes.remove(&cause);
            }
        }
        Some(queued)
    }

    /// Puts a newer version of a pod in the place of the older one; tells whether there was one.
    pub(super) fn renew(&mut self, pod: &std::sync::Arc<crate::object::PodInfo>) -> bool {
        let Some(mut queued) = self.remove(&pod.uid) else { return false };
        queued.pod = pod.clone();
        self.insert(queued);
        true
    }

    /// Those for which such an event may be news, in the order of their identities.
    pub(super) fn hearing<'a>(
        &'a self,
        profiles: &BTreeMap<Name, QueueProfile>,
        event: ClusterEvent,
    ) -> Vec<(&'a Name, &'a QueuedPod)> {
        let mut hearing = Vec::new();
        for (cause, uids) in &self.causes {
            if cause.hears(profiles.get(&cause.profile), event) {
                hearing.extend(uids.iter().filter_map(|uid| self.pods.get_key_value(uid)));
            }
        }
        hearing.sort_unstable_by_key(|(uid, _)| *uid);
        hearing
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::framework::{Interest, Object};
    use crate::object::Time;
    use crate::queue::hints::Strategy;
    use crate::testing::pod;

    const EVENTS: [ClusterEvent; 4] = [
        ClusterEvent::NODE_ADD,
        ClusterEvent::ASSIGNED_POD_ADD,
        ClusterEvent::ASSIGNED_POD_DELETE,
        ClusterEvent::UNSCHEDULED_POD_ADD,
    ];

    fn profile() -> QueueProfile {
        let interests =
            |events: &[ClusterEvent]| events.iter().map(|event| Interest { event: *event, hint: None }).collect();
        let interests = vec![
            (Name::from("A"), interests(&[ClusterEvent::NODE_ADD])),
            (Name::from("B"), interests(&[ClusterEvent::NODE_ADD, ClusterEvent::ASSIGNED_POD_DELETE])),
            (Name::from("C"), interests(&[])),
        ];
        QueueProfile { interests, ..QueueProfile::default() }
    }

    /// Pods rejected by every set of three plugins, some of them told to wait, some kept out.
    fn parked() -> Parked {
        let mut parked = Parked::default();
        for number in 0_u32..64 {
            let mut queued = QueuedPod::new(Arc::new(pod(&format!("pod-{number}")).build()), Time::UNIX_EPOCH, 0);
            for (bit, plugin) in ["A", "B", "C"].into_iter().enumerate() {
                let set = if number & 8 == 0 { &mut queued.unschedulable_plugins } else { &mut queued.pending_plugins };
                if number >> bit & 1 == 1 {
                    set.insert(plugin.into());
                }
            }
            queued.gating_plugin = ["A", "C", "unknown"].get(number as usize >> 4).map(|gate| (*gate).into());
            parked.insert(queued);
        }
        parked
    }

    #[test]
    fn who_hears_of_an_event_is_all_that_it_moves() {
        let (parked, profile) = (parked(), profile());
        assert_eq!(parked.len(), 64);
        let profiles: BTreeMap<Name, QueueProfile> =
            [(Name::from("default-scheduler"), profile.clone())].into_iter().collect();
        for event in EVENTS {
            let moved = |queued: &QueuedPod| {
                let kept = |gate: &Name| !lifts_gate(profile.interests_of(gate), event);
                !queued.gating_plugin.as_ref().is_some_and(kept)
                    && profile.strategy(queued, event, &Object::Other) != Strategy::Skip
            };
            let wanted: Vec<&Name> = parked.iter().filter(|(_, queued)| moved(queued)).map(|(uid, _)| uid).collect();
            let heard: Vec<&Name> = parked.hearing(&profiles, event).into_iter().map(|(uid, _)| uid).collect();
            assert_eq!(heard, wanted, "{event:?}");
        }
        assert_eq!(
            parked.hearing(&BTreeMap::new(), ClusterEvent::NODE_ADD).len(),
            64,
            "without a profile all are tried"
        );
    }

    #[test]
    fn what_left_hears_nothing() {
        let mut parked = parked();
        let uids: Vec<Name> = parked.iter().map(|(uid, _)| uid.clone()).collect();
        assert!(parked.renew(&Arc::new(pod("pod-1").build())) && !parked.renew(&Arc::new(pod("another").build())));
        assert!(uids.iter().all(|uid| parked.remove(uid).is_some()));
        assert!(parked.causes.is_empty() && parked.get("pod-1").is_none());
    }
}
