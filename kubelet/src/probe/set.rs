use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Probe;
use kubewright_runtime_shim::ContainerId;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Check, Due, Outcome, ProbeKind, ProbeState, Prober};
use crate::clock::Clock;
use crate::decide::{Verdict, Verdicts};
use crate::events::{EventTarget, Recorder};
use crate::objects::{Container, Pod};

/// What a probe needs to know of its container.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Its id.
    pub id: ContainerId,
    /// Whether it runs.
    pub running: bool,
    /// Whether it has started, as its startup probe sees it.
    pub started: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// The pod's address.
    pub pod_ip: Option<IpAddr>,
}

type Observations = BTreeMap<String, Observation>;
type Results = Arc<Mutex<BTreeMap<ContainerId, Verdicts>>>;

/// The probes of one pod: a task each.
pub struct ProbeSet {
    results: Results,
    observations: watch::Sender<Observations>,
    running: BTreeMap<(String, ProbeKind), CancellationToken>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    changed: Arc<Notify>,
    prober: Arc<dyn Prober>,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
}

impl std::fmt::Debug for ProbeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProbeSet").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

impl ProbeSet {
    /// No probes yet. `changed` is told of every verdict that changes.
    #[must_use]
    pub fn new(
        prober: Arc<dyn Prober>,
        clock: Arc<dyn Clock>,
        recorder: Recorder,
        changed: Arc<Notify>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            results: Results::default(),
            observations: watch::Sender::default(),
            running: BTreeMap::new(),
            tasks: TaskTracker::new(),
            cancel,
            changed,
            prober,
            clock,
            recorder,
        }
    }

    /// What the probes say, by container id.
    #[must_use]
    pub fn verdicts(&self) -> BTreeMap<ContainerId, Verdicts> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what was known of a container before this kubelet started.
    pub fn adopt(&self, id: &ContainerId, verdicts: Verdicts) {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), verdicts);
    }

    /// Tells the probes how the containers are, and starts those that the pod has and that do not run yet.
    pub fn observe(&mut self, pod: &Pod, seen: Observations) {
        {
            let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            results.retain(|id, _| seen.values().any(|observation| observation.id == *id));
        }
        self.observations.send_if_modified(|current| {
            let changed = *current != seen;
            *current = seen;
            changed
        });
        let sidecars = pod.spec.init_containers.iter().filter(|container| container.is_sidecar());
        for container in pod.spec.containers.iter().chain(sidecars) {
            for (kind, probe) in [
                (ProbeKind::Liveness, &container.liveness_probe),
                (ProbeKind::Readiness, &container.readiness_probe),
                (ProbeKind::Startup, &container.startup_probe),
            ] {
                let Some(probe) = probe else {
                    continue;
                };
                let key = (container.name.clone(), kind);
                if !self.running.contains_key(&key) {
                    let cancel = self.start(pod, container, kind, probe);
                    self.running.insert(key, cancel);
                }
            }
        }
    }

    fn start(&self, pod: &Pod, container: &Container, kind: ProbeKind, probe: &Probe) -> CancellationToken {
        let cancel = self.cancel.child_token();
        let task = Task {
            kind,
            state: ProbeState::new(kind, probe),
            probe: probe.clone(),
            container: container.clone(),
            target: EventTarget::container(pod, &container.name, false),
            results: self.results.clone(),
            observations: self.observations.subscribe(),
            changed: self.changed.clone(),
            prober: self.prober.clone(),
            clock: self.clock.clone(),
            recorder: self.recorder.clone(),
        };
        let stopped = cancel.clone();
        self.tasks.spawn(async move { stopped.run_until_cancelled(task.run()).await.unwrap_or_default() });
        cancel
    }

    /// Ends the probes that could have a container killed: the pod is ending anyway.
    pub fn stop_killing(&mut self) {
        for ((_, kind), cancel) in &self.running {
            if *kind != ProbeKind::Readiness {
                cancel.cancel();
            }
        }
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        for verdicts in results.values_mut() {
            verdicts.liveness = None;
        }
    }

    /// Ends every probe.
    pub async fn shut_down(&mut self) {
        for cancel in self.running.values() {
            cancel.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

struct Task {
    kind: ProbeKind,
    state: ProbeState,
    probe: Probe,
    container: Container,
    target: EventTarget,
    results: Results,
    observations: watch::Receiver<Observations>,
    changed: Arc<Notify>,
    prober: Arc<dyn Prober>,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
}

impl Task {
    async fn run(mut self) {
        loop {
            let seen = self.observations.borrow_and_update().get(&self.container.name).cloned();
            let now = self.clock.now();
            let mut due = self.state.due(seen.as_ref(), now);
            if let Some(seen) = &seen {
                if let Some(known) = self.known(&seen.id) {
                    self.state.adopt(known);
                    due = self.state.due(Some(seen), now);
                }
                self.publish(&seen.id);
            }
            let wait = match (due, &seen) {
                (Due::Now, Some(seen)) => {
                    self.probe(seen).await;
                    continue;
                }
                (Due::At(at), _) => Some(Duration::try_from(at.duration_since(now)).unwrap_or_default()),
                _ => None,
            };
            tokio::select! {
                changed = self.observations.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    async fn probe(&mut self, seen: &Observation) {
        let timeout = self.probe.timeout_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0).unwrap_or(1);
        let outcome = match Check::of_probe(&self.probe, &self.container, &seen.id, seen.pod_ip) {
            Ok(check) => self.prober.check(&check, Duration::from_secs(timeout)).await,
            Err(why) => Outcome::Error(why),
        };
        let now = self.clock.now();
        // What has ended meanwhile, or was replaced, is not judged any more.
        let current = self.observations.borrow().get(&self.container.name).cloned();
        if current.is_none_or(|current| current.id != seen.id || !current.running) {
            self.state.skip(now);
            return;
        }
        match outcome {
            Outcome::Success => drop(self.state.record(true, now)),
            Outcome::Failure(said) => {
                self.state.record(false, now);
                self.recorder.warning(&self.target, "Unhealthy", format!("{} probe failed: {said}", self.kind));
            }
            Outcome::Error(why) => {
                self.state.skip(now);
                let message = format!("{} probe errored and resulted in unknown state: {why}", self.kind);
                self.recorder.warning(&self.target, "Unhealthy", message);
            }
        }
        self.publish(&seen.id);
    }

    fn own<'v>(&self, verdicts: &'v mut Verdicts) -> &'v mut Option<Verdict> {
        match self.kind {
            ProbeKind::Liveness => &mut verdicts.liveness,
            ProbeKind::Readiness => &mut verdicts.readiness,
            ProbeKind::Startup => &mut verdicts.startup,
        }
    }

    fn known(&self, id: &ContainerId) -> Option<Verdict> {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.get_mut(id).and_then(|verdicts| *self.own(verdicts)).filter(|_| self.kind != ProbeKind::Liveness)
    }

    fn publish(&self, id: &ContainerId) {
        let verdict = Some(self.state.verdict());
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.own(results.entry(id.clone()).or_default());
        let matters = *own != verdict && !(own.is_none() && verdict == Some(Verdict::Unknown));
        *own = verdict;
        drop(results);
        if matters {
            self.changed.notify_one();
        }
    }
}
