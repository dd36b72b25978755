//! The driver of one pod: a task that asks [`decide`](crate::decide) what is next, does it, looks again, and reports.

mod configs;
mod container;
mod ending;
mod image;
mod kill;
mod observe;
mod report;
mod sandbox;
mod security;
mod volumes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubewright_runtime_shim::ContainerId;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::decide::{
    Backoff, ContainerView, Rejection, RuntimePod, StatusInput, WaitingReason, active_deadline, is_owned, next_actions,
    pod_status, rejected_status,
};
use crate::events::EventTarget;
use crate::node::Context;
use crate::objects::{Pod, PodCondition, PodStatus, api_time};
use crate::probe::ProbeSet;
use crate::volumes::{PodDirs, TokenSource};
use report::Reporter;

/// What is wanted of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    /// The pod as the API has it.
    pub(crate) pod: Arc<Pod>,
    /// The API has it no longer.
    pub(crate) removed: bool,
    /// The node wants to be rid of it.
    pub(crate) evicted: Option<Eviction>,
}

/// Why the node wants to be rid of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Eviction {
    /// A word: `Evicted` …
    pub(crate) reason: String,
    /// A sentence.
    pub(crate) message: String,
    /// The seconds the pod has to end in.
    pub(crate) grace_seconds: i64,
}

impl Desired {
    fn must_end(&self) -> bool {
        self.removed || self.evicted.is_some() || self.pod.is_deleted()
    }

