//! Which events are news for pods that plugins rejected.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::framework::{ActionType, ClusterEvent, EventResource, Hint, Object, Plugin};
use crate::testing::{NodeMaker, PodMaker, node, pod};

/// Whether an event is news for a pod that the plugin rejected.
fn news(plugin: &dyn Plugin, resource: EventResource, action: ActionType, waiting: &PodMaker, object: &Object) -> bool {
    let (event, waiting) = (ClusterEvent::new(resource, action), waiting.clone().build());
    plugin.events().iter().any(|interest| {
        let hint = || interest.hint.as_ref().is_none_or(|hint| hint(&waiting, object) == Hint::Queue);
        interest.event.covers(event) && hint()
    })
}

fn nodes(old: Option<NodeMaker>, new: NodeMaker) -> Object {
    Object::Node(old.map(|old| Arc::new(old.build())), Some(Arc::new(new.build())))
}

fn pods(old: Option<PodMaker>, new: Option<PodMaker>) -> Object {
    let made = |maker: Option<PodMaker>| maker.map(|maker| Arc::new(maker.build()));
    Object::Pod(made(old), made(new))
}

const TAINT: ActionType = ActionType::UPDATE_NODE_TAINT;
const LABEL: ActionType = ActionType::UPDATE_NODE_LABEL;
const ADD: ActionType = ActionType::ADD;

#[track_caller]
fn of_node(
    plugin: &dyn Plugin,
    waiting: &PodMaker,
    action: ActionType,
    old: Option<NodeMaker>,
    new: NodeMaker,
    is: bool,
) {
    let object = nodes(old, new);
    assert_eq!(news(plugin, EventResource::Node, action, waiting, &object), is, "{}: {object:?}", plugin.name());
}

#[test]
fn taints_that_go_are_news() {
    let tainted = |key: &str| node("n").taints(&[(key, "", "NoSchedule")]);
    let p = pod("p");
    of_node(&TaintToleration, &p, ADD, None, tainted("k"), false);
    of_node(&TaintToleration, &p, ADD, None, node("n"), true);
    of_node(&TaintToleration, &p, TAINT, Some(tainted("k")), node("n"), true);
    of_node(&TaintToleration, &p, TAINT, Some(tainted("k")), tainted("l"), false);
    of_node(&TaintToleration, &p, TAINT, Some(node("n")), node("n"), false);
    of_node(&TaintToleration, &p.clone().tolerates("l", "", None), TAINT, Some(tainted("k")), tainted("l"), true);
    of_node(&TaintToleration, &p, LABEL, Some(tainted("k")), node("n"), false);
    let tolerant = |name: &str| pods(Some(pod(name)), Some(pod(name).tolerates("k", "", None)));
    let action = ActionType::UPDATE_POD_TOLERATION;
    let told = |name: &str| news(&TaintToleration, EventResource::UnscheduledPod, action, &p, &tolerant(name));
    assert!(told("p") && !told("other"), "a pod's own tolerations matter");
}

#[test]
fn nodes_that_are_uncordoned_are_news() {
    let cordoned = |is: bool| node("n").cordoned(is);
    let p = pod("p");
    of_node(&NodeUnschedulable, &p, ADD, None, cordoned(false), true);
    of_node(&NodeUnschedulable, &p, ADD, None, cordoned(true), false);
    of_node(&NodeUnschedulable, &p, TAINT, Some(cordoned(true)), cordoned(false), true);
    of_node(&NodeUnschedulable, &p, TAINT, Some(cordoned(false)), cordoned(false), false);
    of_node(&NodeUnschedulable, &p, TAINT, Some(cordoned(false)), cordoned(true), false);
    let action = ActionType::UPDATE_POD_TOLERATION;
    let key = "node.kubernetes.io/unschedulable";
    for (tolerates, is) in [(key, true), ("other", false)] {
        let object = pods(Some(pod("p")), Some(pod("p").tolerates(tolerates, "", None)));
        assert_eq!(news(&NodeUnschedulable, EventResource::UnscheduledPod, action, &p, &object), is, "{tolerates}");
    }
}

