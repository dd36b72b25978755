//! Volumes that cannot be shared, that are in a zone, or that are too many.

use serde_json::{Value, json};

use super::{NodeVolumeLimits, VolumeRestrictions, VolumeZone};
use crate::cache::Snapshot;
use crate::framework::{Code, CycleState, FilterPlugin, PreFilterOutcome, PreFilterPlugin};
use crate::testing::{NodeMaker, PodMaker, node, pod, snapshot};

fn object<T: for<'de> serde::Deserialize<'de>>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// What becomes of a pod on a node: `None` if it fits or is none of the plugin's business.
fn judge<P: PreFilterPlugin + FilterPlugin>(
    plugin: &P,
    snapshot: &Snapshot,
    pod: PodMaker,
    node: &str,
) -> Option<(Code, String)> {
    let (pod, mut state) = (pod.build(), CycleState::new());
    state.show(snapshot);
    let verdict = match plugin.pre_filter(&mut state, &pod, snapshot) {
        Ok(PreFilterOutcome::Skip) => return None,
        Ok(_) => FilterPlugin::filter(plugin, &state, &pod, snapshot.node(node).unwrap()),
        Err(status) => Err(status),
    };
    verdict.err().map(|status| (status.code(), status.message()))
}

#[test]
fn a_disk_is_written_by_one_pod_at_a_node() {
    let gce = |read_only: bool| json!({"name": "v", "gcePersistentDisk": {"pdName": "d", "readOnly": read_only}});
    let aws = |id: &str| json!({"name": "v", "awsElasticBlockStore": {"volumeID": id}});
    let iscsi = |read_only: bool| json!({"name": "v", "iscsi": {"iqn": "i", "readOnly": read_only}});
    let rbd = |monitors: &[&str], image: &str, read_only: bool| json!({"name": "v", "rbd": {"monitors": monitors, "pool": "p", "image": image, "readOnly": read_only}});
    for (there, wanted, fits) in [
        (gce(false), gce(false), false),
        (gce(true), gce(false), false),
        (gce(true), gce(true), true),
        (aws("a"), aws("a"), false),
        (aws("a"), aws("b"), true),
        (iscsi(true), iscsi(true), true),
        (iscsi(false), iscsi(true), false),
        (gce(false), iscsi(false), true),
        (rbd(&["m", "n"], "x", false), rbd(&["n"], "x", false), false),
        (rbd(&["m"], "x", false), rbd(&["n"], "x", false), true),
        (rbd(&["m"], "x", false), rbd(&["m"], "y", false), true),
        (rbd(&["m"], "x", true), rbd(&["m"], "x", true), true),
    ] {
        let world = snapshot([node("n"), node("m")], [pod("there").on("n").volume(there.clone())]);
        let found = judge(&VolumeRestrictions, &world, pod("p").volume(wanted.clone()), "n");
        let expected = (!fits).then(|| (Code::Unschedulable, VolumeRestrictions::REASON_DISK.to_owned()));
        assert_eq!(found, expected, "{wanted} beside {there}");
        assert_eq!(judge(&VolumeRestrictions, &world, pod("p").volume(wanted), "m"), None, "elsewhere it does");
    }
}

fn claim(name: &str, mode: &str, class: &str, volume: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"accessModes": [mode], "storageClassName": class, "volumeName": volume}})
}

#[test]
fn some_claims_are_for_one_pod_at_a_time() {
    let mut world = snapshot([node("n"), node("m")], [pod("user").on("n").claims(&["single", "shared"])]);
    let storage = &mut world.objects_mut().storage;
    storage.put_claim(object(claim("single", "ReadWriteOncePod", "", "v")));
    storage.put_claim(object(claim("shared", "ReadWriteMany", "", "w")));
    storage.put_claim(object(claim("free", "ReadWriteOncePod", "", "x")));
    let why = VolumeRestrictions::REASON_ONE_POD.to_owned();
    let asks = |name: &str| pod("p").claims(&[name]);
    assert_eq!(judge(&VolumeRestrictions, &world, asks("single"), "m"), Some((Code::Unschedulable, why)));
    assert_eq!(judge(&VolumeRestrictions, &world, asks("shared"), "m"), None);
    assert_eq!(judge(&VolumeRestrictions, &world, asks("free"), "m"), None);
    let missing = "persistentvolumeclaim \"gone\" not found".to_owned();
    let found = judge(&VolumeRestrictions, &world, asks("gone"), "m");
    assert_eq!(found, Some((Code::UnschedulableAndUnresolvable, missing)));
    // Once the user is out of the way the claim is free.
    let (pod, mut state) = (asks("single").build(), CycleState::new());
    VolumeRestrictions.pre_filter(&mut state, &pod, &world).unwrap();
    let user = world.node("n").unwrap().pods[0].clone();
    VolumeRestrictions.remove_pod(&mut state, &pod, &user, world.node("n").unwrap());
    assert!(FilterPlugin::filter(&VolumeRestrictions, &state, &pod, world.node("m").unwrap()).is_ok());
    VolumeRestrictions.add_pod(&mut state, &pod, &user, world.node("n").unwrap());
    assert!(FilterPlugin::filter(&VolumeRestrictions, &state, &pod, world.node("m").unwrap()).is_err());
}

