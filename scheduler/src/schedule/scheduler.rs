//! The scheduler's state, and its cycle.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::decide::{Decision, Progress, Refusal, View, decide};
use super::outcome::Held;
use super::{Classes, Failure, Outcome, Placement};
use crate::cache::{Cache, Snapshot, Specs};
use crate::framework::{
    Action, ClusterEvent, CycleState, Extender, Object, Observer, Permission, Profile, Status, Watch, panicked,
};
use crate::object::{Name, PodInfo, Time};
use crate::queue::{QueueConfig, QueuedPod, SchedulingQueue, Stage};
use crate::random::Random;

/// How a scheduler behaves.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// From which ties are drawn: the same seed makes the same decisions.
    pub seed: u64,
    /// How many of the nodes to look for before scoring those found, in percent; 0 adapts to the number of nodes.
    pub percentage_of_nodes_to_score: i32,
    /// How long pods wait.
    pub queue: QueueConfig,
    /// How long after a successful binding an unconfirmed pod is believed in; `None` for ever.
    pub assumed_ttl: Option<Duration>,
    /// Whether what was found out for a pod is used again for pods with the same spec. Decisions are the same either
    /// way; this is only faster.
    pub reuse_results: bool,
    /// Services that have a say in decisions; those that can be ignored are asked last.
    pub extenders: Vec<Extender>,
}

impl Default for SchedulerConfig {
    /// Upstream's settings, seed 0, results used again.
    fn default() -> Self {
        Self {
            seed: 0,
            percentage_of_nodes_to_score: 0,
            queue: QueueConfig::default(),
            assumed_ttl: None,
            reuse_results: true,
            extenders: Vec::new(),
        }
    }
}

/// Why a scheduler cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// There must be a profile.
    #[error("at least one profile is needed")]
    NoProfile,
    /// Two profiles have the same name.
    #[error("duplicate profile with scheduler name {0:?}")]
    DuplicateProfile(Name),
    /// The profile would be chosen with an empty name.
    #[error("scheduler name is needed")]
    NoName,
}

/// A scheduler without a cluster around it: it is told what happens and says what to do.
///
/// Tell it of nodes and pods; call [`schedule_one`](Self::schedule_one) until there is nothing to do; carry out what a
/// placement [asks for](Self::binding); report [back](Self::bound). It never looks at a clock: every call that needs to
/// know is told what time it is.
pub struct Scheduler {
    pub(super) profiles: BTreeMap<Name, Profile>,
    pub(super) cache: Cache,
    pub(super) queue: SchedulingQueue,
    pub(super) pending: HashMap<Name, Arc<PodInfo>>,
    pub(super) held: BTreeMap<Name, Held>,
    pub(super) progress: Progress,
    pub(super) specs: Specs,
    reuse_results: bool,
    pub(super) extenders: Vec<Extender>,
    /// What became of pods that were placed together with another.
    pub(super) told_later: VecDeque<Outcome>,
    pub(super) watch: Watch,
    /// How many scheduling cycles there were.
    cycles: u64,
}

/// Of how many scheduling cycles one is looked at plugin by plugin, as upstream does by chance.
const CYCLES_PER_SAMPLE: u64 = 10;

/// A pod whose node was not to be had after all, and why.
pub(super) type Unassumed = (QueuedPod, Status);

impl Scheduler {
    /// An idle scheduler. The first profile's QueueSort plugin orders the queue for all.
    ///
    /// # Errors
    /// No profile, or two of the same name.
    pub fn new(config: SchedulerConfig, profiles: Vec<Profile>) -> Result<Self, SchedulerError> {
        let sort = profiles.first().ok_or(SchedulerError::NoProfile)?.queue_sort.clone();
        let mut by_name = BTreeMap::new();
        for profile in profiles {
            let name = profile.name().clone();
            if name.is_empty() {
                return Err(SchedulerError::NoName);
            }
            if by_name.insert(name.clone(), profile).is_some() {
                return Err(SchedulerError::DuplicateProfile(name));
            }
        }
        let mut extenders = config.extenders;
        extenders.sort_by_key(|extender| extender.ignorable);
        let extended = !extenders.is_empty();
        let queue_profile = |(name, profile): (&Name, &Profile)| (name.clone(), profile.queue_profile(extended));
        let queue_profiles = by_name.iter().map(queue_profile).collect();
        Ok(Self {
            profiles: by_name,
            cache: Cache::new(config.assumed_ttl),
            queue: SchedulingQueue::new(config.queue, sort, queue_profiles),
            pending: HashMap::new(),
            held: BTreeMap::new(),
            progress: Progress {
                next_start: 0,
                random: Random::new(config.seed),
                percentage_of_nodes_to_score: config.percentage_of_nodes_to_score,
                classes: config.reuse_results.then(Classes::default),
            },
            specs: Specs::default(),
            reuse_results: config.reuse_results,
            extenders,
            told_later: VecDeque::new(),
            watch: Watch::default(),
            cycles: 0,
        })
    }