    /// The seconds the pod has to end in.
    fn grace_seconds(&self) -> i64 {
        let own = self.pod.grace_seconds();
        // A pod that the API forgot without being asked to end was deleted by force, or while this kubelet was away.
        self.evicted.as_ref().map_or(own, |eviction| eviction.grace_seconds).max(1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is to run.
    Running,
    /// It is being stopped.
    Ending,
    /// Nothing of it runs, and nothing will.
    Ended,
}

/// One pod's worker.
pub(crate) struct Worker {
    node: Arc<Context>,
    pod: Arc<Pod>,
    desired: watch::Receiver<Desired>,
    poke: Arc<Notify>,
    cancel: CancellationToken,
    stage: Stage,
    target: EventTarget,
    dirs: PodDirs,
    /// What the runtime showed last.
    runtime: RuntimePod,
    /// Views of containers that have ended: they do not change any more.
    ended: BTreeMap<ContainerId, ContainerView>,
    /// The status computed last.
    status: PodStatus,
    failure: Option<(String, String)>,
    waiting: BTreeMap<String, WaitingReason>,
    restarts: Backoff,
    pulls: Backoff,
    pull_errors: BTreeMap<String, String>,
    pull_failed_at: Timestamp,
    probes: ProbeSet,
    tokens: TokenSource,
    volumes: BTreeMap<String, PathBuf>,
    /// Failures in a row of what must come before containers (volumes, sandbox).
    troubles: u32,
    attached: bool,
    adopted: bool,
    reporter: Reporter,
    delete_sent: bool,
    cleaned: bool,
}

impl Worker {
    /// A worker that has done nothing yet.
    pub(crate) fn new(
        node: Arc<Context>,
        desired: watch::Receiver<Desired>,
        poke: Arc<Notify>,
        cancel: CancellationToken,
    ) -> Self {
        let pod = desired.borrow().pod.clone();
        let probes = ProbeSet::new(
            node.prober.clone(),
            node.clock.clone(),
            node.recorder.clone(),
            poke.clone(),
            cancel.child_token(),
        );
        let reporter = Reporter::start(node.clone(), &pod, cancel.child_token());
        Self {
            target: EventTarget::pod(&pod),
            dirs: PodDirs::new(&node.config.root_dir, pod.uid()),
            stage: if pod.is_terminal() { Stage::Ending } else { Stage::Running },
            status: pod.status.clone(),
            runtime: RuntimePod::default(),
            ended: BTreeMap::new(),
            failure: None,
            waiting: BTreeMap::new(),
            restarts: Backoff::default(),
            pulls: Backoff::default(),
            pull_errors: BTreeMap::new(),
            pull_failed_at: Timestamp::UNIX_EPOCH,
            tokens: TokenSource::default(),
            volumes: BTreeMap::new(),
            troubles: 0,
            attached: false,
            adopted: false,
            delete_sent: false,
            cleaned: false,
            node,
            pod,
            desired,
            poke,
            cancel,
            probes,
            reporter,
        }
    }

    /// Makes the pod be as it should until the API has forgotten it, or until cancelled; then its containers stay as
    /// they are, for the next kubelet to find.
    pub(crate) async fn run(mut self, rejected: Option<Rejection>) {
        let cancel = self.cancel.clone();
        if let Some(Rejection { reason, message }) = rejected {
            self.node.recorder.warning(&self.target, reason_of(&reason), message.clone());
            self.status = rejected_status(&self.pod, &reason, &message, self.node.clock.now());
            self.reporter.report(&self.status);
            self.stage = Stage::Ended;
        }
        cancel.run_until_cancelled(self.live()).await.unwrap_or_default();
        self.probes.shut_down().await;
        self.reporter.shut_down().await;
        self.node.objects.forget(self.pod.uid());
    }

    async fn live(&mut self) {
        loop {
            let desired = self.desired.borrow_and_update().clone();
            self.take(&desired);
            let wake = match self.stage {
                Stage::Running => {
                    let mut watched = self.desired.clone();
                    tokio::select! {
                        biased;
                        wake = self.sync() => wake,
                        // What takes long, such as pulling an image, is dropped when the pod is to end.
                        _ = watched.wait_for(Desired::must_end) => continue,
                    }
                }
                Stage::Ending => self.end(&desired).await,
                Stage::Ended => match self.finish(&desired).await {
                    ending::Finish::Gone => return,
                    ending::Finish::Later(wake) => wake,
                },
            };
            if !self.wait(wake).await {
                return;
            }
        }
    }

    /// Waits for a reason to look again. Returns false when there will be none.
    async fn wait(&mut self, wake: Option<Timestamp>) -> bool {
        let now = self.node.clock.now();
        let wait = wake.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        let mut alarm = std::pin::pin!(tokio::time::sleep(wait.unwrap_or_default()));
        loop {
            tokio::select! {
                changed = self.desired.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    let desired = self.desired.borrow_and_update().clone();
                    if self.take(&desired) {
                        return true;
                    }
                }
                () = self.poke.notified() => return true,
                () = &mut alarm, if wait.is_some() => return true,
            }
        }
    }

    /// Takes what is wanted now; returns whether that is more than an echo of what was reported here.
    fn take(&mut self, desired: &Desired) -> bool {
        let mut news = desired.removed;
        if !Arc::ptr_eq(&self.pod, &desired.pod) {
            news |= is_news(&self.pod, &desired.pod);
            self.pod = desired.pod.clone();
            self.target = EventTarget::pod(&self.pod);
            self.reporter.observe(&self.pod);
        }
        if self.stage == Stage::Running && desired.must_end() {
            if let Some(eviction) = &desired.evicted {
                self.failure = Some((eviction.reason.clone(), eviction.message.clone()));
                self.status.conditions.retain(|condition| condition.kind != "DisruptionTarget");
                self.status.conditions.push(PodCondition {
                    kind: "DisruptionTarget".to_owned(),
                    observed_generation: self.pod.metadata.generation,
                    status: "True".to_owned(),
                    last_transition_time: Some(api_time(self.node.clock.now())),
                    reason: "TerminationByKubelet".to_owned(),
                    message: eviction.message.clone(),
                    ..PodCondition::default()
                });
            }
            self.stage = Stage::Ending;
            news = true;
        }
        news
    }

    /// One round for a pod that is to run. Returns when to look again without being told.
    async fn sync(&mut self) -> Option<Timestamp> {
        let outcome = self.try_sync().await;
        let now = self.node.clock.now();
        let regular = now + signed(self.node.config.sync_interval);
        match outcome {
            Ok(wake) => {
                self.troubles = 0;
                Some(wake.map_or(regular, |wake| wake.min(regular)))
            }
            Err(why) => {
                tracing::debug!(pod = self.pod.full_name(), why, "will be tried again");
                // Half a second, doubling to two minutes, as upstream does for volumes.
                let wait = Duration::from_millis(500) * 2_u32.saturating_pow(self.troubles.min(8));
                self.troubles = self.troubles.saturating_add(1);
                Some(now + signed(wait.min(Duration::from_secs(122))).min(signed(self.node.config.sync_interval)))
            }
        }
    }

    async fn try_sync(&mut self) -> Result<Option<Timestamp>, String> {
        let pod = self.pod.clone();
        self.node.objects.refer(pod.uid(), pod.namespace(), &crate::references::references(&pod));
        self.observe().await?;
        self.report(false);
        let now = self.node.clock.now();
        let deadline = active_deadline(&pod, &self.status);
        if deadline.is_some_and(|deadline| now >= deadline) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.node.recorder.normal(&self.target, "DeadlineExceeded", message);
            self.failure = Some(("DeadlineExceeded".to_owned(), message.to_owned()));
            self.stage = Stage::Ending;
            return Ok(Some(now));
        }
        if matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            self.stage = Stage::Ending;
            return Ok(Some(now));
        }
        let actions = next_actions(&pod, &self.runtime, &self.probes.verdicts(), configs::hash);
        if actions.kill_pod {
            if actions.create_sandbox.is_none() {
                self.stage = Stage::Ending;
                return Ok(Some(now));
            }
            let message = "Pod sandbox changed, it will be killed and re-created.";
            self.node.recorder.normal(&self.target, "SandboxChanged", message);
            self.stop_everything(pod.grace_seconds()).await?;
        }
        self.kill_containers(&actions.kill).await;
        self.set_up_volumes().await?;
        if let Some(attempt) = actions.create_sandbox {
            self.make_sandbox(attempt).await?;
        }
        let mut wake = deadline;
        for start in &actions.start {
            wake = earlier(wake, self.start_container(*start).await);
        }
        self.waiting.retain(|name, _| actions.start.iter().any(|start| start.of(&pod).name == *name));
        if !actions.is_empty() {
            self.observe().await?;
        }
        self.report(false);
        self.clean_up_old().await;
        Ok(earlier(wake, self.tokens.next_refresh()))
    }

    /// Computes the status, and has it sent if it changed. `ended` tells that nothing will be started any more.
    fn report(&mut self, ended: bool) {
        let verdicts = self.probes.verdicts();
        let status = pod_status(&StatusInput {
            pod: &self.pod,
            before: &self.status,
            runtime: &self.runtime,
            runtime_name: &self.node.runtime_name,
            verdicts: &verdicts,
            waiting: &self.waiting,
            ended,
            failure: self.failure.as_ref().map(|(reason, message)| (reason.as_str(), message.as_str())),
            host_ips: &self.node.config.node_ips,
            now: self.node.clock.now(),
        });
        self.status = status;
        self.reporter.report(&self.status);
    }
}

