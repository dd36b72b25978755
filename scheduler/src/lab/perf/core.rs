//! Workloads carried out on a scheduler and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Churning, Cluster, Deleting, Object, Which};
use crate::framework::Action;
use crate::object::{Budget, Name, Namespace, Node, PodInfo, PodSpec, Time, Workload, WorkloadKind};
use crate::schedule::StorageChange::{self, PutClaim, PutClass, PutCsiDriver, PutCsiNode, PutVolume};
use crate::schedule::{Outcome, Scheduler};

/// How long pods may take to be scheduled, as upstream has it.
const PATIENCE: Duration = Duration::from_secs(600);
/// After how many attempts is looked whether time alone has moved pods on.
const ATTEMPTS_BETWEEN_TICKS: u32 = 64;

/// A scheduler that is told of objects directly, and whose bindings and preemptions come true at once.
///
/// Time is what its clock says. When there is nothing to do but to wait (for a back-off, or for what churns), that time is
/// skipped, so that only what the scheduler itself takes counts.
pub struct CoreCluster<'a> {
    scheduler: Scheduler,
    clock: &'a dyn Fn() -> Duration,
    skipped: Duration,
    pods: BTreeMap<Name, Tracked>,
    specs: HashMap<String, Arc<PodSpec>>,
    timers: Vec<Timer>,
    waiting: Option<Waiting>,
    collecting: Option<Collecting>,
    names: u64,
    attempts: u32,
}

struct Tracked {
    namespace: Name,
    labels: crate::object::Labels,
    scheduled: bool,
    attempted: bool,
}

struct Waiting {
    which: Which,
    attempted: bool,
    done: usize,
}

struct Collecting {
    which: Vec<Which>,
    start: Duration,
    scheduled: Vec<Duration>,
}

/// Something that happens at even intervals.
struct Timer {
    next: Duration,
    interval: Duration,
    what: Ticking,
}

enum Ticking {
    Churn { churning: Churning, rounds: usize, alive: Vec<Vec<Option<Object>>> },
    Delete { uids: Vec<Name> },
    Update { objects: Vec<Object> },
}

impl Which {
    fn has(&self, pod: &Tracked) -> bool {
        *self.namespace == *pod.namespace
            && self.labels.iter().all(|(key, value)| pod.labels.get(key).is_some_and(|own| own == value.as_str()))
    }
}

impl<'a> CoreCluster<'a> {
    /// A cluster without nodes. `clock` says how much time has passed since some fixed moment.
    #[must_use]
    pub fn new(scheduler: Scheduler, clock: &'a dyn Fn() -> Duration) -> Self {
        Self {
            scheduler,
            clock,
            skipped: Duration::ZERO,
            pods: BTreeMap::new(),
            specs: HashMap::new(),
            timers: Vec::new(),
            waiting: None,
            collecting: None,
            names: 0,
            attempts: 0,
        }
    }

    /// The scheduler.
    #[must_use]
    pub const fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    fn now(&self) -> Time {
        Time::UNIX_EPOCH.checked_add(self.elapsed()).unwrap_or(Time::MAX)
    }

    fn create_one(&mut self, object: &Object) -> Result<(), String> {
        let now = self.now();
        let wrong = |error: serde_json::Error| format!("{} {}: {error}", object.kind(), object.name());
        match object.kind() {
            "Pod" => {
                let pod = self.pod_of(object).map_err(wrong)?;
                let tracked = self.pods.get(&pod.uid);
                let (scheduled, attempted) = tracked.map_or((false, false), |pod| (pod.scheduled, pod.attempted));
                let (namespace, labels) = (pod.namespace.clone(), pod.labels.clone());
                self.pods.insert(pod.uid.clone(), Tracked { namespace, labels, scheduled, attempted });
                self.scheduler.put_pod(pod, now);
            }
            "Node" => self.scheduler.put_node(read::<Node>(&object.body).map_err(wrong)?, now),
            "Namespace" => self.scheduler.put_namespace(read::<Namespace>(&object.body).map_err(wrong)?, now),
            "Service" => {
                let service = Workload::read(WorkloadKind::Service, &object.body).map_err(wrong)?;
                self.scheduler.put_workload(WorkloadKind::Service, service);
            }
            "PodDisruptionBudget" => self.scheduler.put_budget(read::<Budget>(&object.body).map_err(wrong)?),
            "PersistentVolumeClaim" => self.change(PutClaim(read(&object.body).map_err(wrong)?)),
            "PersistentVolume" => self.change(PutVolume(read(&object.body).map_err(wrong)?)),
            "StorageClass" => self.change(PutClass(read(&object.body).map_err(wrong)?)),
            "CSINode" => self.change(PutCsiNode(read(&object.body).map_err(wrong)?)),
            "CSIDriver" => self.change(PutCsiDriver(read(&object.body).map_err(wrong)?)),
            other => return Err(format!("the core alone knows no {other}; use the API")),
        }
        Ok(())
    }

