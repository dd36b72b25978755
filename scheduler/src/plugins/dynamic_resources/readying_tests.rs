//! Devices that must be made ready, and devices asked for as extended resources.

use serde_json::{Value, json};

use super::*;
use crate::framework::{Code, NodeStatuses, PostFilterContext};
use crate::object::{DeviceId, RequestMapping, Time};
use crate::plugins::default_profile;
use crate::queue::Nominator;
use crate::random::Random;
use crate::schedule::{DeviceChange, Outcome, Scheduler, SchedulerConfig};
use crate::testing::{PodMaker, node, pod};

const PATIENCE: i64 = 600;

fn at(second: i64) -> Time {
    Time::from_second(second).unwrap()
}

fn object<T: for<'de> serde::Deserialize<'de>>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Two nodes; the devices `plain` and `slow`, which must be made ready, can be used from both.
fn scheduler() -> Scheduler {
    let profile = default_profile("default-scheduler").build().unwrap();
    let mut s = Scheduler::new(SchedulerConfig::default(), vec![profile]).unwrap();
    s.put_node(node("n1").build(), at(0));
    s.put_node(node("n2").build(), at(0));
    let class = json!({"metadata": {"name": "gpu", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"extendedResourceName": "example.com/gpu", "config": [{"opaque": {"driver": "d", "parameters": {}}}]}});
    s.change_devices(DeviceChange::PutClass(object(class)), at(0));
    let slice = |pool: &str, device: Value| {
        json!({"metadata": {"name": pool}, "spec": {"driver": "d", "allNodes": true, "devices": [device],
            "pool": {"name": pool, "generation": 1, "resourceSliceCount": 1}}})
    };
    let slow = json!({"name": "slow", "bindsToNode": true, "bindingConditions": ["attached", "ready"],
        "bindingFailureConditions": ["broken"]});
    s.change_devices(DeviceChange::PutSlice(object(slice("a-slow", slow))), at(0));
    s.change_devices(DeviceChange::PutSlice(object(slice("plain", json!({"name": "plain"})))), at(0));
    s
}

fn claim(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {"devices": {
        "requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}],
        "config": [{"requests": ["r"], "opaque": {"driver": "d", "parameters": {"x": 1}}},
            {"requests": ["other"], "opaque": {"driver": "d", "parameters": {"x": 2}}}]}}})
}

/// A claim that got the slow device at second 0, with these conditions that hold.
fn readied(holding: &[&str]) -> Value {
    let mut claim = claim("c");
    let conditions: Vec<Value> = holding
        .iter()
        .map(|kind| json!({"type": kind, "status": "True", "reason": "Because", "message": "it \"is\""}))
        .collect();
    claim["status"] = json!({
        "allocation": {"allocationTimestamp": at(0).to_string(), "devices": {"results": [{"request": "r",
            "driver": "d", "pool": "a-slow", "device": "slow", "bindingConditions": ["attached", "ready"],
            "bindingFailureConditions": ["broken"]}]}},
        "devices": [{"driver": "d", "pool": "a-slow", "device": "slow", "conditions": conditions}]});
    claim
}

fn asks(claim: &str) -> PodMaker {
    pod(&format!("of-{claim}")).spec("resourceClaims", json!([{"name": "gpus", "resourceClaimName": claim}]))
}

