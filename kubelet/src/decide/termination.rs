use jiff::{SignedDuration, Timestamp};

use super::RuntimePod;
use crate::objects::{Pod, PodStatus};

/// The names of living containers in the order in which they are to be stopped: each group when the one before has
/// ended. Main containers go together and first; sidecars one by one, the last started first.
#[must_use]
pub fn termination_order(pod: &Pod, runtime: &RuntimePod) -> Vec<Vec<String>> {
    let alive: Vec<&str> = {
        let mut names: Vec<&str> = runtime.alive().map(|view| view.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let sidecars = pod.spec.init_containers.iter().rev().filter(|container| container.is_sidecar());
    let sidecars: Vec<&str> = sidecars.map(|container| container.name.as_str()).collect();
    let first: Vec<String> = alive.iter().filter(|name| !sidecars.contains(name)).map(ToString::to_string).collect();
    let mut groups = if first.is_empty() { vec![] } else { vec![first] };
    groups.extend(sidecars.iter().filter(|name| alive.contains(name)).map(|name| vec![(*name).to_owned()]));
    groups
}

/// When the pod's active deadline passes, if it has one and has started.
#[must_use]
pub fn active_deadline(pod: &Pod, status: &PodStatus) -> Option<Timestamp> {
    let seconds = pod.spec.active_deadline_seconds?;
    Some(status.start_time.as_ref()?.0 + SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{exited, pod, running, runtime};
    use super::*;

    #[test]
    fn sidecars_end_last_and_backwards() {
        let pod = pod(serde_json::json!({
            "initContainers": [
                {"name": "s1", "restartPolicy": "Always"}, {"name": "i"}, {"name": "s2", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
        }));
        let runtime =
            runtime([running("a", 0), running("b", 0), exited("c", 0, 0), running("s1", 0), running("s2", 0)]);
        assert_eq!(termination_order(&pod, &runtime), [vec!["a", "b"], vec!["s2"], vec!["s1"]]);
    }

    #[test]
    fn deadlines_count_from_the_start() {
        let pod = pod(serde_json::json!({"containers": [], "activeDeadlineSeconds": 5}));
        let at = |second| Timestamp::from_second(second).unwrap();
        let status = PodStatus { start_time: Some(crate::objects::api_time(at(100))), ..PodStatus::default() };
        assert_eq!(active_deadline(&pod, &status), Some(at(105)));
        assert_eq!(active_deadline(&pod, &PodStatus::default()), None);
    }
}
