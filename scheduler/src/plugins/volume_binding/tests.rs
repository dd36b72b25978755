use serde_json::{Value, json};

use super::*;
use crate::framework::Code;
use crate::testing::{PodMaker, node, pod, snapshot};

const WAITING: &str = "waits";

fn class(name: &str, mode: &str, provisioner: &str) -> Value {
    json!({"metadata": {"name": name}, "volumeBindingMode": mode, "provisioner": provisioner})
}

fn claim(name: &str, class: &str, size: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}}}})
}

fn bound(mut claim: Value, volume: &str) -> Value {
    claim["spec"]["volumeName"] = json!(volume);
    claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
    claim
}

fn volume(name: &str, class: &str, size: &str, node: &str) -> Value {
    let mut volume = json!({"metadata": {"name": name}, "status": {"phase": "Available"},
        "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}}});
    if !node.is_empty() {
        volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions":
            [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}});
    }
    volume
}

#[derive(Default)]
struct World {
    classes: Vec<Value>,
    claims: Vec<Value>,
    volumes: Vec<Value>,
    drivers: Vec<Value>,
    capacities: Vec<Value>,
}

impl World {
    fn snapshot(self) -> Snapshot {
        let mut snapshot = snapshot([node("n1"), node("n2")], []);
        let storage = &mut snapshot.objects_mut().storage;
        for value in self.classes {
            storage.put_class(serde_json::from_value(value).unwrap());
        }
        for value in self.claims {
            storage.put_claim(serde_json::from_value(value).unwrap());
        }
        for value in self.volumes {
            storage.put_volume(serde_json::from_value(value).unwrap());
        }
        for value in self.drivers {
            storage.put_csi_driver(serde_json::from_value(value).unwrap());
        }
        for value in self.capacities {
            storage.put_capacity(serde_json::from_value(value).unwrap());
        }
        snapshot
    }

    fn judge(self, pod: PodMaker) -> Result<Vec<(Code, String)>, (Code, String)> {
        let (snapshot, pod) = (self.snapshot(), pod.build());
        let plugin = VolumeBinding::default();
        let mut state = CycleState::new();
        state.show(&snapshot);
        plugin.pre_filter(&mut state, &pod, &snapshot).map_err(|status| (status.code(), status.message()))?;
        let nodes = ["n1", "n2"].map(|name| snapshot.node(name).unwrap());
        let judged = nodes.map(|node| FilterPlugin::filter(&plugin, &state, &pod, node));
        Ok(judged.into_iter().filter_map(Result::err).map(|status| (status.code(), status.message())).collect())
    }
}

#[track_caller]
fn rejects(world: World, message: &str) {
    let (code, told) = world.judge(pod("p").claims(&["a"])).unwrap_err();
    assert_eq!((code, told.as_str()), (Code::UnschedulableAndUnresolvable, message));
}

#[test]
fn claims_must_be_there_and_bound_unless_they_wait() {
    rejects(World::default(), "persistentvolumeclaim \"a\" not found");
    let immediate = class("now", "Immediate", "x");
    let world = World { classes: vec![immediate], claims: vec![claim("a", "now", "1Gi")], ..World::default() };
    rejects(world, "pod has unbound immediate PersistentVolumeClaims");
    let mut lost = bound(claim("a", "", "1Gi"), "v");
    lost["status"] = json!({"phase": "Lost"});
    let world = World { claims: vec![lost], ..World::default() };
    rejects(world, "persistentvolumeclaim \"a\" bound to non-existent persistentvolume \"v\"");
    let mut going = claim("a", "", "1Gi");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    rejects(World { claims: vec![going], ..World::default() }, "persistentvolumeclaim \"a\" is being deleted");
    assert_eq!(World::default().judge(pod("none")), Ok(vec![]));
}

#[test]
fn ephemeral_claims_must_be_the_pods_own() {
    let asks = || pod("p").ephemeral_claim("data");
    let (_, told) = World::default().judge(asks()).unwrap_err();
    assert_eq!(told, "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-data\"");
    let stray = World { claims: vec![bound(claim("p-data", "", "1Gi"), "v")], ..World::default() };
    let (_, told) = stray.judge(asks()).unwrap_err();
    assert_eq!(told, "PVC default/p-data was not created for pod default/p (pod is not owner)");
    let mut own = bound(claim("p-data", "", "1Gi"), "v");
    own["metadata"]["ownerReferences"] = json!([{"kind": "Pod", "uid": "p", "name": "p", "controller": true}]);
    let world = World { claims: vec![own], volumes: vec![volume("v", "", "1Gi", "")], ..World::default() };
    assert_eq!(world.judge(asks()), Ok(vec![]));
}

