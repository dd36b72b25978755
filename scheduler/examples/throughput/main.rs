//! How many pods the core places in a second: `cargo run --release --example throughput -- [NODES] [PODS] [plain]
//! [KIND]`, where the kind is a word of one of those printed.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement reads the clock and prints")]

mod kinds;

use std::sync::Arc;
use std::time::Instant;

use kinds::kinds;
use kubewright_scheduler::object::{PodInfo, Time};
use kubewright_scheduler::plugins::default_profile;
use kubewright_scheduler::schedule::{Outcome, Scheduler, SchedulerConfig};
use kubewright_scheduler::testing::node;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (nodes, pods) = (number(5_000), number(10_000));
    let plain = std::env::args().any(|argument| argument == "plain");
    let wanted = std::env::args().skip(3).find(|argument| argument != "plain");
    for (name, maker) in kinds().into_iter().filter(|(name, _)| wanted.as_ref().is_none_or(|word| name.contains(word)))
    {
        let pods = if name == "far from others" { pods.min(nodes) } else { pods };
        let seconds = measure(&maker.build(), nodes, pods, !plain);
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let rate = pods as f64 / seconds;
        println!("{name}: {pods} pods on {nodes} nodes in {seconds:.3} s, {rate:.0} a second");
    }
}

fn measure(template: &PodInfo, nodes: usize, pods: usize, reuse_results: bool) -> f64 {
    let now = Time::UNIX_EPOCH;
    let config = SchedulerConfig { reuse_results, ..SchedulerConfig::default() };
    let profile = default_profile("default-scheduler").build().expect("the default profile");
    let mut scheduler = Scheduler::new(config, vec![profile]).expect("a scheduler");
    for n in 0..nodes {
        let zone = format!("zone-{}", n % 10);
        scheduler.put_node(node(&format!("node-{n}")).labels(&[("zone", &zone)]).build(), now);
    }
    for n in 0..pods {
        let name = format!("pod-{n}");
        scheduler.put_pod(Arc::new(PodInfo { name: name.as_str().into(), uid: name.into(), ..template.clone() }), now);
    }
    let start = Instant::now();
    let mut placed = 0;
    while let Some(outcome) = scheduler.schedule_one(now) {
        match outcome {
            Outcome::Placed(placement) => {
                placed += 1;
                scheduler.bound(&placement, now);
            }
            other => panic!("not placed: {other:?}"),
        }
    }
    assert_eq!(placed, pods, "all pods fit");
    start.elapsed().as_secs_f64()
}
