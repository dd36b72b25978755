use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use kubewright_runtime_shim::{ContainerId, ContainerState, SandboxId};

use crate::objects::{Container, PodSpec};

/// What the runtime shows of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimePod {
    /// Its sandboxes, the newest first.
    pub sandboxes: Vec<SandboxView>,
    /// Its containers, the newest first.
    pub containers: Vec<ContainerView>,
}

/// A sandbox.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxView {
    /// Its id.
    pub id: SandboxId,
    /// The how-many-eth of its pod it is.
    pub attempt: u32,
    /// Whether it takes containers.
    pub ready: bool,
    /// Whether it shares the node's network.
    pub host_network: bool,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A container: one attempt of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerView {
    /// Its id.
    pub id: ContainerId,
    /// Its sandbox.
    pub sandbox_id: SandboxId,
    /// Its name in the pod's spec.
    pub name: String,
    /// The how-many-eth run it is, from 0.
    pub attempt: u32,
    /// Its state.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its exit code, once it ended.
    pub exit_code: i32,
    /// A word on why it is in its state.
    pub reason: String,
    /// A sentence on why it is in its state, or what it left behind as explanation.
    pub message: String,
    /// The image as its config named it.
    pub image: String,
    /// The image as the runtime resolved it.
    pub image_id: String,
    /// A digest of the part of its spec that cannot change under it; `None` when it is not known.
    pub hash: Option<String>,
}

impl ContainerView {
    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == ContainerState::Running
    }

    /// Whether it ended, and not well. What the runtime cannot tell counts as not well.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        match self.state {
            ContainerState::Exited => self.exit_code != 0,
            ContainerState::Created | ContainerState::Running => false,
            _ => true,
        }
    }
}

impl RuntimePod {
    /// The newest container of that name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerView> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// Every container that may have a living process.
    pub fn alive(&self) -> impl Iterator<Item = &ContainerView> {
        self.containers.iter().filter(|c| matches!(c.state, ContainerState::Running | ContainerState::Unknown))
    }

    /// The sandbox that takes containers.
    #[must_use]
    pub fn ready_sandbox(&self) -> Option<&SandboxView> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// Whether any of the spec's main containers was made.
    #[must_use]
    pub fn any_main_created(&self, spec: &PodSpec) -> bool {
        let known = |state| matches!(state, ContainerState::Created | ContainerState::Running | ContainerState::Exited);
        spec.containers.iter().any(|c| self.container(&c.name).is_some_and(|view| known(view.state)))
    }

    /// Whether any of the spec's main containers was made or started in the sandbox that is there now.
    #[must_use]
    pub fn any_main_active(&self, spec: &PodSpec) -> bool {
        let Some(sandbox) = self.ready_sandbox() else {
            return false;
        };
        let counts = |view: &ContainerView| match view.state {
            ContainerState::Running => true,
            ContainerState::Exited => view.sandbox_id == sandbox.id,
            _ => false,
        };
        spec.containers.iter().any(|c| self.container(&c.name).is_some_and(counts))
    }
}

/// What a probe says of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Success,
    /// It is not.
    Failure,
    /// Too early to say.
    Unknown,
}

/// What a container's probes say; `None` where nothing was probed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Is it alive?
    pub liveness: Option<Verdict>,
    /// Can it serve?
    pub readiness: Option<Verdict>,
    /// Has it started?
    pub startup: Option<Verdict>,
}

/// What all probes of a pod say, by container id.
pub(super) type AllVerdicts = BTreeMap<ContainerId, Verdicts>;

/// Whether a container has started: it runs, and its startup probe, if it has one, succeeded.
pub(super) fn has_started(container: &Container, view: &ContainerView, verdicts: &AllVerdicts) -> bool {
    view.is_running()
        && (container.startup_probe.is_none()
            || verdicts.get(&view.id).and_then(|v| v.startup) == Some(Verdict::Success))
}

/// Whether a container can serve: it has started, and its readiness probe, if it has one, succeeded.
pub(super) fn is_ready(container: &Container, view: &ContainerView, verdicts: &AllVerdicts) -> bool {
    has_started(container, view, verdicts)
        && (container.readiness_probe.is_none()
            || verdicts.get(&view.id).and_then(|v| v.readiness) == Some(Verdict::Success))
}
