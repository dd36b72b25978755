//! Pods that wait to be placed.
//!
//! Three places, as upstream: the *active* queue of pods to be tried, in the order of the profile's QueueSort plugin;
//! the *back-off* queue of pods tried recently; and the *unschedulable* pods, which wait for an event that their
//! rejecting plugins call news. Nothing here knows what time it is: whoever drives the queue says so.

mod gangs;
mod heap;
mod hints;
mod moving;
mod nominator;
mod parked;
mod queued;

pub(crate) use gangs::Stage;
pub use gangs::{Gang, Gangs};
pub(crate) use hints::QueueProfile;
pub use nominator::Nominator;
pub use queued::QueuedPod;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::framework::{ClusterEvent, Object, QueueCause, QueueSortPlugin, Watch, pod_changes};
use crate::object::{Name, PodInfo, Time};
use heap::KeyedHeap;
use hints::Strategy;
use parked::Parked;

/// How long pods wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// How long a pod is held back after its first failure; it doubles with each.
    pub initial_backoff: Duration,
    /// How long at most.
    pub max_backoff: Duration,
    /// After how long an unschedulable pod is tried again though nothing happened.
    pub max_in_unschedulable: Duration,
    /// Whether a pod in back-off is tried early when there is nothing else to do.
    pub pop_from_backoff: bool,
}

impl Default for QueueConfig {
    /// Upstream's: 1 s, 10 s, 5 min, and trying early.
    fn default() -> Self {
        Self {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(10),
            max_in_unschedulable: Duration::from_mins(5),
            pop_from_backoff: true,
        }
    }
}

/// How many events are remembered for a pod in flight before it counts as affected anyway.
const EVENTS_IN_FLIGHT_MAX: usize = 1024;

/// The name under which a pod is kept out while room is being made for it.
const PREEMPTION_GATE: &str = "DefaultPreemption";

/// The three queues, and the pods between being popped and being done.
pub struct SchedulingQueue {
    config: QueueConfig,
    sort: Arc<dyn QueueSortPlugin>,
    profiles: BTreeMap<Name, QueueProfile>,
    active: KeyedHeap<QueuedPod>,
    backoff: KeyedHeap<QueuedPod>,
    error_backoff: KeyedHeap<QueuedPod>,
    unschedulable: Parked,
    in_flight: BTreeMap<Name, Vec<(ClusterEvent, Object)>>,
    /// Nodes promised to pods.
    pub nominator: Nominator,
    /// Pods that are to be placed together.
    pub gangs: Gangs,
    /// Pods for which room is being made: they are kept out until that is over.
    pub(crate) preempting: BTreeSet<Name>,
    sequence: u64,
    watch: Watch,
}

impl SchedulingQueue {
    pub(crate) fn new(
        config: QueueConfig,
        sort: Arc<dyn QueueSortPlugin>,
        profiles: BTreeMap<Name, QueueProfile>,
    ) -> Self {
        Self {
            config,
            sort,
            profiles,
            active: KeyedHeap::default(),
            backoff: KeyedHeap::default(),
            error_backoff: KeyedHeap::default(),
            unschedulable: Parked::default(),
            in_flight: BTreeMap::new(),
            nominator: Nominator::default(),
            gangs: Gangs::default(),
            preempting: BTreeSet::new(),
            sequence: 0,
            watch: Watch::default(),
        }
    }

    /// Has it seen what goes on.
    pub(crate) fn observe_with(&mut self, watch: &Watch) {
        self.watch = watch.clone();
        self.profiles.values_mut().for_each(|profile| profile.watch = watch.clone());
    }

    /// How many events are remembered for pods in flight, and how many pods are, by what upstream calls them.
    #[must_use]
    pub fn in_flight_events(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        if !self.in_flight.is_empty() {
            counts.insert("PodPopped".to_owned(), self.in_flight.len());
        }
        // Events are remembered for each pod that they found in flight: the one that is it longest has them all.
        for (event, _) in self.in_flight.values().max_by_key(|events| events.len()).into_iter().flatten() {
            *counts.entry(event.to_string()).or_default() += 1;
        }
        counts
    }

    /// How many pods are active, in back-off and unschedulable (gated ones among them).
    #[must_use]
    pub fn lengths(&self) -> (usize, usize, usize) {
        (self.active.len(), self.backoff.len() + self.error_backoff.len(), self.unschedulable.len())
    }

    /// How many pods a plugin keeps out.
    #[must_use]
    pub fn gated(&self) -> usize {
        self.unschedulable.values().filter(|queued| queued.gating_plugin.is_some()).count()
    }

