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

/// The node that upstream's rules choose among nodes of 4 cpu: for each its victims as `priority/cpu/start`.
#[track_caller]
fn chosen(nodes: &[&[(i32, &str, i64)]], asked: &str, expected: &str) {
    let names: Vec<String> = (1..=nodes.len()).map(|number| format!("n{number}")).collect();
    let mut existing = Vec::new();
    for (name, victims) in names.iter().zip(nodes) {
        for (number, (priority, cpu, start)) in victims.iter().enumerate() {
            existing.push(victim(&format!("{name}-{number}"), name, *priority, cpu).started(*start));
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = preempt(&names, existing, asks(asked).priority(1000), vec![]);
    assert_eq!(found.node, expected, "{nodes:?}");
}

#[test]
fn what_weighs_most_decides_and_then_the_next() {
    let (low, mid, high) = (10, 100, 500);
    // The lowest highest priority.
    chosen(
        &[&[(mid, "1", 0), (mid, "3", 0)], &[(mid, "2", 0), (low, "2", 0)], &[(low, "2", 0), (low, "2", 0)]],
        "4",
        "n3",
    );
    // The lowest sum.
    chosen(
        &[&[(mid, "1", 0), (mid, "3", 0)], &[(mid, "3", 0), (low, "1", 0)], &[(mid, "2", 0), (mid, "2", 0)]],
        "4",
        "n2",
    );
    // The fewest, also where priorities are negative: a pod more weighs more than its priority takes away.
    let neg = -100;
    chosen(
        &[
            &[(mid, "1", 0), (neg, "1", 0), (mid, "1", 0), (neg, "1", 0)],
            &[(mid, "3", 0), (neg, "1", 0)],
            &[(mid, "2", 0), (neg, "1", 0), (low, "1", 0)],
        ],
        "4",
        "n2",
    );
    chosen(&[&[(mid, "2", 0), (neg, "1", 0), (neg, "1", 0)], &[(mid, "3", 0), (neg, "1", 0)]], "4", "n2");
    // All of it at once.
    chosen(
        &[
            &[(mid, "1", 0), (low, "1", 0), (low, "2", 0)],
            &[(high, "4", 0)],
            &[(mid, "1", 0), (low, "1", 0), (low, "1", 0), (low, "1", 0)],
            &[(mid, "2", 0), (mid, "2", 0)],
        ],
        "4",
        "n4",
    );
    // The latest start of the earliest of the most important.
    let started = |a: i64, b: i64| [(mid, "2", a), (mid, "2", b)];
    chosen(&[&started(2, 2), &started(3, 3), &started(1, 1)], "4", "n2");
    chosen(&[&started(4, 2), &started(5, 1), &started(3, 6)], "4", "n3");
    let mixed = |a: i64, b: i64| [(low, "2", a), (mid, "2", b)];
    chosen(&[&mixed(4, 2), &[(mid, "2", 6), (low, "2", 1)], &mixed(3, 5)], "4", "n2");
}

fn names_of(found: &Preempted) -> Vec<&str> {
    found.victims.iter().map(String::as_str).collect()
}

#[test]
fn as_many_as_can_stay_do() {
    let four = |cpus: [(&str, i32, &str, i64); 4]| -> Vec<PodMaker> {
        cpus.into_iter().map(|(name, priority, cpu, start)| victim(name, "a", priority, cpu).started(start)).collect()
    };
    // The more important stay first, of equals those that run longer.
    let found = preempt(
        &["a"],
        four([("a", 1, "1", 1), ("b", 5, "1", 1), ("c", 5, "1", 2), ("d", 7, "1", 1)]),
        asks("2"),
        vec![],
    );
    assert_eq!(names_of(&found), ["c", "a"]);
    // What asks for nothing is no use to anybody.
    let found = preempt(&["a"], vec![victim("none", "a", 1, "0"), victim("all", "a", 50, "4")], asks("1"), vec![]);
    assert_eq!(names_of(&found), ["all"]);
    // Equals and betters stay whatever happens.
    let mixed = || vec![victim("better", "a", 200, "1"), victim("equal", "a", 100, "1"), victim("lesser", "a", 1, "2")];
    assert_eq!(names_of(&preempt(&["a"], mixed(), asks("2"), vec![])), ["lesser"]);
    assert_eq!(preempt(&["a"], mixed(), asks("3"), vec![]).node, "");
    // Overhead counts.
    let heavy = asks("3").overhead(&[("cpu", "1")]);
    let found = preempt(&["a"], vec![victim("x", "a", 1, "1"), victim("y", "a", 2, "1")], heavy, vec![]);
    assert_eq!(names_of(&found), ["y", "x"]);
}

#[test]
fn spreading_may_be_what_is_in_the_way() {
    let labelled = |name: &str, on: &str, priority: i32| victim(name, on, priority, "1").labels(&[("app", "x")]);
    let constraint = serde_json::json!({"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "x"}}});
    let existing =
        vec![labelled("a1", "a", 1), labelled("a2", "a", 2), victim("full", "b", 200, "4"), labelled("b1", "c", 200)];
    let asked = asks("1").labels(&[("app", "x")]).spread(&[constraint]);
    // On a two of three would have to go, for b stays empty; c would have to have none.
    let found = preempt(&["a", "b", "c"], existing, asked, vec![]);
    assert_eq!((found.node.as_str(), names_of(&found)), ("a", vec!["a2", "a1"]));
}

fn budget(name: &str, labels: &[(&str, &str)], allowed: i32, disrupted: &[&str]) -> Budget {
    Budget {
        namespace: "default".into(),
        name: name.into(),
        selector: kubewright_api::selector::LabelSelector::from_pairs(labels.iter().copied()),
        disruptions_allowed: allowed,
        disrupted_pods: disrupted.iter().map(|name| Name::from(*name)).collect(),
    }
}

#[test]
fn whose_going_breaks_a_budget() {
    let of = |name: &str, labels: &[(&str, &str)]| Arc::new(pod(name).labels(labels).build());
    let foo: &[(&str, &str)] = &[("app", "foo")];
    let both: &[(&str, &str)] = &[("app", "foo"), ("tier", "backend")];
    let elsewhere = Arc::new(pod("p1").namespace("other").labels(foo).build());
    for (pods, budgets, expected) in [
        (vec![], vec![], vec![]),
        (vec![elsewhere], vec![budget("b", foo, 0, &[])], vec![]),
        (vec![of("p1", foo)], vec![budget("b", &[("app", "bar")], 0, &[])], vec![]),
        (vec![of("p1", foo)], vec![budget("b", foo, 1, &[])], vec![]),
        (vec![of("p1", foo)], vec![budget("b", foo, 0, &[])], vec!["p1"]),
        (vec![of("p1", foo), of("p2", foo)], vec![budget("b", foo, 1, &[])], vec!["p2"]),
        (vec![of("p1", foo), of("p2", foo)], vec![budget("b", foo, 2, &[])], vec![]),
        (vec![of("p1", foo)], vec![budget("b", foo, 0, &["p1"])], vec![]),
        (vec![of("p1", foo), of("p2", foo)], vec![budget("b", foo, 0, &["p1"])], vec!["p2"]),
        (vec![of("p1", foo)], vec![budget("b", &[], 0, &[])], vec![]),
        (vec![of("p1", &[])], vec![budget("b", foo, 0, &[])], vec![]),
        (vec![of("p1", both)], vec![budget("a", foo, 1, &[]), budget("b", &[("tier", "backend")], 0, &[])], vec!["p1"]),
    ] {
        let all = pods.len();
        let (violating, others) = split_by_budget(pods, budgets.iter());
        let names: Vec<&str> = violating.iter().map(|pod| pod.name.as_str()).collect();
        assert_eq!(names, expected, "{budgets:?}");
        assert_eq!(violating.len() + others.len(), all);
    }
}

#[test]
fn who_has_a_budget_stays_if_others_can_go() {
    let guarded = |name: &str, priority: i32| victim(name, "a", priority, "2").labels(&[("app", "x")]);
    let existing = || vec![guarded("guarded", 1), victim("free", "a", 50, "2")];
    let one = || vec![budget("b", &[("app", "x")], 0, &[])];
    assert_eq!(names_of(&preempt(&["a"], existing(), asks("2"), one())), ["free"]);
    assert_eq!(names_of(&preempt(&["a"], existing(), asks("4"), one())), ["free", "guarded"]);
    // One may go, and goes: of two that are guarded alike the lesser.
    let two = || vec![guarded("first", 5), guarded("second", 1)];
    assert_eq!(names_of(&preempt(&["a"], two(), asks("2"), vec![budget("b", &[("app", "x")], 1, &[])])), ["first"]);
}

#[test]
fn who_waits_for_victims_does_not_look_for_more() {
    let condition =
        serde_json::json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
    let going = |priority: i32| victim("going", "a", priority, "2").deleted();
    let promised = || asks("4").nominated("a");
    let full = |maker: PodMaker| vec![maker, victim("other", "a", 2, "2")];
    let waits = "preemption: not eligible due to a terminating pod on the nominated node.";
    let found = preempt(&["a"], full(going(1).status("conditions", condition.clone())), promised(), vec![]);
    assert_eq!((found.message.as_str(), found.victims.len()), (waits, 0));
    // Somebody who goes for another reason is not waited for, nor is one that is no lesser.
    assert_eq!(preempt(&["a"], full(going(1)), promised(), vec![]).node, "a");
    let found =
        preempt(&["a"], full(going(100).status("conditions", condition.clone())), asks("2").nominated("a"), vec![]);
    assert_eq!(names_of(&found), ["other"]);
    // Without a promise nobody is waited for.
    assert_eq!(preempt(&["a"], full(going(1).status("conditions", condition)), asks("4"), vec![]).node, "a");
}
