//! Daemon sets over nodes that come, go and are tainted.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::daemonset;
use crate::objects::{ControllerRevision, DaemonSet, Pod, kinds};
use crate::world::World;

fn world(nodes: usize, change: Value) -> World {
    let mut world = World::new(&[daemonset::make]);
    for n in 0..nodes {
        world.add(kinds::NODE, json!({"metadata": {"name": format!("n{n}"), "labels": {"disk": if n == 0 { "ssd" } else { "hdd" }}}, "spec": {}}));
    }
    let mut object = json!({
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "revisionHistoryLimit": 2,
        },
    });
    crate::plan::apply_merge_patch(&mut object, &change);
    world.add(kinds::DAEMON_SET, object);
    live(&mut world);
    world
}

/// Binds pods to the nodes they are meant for, and runs controllers and kubelets until all is quiet.
fn live(world: &mut World) {
    live_with(world, |_| {});
}

fn live_with(world: &mut World, mut check: impl FnMut(&World)) {
    for _ in 0..60 {
        world.settle_with(&mut check);
        bind(world);
        world.run_kubelets();
        check(world);
    }
    world.settle_with(&mut check);
}

fn bind(world: &mut World) {
    for pod in world.list::<Pod>() {
        if let (true, Some(node)) = (pod.spec.node_name.is_empty(), &pod.spec.affinity_node) {
            world.change(kinds::POD, "default", &pod.metadata.name, json!({"spec": {"nodeName": node}}));
        }
    }
}

fn placed(world: &World) -> Vec<String> {
    let mut names: Vec<String> =
        world.list::<Pod>().into_iter().filter(Pod::active).map(|pod| pod.spec.node_name).collect();
    names.sort();
    names
}

fn set(world: &World) -> DaemonSet {
    world.list::<DaemonSet>().remove(0)
}

fn change(world: &mut World, spec: Value) {
    world.change(kinds::DAEMON_SET, "default", "agent", json!({"spec": spec}));
}

fn image(name: &str) -> Value {
    json!({"template": {"spec": {"containers": [{"name": "c", "image": name}]}}})
}

#[test]
fn every_node_gets_one_pod() {
    let mut world = world(3, json!({}));
    assert_eq!(placed(&world), ["n0", "n1", "n2"]);
    let status = set(&world).status;
    assert_eq!((status.desired_number_scheduled, status.number_available, status.updated_number_scheduled), (3, 3, 3));
    world.add(kinds::NODE, json!({"metadata": {"name": "n3"}, "spec": {}}));
    live(&mut world);
    assert_eq!(placed(&world).len(), 4);
    world.assert_settled();
}

#[test]
fn selectors_and_taints_decide_where() {
    let mut world = world(3, json!({"spec": {"template": {"spec": {"nodeSelector": {"disk": "hdd"}}}}}));
    assert_eq!(placed(&world), ["n1", "n2"]);
    let taint = |effect: &str, key: &str| json!({"spec": {"taints": [{"key": key, "effect": effect}]}});
    world.change(kinds::NODE, "", "n1", taint("NoSchedule", "mine"));
    live(&mut world);
    assert_eq!(placed(&world), ["n1", "n2"], "what runs may stay");
    assert_eq!(set(&world).status.number_misscheduled, 1);
    world.change(kinds::NODE, "", "n1", taint("NoExecute", "mine"));
    world.change(kinds::NODE, "", "n2", taint("NoExecute", "node.kubernetes.io/unreachable"));
    live(&mut world);
    assert_eq!(placed(&world), ["n2"], "daemons bear what makes other pods leave");
    world.assert_settled();
}

#[test]
fn failed_pods_are_replaced_with_patience() {
    let mut world = world(1, json!({}));
    let pod = world.list::<Pod>().remove(0);
    world.change(kinds::POD, "default", &pod.metadata.name, json!({"status": {"phase": "Failed"}}));
    world.settle();
    assert_eq!(world.list::<Pod>().len(), 1);
    world.advance(6);
    live(&mut world);
    assert_eq!(placed(&world), ["n0"]);
    assert!(
        world.events.iter().any(|event| event.starts_with("FailedDaemonPod Found failed daemon pod default/agent-"))
    );
}

#[test]
fn an_update_replaces_one_pod_after_the_other_and_can_be_undone() {
    let mut world = world(4, json!({}));
    let first = world.list::<ControllerRevision>().remove(0);
    change(&mut world, image("two"));
    live_with(&mut world, |world| {
        let ready = world.list::<Pod>().iter().filter(|pod| pod.active() && pod.ready()).count();
        assert!(ready >= 3, "only {ready} of 4 are ready");
    });
    assert_eq!(set(&world).status.updated_number_scheduled, 4);
    change(&mut world, image("one"));
    live(&mut world);
    let revisions: BTreeMap<_, _> =
        world.list::<ControllerRevision>().into_iter().map(|r| (r.metadata.name.clone(), r.revision)).collect();
    assert_eq!((revisions.len(), revisions[&first.metadata.name]), (2, 3));
    world.assert_settled();
    for name in ["three", "four", "five"] {
        change(&mut world, image(name));
        live(&mut world);
    }
    assert_eq!(world.list::<ControllerRevision>().len(), 3, "two old ones are kept");
}

#[test]
fn surging_never_leaves_a_node_without_a_pod() {
    let mut world =
        world(3, json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}}));
    change(&mut world, image("two"));
    live_with(&mut world, |world| {
        let pods = world.list::<Pod>();
        for node in ["n0", "n1", "n2"] {
            assert!(
                pods.iter().any(|pod| pod.spec.node_name == node && pod.active() && pod.ready()),
                "{node} has none"
            );
        }
        assert!(pods.iter().filter(|pod| pod.active()).count() <= 4);
    });
    assert_eq!((set(&world).status.updated_number_scheduled, placed(&world).len()), (3, 3));
    world.assert_settled();
}

#[test]
fn on_delete_waits_for_the_user() {
    let mut world = world(2, json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}));
    change(&mut world, image("two"));
    live(&mut world);
    assert_eq!(set(&world).status.updated_number_scheduled, 0);
    let pod = world.list::<Pod>().remove(0);
    world.remove(kinds::POD, "default", &pod.metadata.name);
    live(&mut world);
    assert_eq!(set(&world).status.updated_number_scheduled, 1);
    world.assert_settled();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn any_update_ends_within_its_bounds(nodes in 1..5_usize, unavailable in 0..3_i32, surge in 0..3_i32) {
        let bounds = json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}}});
        let mut world = world(nodes, bounds);
        let missing = if surge > 0 { 0 } else { unavailable.max(1) };
        let least = i32::try_from(nodes).unwrap() - missing;
        change(&mut world, image("two"));
        live_with(&mut world, |world| {
            let ready = world.list::<Pod>().iter().filter(|pod| pod.active() && pod.ready()).count();
            assert!(i32::try_from(ready).unwrap() >= least, "{ready} ready, at least {least} must be");
        });
        prop_assert_eq!(usize::try_from(set(&world).status.updated_number_scheduled).unwrap(), nodes);
        world.assert_settled();
    }
}