const ZONE: &str = "topology.kubernetes.io/zone";
const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";

fn zoned(labels: &[(&str, &str)]) -> Snapshot {
    let nodes: [NodeMaker; 4] = [
        node("a").labels(&[(ZONE, "a"), (REGION, "r")]),
        node("b").labels(&[(ZONE, "b"), (REGION, "r")]),
        node("old").labels(&[(OLD_ZONE, "a")]),
        node("bare"),
    ];
    let mut world = snapshot(nodes, []);
    let storage = &mut world.objects_mut().storage;
    let labels: serde_json::Map<String, Value> = labels.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    storage.put_volume(object(json!({"metadata": {"name": "v", "labels": labels}, "spec": {}})));
    for (name, mode) in [("waits", json!("WaitForFirstConsumer")), ("now", json!("Immediate")), ("unsaid", Value::Null)]
    {
        storage.put_class(object(json!({"metadata": {"name": name}, "volumeBindingMode": mode, "provisioner": "p"})));
    }
    for (name, class, volume) in [
        ("bound", "", "v"),
        ("lost", "", "gone"),
        ("waiting", "waits", ""),
        ("immediate", "now", ""),
        ("modeless", "unsaid", ""),
        ("classless", "", ""),
        ("unknown", "none", ""),
    ] {
        storage.put_claim(object(claim(name, "ReadWriteOnce", class, volume)));
    }
    world
}

#[test]
fn volumes_hold_pods_in_their_zones() {
    for (labels, fits) in [
        (&[] as &[(&str, &str)], &["a", "b", "old", "bare"][..]),
        (&[(ZONE, "a")], &["a", "bare"]),
        (&[(OLD_ZONE, "a")], &["a", "old", "bare"]),
        (&[(ZONE, "a__b")], &["a", "b", "bare"]),
        (&[(ZONE, "c")], &["bare"]),
        (&[(ZONE, "a"), (REGION, "other")], &["bare"]),
        (&[(ZONE, "a__")], &["a", "b", "old", "bare"]),
    ] {
        let world = zoned(labels);
        let found: Vec<&str> = ["a", "b", "old", "bare"]
            .into_iter()
            .filter(|node| match judge(&VolumeZone, &world, pod("p").claims(&["bound"]), node) {
                None => true,
                Some(why) => {
                    assert_eq!(why, (Code::UnschedulableAndUnresolvable, VolumeZone::REASON.to_owned()));
                    false
                }
            })
            .collect();
        assert_eq!(found, fits, "{labels:?}");
    }
}

#[test]
fn what_volumes_without_a_zone_are_told() {
    let world = zoned(&[]);
    for (claim, why) in [
        ("missing", "persistentvolumeclaim \"missing\" not found"),
        ("lost", "persistentvolume \"gone\" not found"),
        ("immediate", "PersistentVolume had no name"),
        ("modeless", "VolumeBindingMode not set for StorageClass \"unsaid\""),
        ("classless", "PersistentVolumeClaim had no pv name and storageClass name"),
        ("unknown", "storageclass.storage.k8s.io \"none\" not found"),
    ] {
        let found = judge(&VolumeZone, &world, pod("p").claims(&[claim]), "a");
        assert_eq!(found, Some((Code::UnschedulableAndUnresolvable, why.to_owned())), "{claim}");
    }
    assert_eq!(judge(&VolumeZone, &world, pod("p").claims(&["waiting"]), "a"), None);
    assert_eq!(judge(&VolumeZone, &world, pod("p"), "a"), None);
}

