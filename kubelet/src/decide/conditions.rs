use jiff::Timestamp;

use crate::objects::{Container, ContainerStatus, Pod, PodCondition, PodStatus, api_time};

/// The types of condition that a kubelet owns; all others it leaves as they are.
const OWNED: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Whether a condition of that type is the kubelet's own.
#[must_use]
pub fn is_owned(kind: &str) -> bool {
    OWNED.contains(&kind)
}

/// A condition before it has a transition time.
struct Found {
    kind: &'static str,
    well: bool,
    reason: &'static str,
    message: String,
}

impl Found {
    const fn new(kind: &'static str, well: bool, reason: &'static str) -> Self {
        Self { kind, well, reason, message: String::new() }
    }
}

/// Names as Go prints a list of them.
fn list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn status_of<'a>(statuses: &'a [ContainerStatus], container: &Container) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == container.name)
}

/// "containers with unknown status: [a], containers with … status: [b c]"
fn shortcomings(unknown: &[&str], lacking: &[&str], what: &str) -> String {
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: {}", list(unknown)));
    }
    if !lacking.is_empty() {
        parts.push(format!("containers with {what} status: {}", list(lacking)));
    }
    parts.join(", ")
}

fn containers_ready(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> Found {
    const KIND: &str = "ContainersReady";
    let sidecars = pod.spec.init_containers.iter().filter(|container| container.is_sidecar());
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for container in sidecars.chain(&pod.spec.containers) {
        match status_of(statuses, container) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    match phase {
        "Succeeded" if unknown.is_empty() => return Found::new(KIND, false, "PodCompleted"),
        "Failed" => return Found::new(KIND, false, "PodFailed"),
        _ => {}
    }
    let message = shortcomings(&unknown, &unready, "unready");
    if message.is_empty() {
        Found::new(KIND, true, "")
    } else {
        Found { message, ..Found::new(KIND, false, "ContainersNotReady") }
    }
}

fn ready(pod: &Pod, containers: &Found, others: &[PodCondition]) -> Found {
    const KIND: &str = "Ready";
    if !containers.well {
        return Found { message: containers.message.clone(), ..Found::new(KIND, false, containers.reason) };
    }
    let mut missing = Vec::new();
    for gate in &pod.spec.readiness_gates {
        let kind = &gate.condition_type;
        match others.iter().find(|condition| condition.kind == *kind) {
            None => missing.push(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(condition) if condition.status != "True" => missing
                .push(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", condition.status)),
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        Found::new(KIND, true, "")
    } else {
        Found { message: missing.join(", "), ..Found::new(KIND, false, "ReadinessGatesNotReady") }
    }
}

fn initialized(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> Found {
    const KIND: &str = "Initialized";
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in &pod.spec.init_containers {
        match status_of(statuses, container) {
            None => unknown.push(container.name.as_str()),
            Some(status) => {
                let done = if container.is_sidecar() { status.started == Some(true) } else { status.ready };
                if !done {
                    incomplete.push(container.name.as_str());
                }
            }
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Found::new(KIND, true, "PodCompleted");
    }
    let started = |status: &ContainerStatus| {
        let (now, before) = (&status.state, &status.last_state);
        now.running.is_some() || now.terminated.is_some() || before.terminated.is_some()
    };
    if pod.spec.containers.iter().any(|container| status_of(statuses, container).is_some_and(started)) {
        return Found::new(KIND, true, "");
    }
    let message = shortcomings(&unknown, &incomplete, "incomplete");
    if message.is_empty() {
        Found::new(KIND, true, "")
    } else {
        Found { message, ..Found::new(KIND, false, "ContainersNotInitialized") }
    }
}

/// All conditions of a pod: those of others as they were, then the kubelet's own.
pub(super) fn conditions(
    pod: &Pod,
    before: &PodStatus,
    statuses: &[ContainerStatus],
    phase: &str,
    sandbox_is_there: bool,
    now: Timestamp,
) -> Vec<PodCondition> {
    let others = pod.status.conditions.iter().filter(|condition| !is_owned(&condition.kind));
    let mut all: Vec<_> = others.cloned().collect();
    for condition in &before.conditions {
        // What was added here (by an eviction) and has not come back through the API yet.
        if condition.kind == "DisruptionTarget" && !all.iter().any(|c| c.kind == condition.kind) {
            all.push(condition.clone());
        }
    }
    let containers = containers_ready(pod, statuses, phase);
    let own = [
        Found::new("PodReadyToStartContainers", sandbox_is_there, ""),
        initialized(pod, statuses, phase),
        ready(pod, &containers, &all),
        containers,
        Found::new("PodScheduled", true, ""),
    ];
    all.extend(own.into_iter().map(|found| dated(found, pod, before, now)));
    all
}

fn dated(found: Found, pod: &Pod, before: &PodStatus, now: Timestamp) -> PodCondition {
    let status = if found.well { "True" } else { "False" };
    let old = before.condition(found.kind).filter(|old| old.status == status);
    PodCondition {
        kind: found.kind.to_owned(),
        observed_generation: pod.metadata.generation,
        status: status.to_owned(),
        last_probe_time: None,
        last_transition_time: old.and_then(|old| old.last_transition_time.clone()).or_else(|| Some(api_time(now))),
        reason: found.reason.to_owned(),
        message: found.message,
    }
}
