use super::*;
use crate::framework::Preemption;
use crate::plugins::default_profile;
use crate::schedule::{Failure, SchedulerConfig};
use crate::testing::{PodMaker, node, pod};

const NOW: Time = Time::UNIX_EPOCH;

fn filtering(name: &str) -> Extender {
    Extender { name: name.into(), filters: true, ..Extender::default() }
}

/// Three nodes of two cpus.
fn scheduler(extenders: Vec<Extender>) -> Scheduler {
    let config = SchedulerConfig { extenders, ..SchedulerConfig::default() };
    let mut s = Scheduler::new(config, vec![default_profile("default-scheduler").build().unwrap()]).unwrap();
    for name in ["a", "b", "c"] {
        s.put_node(node(name).capacity(&[("cpu", "2"), ("memory", "4Gi"), ("pods", "10")]).build(), NOW);
    }
    s
}

fn asks(name: &str, cpu: &str) -> PodMaker {
    pod(name).requests(&[("cpu", cpu)])
}

#[track_caller]
fn consulted(outcome: Option<Outcome>) -> Consultation {
    match outcome {
        Some(Outcome::Consult(consultation)) => *consultation,
        other => panic!("nobody is asked: {other:?}"),
    }
}

#[track_caller]
fn placed(outcome: Outcome) -> Box<Placement> {
    match outcome {
        Outcome::Placed(placement) => placement,
        other => panic!("not placed: {other:?}"),
    }
}

#[track_caller]
fn failed(outcome: Outcome) -> Box<Failure> {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("not failed: {other:?}"),
    }
}

fn names(names: &[&str]) -> Vec<Name> {
    names.iter().map(|name| Name::from(*name)).collect()
}

fn left(nodes: &[&str]) -> Answer {
    Answer::Filtered(Ok(Filtered { nodes: names(nodes), ..Filtered::default() }))
}

#[test]
fn each_is_asked_in_turn_about_what_is_left() {
    let ignorable = Extender { ignorable: true, ..filtering("last") };
    let scoring = Extender { prioritizes: true, weight: 5, ..filtering("scoring") };
    let mut s = scheduler(vec![ignorable, filtering("first"), scoring]);
    assert_eq!(s.extenders().iter().map(|own| own.name.as_str()).collect::<Vec<_>>(), ["first", "scoring", "last"]);
    s.put_pod(asks("p", "1").build(), NOW);
    let asked = consulted(s.schedule_one(NOW));
    assert!(matches!(&asked.question, Question::Filter { extender: 0, nodes } if nodes.len() == 3), "{asked:?}");
    let asked = consulted(Some(s.answer(asked, left(&["a", "b"]), NOW)));
    assert!(matches!(&asked.question, Question::Filter { extender: 1, nodes } if *nodes == names(&["a", "b"])));
    let asked = consulted(Some(s.answer(asked, left(&["a", "b"]), NOW)));
    assert!(matches!(&asked.question, Question::Filter { extender: 2, .. }));
    let asked = consulted(Some(s.answer(asked, Answer::Filtered(Err("down".into())), NOW)));
    assert!(
        matches!(&asked.question, Question::Prioritize { extenders, nodes } if *extenders == [1] && nodes.len() == 2)
    );
    let scores = vec![vec![("b".into(), 10), ("gone".into(), 10)]];
    let placement = placed(s.answer(asked, Answer::Prioritized(scores), NOW));
    assert_eq!((placement.node().as_str(), placement.feasible), ("b", 2));
}

#[test]
fn scores_are_weighed_against_those_of_plugins() {
    let scoring = |weight| Extender { name: "s".into(), prioritizes: true, weight, ..Extender::default() };
    for (weight, expected) in [(1, "b"), (30, "a")] {
        let mut s = scheduler(vec![scoring(weight)]);
        s.remove_node("c", NOW);
        s.put_pod(asks("x", "1900m").on("a").build(), NOW);
        s.put_pod(asks("p", "100m").build(), NOW);
        let asked = consulted(s.schedule_one(NOW));
        let scores = vec![vec![("a".into(), 1), ("b".into(), 0)]];
        let placement = placed(s.answer(asked, Answer::Prioritized(scores), NOW));
        assert_eq!(placement.node(), expected, "at weight {weight}");
    }
}

#[test]
fn what_fails_fails_the_pod_unless_it_can_be_ignored() {
    let mut s = scheduler(vec![filtering("f")]);
    s.put_pod(asks("p", "1").build(), NOW);
    let asked = consulted(s.schedule_one(NOW));
    let failure = failed(s.answer(asked, Answer::Filtered(Err("no answer".into())), NOW));
    assert_eq!((failure.reason, failure.message.as_str()), ("SchedulerError", "no answer"));

    let mut s = scheduler(vec![filtering("f")]);
    s.put_pod(asks("p", "1").build(), NOW);
    let asked = consulted(s.schedule_one(NOW));
    let failure = failed(s.answer(asked, left(&["elsewhere"]), NOW));
    let why = "extender \"f\" claims a filtered node \"elsewhere\" which is not found in the input node list";
    assert_eq!(failure.message, why);

    let mut s = scheduler(vec![filtering("f")]);
    s.put_pod(asks("p", "1").build(), NOW);
    let asked = consulted(s.schedule_one(NOW));
    let failure = failed(s.answer(asked, Answer::Prioritized(Vec::new()), NOW));
    assert!(failure.message.contains("is no answer to"), "{}", failure.message);
}

