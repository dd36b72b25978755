use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::framework::{Action, Preemption};
use crate::object::{PodGroup, Time};
use crate::plugins::{GangScheduling, default_profile};
use crate::testing::{PodMaker, node, pod};

fn at(second: i64) -> Time {
    Time::from_second(second).unwrap()
}

/// A scheduler with so many nodes of one cpu each.
fn with(plugin: GangScheduling, nodes: usize) -> Scheduler {
    let profile = default_profile("default-scheduler").with(Arc::new(plugin), 0).build().unwrap();
    let mut s = Scheduler::new(SchedulerConfig::default(), vec![profile]).unwrap();
    for n in 0..nodes {
        s.put_node(node(&format!("n{n}")).capacity(&[("cpu", "1"), ("pods", "10")]).build(), at(0));
    }
    s
}

fn scheduler(nodes: usize) -> Scheduler {
    with(GangScheduling::new(), nodes)
}

fn asks(name: &str) -> PodMaker {
    pod(name).requests(&[("cpu", "1")])
}

fn member(name: &str) -> PodMaker {
    asks(name).group("g")
}

fn put_members(s: &mut Scheduler, names: &[&str], priority: i32) {
    for name in names {
        s.put_pod(member(name).priority(priority).build(), at(0));
    }
}

fn group(min_count: usize) -> PodGroup {
    serde_json::from_value(json!({
        "metadata": {"name": "g", "namespace": "default", "uid": "of-g", "generation": 3},
        "spec": {"schedulingPolicy": {"gang": {"minCount": min_count}}, "priority": 100},
    }))
    .unwrap()
}

