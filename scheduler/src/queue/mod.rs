//! Pods that wait to be placed.
//!
//! Three places, as upstream: the *active* queue of pods to be tried, in the order of the profile's QueueSort plugin;
//! the *back-off* queue of pods tried recently; and the *unschedulable* pods, which wait for an event that their
//! rejecting plugins call news. Nothing here knows what time it is: whoever drives the queue says so.

mod gangs;
mod heap;
mod hints;
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

use crate::framework::{ClusterEvent, Object, QueueSortPlugin, pod_changes};
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
        }
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
        if !pod.nominated_node_name.is_empty() {
            self.nominator.add(pod.clone(), &pod.nominated_node_name);
        }
        self.move_to_active(QueuedPod::new(pod, now, self.sequence), now);
    }

    /// Takes note of a newer version of a waiting pod.
    pub fn update(&mut self, old: &PodInfo, pod: Arc<PodInfo>, now: Time) {
        let changes = pod_changes(old, &pod);
        self.nominator.update(&pod);
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
                self.requeue(queued, strategy, now);
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
        }
        let queued = popped?;
        Some(self.popped(queued, now))
    }

    /// Takes out a pod that waits, wherever, unless a plugin keeps it out; it is in flight then.
    pub(crate) fn pop_one(&mut self, uid: &str, now: Time) -> Option<QueuedPod> {
        if self.get(uid)?.gating_plugin.is_some() {
            return None;
        }
        let sort = self.sort.clone();
        let mut found = None;
        for (heap, order) in self.heaps() {
            found = found.or_else(|| heap.remove(uid, &|a, b| order(&*sort, a, b)));
        }
        let queued = found.or_else(|| self.unschedulable.remove(uid))?;
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
        let strategy = if queued.has_no_rejector() || events.len() > EVENTS_IN_FLIGHT_MAX {
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
        self.requeue(queued, strategy, now);
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
                self.requeue(queued, strategy, now);
            }
        }
    }

    /// Makes a waiting pod active whatever it waits for, unless a plugin keeps it out.
    pub fn activate(&mut self, uid: &str, now: Time) -> bool {
        let sort = self.sort.clone();
        let order = |a: &QueuedPod, b: &QueuedPod| released_before(&*sort, a, b);
        let queued = self
            .unschedulable
            .remove(uid)
            .or_else(|| self.backoff.remove(uid, &order))
            .or_else(|| self.error_backoff.remove(uid, &order));
        queued.is_some_and(|queued| self.move_to_active(queued, now))
    }

    /// The room that was being made for a pod is made, or could not be: it may be tried again. Tells whether it had been
    /// kept out.
    pub(crate) fn end_preemption(&mut self, uid: &str) -> bool {
        self.preempting.remove(uid);
        self.unschedulable.get(uid).is_some_and(|queued| queued.gating_plugin.as_deref() == Some(PREEMPTION_GATE))
    }

    /// Moves on what time alone moves: pods whose back-off is over, and pods that waited too long for an event.
    pub fn flush(&mut self, now: Time) {
        self.flush_backoff(now);
        let overdue = |queued: &QueuedPod| {
            let waited = now.duration_since(queued.timestamp);
            waited
                > jiff::SignedDuration::try_from(self.config.max_in_unschedulable).unwrap_or(jiff::SignedDuration::MAX)
        };
        let moving: Vec<Name> =
            self.unschedulable.iter().filter(|(_, queued)| overdue(queued)).map(|(uid, _)| uid.clone()).collect();
        for uid in moving {
            if let Some(queued) = self.unschedulable.remove(&uid) {
                self.requeue(queued, Strategy::AfterBackoff, now);
            }
        }
    }

    /// When [`flush`](Self::flush) will next have something to do, if ever.
    #[must_use]
    pub fn next_flush(&self) -> Option<Time> {
        let released = [&self.backoff, &self.error_backoff]
            .into_iter()
            .filter_map(|heap| heap.peek()?.backoff_until)
            .map(|until| until.checked_add(Duration::from_secs(1)).unwrap_or(until));
        let oldest = self.unschedulable.values().map(|queued| queued.timestamp).min();
        let overdue = oldest
            .map(|at| at.checked_add(self.config.max_in_unschedulable + Duration::from_millis(1)).unwrap_or(Time::MAX));
        released.chain(overdue).min()
    }

    fn flush_backoff(&mut self, now: Time) {
        let sort = self.sort.clone();
        let order = |a: &QueuedPod, b: &QueuedPod| released_before(&*sort, a, b);
        let mut released = Vec::new();
        let truncate = self.config.pop_from_backoff;
        for heap in [&mut self.backoff, &mut self.error_backoff] {
            while heap.peek().is_some_and(|queued| !held_back(queued, now, truncate)) {
                released.extend(heap.pop(&order));
            }
        }
        for queued in released {
            self.push_active(queued);
        }
    }

    fn heaps(&mut self) -> [(&mut KeyedHeap<QueuedPod>, Order); 3] {
        [(&mut self.active, before), (&mut self.backoff, released_before), (&mut self.error_backoff, released_before)]
    }

    fn profile(&self, queued: &QueuedPod) -> Option<&QueueProfile> {
        self.profiles.get(&queued.pod.spec.scheduler_name)
    }

    fn requeue(&mut self, mut queued: QueuedPod, strategy: Strategy, now: Time) {
        self.set_backoff(&mut queued);
        match strategy {
            Strategy::Skip => self.unschedulable.insert(queued),
            Strategy::AfterBackoff if held_back(&queued, now, self.config.pop_from_backoff) => {
                self.move_to_backoff(queued);
            }
            _ => drop(self.move_to_active(queued, now)),
        }
    }

    fn move_to_active(&mut self, mut queued: QueuedPod, now: Time) -> bool {
        self.run_pre_enqueue(&mut queued);
        if queued.gating_plugin.is_some() {
            self.unschedulable.insert(queued);
            return false;
        }
        queued.initial_attempt.get_or_insert(now);
        self.push_active(queued);
        true
    }

    fn push_active(&mut self, queued: QueuedPod) {
        let sort = self.sort.clone();
        self.active.push(queued.pod.uid.clone(), queued, &|a, b| before(&*sort, a, b));
    }

    fn move_to_backoff(&mut self, mut queued: QueuedPod) {
        self.run_pre_enqueue(&mut queued);
        if queued.gating_plugin.is_some() {
            self.unschedulable.insert(queued);
            return;
        }
        let sort = self.sort.clone();
        let order = |a: &QueuedPod, b: &QueuedPod| released_before(&*sort, a, b);
        let heap = if queued.has_no_rejector() { &mut self.error_backoff } else { &mut self.backoff };
        heap.push(queued.pod.uid.clone(), queued, &order);
    }

    /// Asks the plugin that kept the pod out first, then all.
    fn run_pre_enqueue(&self, queued: &mut QueuedPod) {
        let Some(profile) = self.profile(queued) else { return };
        let gate = queued.gating_plugin.take();
        if self.preempting.contains(&queued.pod.uid) {
            queued.unschedulable_plugins.insert(PREEMPTION_GATE.into());
            queued.gating_plugin = Some(PREEMPTION_GATE.into());
            return;
        }
        let first = profile.pre_enqueue.iter().filter(|(name, _)| Some(name) == gate.as_ref());
        let rest = profile.pre_enqueue.iter().filter(|(name, _)| Some(name) != gate.as_ref());
        for (name, plugin) in first.chain(rest) {
            if plugin.pre_enqueue(&queued.pod, &self.gangs).is_err() {
                queued.unschedulable_plugins.insert(name.clone());
                queued.gating_plugin = Some(name.clone());
                return;
            }
        }
    }

    fn set_backoff(&self, queued: &mut QueuedPod) {
        let count = if queued.consecutive_errors > 0 { queued.consecutive_errors } else { queued.unschedulable_count };
        if count == 0 || self.config.max_backoff.is_zero() || queued.backoff_until.is_some() {
            return;
        }
        let doubled = 2_u32.checked_pow(count - 1).and_then(|factor| self.config.initial_backoff.checked_mul(factor));
        let wait = doubled.unwrap_or(self.config.max_backoff).min(self.config.max_backoff);
        let until = queued.timestamp.checked_add(wait).unwrap_or(Time::MAX);
        queued.backoff_until = Some(if self.config.pop_from_backoff { whole_second(until) } else { until });
    }
}

/// Back-off ends on whole seconds, so that pods released together are sorted by priority.
fn whole_second(time: Time) -> Time {
    Time::from_second(time.as_second()).unwrap_or(time)
}

fn held_back(queued: &QueuedPod, now: Time, truncate: bool) -> bool {
    let now = if truncate { whole_second(now) } else { now };
    queued.backoff_until.is_some_and(|until| until >= now)
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
