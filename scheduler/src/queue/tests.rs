//! The queues as upstream has them, case by case.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::framework::{ActionType, EventResource, Hint, Interest};
use crate::plugins::PrioritySort;
use crate::testing::{PodMaker, pod};

const NODE_LABEL: ClusterEvent = ClusterEvent::new(EventResource::Node, ActionType::UPDATE_NODE_LABEL);

pub(super) fn at(milliseconds: i64) -> Time {
    Time::from_millisecond(1_000_000_000 + milliseconds).unwrap()
}

pub(super) fn queue_of(config: QueueConfig, profile: QueueProfile) -> SchedulingQueue {
    let name = Name::from("default-scheduler");
    let profile = QueueProfile { name: name.clone(), ..profile };
    SchedulingQueue::new(config, Arc::new(PrioritySort), BTreeMap::from([(name, profile)]))
}

fn queue() -> SchedulingQueue {
    queue_of(QueueConfig::default(), QueueProfile::default())
}

fn patient() -> QueueConfig {
    QueueConfig { pop_from_backoff: false, ..QueueConfig::default() }
}

pub(super) fn made(maker: PodMaker) -> Arc<PodInfo> {
    Arc::new(maker.build())
}

fn queued(maker: PodMaker, rejected_by: &[&str]) -> QueuedPod {
    let mut queued = QueuedPod::new(made(maker), at(0), 0);
    queued.unschedulable_plugins = rejected_by.iter().map(|name| Name::from(*name)).collect();
    queued
}

fn names(mut pop: impl FnMut() -> Option<QueuedPod>) -> Vec<String> {
    std::iter::from_fn(|| pop().map(|queued| queued.pod.name.to_string())).collect()
}

/// Which queue a pod is in.
pub(super) fn whereabouts(queue: &SchedulingQueue, uid: &str) -> &'static str {
    match () {
        () if queue.active.get(uid).is_some() => "active",
        () if queue.backoff.get(uid).is_some() || queue.error_backoff.get(uid).is_some() => "backoff",
        () if queue.unschedulable.get(uid).is_some() => "unschedulable",
        () => "none",
    }
}

/// Tries a pod in vain.
pub(super) fn fail(queue: &mut SchedulingQueue, name: &str, rejected_by: &[&str], now: Time) {
    let mut queued = queue.pop_one(name, now).unwrap();
    queued.unschedulable_plugins = rejected_by.iter().map(|name| Name::from(*name)).collect();
    queue.add_unschedulable(queued, now);
}

#[test]
fn backoff_doubles_up_to_a_limit() {
    let (second, limit) = (Duration::from_secs(1), Duration::from_secs(32));
    for (unschedulable, errors, initial, most, expected) in [
        (0, 0, second, limit, None),
        (1, 0, second, limit, Some(second)),
        (5, 0, second * 3, second * 1000, Some(second * 48)),
        (16, 0, second, limit, Some(limit)),
        (5, 16, second, limit, Some(limit)),
        (3, 1, second, limit, Some(second)),
        (64, 0, second, Duration::from_secs(u32::MAX.into()), Some(Duration::from_secs(u32::MAX.into()))),
        (16, 0, Duration::ZERO, Duration::ZERO, None),
    ] {
        let config = QueueConfig { initial_backoff: initial, max_backoff: most, ..patient() };
        let mut one = queued(pod("p"), &["A"]);
        (one.unschedulable_count, one.consecutive_errors) = (unschedulable, errors);
        queue_of(config, QueueProfile::default()).set_backoff(&mut one);
        let waits = one.backoff_until.map(|until| Duration::try_from(until.duration_since(at(0))).unwrap());
        assert_eq!(waits, expected, "after {unschedulable} refusals and {errors} errors");
    }
}