    /// Has somebody with a clock see how long plugins take and which way pods go. Decisions are the same.
    pub fn observe_with(&mut self, observer: Arc<dyn Observer>) {
        self.watch = Watch::new(observer);
        self.profiles.values_mut().for_each(|profile| profile.watch = self.watch.clone());
        self.queue.observe_with(&self.watch);
    }

    /// The profiles, by scheduler name.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values()
    }

    /// What a scheduling cycle begins with.
    pub(super) fn new_state(&mut self) -> CycleState {
        self.cycles += 1;
        let mut state = CycleState::new();
        state.closely = self.watch.is_on() && self.cycles.is_multiple_of(CYCLES_PER_SAMPLE);
        state
    }

    /// The cluster as it is believed to be.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        self.cache.snapshot()
    }

    /// The pods on nodes, assumed ones included.
    #[must_use]
    pub const fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The pods that wait.
    #[must_use]
    pub const fn queue(&self) -> &SchedulingQueue {
        &self.queue
    }

    /// Whether any profile places gangs.
    #[must_use]
    pub fn places_gangs(&self) -> bool {
        self.profiles.values().any(|profile| profile.places_gangs)
    }

    /// The profile for pods of that scheduler name.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// Tries to place the next pod, if one is to be tried now.
    pub fn schedule_one(&mut self, now: Time) -> Option<Outcome> {
        if let Some(outcome) = self.told_later.pop_front() {
            return Some(outcome);
        }
        let mut queued = self.queue.pop(now)?;
        if self.cache.snapshot().objects().devices.are_waited_for() {
            self.cache.snapshot_mut().objects_mut().devices.set_now(now);
        }
        if let Some(outcome) = self.skip(&queued) {
            return Some(outcome);
        }
        if self.profiles[&queued.pod.spec.scheduler_name].places_gangs && !queued.pod.spec.pod_group.is_empty() {
            return self.schedule_gang(queued, now);
        }
        queued.unschedulable_plugins.clear();
        queued.pending_plugins.clear();
        if self.has_interested_extender(&queued.pod) {
            return Some(self.search(queued, None, now));
        }
        let (state, decided) = self.decide_safely(&queued.pod);
        Some(match decided {
            Ok(decision) => self.place(queued, state, &decision, now),
            Err(refusal) => {
                let failure = self.refused(queued, &state, refusal, true, now);
                Outcome::Failed(Box::new(failure))
            }
        })
    }

    /// Pods that need not be placed any more.
    pub(super) fn skip(&mut self, queued: &QueuedPod) -> Option<Outcome> {
        let pod = queued.pod.clone();
        let message = if pod.deletion_timestamp.is_some() {
            Some(format!("skip schedule deleting pod: {}/{}", pod.namespace, pod.name))
        } else if self.cache.is_assumed(&pod.uid) || !self.profiles.contains_key(&pod.spec.scheduler_name) {
            None
        } else {
            return None;
        };
        self.queue.done(&pod.uid);
        Some(Outcome::Skipped { pod, message })
    }

    /// Decides; a plugin that panics fails the pod.
    pub(super) fn decide_safely(&mut self, pod: &Arc<PodInfo>) -> (CycleState, Result<Decision, Refusal>) {
        let mut state = self.new_state();
        let decided = catch_unwind(AssertUnwindSafe(|| self.decide(pod, &mut state)));
        let decided = decided.unwrap_or_else(|panic| {
            // What was kept may be half changed.
            self.progress.classes = self.reuse_results.then(Classes::default);
            Err(Refusal::Failed(panicked(&*panic)))
        });
        (state, decided)
    }

    fn decide(&mut self, pod: &Arc<PodInfo>, state: &mut CycleState) -> Result<Decision, Refusal> {
        let profile = &self.profiles[&pod.spec.scheduler_name];
        let view = View { profile, snapshot: self.cache.snapshot(), nominator: &self.queue.nominator };
        decide(view, pod, state, &mut self.progress)
    }

    /// Assumes, reserves and asks for permission.
    pub(super) fn place(&mut self, queued: QueuedPod, state: CycleState, decision: &Decision, now: Time) -> Outcome {
        match self.assume(queued, state, decision) {
            Ok((placement, permission)) => self.hold(placement, permission, now),
            Err(refused) => {
                let (queued, status) = *refused;
                Outcome::Failed(Box::new(self.failed(queued, status, now)))
            }
        }
    }

    /// Believes that a pod is on its node, with all that it needs there. If that is refused, nothing is left of it.
    pub(super) fn assume(
        &mut self,
        queued: QueuedPod,
        mut state: CycleState,
        decision: &Decision,
    ) -> Result<(Box<Placement>, Permission), Box<Unassumed>> {
        state.hide();
        let pod = Arc::new(queued.pod.on_node(&decision.node));
        if let Err(error) = self.cache.assume(pod.clone()) {
            return Err(Box::new((queued, Status::error(error.to_string()))));
        }
        self.queue.nominator.remove(&pod.uid);
        self.queue.gangs.put(&pod, Stage::Assumed);
        let (evaluated, feasible) = (decision.evaluated, decision.feasible);
        let mut placement = Box::new(Placement { pod, evaluated, feasible, queued, state });
        let run = AssertUnwindSafe(|| self.reserve(&mut placement, decision));
        match catch_unwind(run).unwrap_or_else(|panic| Err(panicked(&*panic))) {
            Ok(permission) => Ok((placement, permission)),
            Err(status) => Err(Box::new((self.forget(*placement), status))),
        }
    }

    fn reserve(&mut self, placement: &mut Placement, decision: &Decision) -> Result<Permission, Status> {
        let Placement { pod, state, .. } = placement;
        let profile = &self.profiles[&pod.spec.scheduler_name];
        let node = self.cache.snapshot().node_at(decision.slot).map(|info| info.node.clone()).unwrap_or_default();
        profile.run_reserve(state, pod, &decision.node)?;
        profile.run_enter(state, pod, &node, self.cache.snapshot_mut().objects_mut())?;
        profile.run_permit(state, pod, &decision.node, &self.queue.gangs)
    }

    /// What must be done to bind a placed pod.
    ///
    /// # Errors
    /// It cannot be bound; hand the error to [`binding_failed`](Self::binding_failed).
    pub fn binding(&self, placement: &Placement) -> Result<Vec<Action>, Status> {
        let profile = &self.profiles[&placement.pod.spec.scheduler_name];
        let run = || profile.run_bind(&placement.state, &placement.pod, placement.node());
        let actions = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(panicked(&*panic)))?;
        Ok(self.bind_through_extender(placement, actions))
    }

    /// The API server took the binding.
    pub fn bound(&mut self, placement: &Placement, now: Time) {
        self.cache.finish_binding(&placement.pod.uid, now);
        self.profiles[&placement.pod.spec.scheduler_name].run_post_bind(&placement.pod, placement.node());
    }

    /// The binding failed: the pod goes back to the queue, unless it is gone or has a node by now.
    pub fn binding_failed(&mut self, placement: Placement, status: Status, now: Time) -> Failure {
        let uid = placement.pod.uid.clone();
        let (pod, rejected) = (placement.pod.clone(), status.is_rejection());
        let failure = self.withdraw(placement, status, now);
        let object = Object::Pod(Some(pod), None);
        let event = ClusterEvent::ASSIGNED_POD_DELETE;
        self.queue.on_event_where(event, &object, now, |pod| !rejected || pod.uid != uid);
        failure
    }

    /// Forgets a placement and puts the pod back.
    pub(super) fn withdraw(&mut self, placement: Placement, status: Status, now: Time) -> Failure {
        let queued = self.forget(placement);
        self.failed(queued, status, now)
    }

    pub(super) fn forget(&mut self, mut placement: Placement) -> QueuedPod {
        self.unassume(&mut placement);
        placement.queued
    }

    /// Takes a placed pod off its node, with all that it got there.
    pub(super) fn unassume(&mut self, placement: &mut Placement) {
        let (pod, node) = (placement.pod.clone(), placement.node().clone());
        let profile = &self.profiles[&pod.spec.scheduler_name];
        profile.run_unreserve(&mut placement.state, &pod, &node);
        profile.run_strike(&mut placement.state, &pod, &node, self.cache.snapshot_mut().objects_mut());
        // Confirmed or gone meanwhile: then there is nothing to forget.
        if self.cache.forget(&pod.uid).is_ok() && self.pending.contains_key(&pod.uid) {
            self.queue.gangs.put(&pod, Stage::Waiting);
        }
    }
}
