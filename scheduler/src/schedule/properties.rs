//! What must hold whatever happens.

use proptest::prelude::*;
use serde_json::json;

use kubewright_api::selector::LabelSelector;

use super::*;
use crate::object::{Time, Workload, WorkloadKind};
use crate::plugins::default_profile;
use crate::testing::{NodeMaker, PodMaker, node, pod};

/// How many kinds of pods there are.
const KINDS: usize = 17;

/// One thing that happens to a cluster.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Node(usize, usize),
    DropNode(usize),
    Pod(usize),
    DropPod(usize),
    Schedule(usize),
    Confirm,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0_usize..24, 0_usize..6).prop_map(|(name, kind)| Step::Node(name, kind)),
        1 => (0_usize..24).prop_map(Step::DropNode),
        5 => (0_usize..KINDS).prop_map(Step::Pod),
        1 => (0_usize..80).prop_map(Step::DropPod),
        4 => (1_usize..4).prop_map(Step::Schedule),
        1 => Just(Step::Confirm),
    ];
    proptest::collection::vec(step, 1..120)
}

pub(super) fn make_node(name: usize, kind: usize) -> NodeMaker {
    let cpu = ["2", "4", "8"][kind % 3];
    let made = node(&format!("n{name}")).capacity(&[("cpu", cpu), ("memory", "8Gi"), ("pods", "6")]);
    let made = made.labels(&[("zone", ["z1", "z2"][name % 2])]);
    let made = if name.is_multiple_of(3) { made } else { made.labels(&[("rack", ["r1", "r2", "r3", "r4"][name % 4])]) };
    let made = if name.is_multiple_of(5) { made.image("big:v1", 800 << 20) } else { made };
    match kind {
        3 => made.taints(&[("k", "v", "NoSchedule")]),
        4 => made.taints(&[("k", "v", "PreferNoSchedule")]),
        5 => made.cordoned(true),
        _ => made,
    }
}

pub(super) fn make_pod(number: usize, kind: usize) -> PodMaker {
    let made = pod(&format!("p{number}")).labels(&[("app", ["a", "b"][kind % 2])]);
    let far = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "a"}}}]}});
    let spread = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "b"}}});
    match kind {
        0 => made,
        1 => made.requests(&[("cpu", "500m"), ("memory", "1Gi")]),
        2 => made.requests(&[("cpu", "1")]).tolerates("k", "", None),
        3 => made.requests(&[("cpu", "1")]).priority(10),
        4 => made.requests(&[("cpu", "100m")]).host_ports(&["TCP/0.0.0.0/80"]),
        5 => made.requests(&[("cpu", "100m")]).node_selector(&[("zone", "z1")]),
        6 => made.requests(&[("cpu", "100m")]).affinity(far),
        7 => made.requests(&[("cpu", "100m")]).spread(&[spread]),
        9..=15 => make_sociable(made.requests(&[("cpu", "100m")]), kind),
        _ => made.requests(&[("cpu", "2"), ("memory", "2Gi")]),
    }
}

/// Pods that care where others are, or for other properties of many nodes.
fn make_sociable(made: PodMaker, kind: usize) -> PodMaker {
    let term = |key: &str, app: &str| json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}});
    let wish = |weight: i32, term: serde_json::Value| json!({"weight": weight, "podAffinityTerm": term});
    let spread = |key: &str, skew: i32, when: &str| {
        json!({"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when,
            "labelSelector": {"matchLabels": {"app": "a"}}})
    };
    match kind {
        9 => made
            .affinity(json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term("zone", "b")]}})),
        10 => made.affinity(json!({
            "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish(10, term("rack", "a"))]},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
                [wish(30, term("kubernetes.io/hostname", "a")), wish(7, term("zone", "b"))]},
        })),
        11 => {
            made.spread(&[spread("zone", 1, "ScheduleAnyway"), spread("kubernetes.io/hostname", 1, "ScheduleAnyway")])
        }
        12 => made.spread(&[spread("rack", 2, "DoNotSchedule"), spread("kubernetes.io/hostname", 1, "DoNotSchedule")]),
        13 => made.labels(&[("app", "served")]),
        14 => made.images(&["big:v1"]).affinity(json!({"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": {"matchExpressions":
                [{"key": "zone", "operator": "In", "values": ["z2"]}]}}]}})),
        _ => {
            let mut counted = spread("zone", 1, "DoNotSchedule");
            counted["nodeTaintsPolicy"] = json!("Honor");
            counted["minDomains"] = json!(2);
            made.spread(&[counted]).node_selector(&[("zone", "z1")])
        }
    }
}

/// Runs the steps, and tells for each decision what it was.
fn run(steps: &[Step], seed: u64, reuse_results: bool, mut check: impl FnMut(&Scheduler)) -> Vec<String> {
    let mut config = SchedulerConfig { seed, reuse_results, ..SchedulerConfig::default() };
    config.percentage_of_nodes_to_score = 50;
    let mut s = Scheduler::new(config, vec![default_profile("default-scheduler").build().unwrap()]).unwrap();
    s.put_workload(WorkloadKind::Service, served());
    let (mut decisions, mut pods, mut unconfirmed) = (Vec::new(), 0, Vec::new());
    for (second, step) in steps.iter().enumerate() {
        let now = Time::from_second(i64::try_from(second).unwrap()).unwrap();
        match step {
            Step::Node(name, kind) => s.put_node(make_node(*name, *kind).build(), now),
            Step::DropNode(name) => s.remove_node(&format!("n{name}"), now),
            Step::Pod(kind) => {
                s.put_pod(make_pod(pods, *kind).build(), now);
                pods += 1;
            }
            Step::DropPod(number) => s.remove_pod(&format!("p{number}"), now),
            Step::Schedule(times) => {
                for _ in 0..*times {
                    match s.schedule_one(now) {
                        Some(Outcome::Placed(placement)) => {
                            decisions.push(format!("{} -> {}", placement.pod.name, placement.node()));
                            unconfirmed.push(placement);
                        }
                        Some(Outcome::Failed(failure)) => {
                            decisions.push(format!("{}: {}", failure.pod.name, failure.message));
                        }
                        _ => {}
                    }
                }
            }
            Step::Confirm => {
                for placement in unconfirmed.drain(..) {
                    s.bound(&placement, now);
                    if s.cache().is_assumed(&placement.pod.uid) {
                        s.put_pod(placement.pod.clone(), now);
                    }
                }
            }
        }
        check(&s);
    }
    decisions
}