#[test]
fn pods_of_one_second_leave_backoff_by_priority() {
    // When each failed, in milliseconds before now; all wait a second.
    let failed = [("a", 1, 0), ("b", 1, 1000), ("c", 2, 1999), ("d", 1, 2000), ("e", 2, 2000), ("f", 1, 3000)];
    for (early, expected) in [(true, ["f", "e", "c", "d"]), (false, ["f", "e", "d", "c"])] {
        let config = QueueConfig { pop_from_backoff: early, ..QueueConfig::default() };
        let mut queue = queue_of(config, QueueProfile::default());
        for (number, (name, priority, before)) in failed.into_iter().enumerate() {
            let mut one = queued(pod(name).priority(priority), &["A"]);
            (one.timestamp, one.unschedulable_count, one.sequence) = (at(-before), 1, number as u64);
            queue.set_backoff(&mut one);
            let sort = queue.sort.clone();
            queue.backoff.push(one.pod.uid.clone(), one, &|a, b| released_before(&*sort, a, b));
        }
        let released = std::cell::RefCell::new(Vec::new());
        while queue.backoff.peek().is_some_and(|queued| !moving::held_back(queued, at(0), early)) {
            let sort = queue.sort.clone();
            let one = queue.backoff.pop(&|a, b| released_before(&*sort, a, b)).unwrap();
            released.borrow_mut().push(one.pod.name.to_string());
        }
        assert_eq!(*released.borrow(), expected, "popped early: {early}");
        assert_eq!(queue.backoff.len(), 2);
    }
}

#[test]
fn only_what_was_rejected_leaves_backoff_early() {
    for (early, expected) in [(true, vec!["active", "rejected"]), (false, vec!["active"])] {
        let config = QueueConfig { pop_from_backoff: early, ..QueueConfig::default() };
        let mut queue = queue_of(config, QueueProfile::default());
        for name in ["rejected", "erred", "parked"] {
            queue.add(made(pod(name).priority(10)), at(0));
        }
        fail(&mut queue, "rejected", &["A"], at(0));
        fail(&mut queue, "erred", &[], at(0));
        fail(&mut queue, "parked", &["A"], at(0));
        // An event without interest of anybody moves nobody; a wildcard moves who is told.
        queue.on_event_where(ClusterEvent::TIMEOUT, &Object::Other, at(0), |pod| *pod.name == *"rejected");
        queue.add(made(pod("active").priority(1)), at(0));
        assert_eq!(
            ["rejected", "erred", "parked"].map(|name| whereabouts(&queue, name)),
            ["backoff", "backoff", "unschedulable"]
        );
        assert_eq!(names(|| queue.pop(at(0))), expected, "popped early: {early}");
    }
}

#[test]
fn the_important_and_then_the_oldest_come_first() {
    let mut queue = queue();
    for (name, priority) in [("low", 1), ("first", 5), ("high", 9), ("second", 5)] {
        queue.add(made(pod(name).priority(priority)), at(0));
    }
    assert_eq!(names(|| queue.pop(at(0))), ["high", "first", "second", "low"]);
}

fn with_interests(interests: Vec<(&str, Vec<Interest>)>) -> QueueProfile {
    let interests = interests.into_iter().map(|(name, all)| (Name::from(name), all)).collect();
    QueueProfile { interests, ..QueueProfile::default() }
}

