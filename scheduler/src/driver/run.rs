//! The loop that joins the core to the cluster.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::api::{self, CallError, Caller};
use super::election::Candidate;
use super::event::{Note, Recorder};
use super::extender::{ExtenderError, Extenders, FullNodes};
use super::informer::Change;
use super::meter::{Meter, call_type};
use super::metrics::{Metrics, NoMetrics};
use super::sources::{Wanted, spawn_informers};
use super::{Clock, LeaderElection};
use crate::config::ExtenderConfig;
use crate::framework::{Action, Answer, Preemption, Profile, Status};
use crate::object::{Name, PodInfo, Time};
use crate::schedule::{Consultation, Failure, Outcome, Placement, Scheduler, SchedulerConfig, SchedulerError};

/// How a driver behaves.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// How the core behaves.
    pub scheduler: SchedulerConfig,
    /// How many calls to the API server may be under way; when there are so many, no further pod is placed.
    pub calls_max: usize,
    /// What tells this instance from others in events, such as the host's name.
    pub instance: String,
    /// With whom to agree on who schedules; without it, this one does.
    pub leader_election: Option<LeaderElection>,
    /// How many objects to list at a time.
    pub page_size: u32,
    /// Services that have a say in decisions; they take the place of those in the core's settings.
    pub extenders: Vec<ExtenderConfig>,
}

impl Default for DriverConfig {
    /// 128 calls at a time, pages of 500, no election.
    fn default() -> Self {
        Self {
            scheduler: SchedulerConfig::default(),
            calls_max: 128,
            instance: "kubewright".into(),
            leader_election: None,
            page_size: 500,
            extenders: Vec::new(),
        }
    }
}

/// Why a driver cannot be made, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The profiles don't make a scheduler.
    #[error(transparent)]
    Config(#[from] SchedulerError),
    /// An extender cannot be reached with its settings.
    #[error(transparent)]
    Extender(#[from] ExtenderError),
    /// Another instance leads now; start anew to be a candidate again.
    #[error("leader election lost")]
    LostLease,
}

/// How far a driver has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether everything that was there at the start has been seen.
    pub synced: bool,
    /// Whether this instance may schedule.
    pub leading: bool,
    /// How many pods were bound.
    pub bound: u64,
    /// How many attempts failed.
    pub failed: u64,
}

/// How many pods are placed before the loop looks at what else happened.
const BATCH: usize = 16;
/// How many changes and finished calls are looked at before pods are placed again.
const NEWS_MAX: usize = 512;
/// How many changes wait at most to be looked at; how many events to be written.
const CHANGES_MAX: usize = 4096;
const NOTES_MAX: usize = 4096;
/// How long calls under way may take to end when the driver is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a scheduler against an API server.
pub struct Driver {
    client: Client,
    clock: Arc<dyn Clock>,
    config: DriverConfig,
    scheduler: Scheduler,
    progress: watch::Sender<Progress>,
    metrics: Arc<dyn Metrics>,
    extenders: Extenders,
}

impl Driver {
    /// A driver for those profiles.
    ///
    /// # Errors
    /// The profiles don't make a scheduler, or an extender's settings don't do.
    pub fn new(
        client: Client,
        clock: Arc<dyn Clock>,
        config: DriverConfig,
        profiles: Vec<Profile>,
    ) -> Result<Self, DriverError> {
        let extenders = Extenders::connect(&config.extenders)?;
        let told = config.extenders.iter().map(ExtenderConfig::extender).collect();
        let core = SchedulerConfig { extenders: told, ..config.scheduler.clone() };
        let scheduler = Scheduler::new(core, profiles)?;
        let (progress, metrics) = (watch::Sender::default(), Arc::new(NoMetrics));
        Ok(Self { client, clock, config, scheduler, progress, metrics, extenders })
    }

    /// Reaches the extenders of that URL through a client instead of over a connection of their own, such as one in the
    /// same process.
    #[must_use]
    pub fn with_extender_client(mut self, url_prefix: &str, client: &Client) -> Self {
        self.extenders.replace(url_prefix, client);
        self
    }