#[test]
fn nodes_that_come_to_match_are_news() {
    let picky = pod("p").node_selector(&[("zone", "a")]);
    let labelled = |zone: &str| node("n").labels(&[("zone", zone)]);
    let plugin = NodeAffinity::default();
    of_node(&plugin, &picky, ADD, None, labelled("a"), true);
    of_node(&plugin, &picky, ADD, None, labelled("b"), false);
    of_node(&plugin, &picky, LABEL, Some(labelled("b")), labelled("a"), true);
    of_node(&plugin, &picky, LABEL, Some(labelled("a")), labelled("a"), false);
    of_node(&plugin, &picky, LABEL, Some(labelled("a")), labelled("b"), false);
    let added = AddedAffinity {
        required: serde_json::from_value(json!({"nodeSelectorTerms": [{"matchExpressions":
            [{"key": "pool", "operator": "In", "values": ["x"]}]}]}))
        .ok(),
        ..AddedAffinity::default()
    };
    let plugin = NodeAffinity::new(added);
    of_node(&plugin, &picky, ADD, None, labelled("a"), false);
    of_node(&plugin, &picky, ADD, None, labelled("a").labels(&[("pool", "x")]), true);
    of_node(&NodeName, &picky, ADD, None, node("n"), true);
    of_node(&NodeName, &picky, LABEL, Some(node("n")), node("n"), false);
}

#[test]
fn ports_that_are_given_back_are_news() {
    let waiting = pod("p").host_ports(&["TCP/0.0.0.0/80"]);
    let gone = |maker: PodMaker| pods(Some(maker), None);
    let holds = |port: &str| pod("gone").host_ports(&[port]);
    for (object, is) in [
        (gone(holds("TCP/1.2.3.4/80").on("n")), true),
        (gone(holds("TCP/1.2.3.4/80").nominated("n")), true),
        (gone(holds("TCP/1.2.3.4/80")), false),
        (gone(holds("TCP/1.2.3.4/81").on("n")), false),
        (gone(holds("UDP/1.2.3.4/80").on("n")), false),
    ] {
        let told = news(&NodePorts, EventResource::AssignedPod, ActionType::DELETE, &waiting, &object);
        assert_eq!(told, is, "{object:?}");
    }
    of_node(&NodePorts, &waiting, ADD, None, node("n"), true);
}

#[test]
fn only_its_own_gates_matter_to_a_pod() {
    let lifted = |name: &str| pods(Some(pod(name).gates(&["g"])), Some(pod(name)));
    let action = ActionType::UPDATE_POD_GATES_ELIMINATED;
    let told = |name: &str| news(&SchedulingGates, EventResource::UnscheduledPod, action, &pod("p"), &lifted(name));
    assert!(told("p") && !told("other"));
}