/// A node to which `csi` attaches two volumes, of which one pod uses `v1`.
fn limited(drivers: Value) -> Snapshot {
    let mut world = snapshot([node("n")], [pod("there").on("n").claims(&["c1"])]);
    let storage = &mut world.objects_mut().storage;
    storage.put_csi_node(object(json!({"metadata": {"name": "n"}, "spec": {"drivers": drivers}})));
    for (number, driver) in [(1, "csi"), (2, "csi"), (3, "csi"), (4, "other")] {
        let volume = json!({"metadata": {"name": format!("v{number}")},
            "spec": {"csi": {"driver": driver, "volumeHandle": format!("h{number}")}}});
        storage.put_volume(object(volume));
        storage.put_claim(object(claim(&format!("c{number}"), "ReadWriteOnce", "", &format!("v{number}"))));
    }
    let class =
        json!({"metadata": {"name": "made"}, "provisioner": "csi", "volumeBindingMode": "WaitForFirstConsumer"});
    storage.put_class(object(class));
    storage.put_claim(object(claim("open", "ReadWriteOnce", "made", "")));
    storage.put_claim(object(claim("open-too", "ReadWriteOnce", "made", "")));
    world
}

#[test]
fn no_more_volumes_are_attached_than_a_driver_can() {
    let two = json!([{"name": "csi", "nodeID": "n", "allocatable": {"count": 2}}]);
    for (drivers, claims, fits) in [
        (two.clone(), &["c2"][..], true),
        (two.clone(), &["c2", "c3"], false),
        (two.clone(), &["c1", "c2"], true),
        (two.clone(), &["c4", "c2"], true),
        (two.clone(), &["open"], true),
        (two.clone(), &["open", "c2"], false),
        (two.clone(), &["open", "open-too"], false),
        (json!([{"name": "csi", "nodeID": "n"}]), &["c2", "c3"], true),
        (json!([]), &["c2", "c3"], true),
        (json!([{"name": "csi", "nodeID": "n", "allocatable": {"count": 0}}]), &["c2"], false),
    ] {
        let world = limited(drivers.clone());
        let found = judge(&NodeVolumeLimits::default(), &world, pod("p").claims(claims), "n");
        let expected = (!fits).then(|| (Code::Unschedulable, NodeVolumeLimits::REASON.to_owned()));
        assert_eq!(found, expected, "{claims:?} with {drivers}");
    }
}

#[test]
fn volumes_still_attached_count_and_unknown_claims_are_named() {
    let mut world = limited(json!([{"name": "csi", "nodeID": "n", "allocatable": {"count": 2}}]));
    let attachment = json!({"metadata": {"name": "a"},
        "spec": {"attacher": "csi", "nodeName": "n", "source": {"persistentVolumeName": "v3"}}});
    world.objects_mut().storage.put_attachment(object(attachment));
    let plugin = NodeVolumeLimits::default();
    assert!(judge(&plugin, &world, pod("p").claims(&["c2"]), "n").is_some(), "two are attached already");
    assert!(judge(&plugin, &world, pod("p").claims(&["c1"]), "n").is_none(), "one that is there costs nothing");
    let (code, why) = judge(&plugin, &world, pod("p").claims(&["gone"]), "n").unwrap();
    let expected = "looking up PVC default/gone: persistentvolumeclaim \"gone\" not found";
    assert_eq!((code, why.as_str()), (Code::UnschedulableAndUnresolvable, expected));
}

#[test]
fn a_node_may_have_to_have_the_driver() {
    let mut world = limited(json!([]));
    let driver = json!({"metadata": {"name": "csi"}, "spec": {"preventPodSchedulingIfMissing": true}});
    world.objects_mut().storage.put_csi_driver(object(driver));
    let needs = NodeVolumeLimits { needs_driver: true };
    let asks = || pod("p").claims(&["c2"]);
    let found = judge(&needs, &world, asks(), "n");
    let why = "csi CSI driver is not installed on the node".to_owned();
    assert_eq!(found, Some((Code::Unschedulable, why)));
    assert_eq!(judge(&NodeVolumeLimits::default(), &world, asks(), "n"), None);
}
