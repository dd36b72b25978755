//! Room is made in the same places whether or not what came of earlier tries is kept.

use std::sync::Arc;

use kubewright_api::selector::LabelSelector;
use proptest::prelude::*;

use super::*;
use crate::framework::Action;
use crate::object::{Budget, PodInfo, Time};
use crate::plugins::{DefaultPreemption, DefaultPreemptionArgs, default_profile};
use crate::testing::{node, pod};

const NODES: usize = 20;

#[derive(Clone, Debug)]
enum Step {
    /// A pod that wants room, of some kind.
    Wants(usize),
    /// A pod is on a node already: its priority, size and start.
    Lies(usize, i32, usize, i64),
    /// A pod that lay somewhere goes.
    Goes(usize),
    /// A pod that lay somewhere turns out to have started then.
    Started(usize, i64),
    /// So many disruptions of the pods with label `app: x` are allowed.
    Budget(i32),
    Cordon(usize, bool),
    Schedule(usize),
    /// What preemptions asked for comes true.
    Evict,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lies = (0..NODES, 0..4_i32, 0..3_usize, 0..5_i64);
    let step = prop_oneof![
        6 => (0..4_usize).prop_map(Step::Wants),
        6 => lies.prop_map(|(node, priority, size, start)| Step::Lies(node, priority, size, start)),
        1 => (0..60_usize).prop_map(Step::Goes),
        1 => (0..60_usize, 0..9_i64).prop_map(|(which, start)| Step::Started(which, start)),
        1 => (0..3_i32).prop_map(Step::Budget),
        1 => (0..NODES, any::<bool>()).prop_map(|(node, cordoned)| Step::Cordon(node, cordoned)),
        6 => (1..5_usize).prop_map(Step::Schedule),
        3 => Just(Step::Evict),
    ];
    proptest::collection::vec(step, 20..160)
}

fn wants(number: usize, kind: usize) -> PodInfo {
    let made = pod(&format!("w{number}"));
    match kind {
        0 => made.priority(10).requests(&[("cpu", "2")]),
        1 => made.priority(2).requests(&[("cpu", "3")]),
        2 => made.priority(10).requests(&[("cpu", "1")]).host_ports(&["TCP/0.0.0.0/80"]),
        _ => made.requests(&[("cpu", "2")]),
    }
    .build()
}

fn lies(number: usize, on: usize, priority: i32, size: usize, start: i64) -> PodInfo {
    let made = pod(&format!("l{number}")).on(&format!("n{on}")).priority(priority).started(start);
    let made = made.requests(&[("cpu", ["1", "2", "3"][size])]).labels(&[("app", ["x", "y"][number % 2])]);
    if number.is_multiple_of(7) { made.host_ports(&["TCP/0.0.0.0/80"]).build() } else { made.build() }
}

struct Run {
    s: Scheduler,
    lying: Vec<PodInfo>,
    wanting: usize,
    victims: Vec<(Arc<PodInfo>, Vec<Arc<PodInfo>>)>,
    told: Vec<String>,
    kept: usize,
}

impl Run {
    fn new(seed: u64, reuse_results: bool) -> Self {
        let args = DefaultPreemptionArgs { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 4 };
        let profile = default_profile("default-scheduler").without("DefaultPreemption");
        let profile = profile.with(Arc::new(DefaultPreemption::new(args)), 0).build().unwrap();
        let config = SchedulerConfig { seed, reuse_results, ..SchedulerConfig::default() };
        let mut s = Scheduler::new(config, vec![profile]).unwrap();
        for n in 0..NODES {
            s.put_node(machine(n, false), Time::UNIX_EPOCH);
        }
        Self { s, lying: Vec::new(), wanting: 0, victims: Vec::new(), told: Vec::new(), kept: 0 }
    }

