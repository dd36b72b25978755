use crate::objects::{Container, ContainerStatus, Pod};

/// How a status counts for its pod's phase.
enum Now<'a> {
    Running(&'a ContainerStatus),
    /// Ended with this code, maybe to be started again.
    Stopped(i32),
    Waiting,
    Unknown,
}

fn now<'a>(statuses: &'a [ContainerStatus], container: &Container) -> Now<'a> {
    let Some(status) = statuses.iter().find(|status| status.name == container.name) else {
        return Now::Unknown;
    };
    let last = status.last_state.terminated.as_ref();
    match &status.state {
        state if state.running.is_some() => Now::Running(status),
        state if state.terminated.is_some() => Now::Stopped(state.terminated.as_ref().map_or(0, |t| t.exit_code)),
        state if state.waiting.is_some() => last.map_or(Now::Waiting, |last| Now::Stopped(last.exit_code)),
        _ => Now::Unknown,
    }
}

/// The phase that a pod's container statuses (init containers' too) add up to.
///
/// `ended` tells that nothing will be started any more; `was_initialized` that a main container runs or ran.
pub(super) fn phase(pod: &Pod, statuses: &[ContainerStatus], ended: bool, was_initialized: bool) -> &'static str {
    let policy = pod.spec.restart_policy();
    let (mut pending_init, mut pending_sidecars, mut init_failed) = (0, 0, false);
    let (mut unknown, mut running, mut waiting) = (0, 0, 0);
    for container in &pod.spec.init_containers {
        match (container.is_sidecar(), now(statuses, container)) {
            (false, Now::Stopped(0)) => {
                // Waiting with a good end behind it is a restart from the beginning (a new sandbox).
            }
            (false, Now::Stopped(code)) => init_failed |= !container.restarts_after(policy, code),
            (false, _) => pending_init += 1,
            (true, Now::Running(status)) => {
                running += 1;
                pending_sidecars += i32::from(status.started != Some(true));
            }
            (true, Now::Stopped(_)) => {}
            (true, Now::Waiting) => {
                pending_sidecars += 1;
                waiting += 1;
            }
            (true, Now::Unknown) => unknown += 1,
        }
    }
    if init_failed {
        return "Failed";
    }
    let (mut stopped, mut succeeded, mut final_stops) = (0, 0, 0);
    for container in &pod.spec.containers {
        match now(statuses, container) {
            Now::Running(_) => running += 1,
            Now::Stopped(code) => {
                stopped += 1;
                final_stops += i32::from(!container.restarts_after(policy, code));
                let waits = statuses.iter().any(|s| s.name == container.name && s.state.waiting.is_some());
                succeeded += i32::from(code == 0 && !waits);
            }
            Now::Waiting => waiting += 1,
            Now::Unknown => unknown += 1,
        }
    }
    if pending_init > 0 || (pending_sidecars > 0 && !was_initialized) || waiting > 0 {
        "Pending"
    } else if running > 0 && unknown == 0 {
        "Running"
    } else if running == 0 && stopped > 0 && unknown == 0 {
        match (ended || stopped == final_stops, stopped == succeeded) {
            (false, _) => "Running",
            (true, true) => "Succeeded",
            (true, false) => "Failed",
        }
    } else {
        "Pending"
    }
}