/// What is told, one line an outcome: what a placed pod's node is, what a failed one is told, and what the group is.
fn told(s: &mut Scheduler, now: Time) -> Vec<String> {
    let line = |outcome| match outcome {
        Outcome::Placed(placement) => format!("{} placed", placement.pod.name),
        Outcome::Failed(failure) => {
            let Failure { pod, message, nominated_node_name, actions, .. } = *failure;
            let node = nominated_node_name.filter(|node| !node.is_empty());
            let promised = node.map(|node| format!(" -> {node}")).unwrap_or_default();
            format!("{}{promised}{}: {message}", pod.name, who_goes(&actions))
        }
        Outcome::Group(tried) => {
            let condition = |action: &Action| match action {
                Action::UpdatePodGroupStatus { condition, .. } => Some(condition.reason),
                _ => None,
            };
            let reason = tried.actions.iter().find_map(condition).unwrap_or("nothing new");
            format!("{} {}{} ({reason}): {}", tried.name, tried.result.word(), who_goes(&tried.actions), tried.message)
        }
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(|| s.schedule_one(now)).map(line).collect()
}

fn preemption(actions: &[Action]) -> Option<&Preemption> {
    actions.iter().find_map(|action| match action {
        Action::Preempt(preemption) => Some(preemption),
        _ => None,
    })
}

fn who_goes(actions: &[Action]) -> String {
    let victims = preemption(actions).map(|own| own.victims.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>());
    victims.map(|names| format!(" without {}", names.join(" "))).unwrap_or_default()
}

#[test]
fn a_gang_waits_until_it_is_complete_and_goes_together() {
    let mut s = scheduler(3);
    s.put_pod(member("a").build(), at(0));
    assert!(s.schedule_one(at(0)).is_none(), "there is no group yet");
    s.put_pod_group(group(3), at(1));
    s.put_pod(member("b").build(), at(1));
    assert!(s.schedule_one(at(1)).is_none(), "one is missing");
    s.put_pod(member("c").build(), at(2));
    assert_eq!(told(&mut s, at(2)), ["a placed", "b placed", "c placed", "g scheduled (Scheduled): "]);
}

#[test]
fn a_gang_that_does_not_fit_takes_nothing() {
    let mut s = scheduler(2);
    s.put_pod_group(group(3), at(0));
    put_members(&mut s, &["a", "b", "c"], 0);
    let lines = told(&mut s, at(0));
    let waiting = "pod group is unschedulable, waiting for minCount pods from a gang to be scheduled, one or more plugins \
                   asked to wait and no plugin rejected pod";
    assert_eq!(lines[0], format!("a: {waiting}"));
    assert_eq!(lines[1], format!("b: {waiting}"));
    assert!(
        lines[2]
            .starts_with("c: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: "),
        "{}",
        lines[2]
    );
    assert_eq!(lines[3], "g unschedulable (Unschedulable): pod group is unschedulable");
    assert_eq!(s.cache().pod_count(), 0);
    s.put_node(node("n2").capacity(&[("cpu", "1"), ("pods", "10")]).build(), at(1));
    s.tick(at(20));
    assert_eq!(told(&mut s, at(20)).len(), 4, "with another node they all fit");
    assert_eq!(s.cache().pod_count(), 3);
}

#[test]
fn more_pods_of_a_gang_than_needed_go_as_far_as_there_is_room() {
    let mut s = scheduler(2);
    s.put_pod_group(group(2), at(0));
    put_members(&mut s, &["a", "b", "c"], 0);
    let lines = told(&mut s, at(0));
    assert_eq!((lines[0].as_str(), lines[1].as_str()), ("a placed", "b placed"));
    assert!(lines[2].starts_with("c: 0/2 nodes are available"), "{}", lines[2]);
    assert_eq!(lines[3], "g scheduled (Scheduled): ");
}

#[test]
fn a_group_without_a_minimum_is_no_gang() {
    let mut s = scheduler(1);
    s.put_pod_group(PodGroup { min_count: None, ..group(0) }, at(0));
    s.put_pod(member("a").build(), at(0));
    assert_eq!(told(&mut s, at(0)), ["a placed", "g scheduled (Scheduled): "]);
}

#[test]
fn what_a_group_says_of_itself_changes_only_for_the_better() {
    let known = |status: &str, reason: &str, message: &str| PodGroup {
        scheduled: serde_json::from_value(json!({"status": status, "reason": reason, "message": message})).unwrap(),
        ..group(3)
    };
    for (before, line) in [
        (known("True", "Scheduled", ""), "(nothing new): pod group is unschedulable"),
        (known("False", "Unschedulable", "pod group is unschedulable"), "(nothing new): pod group is unschedulable"),
        (known("False", "SchedulerError", "x"), "(Unschedulable): pod group is unschedulable"),
    ] {
        let mut s = scheduler(1);
        s.put_pod_group(before, at(0));
        put_members(&mut s, &["a", "b", "c"], 0);
        assert_eq!(told(&mut s, at(0)).pop().unwrap(), format!("g unschedulable {line}"));
    }
}

#[test]
fn pods_of_a_group_must_name_one_scheduler() {
    let profiles = ["default-scheduler", "other"].map(|name| {
        let profile = default_profile(name).with(Arc::new(GangScheduling::new()), 0);
        profile.build().unwrap()
    });
    let mut s = Scheduler::new(SchedulerConfig::default(), profiles.into()).unwrap();
    s.put_node(node("n").build(), at(0));
    s.put_pod_group(group(2), at(0));
    s.put_pod(member("a").build(), at(0));
    s.put_pod(member("b").scheduler("other").build(), at(0));
    let why = "all pods in a single pod group should have the same .spec.schedulerName set, \
               got: \"other\" and \"default-scheduler\"";
    assert_eq!(told(&mut s, at(0)), [format!("a: {why}"), format!("b: {why}")]);
}

#[test]
fn a_gang_waits_for_those_that_go_for_its_pods() {
    let mut s = scheduler(2);
    s.put_pod(asks("low").on("n1").build(), at(0));
    s.put_pod_group(group(2), at(0));
    put_members(&mut s, &["a", "b"], 10);
    let lines = told(&mut s, at(0));
    let waiting = "pod group is unschedulable, pod group is waiting for preemption to complete";
    assert_eq!(lines[0], format!("a -> n0: {waiting}"));
    assert!(lines[1].starts_with("b -> n1 without low: 0/2 nodes are available: 2 Insufficient cpu."), "{}", lines[1]);
    assert_eq!(lines[2], format!("g waiting_on_preemption (Unschedulable): {waiting}"));
    assert_eq!(s.cache().pod_count(), 1, "only the victim is on a node");
    let b = Arc::new(member("b").build());
    let low = Arc::new(asks("low").on("n1").build());
    s.remove_pod("low", at(1));
    s.preempted(&b, &[low], Ok(()), at(1));
    s.tick(at(20));
    assert_eq!(told(&mut s, at(20)), ["a placed", "b placed", "g scheduled (Scheduled): "]);
}

#[test]
fn nobody_goes_for_a_gang_that_does_not_fit_all_the_same() {
    let mut s = scheduler(2);
    s.put_pod(asks("low").on("n1").build(), at(0));
    s.put_pod_group(group(3), at(0));
    put_members(&mut s, &["a", "b", "c"], 10);
    let lines = told(&mut s, at(0));
    assert!(lines.iter().all(|line| !line.contains("without")), "{lines:?}");
    assert_eq!(
        lines[1],
        "b: pod group is unschedulable, waiting for minCount pods from a gang to be scheduled, one or more plugins asked to wait and no plugin rejected pod"
    );
    assert_eq!(lines[3], "g unschedulable (Unschedulable): pod group is unschedulable");
}

/// A scheduler that makes room for whole groups, with two of three nodes full.
fn crowded() -> Scheduler {
    let mut s = with(GangScheduling::making_room(), 3);
    s.put_pod(asks("low").priority(1).started(10).on("n0").build(), at(0));
    s.put_pod(asks("lower").on("n1").build(), at(0));
    s
}

#[test]
fn room_is_made_for_a_whole_gang_with_as_few_victims_as_do() {
    for (needed, goes) in [(2, " without lower"), (3, " without low lower")] {
        let mut s = crowded();
        s.put_pod_group(group(needed), at(0));
        put_members(&mut s, &["a", "b", "c"][..needed], 10);
        let lines = told(&mut s, at(0));
        let verdict = format!("g waiting_on_preemption{goes} (Unschedulable): pod group is unschedulable");
        assert_eq!(lines.last(), Some(&verdict));
        assert!(lines[1].ends_with("preemption: not eligible due to workload aware preemption enabled"), "{lines:?}");
        assert_eq!(s.cache().pod_count(), 2, "nothing is changed by trying");
        s.tick(at(60));
        assert!(s.schedule_one(at(60)).is_none(), "all of them wait for the victims to go");
        let victims: Vec<_> = ["lower", "low"][..needed - 1].iter().map(|name| Arc::new(asks(name).build())).collect();
        victims.iter().for_each(|victim| s.remove_pod(&victim.uid, at(60)));
        s.preempted(&Arc::new(member("a").build()), &victims, Ok(()), at(60));
        s.tick(at(80));
        assert_eq!(told(&mut s, at(80)).last().map(String::as_str), Some("g scheduled (Scheduled): "));
    }
}

#[test]
fn why_no_room_is_made_for_a_gang() {
    let none = "No preemption victims found for incoming preemptor";
    let again = "pod group is unschedulable";
    let topology = "workload aware preemption is not supported for pod groups with scheduling constraints";
    let cases = [
        (PodGroup { priority: 0, ..group(3) }, 3, none),
        (group(4), 4, again),
        (PodGroup { wants_topology: true, ..group(3) }, 3, topology),
    ];
    for (group, members, why) in cases {
        let mut s = crowded();
        s.put_pod_group(group, at(0));
        put_members(&mut s, &["a", "b", "c", "d"][..members], 10);
        let last = told(&mut s, at(0)).pop().unwrap();
        assert_eq!(last, format!("g unschedulable (Unschedulable): pod group is unschedulable, {why}"));
    }
    let mut s = crowded();
    s.put_pod_group(group(2), at(0));
    s.put_pod(member("a").priority(10).build(), at(0));
    s.put_pod(member("b").priority(10).never_preempts().build(), at(0));
    assert!(told(&mut s, at(0)).pop().unwrap().ends_with("not eligible due to preemptionPolicy=Never."));
}

#[test]
fn a_group_that_goes_as_one_goes_whole_or_not_at_all() {
    let mut s = with(GangScheduling::making_room(), 3);
    let whole: PodGroup = serde_json::from_value(json!({
        "metadata": {"name": "whole", "namespace": "default", "uid": "of-whole"},
        "spec": {"schedulingPolicy": {"basic": {}}, "disruptionMode": "PodGroup", "priority": 1},
    }))
    .unwrap();
    s.put_pod_group(whole, at(0));
    s.put_pod(asks("w1").group("whole").on("n0").build(), at(0));
    s.put_pod(asks("w2").group("whole").on("n1").build(), at(0));
    s.put_pod_group(group(2), at(0));
    put_members(&mut s, &["a", "b"], 10);
    let last = told(&mut s, at(0)).pop().unwrap();
    assert_eq!(last, "g waiting_on_preemption without w1 w2 (Unschedulable): pod group is unschedulable");
}

/// Nodes of plenty of cpu with so many devices each, and claims `c0`, `c1`, … that nobody has.
fn with_devices(nodes: usize, devices: usize, claims: usize) -> Scheduler {
    use DeviceChange::{PutClaim, PutClass, PutSlice};
    fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
        serde_json::from_value(value).unwrap()
    }
    let mut s = scheduler(0);
    s.change_devices(PutClass(read(json!({"metadata": {"name": "any"}}))), at(0));
    for n in 0..nodes {
        let name = format!("n{n}");
        s.put_node(node(&name).capacity(&[("cpu", "10"), ("pods", "10")]).build(), at(0));
        let devices: Vec<_> = (0..devices).map(|d| json!({"name": format!("d{d}")})).collect();
        let slice = json!({"metadata": {"name": name}, "spec": {"driver": "d", "nodeName": name, "devices": devices,
            "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}}});
        s.change_devices(PutSlice(read(slice)), at(0));
    }
    for c in 0..claims {
        let claim = json!({"metadata": {"name": format!("c{c}"), "namespace": "default", "uid": format!("c{c}")},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "any"}}]}}});
        s.change_devices(PutClaim(read(claim)), at(0));
    }
    s
}

