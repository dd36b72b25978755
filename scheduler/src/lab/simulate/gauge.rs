//! The state of a cluster in a few numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::SimWorkload;
use crate::cache::Snapshot;
use crate::object::{PodInfo, Resources};

/// The cluster at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Sample {
    /// How many seconds have passed.
    pub seconds: f64,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many pods run.
    pub running: usize,
    /// How many pods wait.
    pub waiting: usize,
    /// How long those that wait have waited, on average.
    pub waited_mean_seconds: f64,
    /// How much of the CPUs is allocated.
    pub cpu_allocation_percent: f64,
    /// How much of the memory is allocated.
    pub memory_allocation_percent: f64,
    /// How much of the CPUs is free on nodes that cannot take a typical pod.
    pub cpu_fragmentation_percent: f64,
    /// How evenly owners get what they ask for: 1 if all get the same part, less the more it differs (Jain's index).
    pub fairness: f64,
    /// How unevenly nodes are used: the standard deviation of their CPU allocation, in percent of a node.
    pub spread_percent: f64,
    /// How many pods have lost their node so far: by preemption, failure or scaling.
    pub moves: usize,
}

/// Knows what is typical of a workload.
pub(super) struct Gauge {
    /// The requests of the most frequent pods, with each one's share.
    typical: Vec<(Resources, f64)>,
}

impl Gauge {
    #[allow(clippy::cast_precision_loss, reason = "numbers of pods")]
    pub(super) fn new(workload: &SimWorkload) -> Self {
        const KINDS: usize = 24;
        let mut counts: BTreeMap<(i64, i64), usize> = BTreeMap::new();
        for job in &workload.jobs {
            let requests = &job.pod.spec.requests;
            *counts.entry((requests.cpu, requests.memory)).or_default() += job.replicas;
        }
        let mut kinds: Vec<_> = counts.into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        kinds.truncate(KINDS);
        let all = kinds.iter().map(|(_, count)| count).sum::<usize>().max(1) as f64;
        let typical = kinds
            .into_iter()
            .map(|((cpu, memory), count)| (Resources { cpu, memory, ..Resources::default() }, count as f64 / all));
        Self { typical: typical.collect() }
    }

    /// `waiting` are pods with their owners and since when they wait; `running` how much CPU each owner has.
    #[allow(clippy::cast_precision_loss, reason = "percentages")]
    pub(super) fn look(
        &self,
        now: Duration,
        snapshot: &Snapshot,
        waiting: &[(Arc<PodInfo>, Duration)],
        demand: &BTreeMap<&str, [i64; 2]>,
        moves: usize,
    ) -> Sample {
        let (mut cpu, mut memory, mut used_cpu, mut used_memory) = (0_i64, 0_i64, 0_i64, 0_i64);
        let (mut fragmented, mut running, mut loads) = (0.0, 0, Vec::with_capacity(snapshot.len()));
        for node in snapshot.nodes() {
            let (all, used) = (&node.node.allocatable, &node.requested);
            let (free_cpu, free_memory) = (all.cpu - used.cpu, all.memory - used.memory);
            let room = usize::try_from(all.pods).is_ok_and(|pods| node.pods.len() < pods);
            let unfit = |ask: &Resources| !room || ask.cpu > free_cpu || ask.memory > free_memory;
            let share: f64 = self.typical.iter().filter(|(ask, _)| unfit(ask)).map(|(_, share)| share).sum();
            fragmented += share * free_cpu.max(0) as f64;
            cpu += all.cpu;
            memory += all.memory;
            used_cpu += used.cpu;
            used_memory += used.memory;
            running += node.pods.len();
            loads.push(100.0 * used.cpu as f64 / all.cpu.max(1) as f64);
        }
        let percent = |part: f64, all: i64| 100.0 * part / all.max(1) as f64;
        let waited: Duration = waiting.iter().map(|(_, since)| now.saturating_sub(*since)).sum();
        Sample {
            seconds: now.as_secs_f64(),
            nodes: snapshot.len(),
            running,
            waiting: waiting.len(),
            waited_mean_seconds: waited.as_secs_f64() / waiting.len().max(1) as f64,
            cpu_allocation_percent: percent(used_cpu as f64, cpu),
            memory_allocation_percent: percent(used_memory as f64, memory),
            cpu_fragmentation_percent: percent(fragmented, cpu),
            fairness: fairness(demand),
            spread_percent: deviation(&loads),
            moves,
        }
    }
}

/// Jain's index of what part of its demand each owner gets.
#[allow(clippy::cast_precision_loss, reason = "parts")]
fn fairness(demand: &BTreeMap<&str, [i64; 2]>) -> f64 {
    let parts: Vec<f64> =
        demand.values().filter(|[asked, _]| *asked > 0).map(|[asked, got]| *got as f64 / *asked as f64).collect();
    let squares: f64 = parts.iter().map(|part| part * part).sum();
    if squares == 0.0 { 1.0 } else { parts.iter().sum::<f64>().powi(2) / (parts.len() as f64 * squares) }
}

#[allow(clippy::cast_precision_loss, reason = "a number of nodes")]
fn deviation(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_jains_index() {
        let of = |parts: &[[i64; 2]]| fairness(&["a", "b", "c"].into_iter().zip(parts.iter().copied()).collect());
        assert!((of(&[[10, 5], [20, 10], [0, 0]]) - 1.0).abs() < 1e-9, "all get half");
        assert!((of(&[[10, 10], [10, 0]]) - 0.5).abs() < 1e-9, "one of two gets all");
        assert!((of(&[]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn deviation_is_that_of_all() {
        assert!((deviation(&[0.0, 100.0]) - 50.0).abs() < 1e-9);
        assert!(deviation(&[]).abs() < 1e-9);
    }
}