fn spread(namespace: &str) -> PodMaker {
    pod("p").namespace(namespace).labels(&[("app", "a")]).spread(&[json!({"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "a"}}})])
}

#[test]
fn pods_and_nodes_that_change_the_spread_are_news() {
    let plugin = PodTopologySpread::default();
    let waiting = spread("default");
    let peer = |name: &str, app: &str| pod(name).labels(&[("app", app)]).on("n");
    for (object, is) in [
        (pods(None, Some(peer("q", "a"))), true),
        (pods(None, Some(peer("q", "b"))), false),
        (pods(None, Some(peer("q", "a").namespace("other"))), false),
        (pods(None, Some(pod("q").labels(&[("app", "a")]))), false),
        (pods(Some(peer("q", "a")), None), true),
        (pods(Some(peer("q", "b")), None), false),
        (pods(Some(peer("q", "b")), Some(peer("q", "a"))), true),
        (pods(Some(peer("q", "b")), Some(peer("q", "c"))), false),
    ] {
        let action = match &object {
            Object::Pod(None, _) => ADD,
            Object::Pod(_, None) => ActionType::DELETE,
            _ => ActionType::UPDATE_POD_LABEL,
        };
        assert_eq!(news(&plugin, EventResource::AssignedPod, action, &waiting, &object), is, "{object:?}");
    }
    let zoned = |zone: &str| node("n").labels(&[("zone", zone)]);
    of_node(&plugin, &waiting, ADD, None, zoned("a"), true);
    of_node(&plugin, &waiting, ADD, None, node("n"), false);
    of_node(&plugin, &waiting, LABEL, Some(zoned("a")), zoned("b"), true);
    of_node(&plugin, &waiting, LABEL, Some(zoned("a")), zoned("a"), false);
    of_node(&plugin, &waiting, LABEL, Some(node("n")), zoned("a"), true);
}

fn object<T: for<'de> serde::Deserialize<'de>>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn claim(namespace: &str, name: &str) -> Object {
    let claim = json!({"metadata": {"name": name, "namespace": namespace, "uid": name}, "spec": {}});
    Object::Claim(None, Some(Arc::new(object(claim))))
}

#[test]
fn claims_of_ones_own_are_news() {
    let waiting = pod("p").claims(&["c"]);
    let plugins: [&dyn Plugin; 4] =
        [&VolumeBinding::default(), &VolumeZone, &VolumeRestrictions, &NodeVolumeLimits::default()];
    for plugin in plugins {
        for (namespace, name, is) in [("default", "c", true), ("default", "d", false), ("other", "c", false)] {
            let told = news(plugin, EventResource::PersistentVolumeClaim, ADD, &waiting, &claim(namespace, name));
            assert_eq!(told, is, "{}: {namespace}/{name}", plugin.name());
        }
    }
}

#[test]
fn what_else_is_news_of_volumes() {
    let waiting = pod("p").claims(&["c"]);
    let class = |mode: &str| {
        let class = json!({"metadata": {"name": "k"}, "provisioner": "p", "volumeBindingMode": mode});
        Object::StorageClass(None, Some(Arc::new(object(class))))
    };
    let told = |object: &Object| news(&VolumeZone, EventResource::StorageClass, ADD, &waiting, object);
    assert!(told(&class("WaitForFirstConsumer")) && !told(&class("Immediate")));
    let volume = |zone: &str| {
        let labels = json!({"topology.kubernetes.io/zone": zone});
        Some(Arc::new(object(json!({"metadata": {"name": "v", "labels": labels}, "spec": {}}))))
    };
    let moved = |from: &str, to: &str| {
        let object = Object::Volume(volume(from), volume(to));
        news(&VolumeZone, EventResource::PersistentVolume, ActionType::UPDATE, &waiting, &object)
    };
    assert!(moved("a", "b") && !moved("a", "a"));
    let csi = |count: i64| {
        let drivers = json!([{"name": "csi", "nodeID": "n", "allocatable": {"count": count}}]);
        Some(Arc::new(object(json!({"metadata": {"name": "n"}, "spec": {"drivers": drivers}}))))
    };
    let limits = NodeVolumeLimits::default();
    let changed = |from: i64, to: i64| {
        let object = Object::CsiNode(csi(from), csi(to));
        news(&limits, EventResource::CsiNode, ActionType::UPDATE, &waiting, &object)
    };
    assert!(changed(1, 2) && !changed(2, 1) && !changed(2, 2));
    let gone = |maker: PodMaker| {
        let object = pods(Some(maker), None);
        news(&limits, EventResource::AssignedPod, ActionType::DELETE, &waiting, &object)
    };
    assert!(gone(pod("q").claims(&["d"]).on("n")) && !gone(pod("q").on("n")) && !gone(pod("q").claims(&["d"])));
    let gone = |maker: PodMaker| {
        let object = pods(Some(maker), None);
        news(&VolumeRestrictions, EventResource::AssignedPod, ActionType::DELETE, &waiting, &object)
    };
    assert!(gone(pod("q").claims(&["c"]).on("n")) && !gone(pod("q").claims(&["d"]).on("n")));
    assert!(!gone(pod("q").namespace("other").claims(&["c"]).on("n")), "another namespace's claim of that name");
}