fn claiming(name: &str, claim: &str) -> PodMaker {
    member(name).spec("resourceClaims", json!([{"name": "r", "resourceClaimName": claim}]))
}

fn pending(s: &Scheduler) -> Vec<bool> {
    ["c0", "c1", "c2"].map(|uid| s.snapshot().objects().devices.is_pending(&uid.into())).to_vec()
}

#[test]
fn a_gang_takes_its_devices_together_or_leaves_them() {
    let mut s = with_devices(1, 2, 3);
    s.put_pod_group(group(2), at(0));
    for (name, claim) in [("a", "c0"), ("b", "c1")] {
        s.put_pod(claiming(name, claim).build(), at(0));
    }
    assert_eq!(told(&mut s, at(0)), ["a placed", "b placed", "g scheduled (Scheduled): "]);
    assert_eq!(pending(&s), [true, true, false]);
    // With one device too few nothing is kept of what the first got.
    let mut s = with_devices(1, 1, 3);
    s.put_pod_group(group(2), at(0));
    for (name, claim) in [("a", "c0"), ("b", "c1")] {
        s.put_pod(claiming(name, claim).build(), at(0));
    }
    let found = told(&mut s, at(0));
    assert!(found[1].contains("cannot allocate all claims"), "{found:?}");
    assert!(found[2].starts_with("g unschedulable"), "{found:?}");
    assert_eq!((pending(&s), s.cache().pod_count()), (vec![false; 3], 0));
}

