//! The order in which pods are deleted when there are too many.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use crate::objects::{Pod, Time};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Sorts pods so that those whose loss costs least come first.
///
/// `related` are the active pods of all replica sets of the same owner: a pod that shares its node with more of them
/// goes earlier. Ages are compared on a logarithmic scale; among pods of about one age the UID decides, so that not
/// always the newest pod goes, which tends to be the one on the least crowded node.
pub(crate) fn rank_for_deletion(pods: &mut [Arc<Pod>], related: &[Arc<Pod>], now: Time) {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pod.active()) {
        *on_node.entry(&pod.spec.node_name).or_default() += 1;
    }
    pods.sort_by(|a, b| {
        let neighbours = |pod: &Pod| on_node.get(pod.spec.node_name.as_str()).copied().unwrap_or(0);
        (!a.spec.node_name.is_empty())
            .cmp(&!b.spec.node_name.is_empty())
            .then_with(|| phase(a).cmp(&phase(b)))
            .then_with(|| a.ready().cmp(&b.ready()))
            .then_with(|| cost(a).cmp(&cost(b)))
            .then_with(|| neighbours(b).cmp(&neighbours(a)))
            .then_with(|| by_ready_time(a, b, now))
            .then_with(|| restarts(b).cmp(&restarts(a)))
            .then_with(|| by_age(a.metadata.creation_timestamp, b.metadata.creation_timestamp, a, b, now))
    });
}

fn phase(pod: &Pod) -> u8 {
    match pod.status.phase.as_str() {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

fn cost(pod: &Pod) -> i32 {
    pod.metadata.annotations.get(DELETION_COST).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    pod.status.container_statuses.iter().map(|status| status.restart_count).max().unwrap_or(0)
}

fn by_ready_time(a: &Pod, b: &Pod, now: Time) -> Ordering {
    match (a.ready_condition(), b.ready_condition()) {
        (Some(ready), Some(other)) => by_age(ready.last_transition_time, other.last_transition_time, a, b, now),
        _ => Ordering::Equal,
    }
}

/// Younger first, by the logarithm of the age; what has no time comes before all.
fn by_age(a: Option<Time>, b: Option<Time>, pod: &Pod, other: &Pod, now: Time) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (Some(a), Some(b)) = (a, b) else { return a.is_some().cmp(&b.is_some()) };
    let magnitude = |time: Time| match now.since(time).as_nanos() {
        0 => -1,
        age => i64::from(age.ilog2()),
    };
    magnitude(a).cmp(&magnitude(b)).then_with(|| pod.metadata.uid.cmp(&other.metadata.uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Condition, ContainerStatus, Labels};

    const NOW: i64 = 1_000_000;

    fn pod(name: &str, change: impl FnOnce(&mut Pod)) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = name.into();
        pod.metadata.uid = name.into();
        pod.spec.node_name = "n".into();
        pod.status.phase = "Running".into();
        pod.metadata.creation_timestamp = Some(Time::from_seconds(NOW - 100));
        ready_since(&mut pod, NOW - 50);
        change(&mut pod);
        Arc::new(pod)
    }

    fn ready_since(pod: &mut Pod, second: i64) {
        let mut ready = Condition::new("Ready", true, "", "");
        ready.last_transition_time = Some(Time::from_seconds(second));
        pod.status.conditions = vec![ready];
    }

    /// The first must go before the second, whichever way round they stand.
    fn check(first: impl Fn(&mut Pod), second: impl Fn(&mut Pod)) {
        for (a, b) in [("a", "b"), ("b", "a")] {
            let (first, second) = (pod(a, &first), pod(b, &second));
            let mut pods = [second.clone(), first.clone()];
            rank_for_deletion(&mut pods, &[], Time::from_seconds(NOW));
            assert_eq!(pods[0].metadata.name, first.metadata.name, "{first:?}\n{second:?}");
        }
    }

    #[test]
    fn the_least_loss_goes_first() {
        check(|pod| pod.spec.node_name.clear(), |_| {});
        check(|pod| pod.status.phase = "Pending".into(), |_| {});
        check(|pod| pod.status.phase = "Unknown".into(), |_| {});
        check(|pod| pod.status.conditions.clear(), |_| {});
        let cost = |pod: &mut Pod| pod.metadata.annotations = Labels::from_iter([(DELETION_COST, "10")]);
        check(|_| {}, cost);
        check(|pod| ready_since(pod, NOW - 2), |_| {});
        let restarted = ContainerStatus { restart_count: 3, ..ContainerStatus::default() };
        check(move |pod| pod.status.container_statuses = vec![restarted.clone()], |_| {});
        check(|pod| pod.metadata.creation_timestamp = Some(Time::from_seconds(NOW - 3)), |_| {});
    }

    #[test]
    fn crowded_nodes_lose_a_pod_first_and_equal_ages_go_by_uid() {
        let crowded = pod("z", |pod| pod.spec.node_name = "crowded".into());
        let lonely = pod("a", |pod| pod.spec.node_name = "lonely".into());
        let related = [crowded.clone(), lonely.clone(), pod("x", |pod| pod.spec.node_name = "crowded".into())];
        let mut pods = [lonely, crowded];
        rank_for_deletion(&mut pods, &related, Time::from_seconds(NOW));
        assert_eq!(pods[0].metadata.name, "z");
        // 50 and 51 seconds are about one age.
        let mut pods = [pod("b", |pod| ready_since(pod, NOW - 50)), pod("a", |pod| ready_since(pod, NOW - 51))];
        rank_for_deletion(&mut pods, &[], Time::from_seconds(NOW));
        assert_eq!(pods[0].metadata.name, "a");
    }
}
