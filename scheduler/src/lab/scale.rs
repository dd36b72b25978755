//! How the scheduler's cost grows with the cluster.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::object::{PodInfo, Time};
use crate::plugins::default_profile;
use crate::schedule::{Outcome, Scheduler, SchedulerConfig};
use crate::testing::{node, pod};

/// How large a cluster, and how many pods for it.
#[derive(Clone, Copy, Debug)]
pub struct ScaleConfig {
    /// How many nodes, in ten zones, each with 32 cpus, 64 GiB and room for 110 pods.
    pub nodes: usize,
    /// How many pods, each asking for 100 millicpus and 500 MiB.
    pub pods: usize,
    /// How many kinds of pods, that ask for a little more memory one after the other.
    pub kinds: usize,
    /// From which ties are drawn.
    pub seed: u64,
}

/// What it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ScaleRun {
    /// How many nodes there were.
    pub nodes: usize,
    /// How many pods there were.
    pub pods: usize,
    /// How many kinds of pods.
    pub kinds: usize,
    /// How many of them were placed.
    pub placed: usize,
    /// How long it took to tell the scheduler of all of them.
    pub seconds_to_fill: f64,
    /// How long it took to place them, with the default plugins.
    pub seconds: f64,
    /// How many were placed in a second.
    pub pods_per_second: f64,
    /// How long one pod took.
    pub microseconds_per_pod: f64,
}

/// Places pods on the nodes of a new cluster. `clock` says how much time has passed since some fixed moment.
///
/// # Panics
/// Never: the default profile is sound.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "rates")]
pub fn scale(config: &ScaleConfig, clock: &dyn Fn() -> Duration) -> ScaleRun {
    let ScaleConfig { nodes, pods, kinds, seed } = *config;
    let now = Time::UNIX_EPOCH;
    let start = clock();
    let profile = default_profile("default-scheduler").build().expect("the default profile");
    let settings = SchedulerConfig { seed, ..SchedulerConfig::default() };
    let mut scheduler = Scheduler::new(settings, vec![profile]).expect("one profile");
    for n in 0..nodes {
        let zone = format!("zone-{}", n % 10);
        let labels = [("topology.kubernetes.io/zone", zone.as_str())];
        scheduler.put_node(node(&format!("node-{n}")).labels(&labels).build(), now);
    }
    let kind = |n: usize| pod("p").requests(&[("cpu", "100m"), ("memory", &format!("{}Mi", 500 + n))]).build();
    let templates: Vec<PodInfo> = (0..kinds.max(1)).map(kind).collect();
    for n in 0..pods {
        let name = crate::object::Name::from(format!("pod-{n}"));
        let template = templates[n % templates.len()].clone();
        scheduler.put_pod(Arc::new(PodInfo { name: name.clone(), uid: name, ..template }), now);
    }
    let filled = clock();
    let mut placed = 0;
    while let Some(outcome) = scheduler.schedule_one(now) {
        if let Outcome::Placed(placement) = outcome {
            placed += 1;
            scheduler.bound(&placement, now);
        }
    }
    let seconds = clock().saturating_sub(filled).as_secs_f64();
    ScaleRun {
        nodes,
        pods,
        kinds: templates.len(),
        placed,
        seconds_to_fill: filled.saturating_sub(start).as_secs_f64(),
        seconds,
        pods_per_second: pods as f64 / seconds.max(1e-9),
        microseconds_per_pod: seconds * 1e6 / pods.max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pods_are_placed() {
        let run = scale(&ScaleConfig { nodes: 20, pods: 100, kinds: 3, seed: 1 }, &|| Duration::ZERO);
        assert_eq!((run.placed, run.kinds, run.nodes), (100, 3, 20));
    }
}
