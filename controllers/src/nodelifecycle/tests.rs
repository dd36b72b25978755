//! Nodes that fall silent and come back.

use serde_json::json;

use crate::manager::Config;
use crate::nodelifecycle;
use crate::objects::{Node, Pod, condition, kinds};
use crate::tainteviction;
use crate::world::World;

fn world(nodes: usize) -> World {
    let config = Config { node_eviction_rate: 1.0, ..Config::default() };
    let mut world = World::configured(&[nodelifecycle::make, tainteviction::make], &config);
    for n in 0..nodes {
        let ready = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": world.now}]);
        world.add(
            kinds::NODE,
            json!({"metadata": {"name": format!("n{n}")}, "spec": {}, "status": {"conditions": ready}}),
        );
        world.add(kinds::LEASE, json!({"metadata": {"name": format!("n{n}"), "namespace": "kube-node-lease"}, "spec": {"renewTime": world.now}}));
    }
    world.settle();
    world
}

/// Lets time pass in which all nodes but the first few renew their leases.
fn pass(world: &mut World, seconds: i64, silent: usize) {
    for _ in 0..seconds / 5 {
        for lease in world.all(kinds::LEASE).iter().skip(silent) {
            let name = lease["metadata"]["name"].as_str().unwrap().to_owned();
            let now = world.now;
            world.change(kinds::LEASE, "kube-node-lease", &name, json!({"spec": {"renewTime": now.to_micro_string()}}));
        }
        world.advance(5);
    }
}

fn pod(world: &mut World, name: &str, node: &str, seconds: Option<i64>) {
    let tolerations = seconds.map(|seconds| {
        json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}])
    });
    let ready = json!([{"type": "Ready", "status": "True"}]);
    world.add(
        kinds::POD,
        json!({
            "metadata": {"name": name}, "spec": {"nodeName": node, "tolerations": tolerations},
            "status": {"phase": "Running", "conditions": ready},
        }),
    );
}

fn node(world: &World, n: usize) -> Node {
    world.list::<Node>().remove(n)
}

fn taints(world: &World, n: usize) -> Vec<String> {
    node(world, n)
        .spec
        .taints
        .iter()
        .map(|taint| format!("{}:{:?}", taint.key.rsplit('/').next().unwrap(), taint.effect))
        .collect()
}

fn pods(world: &World) -> Vec<String> {
    world.list::<Pod>().into_iter().filter(Pod::active).map(|pod| pod.metadata.name).collect()
}

#[test]
fn a_silent_node_is_given_up_and_taken_back() {
    let mut world = world(3);
    pod(&mut world, "waits", "n0", Some(30));
    pod(&mut world, "leaves", "n0", None);
    pod(&mut world, "elsewhere", "n1", None);
    pass(&mut world, 50, 1);
    assert!(taints(&world, 0).is_empty());
    pass(&mut world, 10, 1);
    let ready = condition(&node(&world, 0).status.conditions, "Ready").cloned().unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("Unknown", "NodeStatusUnknown"));
    assert_eq!(taints(&world, 0), ["unreachable:NoSchedule", "unreachable:NoExecute"]);
    assert_eq!(pods(&world), ["elsewhere", "waits"]);
    assert!(!world.list::<Pod>().iter().find(|pod| pod.metadata.name == "waits").unwrap().ready());
    pass(&mut world, 30, 1);
    assert_eq!(pods(&world), ["elsewhere"]);
    assert!(world.events.iter().any(|event| event == "TaintManagerEviction Marking for deletion Pod default/waits"));
    let back = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": world.now}]);
    world.change(kinds::NODE, "", "n0", json!({"status": {"conditions": back}}));
    pass(&mut world, 10, 0);
    assert!(taints(&world, 0).is_empty());
    world.assert_settled();
}

#[test]
fn if_all_are_silent_nobody_is_given_up() {
    let mut world = world(3);
    pod(&mut world, "stays", "n0", None);
    pass(&mut world, 120, 3);
    assert_eq!(taints(&world, 0), ["unreachable:NoSchedule"]);
    assert_eq!(pods(&world), ["stays"]);
}

#[test]
fn a_node_that_says_it_is_not_ready_is_tainted_so() {
    let mut world = world(3);
    let not_ready = json!([{"type": "Ready", "status": "False", "lastHeartbeatTime": world.now}, {"type": "DiskPressure", "status": "True"}]);
    world.change(kinds::NODE, "", "n0", json!({"status": {"conditions": not_ready}}));
    pass(&mut world, 10, 0);
    assert_eq!(taints(&world, 0), ["not-ready:NoSchedule", "disk-pressure:NoSchedule", "not-ready:NoExecute"]);
    assert!(world.events.iter().any(|event| event == "NodeNotReady Node n0 status is now: NodeNotReady"));
    world.assert_settled();
}

#[test]
fn a_cordoned_node_is_tainted_until_it_is_uncordoned() {
    let mut world = world(1);
    world.change(kinds::NODE, "", "n0", json!({"spec": {"unschedulable": true}}));
    world.settle();
    assert_eq!(taints(&world, 0), ["unschedulable:NoSchedule"]);
    world.change(kinds::NODE, "", "n0", json!({"spec": {"unschedulable": false}}));
    world.settle();
    assert!(taints(&world, 0).is_empty());
}

#[test]
fn zones_slow_evictions_down() {
    use super::{Limits, ZoneState};
    let limits = Limits::of(&Config::default());
    for (ready, not_ready, size, state, rate) in [
        (10, 0, 10, ZoneState::Normal, 0.1),
        (1, 2, 3, ZoneState::Normal, 0.1),
        (2, 3, 5, ZoneState::PartialDisruption, 0.0),
        (20, 60, 80, ZoneState::PartialDisruption, 0.01),
        (0, 3, 3, ZoneState::FullDisruption, 0.1),
    ] {
        let found = ZoneState::of(ready, not_ready, &limits);
        assert_eq!((found, found.rate(size, &limits)), (state, rate));
    }
}
