//! Stateful sets in order, in parallel, and while they are updated.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::objects::{PersistentVolumeClaim, Pod, StatefulSet, kinds};
use crate::statefulset;
use crate::world::World;

fn world(replicas: i32, change: Value) -> World {
    let mut world = World::new(&[statefulset::make]);
    let mut object = json!({
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {
            "replicas": replicas, "serviceName": "db", "podManagementPolicy": "OrderedReady",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}],
        },
    });
    crate::plan::apply_merge_patch(&mut object, &change);
    world.add(kinds::STATEFUL_SET, object);
    world
}

fn names(world: &World) -> Vec<String> {
    world.list::<Pod>().into_iter().map(|pod| pod.metadata.name).collect()
}

fn images(world: &World) -> Vec<String> {
    world.all(kinds::POD).iter().map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()).collect()
}

fn set(world: &World) -> StatefulSet {
    world.list::<StatefulSet>().remove(0)
}

fn change(world: &mut World, spec: Value) {
    world.change(kinds::STATEFUL_SET, "default", "db", json!({"spec": spec}));
}

fn image(name: &str) -> Value {
    json!({"template": {"spec": {"containers": [{"name": "c", "image": name}]}}})
}

#[test]
fn pods_come_one_after_the_other_with_names_and_claims() {
    let mut world = world(3, json!({}));
    world.settle();
    assert_eq!(names(&world), ["db-0"]);
    let pod = world.get(kinds::POD, "default", "db-0").unwrap();
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("db-0"), &json!("db")));
    assert_eq!(pod["spec"]["volumes"], json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]));
    assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], json!("0"));
    world.run_kubelets();
    world.settle();
    assert_eq!(names(&world), ["db-0", "db-1"]);
    world.live();
    assert_eq!(names(&world).len(), 3);
    let claims: Vec<_> = world.list::<PersistentVolumeClaim>().into_iter().map(|claim| claim.metadata.name).collect();
    assert_eq!(claims, ["data-db-0", "data-db-1", "data-db-2"]);
    let status = set(&world).status;
    assert_eq!((status.replicas, status.available_replicas, status.updated_replicas), (3, 3, 3));
    assert!(world.events.contains(&"SuccessfulCreate create Pod db-2 in StatefulSet db successful".to_owned()));
    world.assert_settled();
}

#[test]
fn parallel_pods_come_together() {
    let mut world = world(3, json!({"spec": {"podManagementPolicy": "Parallel"}}));
    world.settle();
    assert_eq!(names(&world).len(), 3);
}

#[test]
fn scaling_down_takes_the_highest_first_and_keeps_claims() {
    let mut world = world(3, json!({}));
    world.live();
    change(&mut world, json!({"replicas": 1}));
    world.settle();
    let deleting: Vec<_> =
        world.list::<Pod>().into_iter().filter(|pod| pod.metadata.deleting()).map(|pod| pod.metadata.name).collect();
    assert_eq!(deleting, ["db-2"]);
    world.live();
    assert_eq!((names(&world), world.list::<PersistentVolumeClaim>().len()), (vec!["db-0".to_owned()], 3));
    world.assert_settled();
}

#[test]
fn claims_are_tied_to_what_they_go_with() {
    let retention = json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    let mut world = world(2, json!({"spec": {"persistentVolumeClaimRetentionPolicy": retention}}));
    world.live();
    let owner = |world: &World, name: &str| {
        world.get(kinds::PERSISTENT_VOLUME_CLAIM, "default", name).unwrap()["metadata"]["ownerReferences"][0]["kind"]
            .clone()
    };
    assert_eq!(owner(&world, "data-db-1"), json!("StatefulSet"));
    change(&mut world, json!({"replicas": 1}));
    world.settle();
    assert_eq!((owner(&world, "data-db-1"), owner(&world, "data-db-0")), (json!("Pod"), json!("StatefulSet")));
}

#[test]
fn an_update_goes_from_the_highest_down_to_the_partition() {
    let mut world = world(3, json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}}));
    world.live();
    change(&mut world, image("two"));
    world.live_with(|world| {
        assert!(world.list::<Pod>().iter().filter(|pod| !pod.ready() || pod.metadata.deleting()).count() <= 1);
    });
    assert_eq!(images(&world), ["one", "two", "two"]);
    let status = set(&world).status;
    assert_eq!((status.current_replicas, status.updated_replicas), (1, 2));
    // A pod below the partition that is lost comes back as it was.
    world.remove(kinds::POD, "default", "db-0");
    world.live();
    assert_eq!(images(&world), ["one", "two", "two"]);
    change(&mut world, json!({"updateStrategy": {"rollingUpdate": {"partition": 0}}}));
    world.live();
    assert_eq!(images(&world), ["two", "two", "two"]);
    let status = set(&world).status;
    assert_eq!(status.current_revision, status.update_revision);
    world.assert_settled();
}

#[test]
fn on_delete_waits_for_the_user() {
    let mut world = world(2, json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}));
    world.live();
    change(&mut world, image("two"));
    world.live();
    assert_eq!(images(&world), ["one", "one"]);
    world.remove(kinds::POD, "default", "db-1");
    world.live();
    assert_eq!(images(&world), ["one", "two"]);
    world.assert_settled();
}

#[test]
fn ordinals_may_begin_elsewhere_and_failed_pods_are_replaced() {
    let mut world = world(2, json!({"spec": {"ordinals": {"start": 5}}}));
    world.live();
    assert_eq!(names(&world), ["db-5", "db-6"]);
    world.change(kinds::POD, "default", "db-5", json!({"status": {"phase": "Failed"}}));
    world.live();
    assert_eq!(world.list::<Pod>().iter().filter(|pod| pod.ready()).count(), 2);
    world.assert_settled();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_is_reached(sizes in proptest::collection::vec(0..5_i32, 1..5), parallel: bool, updates: bool) {
        let policy = if parallel { "Parallel" } else { "OrderedReady" };
        let mut world = world(2, json!({"spec": {"podManagementPolicy": policy}}));
        for (n, size) in sizes.iter().enumerate() {
            change(&mut world, json!({"replicas": size}));
            if updates {
                change(&mut world, image(&format!("v{n}")));
            }
            world.settle();
            world.run_kubelets();
        }
        world.live();
        let wanted = *sizes.last().unwrap();
        prop_assert_eq!(names(&world), (0..wanted).map(|n| format!("db-{n}")).collect::<Vec<_>>());
        prop_assert_eq!(set(&world).status.updated_replicas, wanted);
        world.assert_settled();
    }
}
