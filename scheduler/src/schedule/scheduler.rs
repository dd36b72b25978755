//! The scheduler's state, and its cycle.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::decide::{Decision, Progress, Refusal, View, decide};
use super::outcome::Held;
use super::{Classes, Failure, Outcome, Placement};
use crate::cache::{Cache, Snapshot, Specs};
use crate::framework::{
    Action, ClusterEvent, Code, CycleState, Diagnosis, Extender, FitError, Object, Permission, PodConditionUpdate,
    PostFilterContext, PostFilterOutcome, Profile, Status,
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
}

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
        })
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
            let outcomes = self.schedule_gang(queued, now);
            self.told_later.extend(outcomes);
            return self.told_later.pop_front();
        }
        queued.unschedulable_plugins.clear();
        queued.pending_plugins.clear();
        if self.has_interested_extender(&queued.pod) {
            return Some(self.search(queued, now));
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
        let mut state = CycleState::new();
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

    /// Lets a placed pod go on, at once or when it is permitted to.
    pub(super) fn hold(&mut self, placement: Box<Placement>, permission: Permission, now: Time) -> Outcome {
        for (uid, plugin) in permission.allowed {
            self.permit(&uid, &plugin);
        }
        for uid in permission.wanted {
            self.queue.activate(&uid, now);
        }
        let pod = placement.pod.clone();
        if permission.waits.is_empty() {
            self.queue.done(&pod.uid);
            return Outcome::Placed(placement);
        }
        let deadline = |wait: Duration| now.checked_add(wait).unwrap_or(Time::MAX);
        let by = permission.waits.into_iter().map(|(plugin, wait)| (plugin, deadline(wait))).collect();
        self.held.insert(pod.uid.clone(), Held { placement, by });
        Outcome::Waiting(pod)
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

    /// A plugin permits a waiting pod.
    pub fn permit(&mut self, uid: &str, plugin: &str) {
        if let Some(held) = self.held.get_mut(uid) {
            held.by.remove(plugin);
        }
    }

    /// A plugin rejects a waiting pod.
    pub fn reject(&mut self, uid: &str, plugin: &Name, message: &str, now: Time) -> Option<Failure> {
        let held = self.held.remove(uid)?;
        Some(self.withdraw(*held.placement, Status::unschedulable(message.to_owned()).by(plugin), now))
    }

    /// The waiting pods.
    pub fn waiting(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.held.values().map(|held| &held.placement.pod)
    }

    /// Waiting pods that were permitted, or have waited too long.
    pub fn take_permitted(&mut self, now: Time) -> Vec<Outcome> {
        let late = |held: &Held| held.by.values().any(|deadline| *deadline <= now);
        let ready: Vec<Name> =
            self.held.iter().filter(|(_, held)| held.by.is_empty() || late(held)).map(|(uid, _)| uid.clone()).collect();
        let mut outcomes = Vec::new();
        for uid in ready {
            let Some(Held { placement, by }) = self.held.remove(&uid) else { continue };
            let Some(plugin) = by.iter().find(|(_, deadline)| **deadline <= now).map(|(plugin, _)| plugin) else {
                self.queue.done(&uid);
                outcomes.push(Outcome::Placed(placement));
                continue;
            };
            let message = format!("rejected due to timeout after waiting at plugin {plugin}");
            let status = Status::unschedulable(message).by(plugin);
            outcomes.push(Outcome::Failed(Box::new(self.withdraw(*placement, status, now))));
        }
        outcomes
    }

    /// The pod fits nowhere; room is made for it if that is wanted and possible.
    pub(super) fn refused(
        &mut self,
        queued: QueuedPod,
        state: &CycleState,
        refusal: Refusal,
        make_room: bool,
        now: Time,
    ) -> Failure {
        let error = match refusal {
            Refusal::DoesNotFit(error) => error,
            Refusal::NoNodes => {
                let message = "no nodes available to schedule pods".to_owned();
                return self.put_back(queued, Failure::UNSCHEDULABLE, message, PostFilterOutcome::default(), now);
            }
            Refusal::Failed(status) => return self.failed(queued, status, now),
        };
        let outcome = match make_room {
            true => self
                .make_room(&queued.pod, &error, |profile, pod, context| profile.run_post_filter(state, pod, context)),
            false => PostFilterOutcome { nominated_node_name: Some(Name::default()), ..Default::default() },
        };
        self.conclude(queued, *error, outcome, now)
    }

    /// Runs PostFilter plugins, if there are any; one that panics makes no room.
    pub(super) fn make_room(
        &mut self,
        pod: &Arc<PodInfo>,
        error: &FitError,
        run: impl FnOnce(&Profile, &Arc<PodInfo>, PostFilterContext<'_>) -> PostFilterOutcome,
    ) -> PostFilterOutcome {
        let profile = &self.profiles[&pod.spec.scheduler_name];
        if !profile.has_post_filter() {
            return PostFilterOutcome { nominated_node_name: Some(Name::default()), ..Default::default() };
        }
        let candidates_wanted = self.extenders.iter().any(|own| own.preempts && own.is_interested(pod));
        let Progress { classes, random, .. } = &mut self.progress;
        let (kept, places) = classes.as_mut().map(|classes| classes.kept_for(pod)).unwrap_or_default();
        let context = PostFilterContext {
            profile,
            snapshot: self.cache.snapshot(),
            nominator: &self.queue.nominator,
            statuses: &error.diagnosis.nodes,
            random,
            candidates_wanted,
            kept,
            places,
        };
        catch_unwind(AssertUnwindSafe(|| run(profile, pod, context))).unwrap_or_else(|panic| PostFilterOutcome {
            status: Some(panicked(&*panic)),
            ..PostFilterOutcome::default()
        })
    }

    /// Puts a pod back that fits nowhere, with what came of making room.
    pub(super) fn conclude(
        &mut self,
        mut queued: QueuedPod,
        mut error: FitError,
        outcome: PostFilterOutcome,
        now: Time,
    ) -> Failure {
        error.diagnosis.post_filter = outcome.status.as_ref().map(Status::message).unwrap_or_default();
        let message = error.to_string();
        let Diagnosis { unschedulable_plugins, pending_plugins, .. } = error.diagnosis;
        queued.unschedulable_plugins = unschedulable_plugins;
        queued.pending_plugins = pending_plugins;
        self.put_back(queued, Failure::UNSCHEDULABLE, message, outcome, now)
    }

    /// Something outside of filtering said no.
    pub(super) fn failed(&mut self, mut queued: QueuedPod, status: Status, now: Time) -> Failure {
        let clear = PostFilterOutcome { nominated_node_name: Some(Name::default()), ..Default::default() };
        queued.unschedulable_plugins.clear();
        queued.pending_plugins.clear();
        if !status.is_rejection() {
            return self.put_back(queued, Failure::SCHEDULER_ERROR, status.message(), clear, now);
        }
        let mut error = FitError { nodes_total: 1, diagnosis: Diagnosis::default() };
        error.diagnosis.blame(&status);
        error.diagnosis.nodes.set(crate::cache::NodeSlot(0), status);
        let message = error.to_string();
        queued.unschedulable_plugins = error.diagnosis.unschedulable_plugins;
        queued.pending_plugins = error.diagnosis.pending_plugins;
        self.put_back(queued, Failure::UNSCHEDULABLE, message, clear, now)
    }

    pub(super) fn put_back(
        &mut self,
        mut queued: QueuedPod,
        reason: &'static str,
        message: String,
        outcome: PostFilterOutcome,
        now: Time,
    ) -> Failure {
        let mut pod = queued.pod.clone();
        let nominated = outcome.nominated_node_name;
        let preempts = outcome.actions.iter().any(|action| matches!(action, Action::Preempt(_)));
        match self.pending.get(&pod.uid) {
            Some(newest) => {
                if preempts {
                    self.queue.preempting.insert(pod.uid.clone());
                }
                pod = newest.clone();
                queued.pod = pod.clone();
                if let Some(node) = &nominated {
                    self.queue.nominator.add(pod.clone(), node);
                }
                self.queue.add_unschedulable(queued, now);
            }
            None => self.queue.done(&pod.uid),
        }
        let condition = PodConditionUpdate { kind: "PodScheduled", status: false, reason, message: message.clone() };
        let mut actions = vec![Action::UpdatePodStatus {
            pod: pod.clone(),
            condition: Some(condition),
            nominated_node_name: nominated.clone(),
        }];
        actions.extend(outcome.actions);
        Failure { pod, reason, message, nominated_node_name: nominated, actions }
    }
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Status::new(Code::Error, format!("a plugin panicked: {text}"))
}