/// Whether a pod differs in more than what the kubelet itself reports.
fn is_news(old: &Pod, new: &Pod) -> bool {
    let meta = |pod: &Pod| {
        let meta = pod.metadata.clone();
        (meta.labels, meta.annotations, meta.deletion_timestamp, meta.deletion_grace_period_seconds, meta.generation)
    };
    let others = |pod: &Pod| {
        let conditions = pod.status.conditions.iter().filter(|condition| !is_owned(&condition.kind));
        conditions.map(|condition| (condition.kind.clone(), condition.status.clone())).collect::<Vec<_>>()
    };
    old.spec != new.spec
        || meta(old) != meta(new)
        || others(old) != others(new)
        || old.is_terminal() != new.is_terminal()
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Event reasons are words of the program; those of rejections are made of resources' names.
fn reason_of(reason: &str) -> &'static str {
    match reason {
        "OutOfcpu" => "OutOfcpu",
        "OutOfmemory" => "OutOfmemory",
        "OutOfpods" => "OutOfpods",
        "OutOfephemeral-storage" => "OutOfephemeral-storage",
        "NodeAffinity" => "NodeAffinity",
        "NodeName" => "NodeName",
        "NodePorts" => "NodePorts",
        "TaintToleration" => "TaintToleration",
        _ => "FailedAdmission",
    }
}
