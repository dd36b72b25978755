//! How the scheduler's cost grows with the cluster.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::framework::Action;
use crate::object::{Name, PodInfo, Time};
use crate::plugins::default_profile;
use crate::schedule::{Outcome, Scheduler, SchedulerConfig};
use crate::testing::{node, pod};

/// What pods care for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Nothing but room.
    #[default]
    Alike,
    /// To be spread over zones, by no more than 5.
    Spread,
    /// To be in a zone with others of their kind.
    Near,
    /// To be on a host without others of their kind; at most one for each node.
    Far,
    /// All nodes are full of lesser pods, one of which must go for each; at most one for each node.
    Preempting,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Alike, Self::Spread, Self::Near, Self::Far, Self::Preempting];

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alike => "alike",
            Self::Spread => "spread",
            Self::Near => "near",
            Self::Far => "far",
            Self::Preempting => "preempting",
        }
    }

    /// How many pods such a cluster is good for.
    fn pods_max(self, nodes: usize) -> usize {
        match self {
            Self::Alike | Self::Spread => usize::MAX,
            // The nodes of one zone, and as many as their memory takes.
            Self::Near => nodes.div_ceil(ZONES) * 60,
            Self::Far | Self::Preempting => nodes,
        }
    }

    fn pod(self, kind: usize) -> PodInfo {
        let memory = format!("{}Mi", 500 + kind);
        let made = pod("p").labels(&[("app", "x")]);
        let selector = json!({"matchLabels": {"app": "x"}});
        let required = |side: &str, key: &str| {
            let term = json!({"topologyKey": key, "labelSelector": selector});
            json!({side: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
        };
        let made = match self {
            Self::Preempting => return made.requests(&[("cpu", "8"), ("memory", &memory)]).priority(10).build(),
            Self::Alike => made,
            Self::Spread => made.spread(&[json!({"maxSkew": 5, "topologyKey": ZONE,
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector})]),
            Self::Near => made.affinity(required("podAffinity", ZONE)),
            Self::Far => made.affinity(required("podAntiAffinity", "kubernetes.io/hostname")),
        };
        made.requests(&[("cpu", "100m"), ("memory", &memory)]).build()
    }
}

const ZONE: &str = "topology.kubernetes.io/zone";
const ZONES: usize = 10;

/// How large a cluster, and how many pods for it.
#[derive(Clone, Copy, Debug)]
pub struct ScaleConfig {
    /// How many nodes, in ten zones, each with 32 cpus, 64 GiB and room for 110 pods.
    pub nodes: usize,
    /// How many pods, each asking for 100 millicpus and 500 MiB; fewer where the cluster has no room for so many of their
    /// shape.
    pub pods: usize,
    /// What they care for.
    pub shape: Shape,
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
    /// What they cared for.
    pub shape: Shape,
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
    let ScaleConfig { nodes, shape, kinds, seed, .. } = *config;
    let pods = config.pods.min(shape.pods_max(nodes));
    let start = clock();
    let profile = default_profile("default-scheduler").build().expect("the default profile");
    let settings = SchedulerConfig { seed, ..SchedulerConfig::default() };
    let mut scheduler = Scheduler::new(settings, vec![profile]).expect("one profile");
    fill(&mut scheduler, nodes, shape);
    let templates: Vec<PodInfo> = (0..kinds.max(1)).map(|kind| shape.pod(kind)).collect();
    for n in 0..pods {
        let name = Name::from(format!("pod-{n}"));
        let template = templates[n % templates.len()].clone();
        scheduler.put_pod(Arc::new(PodInfo { name: name.clone(), uid: name, ..template }), START);
    }
    let filled = clock();
    let placed = place(&mut scheduler);
    let seconds = clock().saturating_sub(filled).as_secs_f64();
    ScaleRun {
        nodes,
        pods,
        shape,
        kinds: templates.len(),
        placed,
        seconds_to_fill: filled.saturating_sub(start).as_secs_f64(),
        seconds,
        pods_per_second: placed as f64 / seconds.max(1e-9),
        microseconds_per_pod: seconds * 1e6 / placed.max(1) as f64,
    }
}

const START: Time = Time::UNIX_EPOCH;

fn fill(scheduler: &mut Scheduler, nodes: usize, shape: Shape) {
    let lesser = pod("p").requests(&[("cpu", "8")]).build();
    for n in 0..nodes {
        let (name, zone) = (format!("node-{n}"), format!("zone-{}", n % ZONES));
        scheduler.put_node(node(&name).labels(&[(ZONE, &zone)]).build(), START);
        let there = if shape == Shape::Preempting { 4 } else { 0 };
        for m in 0..there {
            let uid = Name::from(format!("lesser-{n}-{m}"));
            let pod = PodInfo { name: uid.clone(), uid, node_name: name.as_str().into(), ..lesser.clone() };
            scheduler.put_pod(Arc::new(pod), START);
        }
    }
}

/// Places what can be placed; preemptions come true at once, and pods that are held back are so for no longer than it
/// takes until nothing else is left to do.
fn place(scheduler: &mut Scheduler) -> usize {
    let (mut now, mut placed) = (START, 0);
    let end = START.checked_add(Duration::from_secs(60)).unwrap_or(Time::MAX);
    loop {
        let Some(outcome) = scheduler.schedule_one(now) else {
            let Some(due) = scheduler.queue().next_flush().filter(|due| *due <= end) else { return placed };
            now = due.max(now);
            scheduler.tick(now);
            continue;
        };
        match outcome {
            Outcome::Placed(placement) => {
                placed += 1;
                scheduler.bound(&placement, now);
            }
            Outcome::Failed(failure) => {
                for action in failure.actions {
                    let Action::Preempt(preemption) = action else { continue };
                    preemption.victims.iter().for_each(|victim| scheduler.remove_pod(&victim.uid, now));
                    scheduler.preempted(&preemption.preemptor, &preemption.victims, Ok(()), now);
                }
            }
            Outcome::Waiting(_) | Outcome::Skipped { .. } | Outcome::Group(_) | Outcome::Consult(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pods_are_placed() {
        for shape in Shape::ALL {
            let run = scale(&ScaleConfig { nodes: 20, pods: 100, shape, kinds: 3, seed: 1 }, &|| Duration::ZERO);
            let pods = if matches!(shape, Shape::Far | Shape::Preempting) { 20 } else { 100 };
            assert_eq!((run.pods, run.placed, run.kinds, run.nodes), (pods, pods, 3, 20), "{shape:?}");
        }
    }
}