#[test]
fn reasons_are_told_and_any_event_gives_the_pod_another_try() {
    let mut s = scheduler(vec![filtering("f")]);
    s.put_pod(asks("p", "1").build(), NOW);
    let asked = consulted(s.schedule_one(NOW));
    let filtered = Filtered {
        failed: [("a".into(), "no licence".into()), ("b".into(), "no licence".into())].into(),
        unresolvable: [("b".into(), "too old".into()), ("c".into(), "too old".into())].into(),
        ..Filtered::default()
    };
    let failure = failed(s.answer(asked, Answer::Filtered(Ok(filtered)), NOW));
    assert!(failure.message.starts_with("0/3 nodes are available: 1 no licence, 2 too old."), "{}", failure.message);
    let queued = s.queue().get("p").unwrap();
    assert!(queued.unschedulable_plugins.contains("Extender"));
    let later = Time::from_second(60).unwrap();
    s.put_node(node("d").labels(&[("k", "v")]).build(), later);
    s.tick(later);
    assert!(matches!(s.schedule_one(later), Some(Outcome::Consult(_))));
}

#[test]
fn pods_that_are_none_of_their_business_pass_them_by() {
    let gpus = Extender { managed_resources: ["example.com/gpu".into()].into(), ..filtering("f") };
    let mut s = scheduler(vec![gpus]);
    s.put_pod(asks("p", "1").build(), NOW);
    assert!(matches!(s.schedule_one(NOW), Some(Outcome::Placed(_))));
}

#[test]
fn pods_and_nodes_may_go_while_they_are_asked() {
    let mut s = scheduler(vec![filtering("f")]);
    s.put_pod(asks("p", "1").build(), NOW);
    let asked = consulted(s.schedule_one(NOW));
    s.remove_pod("p", NOW);
    assert!(matches!(s.answer(asked, left(&["a"]), NOW), Outcome::Skipped { .. }));
    s.put_pod(asks("q", "1").build(), NOW);
    let asked = consulted(s.schedule_one(NOW));
    s.remove_node("a", NOW);
    assert!(failed(s.answer(asked, left(&["a"]), NOW)).message.starts_with("0/2 nodes are available"));
}

fn preempting(extender: Extender) -> (Scheduler, Consultation) {
    let mut s = scheduler(vec![extender]);
    for name in ["a", "b", "c"] {
        s.put_pod(asks(&format!("on-{name}"), "2").on(name).build(), NOW);
    }
    s.put_pod(asks("p", "2").priority(10).build(), NOW);
    let asked = consulted(s.schedule_one(NOW));
    (s, asked)
}

fn preemption(failure: &Failure) -> Option<&Preemption> {
    failure.actions.iter().find_map(|action| match action {
        Action::Preempt(preemption) => Some(preemption),
        _ => None,
    })
}

#[test]
fn they_look_at_who_is_to_be_preempted() {
    let looks = Extender { name: "f".into(), preempts: true, ..Extender::default() };
    let (mut s, asked) = preempting(looks.clone());
    assert!(matches!(&asked.question, Question::Preempt { extender: 0, candidates } if candidates.len() == 3));
    let only_b = Preempted { node: "b".into(), victims: names(&["on-b"]), budget_violations: 0 };
    let failure = failed(s.answer(asked, Answer::Preempted(Ok(vec![only_b])), NOW));
    assert_eq!(failure.nominated_node_name.as_deref(), Some("b"));
    assert_eq!(preemption(&failure).map(|own| own.victims.len()), Some(1));

    let (mut s, asked) = preempting(looks.clone());
    let failure = failed(s.answer(asked, Answer::Preempted(Ok(Vec::new())), NOW));
    assert!(preemption(&failure).is_none());
    assert!(failure.message.ends_with("preemption: no candidate node for preemption"), "{}", failure.message);

    let (mut s, asked) = preempting(looks.clone());
    let stranger = Preempted { node: "b".into(), victims: names(&["on-a"]), budget_violations: 0 };
    let failure = failed(s.answer(asked, Answer::Preempted(Ok(vec![stranger])), NOW));
    assert!(failure.message.contains("the pod is not found on that node"), "{}", failure.message);

    let ignorable = Extender { ignorable: true, ..looks };
    let (mut s, asked) = preempting(ignorable);
    let failure = failed(s.answer(asked, Answer::Preempted(Err("down".into())), NOW));
    assert!(preemption(&failure).is_some());
}

