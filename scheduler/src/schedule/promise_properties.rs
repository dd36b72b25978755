//! What every decision promises: the node passes all filters, and no pod is forgotten that some node could take.

use std::sync::Arc;

use proptest::prelude::*;

use super::properties::{Step, make_node, make_pod, steps};
use super::*;
use crate::framework::Action;
use crate::object::{PodInfo, Time};
use crate::plugins::default_profile;

/// A cluster to which everything happens that decisions ask for.
struct World {
    scheduler: Scheduler,
    pods: usize,
    second: i64,
}

impl World {
    fn new(seed: u64, reuse_results: bool) -> Self {
        let config =
            SchedulerConfig { seed, reuse_results, percentage_of_nodes_to_score: 50, ..SchedulerConfig::default() };
        let scheduler = Scheduler::new(config, vec![default_profile("default-scheduler").build().unwrap()]).unwrap();
        Self { scheduler, pods: 0, second: 0 }
    }

    fn now(&self) -> Time {
        Time::from_second(self.second).unwrap()
    }

    fn step(&mut self, step: &Step) {
        let now = self.now();
        let s = &mut self.scheduler;
        match step {
            Step::Node(name, kind) => s.put_node(make_node(*name, *kind).build(), now),
            Step::DropNode(name) => s.remove_node(&format!("n{name}"), now),
            Step::Pod(kind) => {
                s.put_pod(make_pod(self.pods, *kind).build(), now);
                self.pods += 1;
            }
            Step::DropPod(number) => s.remove_pod(&format!("p{number}"), now),
            Step::Schedule(times) => {
                for _ in 0..*times {
                    self.decide();
                }
            }
            Step::Confirm => {}
        }
        self.second += 1;
    }

    /// Makes a decision, checks it, and does what it asks for. Tells whether there was one to make.
    fn decide(&mut self) -> bool {
        let now = self.now();
        match self.scheduler.schedule_one(now) {
            Some(Outcome::Placed(placement)) => {
                self.check(&placement);
                self.scheduler.bound(&placement, now);
                self.scheduler.put_pod(placement.pod.clone(), now);
            }
            Some(Outcome::Failed(failure)) => {
                for action in failure.actions {
                    let Action::Preempt(preemption) = action else { continue };
                    preemption.victims.iter().for_each(|victim| self.scheduler.remove_pod(&victim.uid, now));
                    self.scheduler.preempted(&preemption.preemptor, &preemption.victims, Ok(()), now);
                }
            }
            Some(_) => {}
            None => return false,
        }
        true
    }

    /// Nothing speaks against the node, were the pod not there yet.
    fn check(&self, placement: &Placement) {
        let mut before = self.scheduler.what_if();
        before.snapshot_mut().remove_pod(&placement.pod);
        let pod = PodInfo { node_name: "".into(), ..(*placement.pod).clone() };
        let reasons = before.every_reason(&pod).expect("the pod was placed");
        let against = &reasons[placement.node()];
        assert!(against.is_empty(), "{} must not go to {}: {against:?}", pod.name, placement.node());
    }

    /// Lets time pass in which nothing else happens, until pods are tried again that were not for long.
    fn settle(&mut self) {
        for _ in 0..700 {
            self.scheduler.tick(self.now());
            while self.decide() {}
            self.second += 1;
        }
    }

    /// Pods that wait though some node could take them.
    fn forgotten(&self) -> Vec<String> {
        let waiting: Vec<Arc<PodInfo>> = self.scheduler.queue().iter().map(|queued| queued.pod.clone()).collect();
        let fits = |pod: &Arc<PodInfo>| matches!(self.scheduler.what_if().try_pod(pod), Trial::Fits(_));
        waiting.iter().filter(|pod| fits(pod)).map(|pod| pod.name.to_string()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_filter_is_violated(steps in steps(), seed in 0_u64..1000, reuse in any::<bool>()) {
        let mut world = World::new(seed, reuse);
        steps.iter().for_each(|step| world.step(step));
    }

    #[test]
    fn no_pod_starves(steps in steps(), seed in 0_u64..1000, reuse in any::<bool>()) {
        let mut world = World::new(seed, reuse);
        steps.iter().for_each(|step| world.step(step));
        world.settle();
        prop_assert_eq!(world.forgotten(), Vec::<String>::new());
        let queue = world.scheduler.queue();
        prop_assert!(queue.iter().all(|queued| queued.attempts > 0), "every pod that waits was tried");
    }
}

/// Important pods keep coming, and each of them takes what is free; the humble one still has its turn, as the queue is
/// empty in between.
#[test]
fn a_humble_pod_has_its_turn_between_important_ones() {
    let mut world = World::new(1, true);
    world.step(&Step::Node(0, 2));
    let now = world.now();
    let large =
        |name: &str, priority: i32| crate::testing::pod(name).requests(&[("cpu", "5")]).priority(priority).build();
    world.scheduler.put_pod(large("humble", 0), now);
    for round in 0..20 {
        let name = format!("important-{round}");
        world.scheduler.put_pod(large(&name, 10), world.now());
        while world.decide() {}
        world.second += 1;
        world.scheduler.remove_pod(&name, world.now());
        world.second += 1;
        while world.decide() {}
        if world.scheduler.cache().pod("humble").is_some() {
            return;
        }
    }
    panic!("the humble pod was never placed");
}