#[test]
fn a_claim_that_members_share_is_being_allocated_for_the_first() {
    let mut s = with_devices(1, 2, 1);
    s.put_pod_group(group(2), at(0));
    for name in ["a", "b"] {
        s.put_pod(claiming(name, "c0").build(), at(0));
    }
    let found = told(&mut s, at(0));
    assert!(found[1].contains("resource claim default/c0 is in the process of being allocated"), "{found:?}");
    assert!(found[2].starts_with("g unschedulable"), "{found:?}");
    assert_eq!((pending(&s), s.cache().pod_count()), (vec![false; 3], 0));
}

#[test]
fn a_gang_waits_for_claims_that_are_still_to_be_made() {
    let mut s = with_devices(1, 2, 2);
    s.put_pod_group(group(2), at(0));
    let templated =
        |name: &str| member(name).spec("resourceClaims", json!([{"name": "r", "resourceClaimTemplateName": "t"}]));
    s.put_pod(claiming("a", "c0").build(), at(0));
    s.put_pod(templated("b").build(), at(0));
    let found = told(&mut s, at(0));
    assert_eq!(found.len(), 2, "the one whose claim is missing is not tried: {found:?}");
    assert!(found[1].starts_with("g unschedulable"), "{found:?}");
    let made = json!({"metadata": {"name": "b-r", "namespace": "default", "uid": "b-r", "ownerReferences":
            [{"apiVersion": "v1", "kind": "Pod", "name": "b", "uid": "b", "controller": true}]},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "any"}}]}}});
    s.change_devices(DeviceChange::PutClaim(serde_json::from_value(made).unwrap()), at(1));
    let statuses = json!([{"name": "r", "resourceClaimName": "b-r"}]);
    s.put_pod(templated("b").status("resourceClaimStatuses", statuses).build(), at(1));
    assert_eq!(told(&mut s, at(1)).last().unwrap(), "g scheduled (Scheduled): ");
}