    fn change(&mut self, change: StorageChange) {
        let now = self.now();
        self.scheduler.change_storage(change, now);
    }

    /// The pod of an object; pods with equal specs share them. One that has a node keeps it.
    fn pod_of(&mut self, object: &Object) -> Result<Arc<PodInfo>, serde_json::Error> {
        let mut body = object.body.clone();
        let uid = Name::from(format!("{}/{}", object.namespace, object.name()));
        body["metadata"]["uid"] = Value::from(uid.as_str());
        if body["spec"]["schedulerName"].is_null() {
            body["spec"]["schedulerName"] = Value::from("default-scheduler");
        }
        requests_from_limits(&mut body["spec"]);
        // Affinity terms without namespaces mean the pod's own.
        let key = format!("{} {}", object.namespace, body["spec"]);
        let mut pod: PodInfo = read(&body)?;
        pod.spec = self.specs.entry(key).or_insert_with(|| pod.spec.clone()).clone();
        if let Some(known) = self.scheduler.cache().pod(&uid) {
            pod.node_name = known.node_name.clone();
        }
        Ok(Arc::new(pod))
    }

    fn name(&mut self, object: &mut Object) {
        if object.body["metadata"]["name"].as_str().is_none() {
            let name = format!("{}{:06}", object.name(), self.names);
            self.names += 1;
            object.body["metadata"]["name"] = Value::from(name);
        }
    }

    /// Does one thing, if there is one to be done now.
    fn pump(&mut self) -> Result<bool, String> {
        let elapsed = self.elapsed();
        if let Some(at) = self.timers.iter().position(|timer| timer.next <= elapsed) {
            self.fire(at)?;
            return Ok(true);
        }
        let now = self.now();
        self.attempts += 1;
        if self.attempts >= ATTEMPTS_BETWEEN_TICKS {
            self.attempts = 0;
            self.scheduler.tick(now);
        }
        let mut outcome = self.scheduler.schedule_one(now);
        if outcome.is_none() && self.scheduler.queue().next_flush().is_some_and(|due| due <= now) {
            self.scheduler.tick(now);
            outcome = self.scheduler.schedule_one(now);
        }
        let Some(outcome) = outcome else { return Ok(false) };
        match outcome {
            Outcome::Placed(placement) => {
                self.scheduler.binding(&placement).map_err(|status| status.message())?;
                self.scheduler.bound(&placement, now);
                self.scheduler.put_pod(placement.pod.clone(), now);
                self.mark(&placement.pod.uid, true);
            }
            Outcome::Failed(failure) => {
                self.mark(&failure.pod.uid, false);
                self.act(failure.actions);
            }
            Outcome::Waiting(_) | Outcome::Skipped { .. } | Outcome::Consult(_) => {}
        }
        Ok(true)
    }