    /// Has numbers taken down, under upstream's names.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// How far it has come, to be watched while it runs.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Schedules until cancelled. When this returns, nothing that it began is still under way.
    ///
    /// # Errors
    /// The lead was lost to another instance.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DriverError> {
        let Self { client, clock, config, scheduler, progress, metrics, extenders } = self;
        let stop = stop.child_token();
        let (changes_in, changes) = mpsc::channel(CHANGES_MAX);
        let (notes, notes_out) = mpsc::channel(NOTES_MAX);
        let mut helpers = JoinSet::new();
        let wanted = Wanted { gangs: scheduler.places_gangs(), full_nodes: extenders.want_nodes() };
        let informers = spawn_informers(&mut helpers, &client, &config, wanted, &changes_in, &stop);
        drop(changes_in);
        helpers.spawn(Recorder::new(client.clone(), clock.clone(), config.instance.clone()).run(notes_out));
        let leads = spawn_election(&mut helpers, &client, &clock, config.leader_election, &stop);
        let mut running = Running {
            client,
            clock,
            scheduler,
            progress,
            notes,
            calls: JoinSet::new(),
            work: HashMap::new(),
            calls_max: config.calls_max.max(1),
            unsynced: informers,
            meter: Meter::new(metrics),
            extenders,
            full_nodes: Arc::default(),
            asking: JoinSet::new(),
        };
        let result = running.run(changes, leads, &stop).await;
        stop.cancel();
        running.finish().await;
        while helpers.join_next().await.is_some() {}
        result
    }
}

/// Tells whether this instance leads: `None` before it is known, `Some(false)` when the lead was lost.
fn spawn_election(
    tasks: &mut JoinSet<()>,
    client: &Client,
    clock: &Arc<dyn Clock>,
    election: Option<LeaderElection>,
    stop: &CancellationToken,
) -> watch::Receiver<Option<bool>> {
    let Some(election) = election else { return watch::Sender::new(Some(true)).subscribe() };
    let (tell, leads) = watch::channel(None);
    let mut candidate = Candidate::new(client.clone(), clock.clone(), election);
    let stop = stop.clone();
    tasks.spawn(async move {
        if candidate.acquire(&stop).await {
            tell.send_replace(Some(true));
            candidate.keep(&stop).await;
            tell.send_replace(Some(false));
        }
    });
    leads
}

/// What a call under way is for.
enum Work {
    Bind(Box<Placement>),
    Preempt(Preemption),
    Status,
}

/// A call under way: what for, what it is called, and since when.
struct Call {
    work: Work,
    kind: &'static str,
    since: Time,
}

struct Running {
    client: Client,
    clock: Arc<dyn Clock>,
    scheduler: Scheduler,
    progress: watch::Sender<Progress>,
    notes: mpsc::Sender<Note>,
    calls: JoinSet<Result<(), CallError>>,
    work: HashMap<Id, Call>,
    calls_max: usize,
    unsynced: usize,
    meter: Meter,
    extenders: Extenders,
    full_nodes: Arc<FullNodes>,
    /// The one decision that waits for extenders, if any does.
    asking: JoinSet<(Box<Consultation>, Answer)>,
}

