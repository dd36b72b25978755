use kubewright_runtime_shim::{ContainerId, ContainerState};

use super::runtime_pod::AllVerdicts;
use super::{ContainerView, RuntimePod, Verdict};
use crate::objects::{Container, Pod};

/// Names one container of a pod's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerRef {
    /// An init container (a sidecar too), by its place.
    Init(usize),
    /// A main container, by its place.
    Main(usize),
    /// A container added for debugging, by its place.
    Ephemeral(usize),
}

impl ContainerRef {
    /// The spec of it.
    ///
    /// # Panics
    /// When the pod is not the one that this was computed from.
    #[must_use]
    pub fn of(self, pod: &Pod) -> &Container {
        match self {
            Self::Init(at) => &pod.spec.init_containers[at],
            Self::Main(at) => &pod.spec.containers[at],
            Self::Ephemeral(at) => &pod.spec.ephemeral_containers[at].container,
        }
    }
}

/// Why a container is killed: decides how long it has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// Its spec changed.
    Changed,
    /// Its liveness probe failed.
    Liveness,
    /// Its startup probe failed.
    Startup,
    /// The runtime cannot tell its state.
    Unknown,
    /// The pod ends.
    PodEnds,
}

/// A container to kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillContainer {
    /// Its id.
    pub id: ContainerId,
    /// Its name in the pod.
    pub name: String,
    /// Why, for the machine.
    pub reason: KillReason,
    /// Why, for the user.
    pub message: String,
}

/// What to do next, in this order: kill the pod (and end there, unless a sandbox is to be made), kill containers, make
/// the sandbox, start containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Kill every container and stop the sandbox.
    pub kill_pod: bool,
    /// Make a sandbox: this attempt of it.
    pub create_sandbox: Option<u32>,
    /// Containers to kill.
    pub kill: Vec<KillContainer>,
    /// Containers to start, in this order.
    pub start: Vec<ContainerRef>,
}

impl Actions {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.kill_pod && self.create_sandbox.is_none() && self.kill.is_empty() && self.start.is_empty()
    }
}

/// Whether the pod has no sandbox that can be used, and which attempt the next one is.
#[must_use]
pub fn sandbox_is_needed(pod: &Pod, runtime: &RuntimePod) -> Option<u32> {
    let Some(newest) = runtime.sandboxes.first() else {
        return Some(0);
    };
    let usable = newest.ready && newest.host_network == pod.spec.host_network;
    (!usable).then(|| newest.attempt + 1)
}

/// What a pod that is to run needs next.
///
/// `verdicts` are the probes' results by container id. `hash` digests the part of a container's spec under which a
/// running container would have to be replaced; a container made with another digest is killed and started anew.
#[must_use]
pub fn next_actions(
    pod: &Pod,
    runtime: &RuntimePod,
    verdicts: &AllVerdicts,
    hash: impl Fn(&Container) -> String,
) -> Actions {
    if let Some(attempt) = sandbox_is_needed(pod, runtime) {
        return with_new_sandbox(pod, runtime, attempt);
    }
    let mut actions = Actions::default();
    for (at, ephemeral) in pod.spec.ephemeral_containers.iter().enumerate() {
        if runtime.container(&ephemeral.container.name).is_none() {
            actions.start.push(ContainerRef::Ephemeral(at));
        }
    }
    let changed = |container: &Container, view: &ContainerView| {
        view.hash.as_ref().is_some_and(|before| *before != hash(container))
    };
    if !init_containers(pod, runtime, verdicts, &changed, &mut actions) || actions.kill_pod {
        return actions;
    }
    main_containers(pod, runtime, verdicts, &changed, &mut actions);
    actions
}

fn with_new_sandbox(pod: &Pod, runtime: &RuntimePod, attempt: u32) -> Actions {
    let mut actions = Actions { kill_pod: true, ..Actions::default() };
    let policy = pod.spec.restart_policy();
    if policy == "Never" && attempt != 0 && !runtime.containers.is_empty() {
        return actions;
    }
    let finished = |container: &Container| {
        let once = container.restart_policy.as_deref().unwrap_or(policy) == "OnFailure";
        once && runtime.container(&container.name).is_some_and(|v| v.state == ContainerState::Exited && !v.has_failed())
    };
    let main = pod.spec.containers.iter().enumerate().filter(|(_, container)| !finished(container));
    let main: Vec<_> = main.map(|(at, _)| ContainerRef::Main(at)).collect();
    if main.is_empty() && runtime.any_main_created(&pod.spec) {
        return actions;
    }
    actions.create_sandbox = Some(attempt);
    actions.start = if pod.spec.init_containers.is_empty() { main } else { vec![ContainerRef::Init(0)] };
    // With nothing there yet there is nothing to kill either.
    actions.kill_pod = !runtime.sandboxes.is_empty() || runtime.alive().next().is_some();
    actions
}

