//! What one decision costs the core, by kind of pod and number of nodes: `cargo bench -p kubewright-scheduler`.
#![allow(missing_docs, clippy::disallowed_methods, reason = "a measurement reads the clock")]

#[path = "../examples/throughput/kinds.rs"]
mod kinds;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use kubewright_scheduler::lab::{ScaleConfig, Shape, scale};
use kubewright_scheduler::object::{PodInfo, Time};
use kubewright_scheduler::plugins::default_profile;
use kubewright_scheduler::schedule::{Outcome, Scheduler, SchedulerConfig};
use kubewright_scheduler::testing::node;

/// How many pods are on the nodes at most while decisions are measured, so that all fit.
const PODS_MAX: u64 = 1_000;

fn cluster(nodes: usize) -> Scheduler {
    let profile = default_profile("default-scheduler").build().expect("the default profile");
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), vec![profile]).expect("a scheduler");
    for n in 0..nodes {
        let zone = format!("zone-{}", n % 10);
        scheduler.put_node(node(&format!("node-{n}")).labels(&[("zone", &zone)]).build(), Time::UNIX_EPOCH);
    }
    scheduler
}

/// Places so many pods and takes them away again; tells how long the placing took.
fn place(scheduler: &mut Scheduler, template: &PodInfo, count: u64) -> Duration {
    let now = Time::UNIX_EPOCH;
    for n in 0..count {
        let name = format!("pod-{n}");
        scheduler.put_pod(Arc::new(PodInfo { name: name.as_str().into(), uid: name.into(), ..template.clone() }), now);
    }
    let mut placed = Vec::new();
    let start = Instant::now();
    while let Some(outcome) = scheduler.schedule_one(now) {
        let Outcome::Placed(placement) = black_box(outcome) else { panic!("all pods fit") };
        placed.push(placement);
    }
    let took = start.elapsed();
    assert_eq!(placed.len() as u64, count);
    for placement in placed {
        scheduler.put_pod(placement.pod.clone(), now);
        scheduler.remove_pod(&placement.pod.uid, now);
    }
    took
}

fn decisions(criterion: &mut Criterion) {
    for (kind, maker) in kinds::kinds() {
        let template = maker.build();
        let mut group = criterion.benchmark_group(kind);
        group.sample_size(10);
        for nodes in [1_000, 5_000, 10_000, 100_000] {
            let mut scheduler = cluster(nodes);
            group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
                bencher.iter_custom(|wanted| {
                    let rounds = std::iter::successors(Some(wanted), |left| Some(left.saturating_sub(PODS_MAX)));
                    let rounds = rounds.take_while(|left| *left > 0).map(|left| left.min(PODS_MAX));
                    rounds.map(|count| place(&mut scheduler, &template, count)).sum()
                });
            });
        }
        group.finish();
    }
}

/// What it costs to make room for a pod on a cluster that is full of lesser ones, and to place it there.
fn preemption(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("preempting");
    group.sample_size(10);
    for nodes in [1_000, 5_000, 10_000] {
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter_custom(|wanted| {
                let start = Instant::now();
                // The clusters are filled outside of what is measured, and each is good for few pods.
                let rounds = std::iter::successors(Some(wanted), |left| Some(left.saturating_sub(PODS_MAX)));
                let rounds = rounds.take_while(|left| *left > 0).map(|left| left.min(PODS_MAX));
                let took = rounds.map(|count| {
                    let pods = usize::try_from(count).expect("few pods");
                    let config = ScaleConfig { nodes, pods, shape: Shape::Preempting, kinds: 1, seed: 1 };
                    let run = scale(&config, &|| start.elapsed());
                    assert_eq!(run.placed, pods);
                    Duration::from_secs_f64(run.seconds)
                });
                took.sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions, preemption);
criterion_main!(benches);