    /// Does what the scheduler asks for.
    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            let now = self.now();
            match action {
                Action::Preempt(preemption) => {
                    for victim in &preemption.victims {
                        self.delete(&victim.uid);
                    }
                    self.scheduler.preempted(&preemption.preemptor, &preemption.victims, Ok(()), now);
                }
                Action::UpdatePodStatus { pod, nominated_node_name: Some(node), .. }
                    if node != pod.nominated_node_name && self.pods.contains_key(&pod.uid) =>
                {
                    let pod = PodInfo { nominated_node_name: node, ..(*pod).clone() };
                    self.scheduler.put_pod(pod, now);
                }
                _ => {}
            }
        }
    }

    fn mark(&mut self, uid: &str, scheduled: bool) {
        let at = (self.clock)();
        let Some(pod) = self.pods.get_mut(uid) else { return };
        let news = (scheduled && !pod.scheduled, !pod.attempted && !pod.scheduled);
        pod.attempted = true;
        pod.scheduled |= scheduled;
        if let Some(waiting) = &mut self.waiting
            && waiting.which.has(pod)
            && (if waiting.attempted { news.1 } else { news.0 })
        {
            waiting.done += 1;
        }
        if news.0
            && let Some(collecting) = &mut self.collecting
            && collecting.which.iter().any(|which| which.has(pod))
        {
            collecting.scheduled.push(at.saturating_sub(collecting.start));
        }
    }

    fn delete(&mut self, uid: &Name) {
        let now = self.now();
        self.scheduler.remove_pod(uid, now);
        let Some(pod) = self.pods.remove(uid) else { return };
        if let Some(waiting) = &mut self.waiting
            && waiting.which.has(&pod)
            && (pod.scheduled || (waiting.attempted && pod.attempted))
        {
            waiting.done = waiting.done.saturating_sub(1);
        }
    }

    fn fire(&mut self, at: usize) -> Result<(), String> {
        let mut timer = self.timers.swap_remove(at);
        timer.next += timer.interval;
        let goes_on = match &mut timer.what {
            Ticking::Delete { uids } => {
                if let Some(uid) = uids.pop() {
                    self.delete(&uid);
                }
                !uids.is_empty()
            }
            Ticking::Update { objects } => {
                if let Some(object) = objects.pop() {
                    self.create_one(&object)?;
                }
                !objects.is_empty()
            }
            Ticking::Churn { churning, rounds, alive } => {
                let place = if churning.recreate { *rounds % churning.number } else { 0 };
                for (template, alive) in churning.objects.iter().zip(alive.iter_mut()) {
                    match alive[place].take() {
                        Some(object) => self.remove_object(&object),
                        None => {
                            let mut object = template.clone();
                            self.name(&mut object);
                            self.create_one(&object)?;
                            alive[place] = churning.recreate.then_some(object);
                        }
                    }
                }
                *rounds += 1;
                churning.recreate || churning.number == 0 || *rounds < churning.number
            }
        };
        if goes_on {
            self.timers.push(timer);
        }
        Ok(())
    }

    fn remove_object(&mut self, object: &Object) {
        let (namespace, name) = (Name::from(object.namespace.as_str()), Name::from(object.name()));
        let now = self.now();
        match object.kind() {
            "Pod" => self.delete(&Name::from(format!("{namespace}/{name}"))),
            "Node" => self.scheduler.remove_node(&name, now),
            "Service" => self.scheduler.remove_workload(WorkloadKind::Service, &namespace, &name),
            _ => {}
        }
    }

    /// Works until something is so; time in which there is nothing to do is skipped.
    fn until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) -> Result<(), String> {
        let end = self.elapsed() + PATIENCE;
        while !so(self) {
            if self.pump()? {
                continue;
            }
            let elapsed = self.elapsed();
            let flush = self.scheduler.queue().next_flush();
            let flush = flush.and_then(|due| Duration::try_from(due.duration_since(Time::UNIX_EPOCH)).ok());
            let next = self.timers.iter().map(|timer| timer.next).chain(flush).min();
            let next = next.ok_or_else(|| format!("{what}: nothing is left that could change that"))?;
            self.skipped += next.saturating_sub(elapsed).max(Duration::from_millis(1));
            if self.elapsed() > end {
                return Err(format!("{what}: not within {} s", PATIENCE.as_secs()));
            }
        }
        Ok(())
    }
}

