//! Deployments with their replica sets, from the first pod to the last rollout.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::objects::{Deployment, Pod, ReplicaSet, kinds};
use crate::world::World;
use crate::{deployment, replicaset};

fn world() -> World {
    World::new(&[deployment::make, replicaset::make])
}

fn web(replicas: i32, change: Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
        },
    });
    crate::plan::apply_merge_patch(&mut object, &change);
    object
}

fn change(world: &mut World, spec: Value) {
    world.change(kinds::DEPLOYMENT, "default", "web", json!({"spec": spec}));
}

fn image(name: &str) -> Value {
    json!({"template": {"spec": {"containers": [{"name": "c", "image": name}]}}})
}

fn deployment(world: &World) -> Deployment {
    world.list::<Deployment>().remove(0)
}

fn sizes(world: &World) -> Vec<i32> {
    let mut sets = world.list::<ReplicaSet>();
    sets.sort_by_key(super::revision::revision);
    sets.iter().map(|set| set.spec.replicas).collect()
}

fn reason(world: &World, kind: &str) -> String {
    let conditions = deployment(world).status.conditions;
    conditions
        .iter()
        .find(|condition| condition.kind == kind)
        .map_or_else(String::new, |found| format!("{}/{}", found.status, found.reason))
}

#[test]
fn a_new_deployment_gets_its_pods_and_tells_so() {
    let mut world = world();
    world.add(kinds::DEPLOYMENT, web(3, json!({})));
    world.settle();
    assert_eq!(reason(&world, "Progressing"), "True/ReplicaSetUpdated");
    assert_eq!(reason(&world, "Available"), "False/MinimumReplicasUnavailable");
    let set = world.list::<ReplicaSet>().remove(0);
    assert!(
        world.events.contains(&format!("ScalingReplicaSet Scaled up replica set {} from 0 to 3", set.metadata.name))
    );
    assert_eq!(world.events.iter().filter(|event| event.starts_with("SuccessfulCreate Created pod: web-")).count(), 3);
    world.live();
    let status = deployment(&world).status;
    assert_eq!((status.replicas, status.available_replicas, status.updated_replicas), (3, 3, 3));
    assert_eq!(reason(&world, "Progressing"), "True/NewReplicaSetAvailable");
    assert_eq!(reason(&world, "Available"), "True/MinimumReplicasAvailable");
    assert_eq!(deployment(&world).metadata.annotations.get(super::revision::REVISION), Some("1"));
    let pod = world.list::<Pod>().remove(0);
    assert_eq!(pod.metadata.labels.get("pod-template-hash"), set.metadata.labels.get("pod-template-hash"));
    world.assert_settled();
}

#[test]
fn a_rollout_keeps_its_bounds_and_can_be_undone() {
    let mut world = world();
    world.add(kinds::DEPLOYMENT, web(4, json!({})));
    world.live();
    change(&mut world, image("two"));
    world.live_with(|world| {
        let available = world.list::<Pod>().iter().filter(|pod| pod.ready() && pod.active()).count();
        let wanted: i32 = world.list::<ReplicaSet>().iter().map(|set| set.spec.replicas).sum();
        assert!(available >= 3 && wanted <= 5, "{available} available, {wanted} wanted");
    });
    assert_eq!(sizes(&world), [0, 4]);
    let first = world.list::<ReplicaSet>().into_iter().find(|set| super::revision::revision(set) == 1).unwrap();
    // What `kubectl rollout undo` does: it writes the old template back.
    change(&mut world, image("one"));
    world.live();
    let again = world.list::<ReplicaSet>().into_iter().find(|set| set.metadata.uid == first.metadata.uid).unwrap();
    assert_eq!((super::revision::revision(&again), again.spec.replicas), (3, 4));
    assert_eq!(again.metadata.annotations.get("deployment.kubernetes.io/revision-history"), Some("1"));
    assert_eq!(deployment(&world).metadata.annotations.get(super::revision::REVISION), Some("3"));
    world.assert_settled();
}

#[test]
fn a_stuck_rollout_exceeds_its_deadline_and_keeps_old_pods() {
    let mut world = world();
    world.add(kinds::DEPLOYMENT, web(4, json!({})));
    world.live();
    change(&mut world, image("broken"));
    world.settle();
    assert_eq!(sizes(&world), [3, 2]);
    world.advance(300);
    assert_eq!(reason(&world, "Progressing"), "True/ReplicaSetUpdated");
    world.advance(301);
    assert_eq!(reason(&world, "Progressing"), "False/ProgressDeadlineExceeded");
    assert_eq!(sizes(&world), [3, 2]);
    world.assert_settled();
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = world();
    world.add(kinds::DEPLOYMENT, web(2, json!({})));
    world.live();
    change(&mut world, json!({"paused": true}));
    change(&mut world, image("two"));
    change(&mut world, json!({"replicas": 5}));
    world.live();
    assert_eq!(sizes(&world), [5]);
    assert_eq!(reason(&world, "Progressing"), "Unknown/DeploymentPaused");
    change(&mut world, json!({"paused": false}));
    world.live();
    assert_eq!(sizes(&world), [0, 5]);
    world.assert_settled();
}

