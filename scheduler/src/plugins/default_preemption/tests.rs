use super::*;
use crate::framework::{Profile, ProfileBuilder};
use crate::object::Budget;
use crate::plugins::default_profile;
use crate::queue::Nominator;
use crate::random::Random;
use crate::testing::{NodeMaker, PodMaker, node, pod, snapshot};

fn nodes(names: &[&str]) -> Vec<NodeMaker> {
    names.iter().map(|name| node(name).capacity(&[("cpu", "4"), ("memory", "8Gi"), ("pods", "10")])).collect()
}

fn victim(name: &str, on: &str, priority: i32, cpu: &str) -> PodMaker {
    pod(name).on(on).priority(priority).requests(&[("cpu", cpu)])
}

struct Preempted {
    node: String,
    victims: Vec<String>,
    message: String,
}

fn preempt(names: &[&str], existing: Vec<PodMaker>, asked: PodMaker, budgets: Vec<Budget>) -> Preempted {
    let builder: ProfileBuilder = default_profile("default-scheduler");
    let profile: Profile = builder.build().unwrap();
    let mut cluster = snapshot(nodes(names), existing);
    budgets.into_iter().for_each(|budget| cluster.objects_mut().put_budget(budget));
    let pod = Arc::new(asked.build());
    let mut state = CycleState::new();
    assert!(profile.run_pre_filter(&mut state, &pod, &cluster).is_ok());
    let nominator = Nominator::default();
    let all: Vec<_> = cluster.nodes().collect();
    let diagnosis = profile.diagnose(&state, &pod, &all, &nominator);
    let context = PostFilterContext {
        profile: &profile,
        snapshot: &cluster,
        nominator: &nominator,
        statuses: &diagnosis.nodes,
        random: &mut Random::new(1),
        candidates_wanted: false,
        kept: None,
        places: &[],
    };
    let outcome = DefaultPreemption::default().post_filter(&state, &pod, context);
    let victims = outcome.actions.iter().flat_map(|action| match action {
        Action::Preempt(preemption) => preemption.victims.iter().map(|v| v.name.to_string()).collect(),
        _ => Vec::new(),
    });
    Preempted {
        node: outcome.nominated_node_name.clone().unwrap_or_default().to_string(),
        victims: victims.collect(),
        message: outcome.status.map(|status| status.message()).unwrap_or_default(),
    }
}

fn asks(cpu: &str) -> PodMaker {
    pod("p").priority(100).requests(&[("cpu", cpu)])
}

#[test]
fn the_least_important_victims_go() {
    let existing = vec![victim("low", "a", 1, "2"), victim("mid", "a", 10, "2")];
    let found = preempt(&["a"], existing, asks("2"), vec![]);
    assert_eq!((found.node.as_str(), found.victims), ("a", vec!["low".to_owned()]));
    let existing = vec![victim("low", "a", 1, "2"), victim("mid", "a", 10, "2")];
    let found = preempt(&["a"], existing, asks("4"), vec![]);
    assert_eq!(found.victims, ["mid", "low"]);
}

#[test]
fn the_node_with_the_least_harm_is_chosen() {
    let by_priority = vec![victim("a1", "a", 5, "4"), victim("b1", "b", 1, "4")];
    assert_eq!(preempt(&["a", "b"], by_priority, asks("2"), vec![]).node, "b");
    let by_sum = vec![
        victim("a1", "a", 5, "2"),
        victim("a2", "a", 4, "2"),
        victim("b1", "b", 5, "2"),
        victim("b2", "b", 1, "2"),
    ];
    assert_eq!(preempt(&["a", "b"], by_sum, asks("4"), vec![]).node, "b");
    let by_number = vec![victim("a1", "a", 5, "2"), victim("a2", "a", 5, "2"), victim("b1", "b", 5, "4")];
    assert_eq!(preempt(&["a", "b"], by_number, asks("4"), vec![]).node, "b");
    let by_start = vec![victim("a1", "a", 5, "4").started(100), victim("b1", "b", 5, "4").started(200)];
    assert_eq!(preempt(&["a", "b"], by_start, asks("4"), vec![]).node, "b");
}

#[test]
fn disruption_budgets_are_spared() {
    let budget = Budget {
        namespace: "default".into(),
        name: "b".into(),
        selector: kubewright_api::selector::LabelSelector::from_pairs([("app", "x")]),
        disruptions_allowed: 0,
        disrupted_pods: [].into(),
    };
    let existing = vec![victim("a1", "a", 1, "4").labels(&[("app", "x")]), victim("b1", "b", 50, "4")];
    assert_eq!(preempt(&["a", "b"], existing, asks("4"), vec![budget]).node, "b");
}

#[test]
fn nothing_helps_against_equals_and_hopeless_nodes() {
    let existing = vec![victim("a1", "a", 100, "4")];
    let found = preempt(&["a"], existing, asks("4"), vec![]);
    let reason = "1 No preemption victims found for incoming pod";
    assert_eq!(found.message, format!("preemption: 0/1 nodes are available: {reason}."));
    let found = preempt(&["a"], vec![victim("a1", "a", 1, "4")], asks("5"), vec![]);
    let reason = "1 Preemption is not helpful for scheduling";
    assert_eq!(found.message, format!("preemption: 0/1 nodes are available: {reason}."));
    assert_eq!((found.node.as_str(), found.victims.len()), ("", 0));
}

#[test]
fn some_pods_never_preempt() {
    let found = preempt(&["a"], vec![victim("a1", "a", 1, "4")], asks("4").never_preempts(), vec![]);
    assert_eq!(found.message, "preemption: not eligible due to preemptionPolicy=Never.");
}

#[test]
fn the_pods_that_repel_it_go() {
    let repelling = serde_json::json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}]}});
    let existing = vec![victim("foe", "a", 1, "1").affinity(repelling), victim("other", "a", 0, "1")];
    let found = preempt(&["a"], existing, asks("1").labels(&[("app", "x")]), vec![]);
    assert_eq!(found.victims, ["foe"]);
}