#[test]
fn events_are_judged_by_who_rejected_the_pod() {
    let asked = Arc::new(AtomicUsize::new(0));
    let says = |event: ClusterEvent, hint: Hint| {
        let asked = asked.clone();
        let answer = move |_: &PodInfo, _: &Object| {
            asked.fetch_add(1, Ordering::Relaxed);
            hint
        };
        Interest::hinted(event.resource, event.action, answer)
    };
    let (queue, skip) = (Hint::Queue, Hint::Skip);
    let add = ClusterEvent::NODE_ADD;
    let other = || Object::Node(None, None);
    let pod_event = |name: &str| Object::Pod(None, Some(made(pod(name))));
    let any_add = ClusterEvent::new(EventResource::Any, ActionType::ADD);
    let any_update = ClusterEvent::new(EventResource::Node, ActionType::UPDATE);
    // Interests, who rejected, who told it to wait, the event and its object; what follows and how often was asked.
    let cases = [
        (vec![("A", says(ClusterEvent::ASSIGNED_POD_ADD, queue))], "A", "", add, other(), Strategy::Skip, 0),
        (vec![], "A", "", ClusterEvent::TIMEOUT, Object::Other, Strategy::AfterBackoff, 0),
        (vec![], "A", "", ClusterEvent::TIMEOUT, pod_event("p"), Strategy::AfterBackoff, 0),
        (vec![], "A", "", ClusterEvent::TIMEOUT, pod_event("other"), Strategy::Skip, 0),
        (vec![("A", says(add, skip))], "", "", add, other(), Strategy::AfterBackoff, 0),
        (
            vec![("A", says(add, queue)), ("B", says(add, queue)), ("C", says(add, queue)), ("D", says(add, skip))],
            "A C",
            "B",
            add,
            other(),
            Strategy::Immediately,
            2,
        ),
        (vec![("A", says(add, skip)), ("B", says(add, queue))], "A B", "", add, other(), Strategy::AfterBackoff, 2),
        (
            vec![("A", says(add, skip)), ("B", says(add, skip)), ("C", says(add, queue))],
            "A B",
            "",
            add,
            other(),
            Strategy::Skip,
            2,
        ),
        (vec![("A", says(any_update, queue))], "A", "", NODE_LABEL, other(), Strategy::AfterBackoff, 1),
        (vec![("A", says(any_add, queue))], "A", "", add, other(), Strategy::AfterBackoff, 1),
        (vec![("A", says(ClusterEvent::TIMEOUT, queue))], "A", "", NODE_LABEL, other(), Strategy::AfterBackoff, 1),
    ];
    for (number, (interests, rejected, pending, event, object, expected, times)) in cases.into_iter().enumerate() {
        asked.store(0, Ordering::Relaxed);
        let profile = with_interests(interests.into_iter().map(|(name, one)| (name, vec![one])).collect());
        let words = |text: &str| text.split_whitespace().map(Name::from).collect();
        let mut one = queued(pod("p"), &[]);
        (one.unschedulable_plugins, one.pending_plugins) = (words(rejected), words(pending));
        assert_eq!(profile.strategy(&one, event, &object), expected, "case {number}");
        assert_eq!(asked.load(Ordering::Relaxed), times, "case {number}");
    }
}

#[test]
fn what_happens_while_a_pod_is_tried_is_remembered() {
    let interests = || {
        with_interests(vec![
            ("A", vec![Interest::any(EventResource::Node, ActionType::ADD)]),
            ("B", vec![Interest::any(EventResource::AssignedPod, ActionType::DELETE)]),
        ])
    };
    // Events before and after the pod is popped; who rejects it, who tells it to wait; where it ends up.
    let (node, gone) = (ClusterEvent::NODE_ADD, ClusterEvent::ASSIGNED_POD_DELETE);
    for (before, after, rejected, pending, expected) in [
        (vec![], vec![], "A", "", "unschedulable"),
        (vec![node], vec![], "A", "", "unschedulable"),
        (vec![], vec![node], "A", "", "backoff"),
        (vec![], vec![gone], "A", "", "unschedulable"),
        (vec![], vec![gone, node], "A", "", "backoff"),
        (vec![], vec![gone], "A B", "", "backoff"),
        (vec![], vec![node], "", "A", "active"),
        (vec![], vec![node, gone], "A", "B", "active"),
        (vec![], vec![], "", "", "backoff"),
        (vec![], vec![ClusterEvent::TIMEOUT], "A", "", "backoff"),
    ] {
        let mut queue = queue_of(QueueConfig::default(), interests());
        queue.add(made(pod("p")), at(0));
        before.iter().for_each(|event| queue.on_event(*event, &Object::Other, at(0)));
        let mut popped = queue.pop(at(0)).unwrap();
        assert_eq!(queue.in_flight_events(), BTreeMap::from([("PodPopped".to_owned(), 1)]));
        after.iter().for_each(|event| queue.on_event(*event, &Object::Other, at(0)));
        assert_eq!(queue.in_flight_events().values().sum::<usize>(), 1 + after.len());
        let words = |text: &str| text.split_whitespace().map(Name::from).collect();
        (popped.unschedulable_plugins, popped.pending_plugins) = (words(rejected), words(pending));
        queue.add_unschedulable(popped, at(0));
        assert_eq!(whereabouts(&queue, "p"), expected, "{before:?} {after:?} {rejected}/{pending}");
        assert!(queue.in_flight_events().is_empty());
    }
}