impl Cluster for CoreCluster<'_> {
    fn create(&mut self, objects: Vec<Object>) -> Result<(), String> {
        for mut object in objects {
            self.name(&mut object);
            self.create_one(&object)?;
        }
        Ok(())
    }

    fn update(&mut self, mut objects: Vec<Object>, per_second: usize) -> Result<(), String> {
        if per_second == 0 {
            return objects.iter().try_for_each(|object| self.create_one(object));
        }
        objects.reverse();
        let (interval, rounds) = (interval(per_second), objects.len());
        let next = self.elapsed() + interval;
        let end = next + interval * u32::try_from(rounds).unwrap_or(u32::MAX);
        self.timers.push(Timer { next, interval, what: Ticking::Update { objects } });
        let is_update = |timer: &Timer| matches!(timer.what, Ticking::Update { .. });
        self.until("updates", |cluster| !cluster.timers.iter().any(is_update) || cluster.elapsed() > end + PATIENCE)
    }

    fn delete_pods(&mut self, deleting: Deleting) -> Result<(), String> {
        let found = self.pods.iter().rev().filter(|(_, pod)| deleting.which.has(pod));
        let uids: Vec<Name> = found.map(|(uid, _)| uid.clone()).collect();
        if deleting.per_second == 0 {
            uids.iter().for_each(|uid| self.delete(uid));
            return Ok(());
        }
        let interval = interval(deleting.per_second);
        let next = self.elapsed() + interval;
        self.timers.push(Timer { next, interval, what: Ticking::Delete { uids } });
        if deleting.in_background {
            return Ok(());
        }
        let is_delete = |timer: &Timer| matches!(timer.what, Ticking::Delete { .. });
        self.until("deletions", |cluster| !cluster.timers.iter().any(is_delete))
    }

    fn churn(&mut self, churning: Churning) -> Result<(), String> {
        let (interval, places) = (churning.interval, churning.number.max(1));
        let alive = churning.objects.iter().map(|_| vec![None; if churning.recreate { places } else { 1 }]).collect();
        let what = Ticking::Churn { churning, rounds: 0, alive };
        self.timers.push(Timer { next: self.elapsed() + interval, interval, what });
        Ok(())
    }

    fn wait(&mut self, which: &Which, count: usize, attempted: bool) -> Result<(), String> {
        let is_done = |pod: &&Tracked| which.has(pod) && (pod.scheduled || (attempted && pod.attempted));
        let done = self.pods.values().filter(is_done).count();
        self.waiting = Some(Waiting { which: which.clone(), attempted, done });
        let what = format!("{count} pods of namespace {} to be scheduled", which.namespace);
        let result = self.until(&what, |cluster| cluster.waiting.as_ref().is_none_or(|waiting| waiting.done >= count));
        let done = self.waiting.take().map_or(0, |waiting| waiting.done);
        result.map_err(|problem| format!("{problem}; {done} were"))
    }

    fn sleep(&mut self, duration: Duration) -> Result<(), String> {
        let end = self.elapsed() + duration;
        self.timers.push(Timer { next: end, interval: duration, what: Ticking::Delete { uids: Vec::new() } });
        self.until("sleep", |cluster| cluster.elapsed() >= end)
    }

    fn elapsed(&self) -> Duration {
        (self.clock)() + self.skipped
    }

    fn allocate_claims(&mut self, _: &str) -> Result<(), String> {
        Err("the core alone knows no ResourceClaim; use the API".to_owned())
    }

    fn start_collecting(&mut self, which: Vec<Which>) {
        self.collecting = Some(Collecting { which, start: (self.clock)(), scheduled: Vec::new() });
    }

    fn stop_collecting(&mut self) -> Vec<Duration> {
        self.collecting.take().map(|collecting| collecting.scheduled).unwrap_or_default()
    }
}

fn interval(per_second: usize) -> Duration {
    Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX).max(1)
}

fn read<T: serde::de::DeserializeOwned>(body: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(body)
}

/// What is limited is asked for, as the API server has it.
fn requests_from_limits(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            let Some(limits) = container["resources"]["limits"].as_object().cloned() else { continue };
            for (name, amount) in limits {
                if container["resources"]["requests"][&name].is_null() {
                    container["resources"]["requests"][&name] = amount;
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        if spec[list].is_null()
            && let Value::Object(fields) = spec
        {
            fields.remove(list);
        }
    }
}