impl Running {
    async fn run(
        &mut self,
        mut changes: mpsc::Receiver<Change>,
        mut leads: watch::Receiver<Option<bool>>,
        stop: &CancellationToken,
    ) -> Result<(), DriverError> {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut news = Vec::new();
        let mut electing = true;
        loop {
            let leading = *leads.borrow_and_update();
            if leading == Some(false) {
                return Err(DriverError::LostLease);
            }
            let active = self.unsynced == 0 && leading == Some(true);
            self.progress.send_if_modified(|progress| {
                let before = *progress;
                progress.synced = self.unsynced == 0;
                progress.leading = leading == Some(true);
                before != *progress
            });
            let busy = active && self.schedule_some();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(done) = self.calls.join_next_with_id() => self.on_done(done),
                Some(answered) = self.asking.join_next() => self.on_answer(answered),
                count = changes.recv_many(&mut news, NEWS_MAX) => {
                    if count == 0 {
                        return Ok(());
                    }
                }
                _ = tick.tick() => {
                    self.scheduler.tick(self.clock.now());
                    self.meter.stands(&self.scheduler, self.work.values().map(|call| &call.kind));
                }
                changed = leads.changed(), if electing => electing = changed.is_ok(),
                () = tokio::task::yield_now(), if busy => {}
            }
            while news.len() < NEWS_MAX
                && let Ok(change) = changes.try_recv()
            {
                news.push(change);
            }
            news.drain(..).for_each(|change| self.on_change(change));
            for _ in 0..NEWS_MAX {
                let Some(done) = self.calls.try_join_next_with_id() else { break };
                self.on_done(done);
            }
        }
    }

    /// Waits for the calls under way, but not for ever.
    async fn finish(mut self) {
        let all = async { while self.calls.join_next().await.is_some() {} };
        self.asking.shutdown().await;
        if tokio::time::timeout(GRACE, all).await.is_err() {
            self.calls.shutdown().await;
        }
    }

    fn on_change(&mut self, change: Change) {
        let now = self.clock.now();
        let scheduler = &mut self.scheduler;
        match change {
            Change::PutPod(pod) => scheduler.put_pod(pod, now),
            Change::RemovePod(uid) => scheduler.remove_pod(&uid, now),
            Change::PutNode(node) => scheduler.put_node(node, now),
            Change::RemoveNode(name) => scheduler.remove_node(&name, now),
            Change::PutFullNode(node) => {
                let name = Name::from(node["metadata"]["name"].as_str().unwrap_or_default());
                Arc::make_mut(&mut self.full_nodes).insert(name, node);
            }
            Change::RemoveFullNode(name) => drop(Arc::make_mut(&mut self.full_nodes).remove(&name)),
            Change::PutNamespace(namespace) => scheduler.put_namespace(namespace, now),
            Change::RemoveNamespace(name) => scheduler.remove_namespace(&name),
            Change::PutWorkload(kind, workload) => scheduler.put_workload(kind, workload),
            Change::RemoveWorkload(kind, namespace, name) => scheduler.remove_workload(kind, &namespace, &name),
            Change::PutBudget(budget) => scheduler.put_budget(budget),
            Change::RemoveBudget(namespace, name) => scheduler.remove_budget(&namespace, &name),
            Change::PutPodGroup(group) => scheduler.put_pod_group(group, now),
            Change::RemovePodGroup(namespace, name) => scheduler.remove_pod_group(&namespace, &name),
            Change::Devices(change) => scheduler.change_devices(change, now),
            Change::Storage(change) => scheduler.change_storage(change, now),
            Change::Synced => self.unsynced -= 1,
        }
    }

    /// Places some pods; tells whether there may be more to place at once.
    fn schedule_some(&mut self) -> bool {
        let now = self.clock.now();
        for outcome in self.scheduler.take_permitted(now) {
            self.on_outcome(outcome);
        }
        for _ in 0..BATCH {
            if self.calls.len() >= self.calls_max || !self.asking.is_empty() {
                return false;
            }
            let start = self.clock.now();
            let Some(outcome) = self.scheduler.schedule_one(now) else { return false };
            self.meter.decided(&outcome, start, self.clock.now());
            self.on_outcome(outcome);
        }
        true
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Placed(placement) => match self.scheduler.binding(&placement) {
                Ok(actions) => self.bind(placement, actions),
                Err(status) => {
                    let failure = self.scheduler.binding_failed(*placement, status, self.clock.now());
                    self.on_failure(failure);
                }
            },
            Outcome::Failed(failure) => self.on_failure(*failure),
            Outcome::Skipped { pod, message: Some(text) } => {
                self.note(Note { pod, related: None, warning: true, reason: FAILED, action: "Scheduling", text });
            }
            Outcome::Group(tried) => {
                self.meter.group_tried(&tried);
                tried.actions.into_iter().for_each(|action| self.act(action));
            }
            Outcome::Consult(consultation) => self.ask(consultation),
            Outcome::Waiting(_) | Outcome::Skipped { .. } => {}
        }
    }

    /// Asks extenders; until they answer no other pod is tried.
    fn ask(&mut self, consultation: Box<Consultation>) {
        let (extenders, client, nodes) = (self.extenders.clone(), self.client.clone(), self.full_nodes.clone());
        self.asking.spawn(async move {
            let answer = extenders.ask(&client, &consultation.pod, &consultation.question, &nodes).await;
            (consultation, answer)
        });
    }

    fn on_answer(&mut self, answered: Result<(Box<Consultation>, Answer), JoinError>) {
        let (consultation, answer) = match answered {
            Ok(answered) => answered,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        let outcome = self.scheduler.answer(*consultation, answer, self.clock.now());
        self.on_outcome(outcome);
    }

    fn bind(&mut self, placement: Box<Placement>, actions: Vec<Action>) {
        let kind = call_type(&actions);
        if actions.iter().any(|action| matches!(action, Action::AwaitDevices { .. })) {
            let text = format!("waiting for binding conditions for device on node {}", placement.node());
            let (pod, reason) = (placement.pod.clone(), "BindingConditionsPending");
            self.note(Note { pod, related: None, warning: false, reason, action: "Scheduling", text });
        }
        let caller = self.caller();
        let handle = self.calls.spawn(async move { api::bind_with(&caller, actions).await });
        self.under_way(handle.id(), Work::Bind(placement), kind);
    }

    fn caller(&self) -> Caller {
        Caller {
            client: self.client.clone(),
            clock: self.clock.clone(),
            extenders: self.extenders.clone(),
            metrics: self.meter.metrics().clone(),
        }
    }

    fn under_way(&mut self, id: Id, work: Work, kind: &'static str) {
        let since = self.clock.now();
        self.work.insert(id, Call { work, kind, since });
    }

    fn on_failure(&mut self, failure: Failure) {
        let now = self.clock.now();
        self.meter.failed(&failure, now, now);
        let Failure { pod, reason, message, actions, .. } = failure;
        tracing::debug!(object.ref = %pod.name, object.reason = reason, message, "a pod was not placed");
        self.progress.send_modify(|progress| progress.failed += 1);
        self.note(Note { pod, related: None, warning: true, reason: FAILED, action: "Scheduling", text: message });
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let (client, clock) = (self.client.clone(), self.clock.clone());
        let kind = call_type(std::slice::from_ref(&action));
        match action {
            Action::Preempt(preemption) => {
                let (notes, task) = (self.notes.clone(), preemption.clone());
                let handle = self.calls.spawn(async move {
                    let tell = |victim: &PodInfo| drop(notes.try_send(preempted(&task, victim)));
                    api::preempt(&client, &task, clock.now(), tell).await
                });
                self.meter.preempts(&preemption);
                self.under_way(handle.id(), Work::Preempt(preemption), kind);
            }
            other => {
                let caller = self.caller();
                let handle = self.calls.spawn(async move { api::carry_out(&caller, other).await });
                self.under_way(handle.id(), Work::Status, kind);
            }
        }
    }

    fn on_done(&mut self, done: Result<(Id, Result<(), CallError>), JoinError>) {
        let (id, result) = match done {
            Ok((id, result)) => (id, result.map_err(|error| error.message)),
            Err(error) => (error.id(), Err(error.to_string())),
        };
        let now = self.clock.now();
        let Some(Call { work, kind, since }) = self.work.remove(&id) else { return };
        self.meter.called(kind, result.is_ok(), since, now);
        match (work, result) {
            (Work::Bind(placement), Ok(())) => {
                self.meter.bound(&placement, since, now);
                self.scheduler.bound(&placement, now);
                self.progress.send_modify(|progress| progress.bound += 1);
                let pod = placement.pod.clone();
                let text = format!("Successfully assigned {}/{} to {}", pod.namespace, pod.name, pod.node_name);
                let reason = "Scheduled";
                self.note(Note { pod, related: None, warning: false, reason, action: "Binding", text });
            }
            (Work::Bind(placement), Err(message)) => {
                let failure = self.scheduler.binding_failed(*placement, Status::error(message), now);
                self.on_failure(failure);
            }
            (Work::Preempt(preemption), result) => {
                let result = result.map_err(Status::error);
                self.scheduler.preempted(&preemption.preemptor, &preemption.victims, result, now);
            }
            (Work::Status, Err(message)) => tracing::debug!(message, "a pod's status could not be updated"),
            (Work::Status, Ok(())) => {}
        }
    }

    fn note(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            tracing::debug!("an event was dropped: too many wait to be written");
        }
    }
}

const FAILED: &str = "FailedScheduling";

fn preempted(preemption: &Preemption, victim: &PodInfo) -> Note {
    Note {
        pod: Arc::new(victim.clone()),
        related: Some(preemption.preemptor.clone()),
        warning: false,
        reason: "Preempted",
        action: "Preempting",
        text: match &preemption.group {
            Some(group) => format!("Preempted by podgroup {group} on node {}", preemption.node),
            None => format!("Preempted by pod {} on node {}", preemption.preemptor.uid, preemption.node),
        },
    }
}