/// What binding the next pod takes, or why it goes nowhere and what is done about that.
fn next(s: &mut Scheduler, now: Time) -> Result<Vec<Action>, (String, Vec<Action>)> {
    match s.schedule_one(now) {
        Some(Outcome::Placed(placement)) => Ok(s.binding(&placement).unwrap()),
        Some(Outcome::Failed(failure)) => Err((failure.message, failure.actions)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn devices_that_must_be_made_ready_are_taken_last_and_waited_for() {
    let mut s = scheduler();
    for (name, device, waits) in [("first", "plain", false), ("second", "slow", true)] {
        s.change_devices(DeviceChange::PutClaim(object(claim(name))), at(0));
        s.put_pod(asks(name).build(), at(0));
        let actions = next(&mut s, at(0)).unwrap();
        let Action::ReserveDevices { allocation: Some(allocation), .. } = &actions[0] else { panic!("{actions:?}") };
        assert_eq!(allocation.devices[0].id.device, device);
        assert_eq!(allocation.nodes.is_some(), waits, "it binds to its node");
        let of_class = json!({"opaque": {"driver": "d", "parameters": {}}, "source": "FromClass", "requests": ["r"]});
        let own = json!({"opaque": {"driver": "d", "parameters": {"x": 1}}, "source": "FromClaim", "requests": ["r"]});
        assert_eq!(allocation.config, [of_class, own]);
        assert_eq!(actions.iter().any(|action| matches!(action, Action::AwaitDevices { .. })), waits);
    }
}

#[test]
fn when_devices_are_ready_and_when_they_will_not_be() {
    let of = |holding: &[&str]| object::<DeviceClaim>(readied(holding));
    assert_eq!(of(&["attached", "ready"]).is_ready(), Ok(true));
    assert_eq!(of(&["attached"]).is_ready(), Ok(false));
    let mut untold = of(&["attached", "ready"]);
    untold.conditions.clear();
    assert_eq!(untold.is_ready(), Ok(false));
    let why = "device binding failed: claim=c, reason=Because, message=\"it \\\"is\\\"\"";
    assert_eq!(of(&["attached", "ready", "broken"]).is_ready(), Err(why.to_owned()));
    let patience = Duration::from_secs(PATIENCE.unsigned_abs());
    assert!(!of(&[]).is_overdue(patience, at(PATIENCE)));
    assert!(of(&[]).is_overdue(patience, at(PATIENCE + 1)));
    assert!(!object::<DeviceClaim>(claim("c")).is_overdue(patience, at(PATIENCE + 1)), "it has no devices");
}

#[test]
fn devices_that_do_not_become_ready_are_given_back() {
    for (holding, now, reserved, fits) in [
        (&["attached", "ready"][..], 2 * PATIENCE, "", true),
        (&["attached"], PATIENCE, "", true),
        (&["attached"], 2 * PATIENCE, "", false),
        (&["attached", "broken"], 1, "of-c", false),
        (&["attached", "broken"], 1, "another", false),
    ] {
        let mut s = scheduler();
        let mut claim = readied(holding);
        if !reserved.is_empty() {
            claim["status"]["reservedFor"] = json!([{"resource": "pods", "name": reserved, "uid": reserved}]);
        }
        s.change_devices(DeviceChange::PutClaim(object(claim)), at(0));
        s.put_pod(asks("c").build(), at(0));
        let outcome = next(&mut s, at(now));
        if fits {
            assert!(outcome.is_ok(), "{holding:?} at {now}: {outcome:?}");
            continue;
        }
        let (message, actions) = outcome.unwrap_err();
        let freed = actions.iter().any(|action| matches!(action, Action::FreeDevices { .. }));
        assert_eq!(freed, reserved != "another", "{holding:?} at {now}");
        let then = if freed { "deallocation of ResourceClaim completed" } else { "still not schedulable" };
        let why = format!("0/2 nodes are available: 2 resourceclaim not available on the node. {then}, preemption: ");
        assert!(message.starts_with(&why), "{message}");
    }
}

fn wants(name: &str, resource: &str, amount: &str) -> PodMaker {
    pod(name).requests(&[(resource, amount)])
}

#[test]
fn extended_resources_are_met_by_devices_of_their_class() {
    for resource in ["example.com/gpu", "deviceclass.resource.kubernetes.io/gpu"] {
        let mut s = scheduler();
        s.put_pod(wants("p", resource, "1").build(), at(0));
        s.put_pod(wants("q", resource, "1").build(), at(1));
        s.put_pod(wants("r", resource, "1").build(), at(2));
        for name in ["plain", "slow"] {
            let actions = next(&mut s, at(2)).unwrap();
            let Action::MakeDeviceClaim { devices, allocation, .. } = &actions[0] else { panic!("{actions:?}") };
            assert_eq!(allocation.devices[0].id.device, name);
            let request: Name = "container-0-request-0".into();
            let mapping = RequestMapping { container: "c".into(), resource: resource.into(), request };
            assert_eq!((devices.requests[0].class.as_str(), &devices.mappings), ("gpu", &vec![mapping]));
        }
        let (message, _) = next(&mut s, at(2)).unwrap_err();
        let why = "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: ";
        assert!(message.starts_with(why), "{message}");
    }
}

#[test]
fn a_node_that_offers_the_resource_itself_needs_no_devices() {
    let mut s = scheduler();
    let plugin_node = node("n3").capacity(&[("cpu", "1"), ("pods", "10"), ("example.com/gpu", "2")]);
    s.put_node(plugin_node.labels(&[("own", "yes")]).build(), at(0));
    s.put_pod(wants("p", "example.com/gpu", "2").node_selector(&[("own", "yes")]).build(), at(0));
    let actions = next(&mut s, at(0)).unwrap();
    assert!(matches!(&actions[..], [Action::Bind { node, .. }] if node == "n3"), "{actions:?}");
    s.put_pod(wants("q", "example.com/gpu", "1").node_selector(&[("own", "yes")]).build(), at(0));
    let (message, _) = next(&mut s, at(0)).unwrap_err();
    assert!(message.contains("1 Insufficient example.com/gpu"), "{message}");
}

#[test]
fn a_resource_becomes_devices_when_its_class_is_made() {
    let mut s = scheduler();
    s.put_pod(wants("p", "example.com/nic", "1").build(), at(0));
    let (message, _) = next(&mut s, at(0)).unwrap_err();
    assert!(message.contains("2 Insufficient example.com/nic"), "{message}");
    let class = |name: &str, made: &str| {
        let made = json!({"name": name, "creationTimestamp": made});
        object(json!({"metadata": made, "spec": {"extendedResourceName": "example.com/nic"}}))
    };
    s.change_devices(DeviceChange::PutClass(class("older", "2026-01-01T00:00:00Z")), at(1));
    s.change_devices(DeviceChange::PutClass(class("newer", "2026-02-01T00:00:00Z")), at(1));
    s.change_devices(DeviceChange::PutClass(class("a-third", "2026-02-01T00:00:00Z")), at(1));
    let actions = next(&mut s, at(20)).unwrap();
    let Action::MakeDeviceClaim { devices, .. } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(devices.requests[0].class, "a-third", "the newest counts, of those the first by name");
}

#[test]
fn a_claim_left_behind_goes_before_the_pod_is_tried_again() {
    let mut s = scheduler();
    let mut left = claim("left");
    left["metadata"]["annotations"] = json!({DeviceClaim::EXTENDED: "true"});
    left["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    s.change_devices(DeviceChange::PutClaim(object(left)), at(0));
    s.put_pod(wants("p", "example.com/gpu", "1").build(), at(0));
    let (message, actions) = next(&mut s, at(0)).unwrap_err();
    let why = "0/2 nodes are available: 2 cannot schedule extended resource claim. deletion of ResourceClaim completed";
    assert!(message.starts_with(why), "{message}");
    assert!(actions.iter().any(|action| matches!(action, Action::RemoveDeviceClaim { claim } if claim.name == "left")));
    s.change_devices(DeviceChange::RemoveClaim("default".into(), "left".into()), at(1));
    assert!(next(&mut s, at(20)).is_ok(), "its going is news");
}

#[test]
fn what_is_promised_to_a_pod_is_free_again_when_it_goes_or_its_claim_came() {
    let mut s = scheduler();
    let in_use = |s: &Scheduler| {
        s.snapshot().objects().devices.is_in_use(&DeviceId {
            driver: "d".into(),
            pool: "plain".into(),
            device: "plain".into(),
        })
    };
    s.put_pod(wants("p", "example.com/gpu", "1").build(), at(0));
    next(&mut s, at(0)).unwrap();
    assert!(in_use(&s));
    s.remove_pod("p", at(1));
    assert!(!in_use(&s));
    s.put_pod(wants("q", "example.com/gpu", "1").build(), at(2));
    next(&mut s, at(2)).unwrap();
    let mut made = claim("q-extended-resources-1");
    made["metadata"]["annotations"] = json!({DeviceClaim::EXTENDED: "true"});
    made["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "q", "controller": true}]);
    made["status"]["allocation"]["devices"]["results"] =
        json!([{"request": "container-0-request-0", "driver": "d", "pool": "plain", "device": "plain"}]);
    s.change_devices(DeviceChange::PutClaim(object(made)), at(3));
    assert!(in_use(&s));
    s.change_devices(DeviceChange::RemoveClaim("default".into(), "q-extended-resources-1".into()), at(4));
    assert!(!in_use(&s), "it is counted once");
}

#[test]
fn a_pod_without_claims_has_nothing_to_give_back() {
    let (s, plugin) = (scheduler(), DynamicResources::default());
    let profile = default_profile("x").build().unwrap();
    let context = PostFilterContext {
        profile: &profile,
        snapshot: s.snapshot(),
        nominator: &Nominator::default(),
        statuses: &NodeStatuses::default(),
        random: &mut Random::new(0),
        candidates_wanted: false,
        kept: None,
        places: &[],
    };
    let outcome = plugin.post_filter(&CycleState::new(), &Arc::new(pod("p").build()), context);
    let status = outcome.status.unwrap();
    assert_eq!((status.code(), status.message().as_str()), (Code::Unschedulable, "no new claims to deallocate"));
}