    fn step(&mut self, step: &Step, now: Time) {
        match *step {
            Step::Wants(kind) => {
                self.s.put_pod(wants(self.wanting, kind), now);
                self.wanting += 1;
            }
            Step::Lies(on, priority, size, start) => {
                let pod = lies(self.lying.len(), on, priority, size, start);
                self.lying.push(pod.clone());
                self.s.put_pod(pod, now);
            }
            Step::Goes(which) => self.s.remove_pod(&format!("l{which}"), now),
            Step::Started(which, start) => {
                if let Some(pod) = self.lying.get(which).filter(|pod| self.s.cache().pod(&pod.uid).is_some()) {
                    let start_time = Some(Time::from_second(start).unwrap());
                    self.s.put_pod(PodInfo { start_time, ..pod.clone() }, now);
                }
            }
            Step::Budget(disruptions_allowed) => self.s.put_budget(Budget {
                namespace: "default".into(),
                name: "b".into(),
                selector: LabelSelector::from_pairs([("app", "x")]),
                disruptions_allowed,
                disrupted_pods: [].into(),
            }),
            Step::Cordon(n, cordoned) => self.s.put_node(machine(n, cordoned), now),
            Step::Schedule(times) => (0..times).for_each(|_| self.schedule(now)),
            Step::Evict => {
                for (preemptor, victims) in std::mem::take(&mut self.victims) {
                    victims.iter().for_each(|victim| self.s.remove_pod(&victim.uid, now));
                    self.s.preempted(&preemptor, &victims, Ok(()), now);
                }
            }
        }
    }

    fn schedule(&mut self, now: Time) {
        let classes = self.s.progress.classes.as_ref();
        self.kept += classes.map_or(0, Classes::kept_more);
        match self.s.schedule_one(now) {
            Some(Outcome::Placed(placement)) => {
                self.told.push(format!("{} -> {}", placement.pod.name, placement.node()));
                self.s.bound(&placement, now);
            }
            Some(Outcome::Failed(failure)) => {
                self.told.push(format!("{}: {}", failure.pod.name, failure.message));
                for action in &failure.actions {
                    let Action::Preempt(preemption) = action else { continue };
                    let names: Vec<&str> = preemption.victims.iter().map(|victim| &*victim.name).collect();
                    self.told.push(format!("{names:?} leave {}", preemption.node));
                    self.victims.push((preemption.preemptor.clone(), preemption.victims.clone()));
                }
            }
            _ => {}
        }
    }
}

fn machine(n: usize, cordoned: bool) -> crate::object::Node {
    node(&format!("n{n}")).capacity(&[("cpu", "4"), ("memory", "8Gi"), ("pods", "10")]).cordoned(cordoned).build()
}

fn run(steps: &[Step], seed: u64, reuse_results: bool) -> (Vec<String>, usize) {
    let mut run = Run::new(seed, reuse_results);
    for (second, step) in steps.iter().enumerate() {
        run.step(step, Time::from_second(i64::try_from(second).unwrap()).unwrap());
    }
    (run.told, run.kept)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn room_is_made_where_it_would_be_anyway(steps in steps(), seed in 0_u64..1000) {
        prop_assert_eq!(run(&steps, seed, true).0, run(&steps, seed, false).0);
    }
}

/// A full cluster and a stream of pods of two kinds: what is kept is used, and victims go all the time.
#[test]
fn a_stream_of_preemptions_is_the_same_either_way() {
    let mut steps: Vec<Step> = (0..4 * NODES)
        .map(|n| Step::Lies(n % NODES, i32::try_from(n % 3).unwrap(), 0, i64::try_from(n % 5).unwrap()))
        .collect();
    steps.push(Step::Budget(1));
    for round in 0..60 {
        steps.extend([Step::Wants(round % 2), Step::Schedule(2), Step::Evict, Step::Schedule(2)]);
        if round % 10 == 0 {
            steps.extend([
                Step::Cordon(round / 10, true),
                Step::Started(round, 8),
                Step::Budget(i32::from(round > 30)),
            ]);
        }
    }
    let ((kept, uses), (plain, none)) = (run(&steps, 5, true), run(&steps, 5, false));
    assert_eq!(kept, plain);
    assert!(uses > 0 && none == 0, "what is kept was used {uses} times and {none} times");
    assert!(kept.iter().filter(|line| line.contains("leave")).count() > 20, "{kept:#?}");
}
