use std::collections::BTreeMap;

use kubewright_runtime_shim::ContainerState as RuntimeState;

use super::runtime_pod::{has_started, is_ready};
use super::status::StatusInput;
use super::sync::should_start;
use super::{ContainerView, RuntimePod};
use crate::objects::{Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod, api_time};

/// Why a container could not be started, until it could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingReason {
    /// A word: `CrashLoopBackOff`, `ImagePullBackOff`, `CreateContainerConfigError` …
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Which list of the status.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Init,
    Main,
    Ephemeral,
}

/// The statuses of a list of containers.
pub(super) fn container_statuses(
    input: &StatusInput<'_>,
    containers: &[&Container],
    sort: Sort,
) -> Vec<ContainerStatus> {
    containers.iter().map(|container| container_status(input, container, sort)).collect()
}

fn container_status(input: &StatusInput<'_>, container: &Container, sort: Sort) -> ContainerStatus {
    let (pod, runtime) = (input.pod, input.runtime);
    let old = input.before.container(&container.name);
    let mut views = runtime.containers.iter().filter(|view| view.name == container.name);
    let newest = views.next();
    let mut status = match newest {
        Some(view) => {
            let mut status = of_view(view, old, input.runtime_name);
            if let Some(previous) = views.next() {
                status.last_state = of_view(previous, None, input.runtime_name).state;
            }
            status
        }
        None => without_view(pod, runtime, container, old, sort),
    };
    if pod.is_deleted() || input.ended {
        // Nothing is started any more: what a container waited for does not matter.
    } else if let Some(reason) = input.waiting.get(&container.name)
        && should_start(pod, container, newest)
        && !(sort == Sort::Init && newest.is_some_and(|v| v.state == RuntimeState::Exited && v.exit_code == 0))
    {
        if status.state.terminated.is_some() {
            status.last_state = std::mem::take(&mut status.state);
        }
        status.state = ContainerState::waiting(&reason.reason, &reason.message);
    }
    readiness(input, container, newest, sort, &mut status);
    status
}

fn of_view(view: &ContainerView, old: Option<&ContainerStatus>, runtime_name: &str) -> ContainerStatus {
    let id = format!("{runtime_name}://{}", view.id);
    let state = match view.state {
        RuntimeState::Running => ContainerState::running(view.started_at.map(api_time)),
        RuntimeState::Exited => ContainerState::terminated(ContainerStateTerminated {
            exit_code: view.exit_code,
            reason: if view.reason.is_empty() {
                if view.exit_code == 0 { "Completed".to_owned() } else { "Error".to_owned() }
            } else {
                view.reason.clone()
            },
            message: view.message.clone(),
            started_at: view.started_at.map(api_time),
            finished_at: view.finished_at.map(api_time),
            container_id: id.clone(),
        }),
        _ => ContainerState::waiting("", ""),
    };
    ContainerStatus {
        name: view.name.clone(),
        state,
        last_state: match old {
            // The run before may have been cleaned away since it was reported.
            Some(old) if old.container_id == id => old.last_state.clone(),
            Some(old) if old.state.terminated.is_some() => old.state.clone(),
            Some(old) => old.last_state.clone(),
            None => ContainerState::default(),
        },
        ready: false,
        restart_count: i32::try_from(view.attempt).unwrap_or(i32::MAX),
        image: view.image.clone(),
        image_id: view.image_id.clone(),
        container_id: id,
        started: None,
    }
}

/// The status of a container of which the runtime shows nothing.
fn without_view(
    pod: &Pod,
    runtime: &RuntimePod,
    container: &Container,
    old: Option<&ContainerStatus>,
    sort: Sort,
) -> ContainerStatus {
    let waits_for_init = sort != Sort::Init && !pod.spec.init_containers.is_empty()
        || sort == Sort::Init && pod.spec.init_containers.len() > 1;
    let word = if waits_for_init || sort == Sort::Init { "PodInitializing" } else { "ContainerCreating" };
    let fresh = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        state: ContainerState::waiting(word, ""),
        ..ContainerStatus::default()
    };
    let Some(old) = old else {
        let gone = sort == Sort::Init && !container.is_sidecar() && runtime.any_main_created(&pod.spec);
        return if gone { ContainerStatus { state: presumed_done(), ..fresh } } else { fresh };
    };
    if old.state.terminated.is_some() {
        return old.clone();
    }
    let mut status = ContainerStatus {
        restart_count: old.restart_count,
        last_state: old.last_state.clone(),
        image: old.image.clone(),
        image_id: old.image_id.clone(),
        container_id: old.container_id.clone(),
        ..fresh
    };
    if old.state.running.is_some() {
        if sort == Sort::Init && !container.is_sidecar() && runtime.any_main_created(&pod.spec) {
            status.state = presumed_done();
            return status;
        }
        status.last_state = ContainerState::terminated(ContainerStateTerminated {
            exit_code: 137,
            reason: "ContainerStatusUnknown".to_owned(),
            message: "The container could not be located when the pod was deleted.  The container used to be Running"
                .to_owned(),
            ..ContainerStateTerminated::default()
        });
        status.restart_count += i32::from(!pod.is_deleted());
    } else if let Some(waiting) = old.state.waiting.as_ref().filter(|_| old.last_state.terminated.is_some()) {
        status.state = ContainerState::waiting(&waiting.reason, &waiting.message);
    }
    status
}

fn presumed_done() -> ContainerState {
    ContainerState::terminated(ContainerStateTerminated {
        exit_code: 0,
        reason: "Completed".to_owned(),
        message: "Unable to get init container status from container runtime and pod has been initialized, treat it \
                  as exited normally"
            .to_owned(),
        ..ContainerStateTerminated::default()
    })
}

fn readiness(
    input: &StatusInput<'_>,
    container: &Container,
    view: Option<&ContainerView>,
    sort: Sort,
    status: &mut ContainerStatus,
) {
    let view = view.filter(|_| status.state.running.is_some());
    if sort == Sort::Ephemeral {
        return;
    }
    if sort == Sort::Init && !container.is_sidecar() {
        status.ready = status.state.terminated.as_ref().is_some_and(|end| end.exit_code == 0);
        status.started = Some(view.is_some());
        return;
    }
    status.started = Some(view.is_some_and(|view| has_started(container, view, input.verdicts)));
    status.ready = view.is_some_and(|view| is_ready(container, view, input.verdicts));
}

/// Why containers wait, by name.
pub(super) type Waiting = BTreeMap<String, WaitingReason>;