#[test]
fn an_update_reaches_a_pod_wherever_it_waits() {
    let update = |hint: Hint| Interest::hinted(EventResource::UnscheduledPod, ActionType::UPDATE, move |_, _| hint);
    let profile = || with_interests(vec![("news", vec![update(Hint::Queue)]), ("none", vec![update(Hint::Skip)])]);
    let newer = || pod("p").labels(&[("new", "")]);
    // Who rejected it how long ago; nobody for one that was not tried yet.
    for (tried, milliseconds, expected) in [
        (None, 0, "active"),
        (Some(("news", false)), 0, "backoff"),
        (Some(("news", false)), 2001, "active"),
        (Some(("none", false)), 0, "unschedulable"),
        (Some(("none", true)), 0, "none"),
    ] {
        let mut queue = queue_of(QueueConfig::default(), profile());
        let old = made(pod("p"));
        if let Some((plugin, in_flight)) = tried {
            queue.add(old.clone(), at(0));
            match in_flight {
                true => drop(queue.pop(at(0))),
                false => fail(&mut queue, "p", &[plugin], at(0)),
            }
        }
        queue.update(&old, made(newer()), at(milliseconds));
        assert_eq!(whereabouts(&queue, "p"), expected, "{tried:?} after {milliseconds} ms");
        if let Some(queued) = queue.get("p") {
            assert!(queued.pod.labels.get("new").is_some());
        }
    }
    let mut queue = queue();
    queue.update(&made(pod("p")), made(pod("p").nominated("n")), at(0));
    assert_eq!(queue.nominator.node_of("p").map(Name::as_str), Some("n"));
}

#[test]
fn an_update_while_a_pod_is_tried_counts_when_it_comes_back() {
    let interest = Interest::any(EventResource::UnscheduledPod, ActionType::UPDATE_POD_TOLERATION);
    let tolerant = pod("p").spec("tolerations", serde_json::json!([{"key": "a", "operator": "Exists"}]));
    for (newer, expected) in [(tolerant, "backoff"), (pod("p").labels(&[("a", "b")]), "unschedulable")] {
        let mut queue = queue_of(QueueConfig::default(), with_interests(vec![("A", vec![interest.clone()])]));
        let old = made(pod("p"));
        queue.add(old.clone(), at(0));
        let mut popped = queue.pop(at(0)).unwrap();
        queue.update(&old, made(newer), at(0));
        popped.unschedulable_plugins = [Name::from("A")].into();
        queue.add_unschedulable(popped, at(0));
        assert_eq!(whereabouts(&queue, "p"), expected);
    }
}

#[test]
fn activation_finds_pods_wherever_they_wait() {
    let mut queue = queue();
    assert!(!queue.activate("p", at(0)), "nobody knows it");
    queue.add(made(pod("p")), at(0));
    assert!(!queue.activate("p", at(0)) && whereabouts(&queue, "p") == "active");
    fail(&mut queue, "p", &["A"], at(0));
    assert!(queue.activate("p", at(0)) && whereabouts(&queue, "p") == "active");
    fail(&mut queue, "p", &[], at(0));
    assert!(queue.activate("p", at(0)) && whereabouts(&queue, "p") == "active");
    // While it is tried, that is remembered.
    let mut popped = queue.pop(at(0)).unwrap();
    assert!(!queue.activate("p", at(0)) && !queue.activate("other", at(0)));
    popped.unschedulable_plugins = [Name::from("A")].into();
    queue.add_unschedulable(popped, at(0));
    assert_eq!(whereabouts(&queue, "p"), "backoff");
}