    /// A pod that waits, wherever.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&QueuedPod> {
        let held = || self.backoff.get(uid).or_else(|| self.error_backoff.get(uid));
        self.active.get(uid).or_else(held).or_else(|| self.unschedulable.get(uid))
    }

    /// Every pod that waits.
    pub fn iter(&self) -> impl Iterator<Item = &QueuedPod> {
        self.active
            .iter()
            .chain(self.backoff.iter())
            .chain(self.error_backoff.iter())
            .chain(self.unschedulable.values())
    }

    /// Takes in a new pod.
    pub fn add(&mut self, pod: Arc<PodInfo>, now: Time) {
        self.sequence += 1;
        let promised = pod.clone();
        let cause = QueueCause::Event(ClusterEvent::UNSCHEDULED_POD_ADD);
        // What was promised to a pod counts once it is to be tried.
        if self.move_to_active(QueuedPod::new(pod, now, self.sequence), cause, now)
            && !promised.nominated_node_name.is_empty()
        {
            self.nominator.add(promised.clone(), &promised.nominated_node_name);
        }
    }

    /// Takes note of a newer version of a waiting pod.
    pub fn update(&mut self, old: &PodInfo, pod: Arc<PodInfo>, now: Time) {
        let changes = pod_changes(old, &pod);
        self.nominator.update(old, &pod);
        let object = || Object::Pod(Some(Arc::new(old.clone())), Some(pod.clone()));
        if let Some(events) = self.in_flight.get_mut(&pod.uid) {
            events.extend(changes.iter().map(|event| (*event, object())));
            return;
        }
        let (sort, uid) = (self.sort.clone(), pod.uid.clone());
        for (heap, order) in self.heaps() {
            if let Some(mut queued) = heap.get(&uid).cloned() {
                queued.pod = pod;
                heap.push(uid, queued, &|a, b| order(&*sort, a, b));
                return;
            }
        }
        if !self.unschedulable.renew(&pod) {
            self.add(pod, now);
            return;
        }
        let object = object();
        for event in changes {
            let Some(queued) = self.unschedulable.get(&uid) else { return };
            let strategy = self.profile(queued).map_or(Strategy::AfterBackoff, |p| p.strategy(queued, event, &object));
            if strategy != Strategy::Skip
                && let Some(queued) = self.unschedulable.remove(&uid)
            {
                self.requeue(queued, strategy, QueueCause::Event(event), now);
            }
        }
    }

    /// Forgets a pod that went or got a node.
    pub fn remove(&mut self, uid: &str) -> Option<QueuedPod> {
        self.nominator.remove(uid);
        let sort = self.sort.clone();
        for (heap, order) in self.heaps() {
            if let Some(queued) = heap.remove(uid, &|a, b| order(&*sort, a, b)) {
                return Some(queued);
            }
        }
        self.unschedulable.remove(uid)
    }

    /// The next pod to try. It is in flight until [`done`](Self::done) or
    /// [`add_unschedulable`](Self::add_unschedulable).
    pub fn pop(&mut self, now: Time) -> Option<QueuedPod> {
        self.flush_backoff(now);
        let sort = self.sort.clone();
        let mut popped = self.active.pop(&|a, b| before(&*sort, a, b));
        if popped.is_none() && self.config.pop_from_backoff {
            popped = self.backoff.pop(&|a, b| released_before(&*sort, a, b));
            if popped.is_some() {
                self.tell("active", QueueCause::PoppedFromBackoff);
            }
        }
        let queued = popped?;
        Some(self.popped(queued, now))
    }

    /// Takes out a pod that waits, wherever, unless a plugin keeps it out; it is in flight then.
    pub(crate) fn pop_one(&mut self, uid: &str, now: Time) -> Option<QueuedPod> {
        self.activate_waiting(uid, now);
        let sort = self.sort.clone();
        let queued = self.active.remove(uid, &|a, b| before(&*sort, a, b))?;
        Some(self.popped(queued, now))
    }

    fn popped(&mut self, mut queued: QueuedPod, now: Time) -> QueuedPod {
        queued.attempts += 1;
        queued.initial_attempt.get_or_insert(now);
        self.in_flight.insert(queued.pod.uid.clone(), Vec::new());
        queued
    }

    /// A popped pod needs the queue no more.
    pub fn done(&mut self, uid: &str) {
        self.in_flight.remove(uid);
    }

    /// Takes back a popped pod that was not placed. Its rejecting plugins must be noted in it; without any, something
    /// went wrong and it is tried again after its back-off.
    pub fn add_unschedulable(&mut self, mut queued: QueuedPod, now: Time) {
        let events = self.in_flight.remove(&queued.pod.uid).unwrap_or_default();
        if self.get(&queued.pod.uid).is_some() {
            return;
        }
        if queued.has_no_rejector() {
            queued.consecutive_errors += 1;
        } else {
            queued.unschedulable_count += 1;
            queued.consecutive_errors = 0;
        }
        queued.timestamp = now;
        queued.backoff_until = None;
        queued.flushed = false;
        let strategy = if queued.has_no_rejector() || self.is_in_gang(&queued) || events.len() > EVENTS_IN_FLIGHT_MAX {
            Strategy::AfterBackoff
        } else {
            let profile = self.profile(&queued);
            let of = |(event, object): &(ClusterEvent, Object)| {
                profile.map_or(Strategy::AfterBackoff, |profile| profile.strategy(&queued, *event, object))
            };
            let strategies: Vec<Strategy> = events.iter().map(of).collect();
            if strategies.contains(&Strategy::Immediately) {
                Strategy::Immediately
            } else if strategies.contains(&Strategy::AfterBackoff) {
                Strategy::AfterBackoff
            } else {
                Strategy::Skip
            }
        };
        self.requeue(queued, strategy, QueueCause::AttemptFailed, now);
    }

    /// Moves the pods to which an event is news.
    pub fn on_event(&mut self, event: ClusterEvent, object: &Object, now: Time) {
        self.on_event_where(event, object, now, |_| true);
    }

    /// The same, for those pods only that pass a check.
    pub fn on_event_where(
        &mut self,
        event: ClusterEvent,
        object: &Object,
        now: Time,
        check: impl Fn(&PodInfo) -> bool,
    ) {
        if !event.is_wildcard() && !self.profiles.values().any(|profile| profile.cares_for(event)) {
            return;
        }
        for events in self.in_flight.values_mut().filter(|events| events.len() <= EVENTS_IN_FLIGHT_MAX) {
            events.push((event, object.clone()));
        }
        let strategy = |queued: &QueuedPod| {
            let Some(profile) = self.profile(queued) else { return Strategy::AfterBackoff };
            match &queued.gating_plugin {
                Some(gate) if !crate::framework::lifts_gate(profile.interests_of(gate), event) => Strategy::Skip,
                _ => profile.strategy(queued, event, object),
            }
        };
        let hearing = self.unschedulable.hearing(&self.profiles, event);
        let moving: Vec<(Name, Strategy)> = hearing
            .into_iter()
            .filter(|(_, queued)| check(&queued.pod))
            .map(|(uid, queued)| (uid.clone(), strategy(queued)))
            .filter(|(_, strategy)| *strategy != Strategy::Skip)
            .collect();
        for (uid, strategy) in moving {
            if let Some(queued) = self.unschedulable.remove(&uid) {
                self.requeue(queued, strategy, QueueCause::Event(event), now);
            }
        }
    }

    /// Makes a waiting pod active whatever it waits for, unless a plugin keeps it out. One that is being tried will be
    /// tried again should that fail.
    pub fn activate(&mut self, uid: &str, now: Time) -> bool {
        if let Some(events) = self.in_flight.get_mut(uid) {
            events.push((ClusterEvent::TIMEOUT, Object::Other));
        }
        self.activate_waiting(uid, now)
    }

    fn activate_waiting(&mut self, uid: &str, now: Time) -> bool {
        if let Some(queued) = self.unschedulable.remove(uid) {
            return self.move_to_active(queued, QueueCause::Activated, now);
        }
        let sort = self.sort.clone();
        let order = |a: &QueuedPod, b: &QueuedPod| released_before(&*sort, a, b);
        let queued = self.backoff.remove(uid, &order).or_else(|| self.error_backoff.remove(uid, &order));
        queued.is_some_and(|queued| self.release(queued, QueueCause::Activated, now))
    }

    fn heaps(&mut self) -> [(&mut KeyedHeap<QueuedPod>, Order); 3] {
        [(&mut self.active, before), (&mut self.backoff, released_before), (&mut self.error_backoff, released_before)]
    }

    /// Pods of groups are tried together, and so not because something happened to one of them.
    fn is_in_gang(&self, queued: &QueuedPod) -> bool {
        !queued.pod.spec.pod_group.is_empty() && self.profile(queued).is_some_and(|own| own.places_gangs)
    }

    fn profile(&self, queued: &QueuedPod) -> Option<&QueueProfile> {
        self.profiles.get(&queued.pod.spec.scheduler_name)
    }
}

type Order = fn(&dyn QueueSortPlugin, &QueuedPod, &QueuedPod) -> bool;

/// Whether `a` is tried before `b`.
fn before(sort: &dyn QueueSortPlugin, a: &QueuedPod, b: &QueuedPod) -> bool {
    sort.less(a, b) || (a.sequence < b.sequence && !sort.less(b, a))
}

/// Whether `a`'s back-off is over before `b`'s.
fn released_before(sort: &dyn QueueSortPlugin, a: &QueuedPod, b: &QueuedPod) -> bool {
    a.backoff_until < b.backoff_until || (a.backoff_until == b.backoff_until && before(sort, a, b))
}

#[cfg(test)]
mod door_tests;
#[cfg(test)]
mod panic_tests;
#[cfg(test)]
mod tests;