#[test]
fn one_may_bind() {
    let binds = Extender { name: "f".into(), binds: true, ..Extender::default() };
    for ignorable in [false, true] {
        let mut s = scheduler(vec![Extender { ignorable, ..binds.clone() }]);
        s.put_pod(asks("p", "1").build(), NOW);
        let Some(Outcome::Placed(placement)) = s.schedule_one(NOW) else { panic!("it fits") };
        let actions = s.binding(&placement).unwrap();
        let [Action::BindThrough { extender: 0, otherwise, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(matches!(otherwise.as_deref(), Some(Action::Bind { .. })), ignorable);
    }
}

/// Two members of a gang that needs both, of two cpus each; the first is the more important.
fn gang(extenders: Vec<Extender>) -> Scheduler {
    let config = SchedulerConfig { extenders, ..SchedulerConfig::default() };
    let gangs = Arc::new(crate::plugins::GangScheduling::new());
    let profile = default_profile("default-scheduler").with(gangs, 0).build().unwrap();
    let mut s = Scheduler::new(config, vec![profile]).unwrap();
    for name in ["a", "b", "c"] {
        s.put_node(node(name).capacity(&[("cpu", "2"), ("memory", "4Gi"), ("pods", "10")]).build(), NOW);
    }
    let group = serde_json::json!({"metadata": {"name": "g", "namespace": "default", "uid": "g"},
        "spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}});
    s.put_pod_group(serde_json::from_value(group).unwrap(), NOW);
    for (name, priority) in [("first", 5), ("second", 1)] {
        s.put_pod(asks(name, "2").group("g").priority(priority).build(), NOW);
    }
    s
}

fn rest(s: &mut Scheduler, first: Outcome) -> Vec<String> {
    let told = |outcome| match outcome {
        Outcome::Placed(placement) => format!("{} on {}", placement.pod.name, placement.node()),
        Outcome::Failed(failure) => format!("{}: {}", failure.pod.name, failure.message),
        Outcome::Group(tried) => format!("{}: {}", tried.name, tried.result.word()),
        Outcome::Skipped { pod, .. } => format!("{} is gone", pod.name),
        other => panic!("{other:?}"),
    };
    let mut all = vec![told(first)];
    all.extend(std::iter::from_fn(|| s.schedule_one(NOW)).map(told));
    all
}

#[test]
fn extenders_are_asked_about_each_member_of_a_gang() {
    let mut s = gang(vec![filtering("f")]);
    let asked = consulted(s.schedule_one(NOW));
    assert_eq!(asked.pod.name, "first");
    let asked = consulted(Some(s.answer(asked, left(&["a"]), NOW)));
    let Question::Filter { nodes, .. } = &asked.question else { panic!("{asked:?}") };
    let mut offered = nodes.clone();
    offered.sort();
    assert_eq!((asked.pod.name.as_str(), offered), ("second", names(&["b", "c"])), "the first has its node already");
    let outcome = s.answer(asked, left(&["c"]), NOW);
    assert_eq!(rest(&mut s, outcome), ["first on a", "second on c", "g: scheduled"]);
}

#[test]
fn an_extender_can_keep_a_gang_out() {
    let mut s = gang(vec![filtering("f")]);
    let asked = consulted(s.schedule_one(NOW));
    let asked = consulted(Some(s.answer(asked, left(&["a"]), NOW)));
    let outcome = s.answer(asked, left(&[]), NOW);
    let found = rest(&mut s, outcome);
    assert!(found[0].starts_with("first: pod group is unschedulable"), "{found:?}");
    assert_eq!((found.len(), found[2].as_str(), s.cache().pod_count()), (3, "g: unschedulable", 0));

    // One that fails and can't be ignored fails the group.
    let mut s = gang(vec![filtering("f")]);
    let asked = consulted(s.schedule_one(NOW));
    let asked = consulted(Some(s.answer(asked, left(&["a"]), NOW)));
    let outcome = s.answer(asked, Answer::Filtered(Err("down".into())), NOW);
    let found = rest(&mut s, outcome);
    let why = "failed to schedule other pod from a pod group: down";
    assert_eq!(found, [&format!("first: {why}"), "second: down", "g: error"]);
    assert_eq!(s.cache().pod_count(), 0);
}

#[test]
fn a_member_may_go_while_extenders_are_asked_about_it() {
    let mut s = gang(vec![filtering("f")]);
    let asked = consulted(s.schedule_one(NOW));
    let asked = consulted(Some(s.answer(asked, left(&["a"]), NOW)));
    s.remove_pod("second", NOW);
    let outcome = s.answer(asked, left(&["b"]), NOW);
    let found = rest(&mut s, outcome);
    assert_eq!((found[0].as_str(), found.len()), ("second is gone", 3));
    assert!(found[1].starts_with("first: pod group is unschedulable"), "{found:?}");
    assert_eq!(s.cache().pod_count(), 0);
}