/// No node holds more than it has, no port is taken twice, and no pod is where its plugins don't want it. Nodes may
/// change under pods that are there already, so only the nodes that never change are looked at.
fn sound(s: &Scheduler) {
    for info in s.snapshot().nodes() {
        let sum: i64 = info.pods.iter().map(|pod| pod.spec.requests.cpu).sum();
        assert_eq!(info.requested.cpu, sum, "the books of {} are wrong", info.name());
        let grouped: u32 = info.groups.iter().map(|(_, count)| count).sum();
        assert_eq!(grouped as usize, info.pods.len(), "the groups of {} are wrong", info.name());
        let mut ports: Vec<_> = info.pods.iter().flat_map(|pod| &pod.spec.host_ports).collect();
        ports.sort();
        assert!(ports.windows(2).all(|two| two[0] != two[1]), "a port of {} is taken twice", info.name());
        let repelling = info.pods.iter().filter(|pod| !pod.spec.anti_affinity.is_empty()).count();
        let app_a = info.pods.iter().filter(|pod| pod.labels.get("app").is_some_and(|app| *app == "a")).count();
        assert!(repelling == 0 || app_a <= 1, "{} holds pods that want each other far", info.name());
    }
}

fn never_shrinks(steps: &[Step]) -> Vec<Step> {
    let mut kinds = std::collections::BTreeMap::new();
    let same_kind = |step: &Step| match step {
        Step::Node(name, kind) => {
            let first = *kinds.entry(*name).or_insert(*kind);
            Step::Node(*name, first)
        }
        other => other.clone(),
    };
    steps.iter().map(same_kind).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn results_used_again_change_nothing(steps in steps(), seed in 0_u64..1000) {
        prop_assert_eq!(run(&steps, seed, true, |_| {}), run(&steps, seed, false, |_| {}));
    }

    #[test]
    fn nothing_is_over_committed(steps in steps(), seed in 0_u64..1000) {
        run(&never_shrinks(&steps), seed, true, |s| {
            sound(s);
            for info in s.snapshot().nodes() {
                assert!(info.requested.cpu <= info.node.allocatable.cpu, "{} is over-committed", info.name());
                assert!(info.pods.len() <= 6, "{} has too many pods", info.name());
                assert!(info.pods.is_empty() || !info.node.unschedulable, "{} is cordoned", info.name());
            }
        });
    }

    #[test]
    fn the_same_seed_does_the_same(steps in steps(), seed in 0_u64..1000) {
        prop_assert_eq!(run(&steps, seed, true, |_| {}), run(&steps, seed, true, |_| {}));
    }
}

/// Many nodes and few kinds of pods: where reusing results pays, and where the window wraps around.
#[test]
fn results_used_again_change_nothing_at_scale() {
    let mut steps: Vec<Step> = (0..24).map(|n| Step::Node(n, n % 5)).collect();
    for round in 0..60 {
        steps.extend([Step::Pod(1), Step::Pod(2), Step::Pod(round % 9), Step::Schedule(3)]);
        if round % 7 == 0 {
            steps.extend([Step::DropPod(round), Step::Confirm]);
        }
    }
    assert_eq!(run(&steps, 7, true, sound), run(&steps, 7, false, sound));
    for kinds in [&[0, 1, 2, 8][..], &[6], &[7, 1], &[9, 10, 14], &[11, 12, 13], &[15, 10, 6, 7, 13, 3]] {
        assert!(big(true, kinds) == big(false, kinds), "160 nodes, of which 100 are enough; kinds {kinds:?}");
    }
}

/// A service, whose pods are spread by default.
fn served() -> Workload {
    Workload {
        namespace: "default".into(),
        name: "s".into(),
        selector: LabelSelector::from_pairs([("app".to_owned(), "served".to_owned())]),
    }
}

fn big(reuse_results: bool, kinds: &[usize]) -> Vec<String> {
    let now = Time::UNIX_EPOCH;
    let config = SchedulerConfig { seed: 3, reuse_results, ..SchedulerConfig::default() };
    let mut s = Scheduler::new(config, vec![default_profile("default-scheduler").build().unwrap()]).unwrap();
    s.put_workload(WorkloadKind::Service, served());
    for n in 0..160 {
        s.put_node(make_node(n, n % 4).build(), now);
    }
    for n in 0..260 {
        s.put_pod(make_pod(n, kinds[n % kinds.len()]).build(), now);
    }
    let next = || match s.schedule_one(now)? {
        Outcome::Placed(placement) => Some(format!("{} -> {}", placement.pod.name, placement.node())),
        Outcome::Failed(failure) => Some(format!("{}: {}", failure.pod.name, failure.message)),
        _ => None,
    };
    std::iter::from_fn(next).collect()
}