#[test]
fn bound_volumes_must_be_there_and_in_reach() {
    let claims = || vec![bound(claim("a", "", "1Gi"), "v")];
    let gone = World { claims: claims(), ..World::default() }.judge(pod("p").claims(&["a"])).unwrap();
    assert_eq!(gone[0].1, "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
    let world = World { claims: claims(), volumes: vec![volume("v", "", "1Gi", "n2")], ..World::default() };
    let told = world.judge(pod("p").claims(&["a"])).unwrap();
    assert_eq!(told, [(Code::UnschedulableAndUnresolvable, VolumeBinding::REASON_NODE.to_owned())]);
}

fn waiting(provisioner: &str, volumes: Vec<Value>) -> World {
    let classes = vec![class(WAITING, "WaitForFirstConsumer", provisioner)];
    World { classes, claims: vec![claim("a", WAITING, "5Gi")], volumes, ..World::default() }
}

#[test]
fn waiting_claims_take_the_smallest_volume_that_will_do() {
    let none = "kubernetes.io/no-provisioner";
    let told = waiting(none, vec![]).judge(pod("p").claims(&["a"])).unwrap();
    assert_eq!(told.len(), 2, "there is nothing to bind");
    assert_eq!(told[0].1, VolumeBinding::REASON_BIND);
    let told = waiting(none, vec![volume("v", WAITING, "5Gi", "n1")]).judge(pod("p").claims(&["a"])).unwrap();
    assert_eq!(told.len(), 1, "n1 has one");
    let told = waiting(none, vec![volume("v", WAITING, "4Gi", "")]).judge(pod("p").claims(&["a"])).unwrap();
    assert_eq!(told.len(), 2, "too small");
    let volumes = ["10Gi", "6Gi", "8Gi"].map(|size| volume(size, WAITING, size, "")).to_vec();
    let mut snapshot = waiting(none, volumes).snapshot();
    let found = decide(&mut snapshot, "p");
    assert_eq!(found, ["keep 6Gi for a", "await a"]);
    assert_eq!(decide(&mut snapshot, "q"), ["keep 6Gi for a", "await a"], "the same claim keeps its volume");
}

/// What is to be done for a pod with claim `a` that goes to n1.
fn decide(snapshot: &mut Snapshot, name: &str) -> Vec<String> {
    let (plugin, pod) = (VolumeBinding::default(), Arc::new(pod(name).claims(&["a"]).build()));
    let mut state = CycleState::new();
    plugin.pre_filter(&mut state, &pod, snapshot).unwrap();
    let node = snapshot.node("n1").unwrap().node.clone();
    plugin.enter(&mut state, &pod, &node, snapshot.objects_mut()).unwrap();
    let told = |action: Action| match action {
        Action::KeepVolume { volume, claim } => format!("keep {} for {}", volume.name, claim.name),
        Action::SelectNode { claim, node } => format!("provision {} for {node}", claim.name),
        Action::AwaitClaims { claims, .. } => format!("await {}", claims[0].name),
        other => panic!("{other:?}"),
    };
    plugin.pre_bind(&state, &pod, &node.name).unwrap().into_iter().map(told).collect()
}

#[test]
fn volumes_are_made_where_the_class_and_the_driver_can() {
    let mut snapshot = waiting("csi", vec![]).snapshot();
    assert_eq!(decide(&mut snapshot, "p"), ["provision a for n1", "await a"]);
    let selected = snapshot.objects().storage.claim(&"default".into(), &"a".into()).unwrap().clone();
    assert_eq!(snapshot.objects().storage.selected_node(&selected), Some(&"n1".into()));
    let mut narrow = waiting("csi", vec![]);
    narrow.classes[0]["allowedTopologies"] =
        json!([{"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["n2"]}]}]);
    assert_eq!(narrow.judge(pod("p").claims(&["a"])).unwrap().len(), 1);
    let mut full = waiting("csi", vec![]);
    full.drivers = vec![json!({"metadata": {"name": "csi"}, "spec": {"storageCapacity": true}})];
    let room = |size: &str| {
        json!({"metadata": {"name": "c", "namespace": "d"}, "storageClassName": WAITING, "capacity": size,
            "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": "n1"}}})
    };
    full.capacities = vec![room("5Gi")];
    let told = full.judge(pod("p").claims(&["a"])).unwrap();
    assert_eq!(told, [(Code::UnschedulableAndUnresolvable, VolumeBinding::REASON_SPACE.to_owned())]);
}

#[test]
fn what_was_decided_can_be_taken_back() {
    let mut snapshot = waiting("csi", vec![volume("v", WAITING, "5Gi", "")]).snapshot();
    let (plugin, pod) = (VolumeBinding::default(), pod("p").claims(&["a"]).build());
    let mut state = CycleState::new();
    plugin.pre_filter(&mut state, &pod, &snapshot).unwrap();
    let node = snapshot.node("n1").unwrap().node.clone();
    plugin.enter(&mut state, &pod, &node, snapshot.objects_mut()).unwrap();
    let other: Claim = serde_json::from_value(claim("b", WAITING, "1Gi")).unwrap();
    assert!(snapshot.objects().storage.is_kept_from(&"v".into(), &other));
    plugin.strike(&mut state, &pod, &node.name, snapshot.objects_mut());
    assert!(!snapshot.objects().storage.is_kept_from(&"v".into(), &other));
}