#[test]
fn a_pod_that_waits_too_long_is_tried_and_that_is_known() {
    let mut queue = queue();
    for (name, priority) in [("low", 1), ("high", 9)] {
        queue.add(made(pod(name).priority(priority)), at(0));
        fail(&mut queue, name, &["A"], at(0));
    }
    let limit = 5 * 60 * 1000;
    queue.flush(at(limit));
    assert_eq!(queue.lengths(), (0, 0, 2), "five minutes are not too long");
    queue.flush(at(limit + 1));
    assert_eq!(queue.lengths(), (2, 0, 0));
    let popped = queue.pop(at(limit + 1)).unwrap();
    assert_eq!((&*popped.pod.name, popped.flushed, popped.attempts), ("high", true, 2));
    let back = QueuedPod { unschedulable_plugins: [Name::from("A")].into(), ..popped };
    queue.add_unschedulable(back, at(limit + 1));
    assert!(!queue.get("high").unwrap().flushed, "it counts for one attempt");
}

#[test]
fn a_pod_that_fails_again_and_again_blocks_nobody() {
    let mut queue = queue();
    queue.add(made(pod("stubborn").priority(5)), at(0));
    fail(&mut queue, "stubborn", &["A"], at(0));
    queue.add(made(pod("newer").priority(5)), at(500));
    queue.on_event(ClusterEvent::TIMEOUT, &Object::Other, at(600));
    assert_eq!(names(|| queue.pop(at(600))), ["newer", "stubborn"]);
}

#[test]
fn promises_are_kept_by_node() {
    let mut queue = queue();
    let on = |queue: &SchedulingQueue, node: &str| -> Vec<String> {
        queue.nominator.on_node(node).iter().map(|pod| pod.name.to_string()).collect()
    };
    for name in ["a", "b"] {
        queue.add(made(pod(name).nominated("n1")), at(0));
    }
    queue.add(made(pod("c")), at(0));
    assert_eq!((on(&queue, "n1"), on(&queue, "n2")), (vec!["a".to_owned(), "b".to_owned()], vec![]));
    // Another node than the pod says, and one for a pod that says none.
    queue.nominator.add(made(pod("b").nominated("n1")), &"n5".into());
    queue.nominator.add(made(pod("c")), &"n2".into());
    assert_eq!([on(&queue, "n1"), on(&queue, "n5"), on(&queue, "n2")], [["a"], ["b"], ["c"]]);
    drop(queue.pop(at(0)));
    assert_eq!(on(&queue, "n1"), ["a"], "being tried changes nothing");
    queue.nominator.add(made(pod("c")), &"n4".into());
    assert_eq!((on(&queue, "n2"), on(&queue, "n4")), (vec![], vec!["c".to_owned()]));
    queue.remove("c");
    assert_eq!(queue.nominator.node_of("c"), None);
    queue.update(&made(pod("b").nominated("n1")), made(pod("b").nominated("n1").labels(&[("x", "y")])), at(0));
    assert_eq!(on(&queue, "n1"), ["a", "b"], "what the API server says counts");
    queue.update(&made(pod("b").nominated("n1")), made(pod("b")), at(0));
    assert_eq!(on(&queue, "n1"), ["a"], "it was taken back");
    queue.nominator.add(made(pod("b")), &"n7".into());
    queue.update(&made(pod("b")), made(pod("b").labels(&[("x", "y")])), at(0));
    assert_eq!(on(&queue, "n7"), ["b"], "the API server does not know of it yet");
    queue.nominator.add(made(pod("a")), &Name::default());
    assert_eq!(queue.nominator.node_of("a"), None, "an empty name takes a promise back");
}

#[test]
fn pods_of_gangs_come_back_by_backoff_alone() {
    for (places_gangs, expected) in [(true, "backoff"), (false, "unschedulable")] {
        let mut queue = queue_of(QueueConfig::default(), QueueProfile { places_gangs, ..QueueProfile::default() });
        let member = pod("p").spec("schedulingGroup", serde_json::json!({"podGroupName": "g"}));
        queue.add(made(member), at(0));
        fail(&mut queue, "p", &["A"], at(0));
        assert_eq!(whereabouts(&queue, "p"), expected);
        assert!(queue.pop(at(500)).is_none(), "not early");
        assert_eq!(queue.pop(at(2001)).is_some(), places_gangs);
    }
}