#[test]
fn recreating_ends_all_old_pods_first() {
    let mut world = world();
    world.add(kinds::DEPLOYMENT, web(3, json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}})));
    world.live();
    change(&mut world, image("two"));
    world.live_with(|world| {
        let images: std::collections::BTreeSet<String> =
            world.all(kinds::POD).iter().map(|pod| pod["spec"]["containers"][0]["image"].to_string()).collect();
        assert!(images.len() <= 1, "old and new pods together: {images:?}");
    });
    assert_eq!(sizes(&world), [0, 3]);
    world.assert_settled();
}

#[test]
fn a_rollout_in_progress_is_scaled_in_proportion() {
    let mut world = world();
    world.add(
        kinds::DEPLOYMENT,
        web(10, json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}})),
    );
    world.live();
    change(&mut world, image("two"));
    world.settle();
    assert_eq!(sizes(&world), [8, 5]);
    change(&mut world, json!({"replicas": 15}));
    world.settle();
    assert_eq!(sizes(&world), [11, 7]);
    world.live();
    assert_eq!(sizes(&world), [0, 15]);
    world.assert_settled();
}

#[test]
fn old_sets_beyond_the_limit_are_removed() {
    let mut world = world();
    world.add(kinds::DEPLOYMENT, web(1, json!({"spec": {"revisionHistoryLimit": 1}})));
    for name in ["a", "b", "c", "d"] {
        world.live();
        change(&mut world, image(name));
    }
    world.live();
    assert_eq!(sizes(&world), [0, 1]);
    world.assert_settled();
}

#[test]
fn a_hash_collision_is_counted_and_avoided() {
    let mut world = world();
    let wanted: Deployment = serde_json::from_value(web(1, json!({}))).unwrap();
    let (name, _) = super::revision::name_and_hash(&wanted);
    let owner = json!([{"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "x", "controller": true}]);
    world.add(
        kinds::REPLICA_SET,
        json!({"metadata": {"name": name, "namespace": "default", "ownerReferences": owner}, "spec": {"replicas": 0}}),
    );
    world.add(kinds::DEPLOYMENT, web(1, json!({})));
    world.live();
    assert_eq!(deployment(&world).status.collision_count, Some(1));
    assert_eq!(deployment(&world).status.available_replicas, 1);
    world.assert_settled();
}

#[test]
fn a_quota_that_refuses_pods_is_shown() {
    let mut world = world();
    world.refuse = Some((kinds::POD, "exceeded quota"));
    world.add(kinds::DEPLOYMENT, web(3, json!({})));
    world.settle();
    assert_eq!(reason(&world, "ReplicaFailure"), "True/FailedCreate");
    world.refuse = None;
    world.advance(5);
    world.live();
    assert_eq!(reason(&world, "ReplicaFailure"), "");
    assert_eq!(deployment(&world).status.available_replicas, 3);
}

#[test]
fn orphaned_sets_are_adopted_with_their_pods() {
    let mut world = world();
    world.add(kinds::DEPLOYMENT, web(2, json!({})));
    world.live();
    world.erase(kinds::DEPLOYMENT, &crate::objects::ObjectKey::new("default", "web"));
    let name = world.list::<ReplicaSet>()[0].metadata.name.clone();
    world.change(kinds::REPLICA_SET, "default", &name, json!({"metadata": {"ownerReferences": null}}));
    world.settle();
    world.add(kinds::DEPLOYMENT, web(2, json!({})));
    world.live();
    assert_eq!((world.list::<ReplicaSet>().len(), world.list::<Pod>().len()), (1, 2));
    world.assert_settled();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the bounds and the moments at which pods come up: never too many, never too few, and it ends.
    #[test]
    fn any_rollout_keeps_its_bounds_and_ends(
        replicas in 1..9_i32, surge in 0..4_i32, unavailable in 0..4_i32, steps in proptest::collection::vec(0..3_u8, 0..12),
    ) {
        let bounds = json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}});
        let mut world = world();
        world.add(kinds::DEPLOYMENT, web(replicas, bounds));
        world.live();
        let least = if surge == 0 && unavailable == 0 { replicas - 1 } else { replicas - unavailable.min(replicas) };
        let check = |world: &World| {
            let available = world.list::<Pod>().iter().filter(|pod| pod.ready() && pod.active()).count();
            let wanted: i32 = world.list::<ReplicaSet>().iter().map(|set| set.spec.replicas).sum();
            assert!(i32::try_from(available).unwrap() >= least, "{available} available, at least {least} must be");
            assert!(wanted <= replicas + surge, "{wanted} wanted, at most {} may be", replicas + surge);
        };
        for (n, step) in steps.iter().enumerate() {
            match step {
                0 => change(&mut world, image(&format!("v{n}"))),
                1 => world.settle_with(check),
                _ => world.run_kubelets(),
            }
        }
        world.live_with(check);
        prop_assert_eq!(sizes(&world).iter().filter(|size| **size > 0).copied().collect::<Vec<_>>(), vec![replicas]);
        prop_assert_eq!(deployment(&world).status.available_replicas, replicas);
        world.assert_settled();
    }
}