/// Decides about init containers and sidecars; returns whether main containers may run.
fn init_containers(
    pod: &Pod,
    runtime: &RuntimePod,
    verdicts: &AllVerdicts,
    changed: &impl Fn(&Container, &ContainerView) -> bool,
    actions: &mut Actions,
) -> bool {
    let init = &pod.spec.init_containers;
    if init.is_empty() {
        return true;
    }
    let active = |state| matches!(state, ContainerState::Created | ContainerState::Running);
    let main_active = pod.spec.containers.iter().any(|c| runtime.container(&c.name).is_some_and(|v| active(v.state)));
    let mut initialized = main_active;
    // From the last one backwards: the furthest that left a trace tells how far initialization got, even where traces
    // of those before it were cleaned away.
    let mut passed = main_active;
    let mut start = Vec::new();
    for (at, container) in init.iter().enumerate().rev() {
        let Some(view) = runtime.container(&container.name) else {
            if passed && container.is_sidecar() {
                start.push(at);
            }
            continue;
        };
        if passed && !container.is_sidecar() {
            continue;
        }
        let step = init_container(pod, container, view, verdicts, changed);
        if let Some((reason, message)) = step.kill {
            actions.kill.push(KillContainer { id: view.id.clone(), name: container.name.clone(), reason, message });
        }
        if step.pod_fails {
            actions.kill_pod = true;
            actions.start.clear();
            return false;
        }
        if step.done {
            if at + 1 == init.len() {
                initialized = true;
            } else if !passed {
                start.push(at + 1);
            }
        }
        if step.start {
            start.push(at);
        }
        passed = true;
    }
    if !passed {
        start.push(0);
    }
    start.sort_unstable();
    start.dedup();
    actions.start.extend(start.into_iter().map(ContainerRef::Init));
    initialized
}

#[derive(Default)]
struct InitStep {
    /// The next one may start.
    done: bool,
    /// Start it (again).
    start: bool,
    /// Kill it first.
    kill: Option<(KillReason, String)>,
    /// The pod cannot be initialized any more.
    pod_fails: bool,
}

fn init_container(
    pod: &Pod,
    container: &Container,
    view: &ContainerView,
    verdicts: &AllVerdicts,
    changed: &impl Fn(&Container, &ContainerView) -> bool,
) -> InitStep {
    let (name, policy) = (&container.name, pod.spec.restart_policy());
    let again = |reason, message| InitStep { start: true, kill: Some((reason, message)), ..InitStep::default() };
    let sidecar = container.is_sidecar();
    match view.state {
        ContainerState::Created => InitStep { start: true, ..InitStep::default() },
        ContainerState::Running if !sidecar => InitStep::default(),
        ContainerState::Running => {
            let verdicts = verdicts.get(&view.id).copied().unwrap_or_default();
            if container.startup_probe.is_some() && verdicts.startup != Some(Verdict::Success) {
                return match verdicts.startup {
                    Some(Verdict::Failure) => {
                        again(KillReason::Startup, format!("Init container {name} failed startup probe"))
                    }
                    _ => InitStep::default(),
                };
            }
            let step = if changed(container, view) {
                again(KillReason::Changed, format!("Init container {name} definition changed"))
            } else if verdicts.liveness == Some(Verdict::Failure) {
                again(KillReason::Liveness, format!("Init container {name} failed liveness probe"))
            } else {
                InitStep::default()
            };
            InitStep { done: true, ..step }
        }
        ContainerState::Exited if sidecar => InitStep { start: true, ..InitStep::default() },
        ContainerState::Exited if view.exit_code == 0 => InitStep { done: true, ..InitStep::default() },
        ContainerState::Exited => {
            let start = container.restarts_after(policy, view.exit_code);
            InitStep { start, pod_fails: !start, ..InitStep::default() }
        }
        _ if !sidecar && !container.restarts_after_failure(policy) => {
            InitStep { pod_fails: true, ..InitStep::default() }
        }
        _ => again(
            KillReason::Unknown,
            "Init container is in \"unknown\" state, try killing it before restart".to_owned(),
        ),
    }
}

fn main_containers(
    pod: &Pod,
    runtime: &RuntimePod,
    verdicts: &AllVerdicts,
    changed: &impl Fn(&Container, &ContainerView) -> bool,
    actions: &mut Actions,
) {
    let (mut keep, mut start) = (0, 0);
    for (at, container) in pod.spec.containers.iter().enumerate() {
        let view = runtime.container(&container.name);
        let Some(view) = view.filter(|view| view.is_running()) else {
            if should_start(pod, container, view) {
                actions.start.push(ContainerRef::Main(at));
                start += 1;
                if let Some(view) = view.filter(|view| view.state == ContainerState::Unknown) {
                    actions.kill.push(KillContainer {
                        id: view.id.clone(),
                        name: container.name.clone(),
                        reason: KillReason::Unknown,
                        message: "Container is in \"unknown\" state, try killing it before restart".to_owned(),
                    });
                }
            }
            continue;
        };
        let found = verdicts.get(&view.id).copied().unwrap_or_default();
        let name = &container.name;
        let (reason, message, restart) = if changed(container, view) {
            (KillReason::Changed, format!("Container {name} definition changed"), true)
        } else {
            let restart = container.restarts_after_failure(pod.spec.restart_policy());
            if found.liveness == Some(Verdict::Failure) {
                (KillReason::Liveness, format!("Container {name} failed liveness probe"), restart)
            } else if found.startup == Some(Verdict::Failure) {
                (KillReason::Startup, format!("Container {name} failed startup probe"), restart)
            } else {
                keep += 1;
                continue;
            }
        };
        let message = if restart { format!("{message}, will be restarted") } else { message };
        if restart {
            actions.start.push(ContainerRef::Main(at));
            start += 1;
        }
        actions.kill.push(KillContainer { id: view.id.clone(), name: name.clone(), reason, message });
    }
    if keep == 0 && start == 0 {
        actions.kill_pod = true;
        actions.start.clear();
    }
}

/// Whether a container that does not run is to be started.
pub(super) fn should_start(pod: &Pod, container: &Container, view: Option<&ContainerView>) -> bool {
    if pod.is_deleted() {
        return false;
    }
    match view {
        None => true,
        Some(view) => match view.state {
            ContainerState::Running => false,
            ContainerState::Exited => container.restarts_after(pod.spec.restart_policy(), view.exit_code),
            _ => true,
        },
    }
}

#[cfg(test)]
#[path = "sync_test.rs"]
mod tests;
