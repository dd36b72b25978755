//! How many pods each replica set of a deployment gets.

use crate::objects::{Deployment, IntOrPercent, ReplicaSet};

pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// How many pods more than asked for there may be during a rollout.
pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { bounds(deployment).0 } else { 0 }
}

/// How many pods fewer than asked for may be available during a rollout.
pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    if !is_rolling(deployment) || deployment.spec.replicas == 0 {
        return 0;
    }
    bounds(deployment).1.min(deployment.spec.replicas)
}

pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    deployment.spec.strategy.kind != "Recreate"
}

/// Surge and unavailability. If both come out as zero nothing could ever move, so one may be unavailable.
fn bounds(deployment: &Deployment) -> (i32, i32) {
    let rolling = deployment.spec.strategy.rolling_update.clone().unwrap_or_default();
    let scaled =
        |value: Option<IntOrPercent>, up: bool| value.map_or(0, |value| value.scaled(deployment.spec.replicas, up));
    match (scaled(rolling.max_surge, true), scaled(rolling.max_unavailable, false)) {
        (0, 0) => (0, 1),
        bounds => bounds,
    }
}

/// A non-negative number in an annotation.
pub(super) fn number(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.metadata.annotations.get(annotation)?.parse().ok().filter(|number| *number >= 0)
}

/// How many pods the newest set should have, given how many there are in all.
pub(super) fn new_set_size(deployment: &Deployment, current: i32, total: i32) -> i32 {
    let wanted = deployment.spec.replicas;
    if !is_rolling(deployment) {
        return wanted;
    }
    let most = wanted + max_surge(deployment);
    if total >= most {
        return current;
    }
    current + (most - total).min(wanted - current)
}

/// Shares `to_add` pods (negative: takes them away) among sets in proportion to their sizes; `sizes` holds each set
/// with its current size and the deployment's former maximum, largest first.
pub(super) fn share(deployment: &Deployment, sizes: &[(i32, Option<i32>)], to_add: i32) -> Vec<i32> {
    let mut added = 0;
    let mut result: Vec<i32> = Vec::with_capacity(sizes.len());
    for (size, former_most) in sizes {
        let part = if *size == 0 || to_add == 0 || to_add == added {
            0
        } else {
            let fraction = fraction(deployment, *size, *former_most);
            let left = to_add - added;
            if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
        };
        added += part;
        result.push(size + part);
    }
    if let Some(largest) = result.first_mut() {
        *largest = (*largest + to_add - added).max(0);
    }
    result
}

/// By how much a set of that size should change when the deployment's maximum changes.
fn fraction(deployment: &Deployment, size: i32, former_most: Option<i32>) -> i32 {
    if deployment.spec.replicas == 0 {
        return -size;
    }
    let most = deployment.spec.replicas + max_surge(deployment);
    let former = match former_most.filter(|most| *most > 0) {
        Some(most) => most,
        None if deployment.status.replicas > 0 => deployment.status.replicas,
        None => return 0,
    };
    let new_size = f64::from(size) * f64::from(most) / f64::from(former);
    #[allow(clippy::cast_possible_truncation, reason = "a pod count times a ratio of pod counts; it saturates")]
    let rounded = new_size.round() as i32;
    rounded - size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::RollingUpdate;

    pub(crate) fn deployment(replicas: i32, surge: &str, unavailable: &str) -> Deployment {
        let value = |text: &str| text.parse().map_or_else(|_| IntOrPercent::Text(text.into()), IntOrPercent::Int);
        let mut deployment = Deployment::default();
        deployment.spec.replicas = replicas;
        deployment.spec.strategy.kind = "RollingUpdate".into();
        deployment.spec.strategy.rolling_update = Some(RollingUpdate {
            max_surge: Some(value(surge)),
            max_unavailable: Some(value(unavailable)),
            partition: None,
        });
        deployment
    }

    #[test]
    fn bounds_resolve_as_upstream() {
        for (replicas, surge, unavailable, expected) in [
            (2, "0%", "1%", (0, 1)),
            (1, "0%", "1%", (0, 1)),
            (2, "1%", "25%", (1, 0)),
            (1, "1%", "0%", (1, 0)),
            (10, "25%", "25%", (3, 2)),
            (4, "2", "10", (2, 4)),
            (0, "25%", "25%", (0, 0)),
        ] {
            let deployment = deployment(replicas, surge, unavailable);
            assert_eq!(
                (max_surge(&deployment), max_unavailable(&deployment)),
                expected,
                "{replicas} {surge} {unavailable}"
            );
        }
    }

    #[test]
    fn a_new_set_grows_within_the_surge() {
        let deployment = deployment(10, "3", "0");
        assert_eq!(new_set_size(&deployment, 0, 10), 3);
        assert_eq!(new_set_size(&deployment, 3, 13), 3);
        assert_eq!(new_set_size(&deployment, 8, 9), 10);
    }

    #[test]
    fn shares_are_proportional_and_add_up() {
        // Upstream's example: 10 pods as 5 + 5 (maximum 10) scaled to 12 and to 4, 3 sets to 20.
        let check = |replicas, sizes: &[i32], former, to_add, expected: &[i32]| {
            let deployment = deployment(replicas, "0", "1");
            let sizes: Vec<_> = sizes.iter().map(|size| (*size, Some(former))).collect();
            assert_eq!(share(&deployment, &sizes, to_add), expected);
        };
        check(12, &[5, 5], 10, 2, &[6, 6]);
        check(4, &[5, 5], 10, -6, &[2, 2]);
        check(20, &[5, 3, 2], 10, 10, &[10, 6, 4]);
        check(0, &[5, 5], 10, -10, &[0, 0]);
        check(11, &[8, 2], 10, 1, &[9, 2]);
    }
}
