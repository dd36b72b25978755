use serde_json::{Value, json};

use super::*;
use crate::framework::{Code, Flow};
use crate::testing::{PodMaker, node, pod, snapshot};

fn slice(node: &str, devices: &[Value]) -> Value {
    json!({"metadata": {"name": format!("slice-{node}")}, "spec": {"driver": "gpu", "nodeName": node,
        "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}, "devices": devices}})
}

fn gpu(name: &str, model: &str, numa: i64) -> Value {
    json!({"name": name, "attributes": {"model": {"string": model}, "numa": {"int": numa}}})
}

fn claim(requests: Value, constraints: Value) -> Value {
    json!({"metadata": {"name": "c", "namespace": "default", "uid": "c"},
        "spec": {"devices": {"requests": requests, "constraints": constraints}}})
}

fn exactly(name: &str, count: usize, selector: &str) -> Value {
    let selectors = if selector.is_empty() { json!([]) } else { json!([{"cel": {"expression": selector}}]) };
    json!({"name": name, "exactly": {"deviceClassName": "any", "count": count, "selectors": selectors}})
}

fn world(claim: Value) -> Snapshot {
    let mut snapshot = snapshot([node("n1"), node("n2")], []);
    let devices = &mut snapshot.objects_mut().devices;
    devices.put_class(serde_json::from_value(json!({"metadata": {"name": "any"}})).unwrap());
    let n1 = [gpu("a", "A100", 0), gpu("b", "A100", 1)];
    let n2 = [gpu("a", "H100", 0), gpu("b", "A100", 0), gpu("c", "A100", 1)];
    devices.put_slice(serde_json::from_value(slice("n1", &n1)).unwrap());
    devices.put_slice(serde_json::from_value(slice("n2", &n2)).unwrap());
    devices.put_claim(serde_json::from_value(claim).unwrap());
    snapshot
}

fn asks() -> PodMaker {
    pod("p").spec("resourceClaims", json!([{"name": "gpus", "resourceClaimName": "c"}]))
}

/// Why each of the two nodes is refused, or the pod altogether.
fn judge(snapshot: &Snapshot, pod: PodMaker) -> Result<[Option<String>; 2], (Code, String)> {
    let (plugin, pod) = (DynamicResources::default(), pod.build());
    let mut state = CycleState::new();
    state.show(snapshot);
    plugin.pre_filter(&mut state, &pod, snapshot).map_err(|status| (status.code(), status.message()))?;
    Ok(["n1", "n2"].map(|name| {
        let verdict = FilterPlugin::filter(&plugin, &state, &pod, snapshot.node(name).unwrap());
        verdict.err().map(|status| status.message())
    }))
}

/// The devices that the claim gets on a node.
fn given(snapshot: &mut Snapshot, node: &str) -> Vec<String> {
    let (plugin, pod) = (DynamicResources::default(), Arc::new(asks().build()));
    let mut state = CycleState::new();
    plugin.pre_filter(&mut state, &pod, snapshot).unwrap();
    let node = snapshot.node(node).unwrap().node.clone();
    plugin.enter(&mut state, &pod, &node, snapshot.objects_mut()).unwrap();
    let told = |action: Action| match action {
        Action::ReserveDevices { allocation: Some(allocation), .. } => {
            let one = |given: &crate::object::GivenDevice| format!("{}={}", given.request, given.id.device);
            allocation.devices.iter().map(one).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    plugin.pre_bind(&state, &pod, &node.name).unwrap().into_iter().flat_map(told).collect()
}

const NONE: Option<&str> = Some(DynamicResources::REASON_NO_DEVICES);

#[track_caller]
fn check(requests: Value, constraints: Value, expected: [Option<&str>; 2]) {
    let found = judge(&world(claim(requests, constraints)), asks()).unwrap();
    assert_eq!(found.each_ref().map(Option::as_deref), expected);
}

#[test]
fn nodes_must_have_the_devices() {
    check(json!([exactly("r", 2, "")]), json!([]), [None, None]);
    check(json!([exactly("r", 3, "")]), json!([]), [NONE, None]);
    check(json!([exactly("r", 4, "")]), json!([]), [NONE, NONE]);
    check(json!([exactly("r", 1, "device.attributes['gpu'].model == 'H100'")]), json!([]), [NONE, None]);
    check(json!([exactly("a", 2, ""), exactly("b", 1, "")]), json!([]), [NONE, None]);
    let same_numa = json!([{"matchAttribute": "gpu/numa"}]);
    check(json!([exactly("r", 2, "")]), same_numa.clone(), [NONE, None]);
    check(json!([exactly("r", 2, "device.attributes['gpu'].model == 'A100'")]), same_numa, [NONE, NONE]);
    let all = json!([{"name": "r", "exactly": {"deviceClassName": "any", "allocationMode": "All"}}]);
    check(all, json!([]), [None, None]);
}

#[test]
fn alternatives_are_tried_in_turn() {
    let h100 = json!([{"cel": {"expression": "device.attributes['gpu'].model == 'H100'"}}]);
    let requests = json!([{"name": "r", "firstAvailable": [
        {"name": "best", "deviceClassName": "any", "selectors": h100},
        {"name": "other", "deviceClassName": "any", "count": 2}]}]);
    let mut snapshot = world(claim(requests, json!([])));
    assert_eq!(given(&mut snapshot, "n2"), ["r/best=a"]);
    snapshot.objects_mut().devices.unpend(&"c".into());
    assert_eq!(given(&mut snapshot, "n1"), ["r/other=a", "r/other=b"]);
}

#[test]
fn devices_in_use_are_not_given_twice() {
    let mut snapshot = world(claim(json!([exactly("r", 2, "")]), json!([])));
    assert_eq!(given(&mut snapshot, "n1"), ["r=a", "r=b"]);
    let (code, message) = judge(&snapshot, asks()).unwrap_err();
    assert_eq!(code, Code::UnschedulableAndUnresolvable);
    assert_eq!(message, "resource claim default/c is in the process of being allocated");
    let mut other = claim(json!([exactly("r", 1, "")]), json!([]));
    other["metadata"] = json!({"name": "d", "namespace": "default", "uid": "d"});
    snapshot.objects_mut().devices.put_claim(serde_json::from_value(other).unwrap());
    let asks = pod("q").spec("resourceClaims", json!([{"name": "gpus", "resourceClaimName": "d"}]));
    let found = judge(&snapshot, asks).unwrap();
    assert_eq!(found.each_ref().map(Option::as_deref), [NONE, None]);
}

#[test]
fn claims_must_be_there_and_their_own() {
    let message = |snapshot: &Snapshot, pod: PodMaker| judge(snapshot, pod).unwrap_err().1;
    let from_template = || pod("p").spec("resourceClaims", json!([{"name": "gpus", "resourceClaimTemplateName": "t"}]));
    let plain = world(claim(json!([exactly("r", 1, "")]), json!([])));
    assert_eq!(message(&plain, from_template()), "pod \"default/p\": ResourceClaim not created yet");
    let named = from_template().status("resourceClaimStatuses", json!([{"name": "gpus", "resourceClaimName": "c"}]));
    let not_owner = "ResourceClaim default/c was not created for Pod default/p (Pod is not owner)";
    assert_eq!(message(&plain, named), not_owner);
    let unneeded = from_template().status("resourceClaimStatuses", json!([{"name": "gpus"}]));
    assert_eq!(judge(&plain, unneeded), Ok([None, None]));
    let gone = pod("p").spec("resourceClaims", json!([{"name": "gpus", "resourceClaimName": "x"}]));
    assert_eq!(message(&plain, gone), "could not find v1.ResourceClaim \"default/x\"");
    let unclassed = json!([{"name": "r", "exactly": {"deviceClassName": "none"}}]);
    let told = message(&world(claim(unclassed, json!([]))), asks());
    assert_eq!(told, "request r: device class none does not exist");
}

#[test]
fn allocated_claims_hold_pods_to_their_nodes() {
    let mut allocated = claim(json!([exactly("r", 1, "")]), json!([]));
    allocated["status"] = json!({"allocation": {
        "devices": {"results": [{"request": "r", "driver": "gpu", "pool": "n1", "device": "a"}]},
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields":
            [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]}}});
    let found = judge(&world(allocated.clone()), asks()).unwrap();
    assert_eq!(found.each_ref().map(Option::as_deref), [None, Some(DynamicResources::REASON_UNREACHABLE)]);
    let consumers: Vec<Value> =
        (0..256).map(|n| json!({"resource": "pods", "name": "x", "uid": n.to_string()})).collect();
    allocated["status"]["reservedFor"] = consumers.into();
    assert_eq!(judge(&world(allocated), asks()).unwrap_err().1, "resourceclaim in use");
}

#[test]
fn pools_count_when_they_are_complete_and_new() {
    let mut snapshot = world(claim(json!([exactly("r", 1, "")]), json!([])));
    let mut newer = slice("n1", &[]);
    newer["metadata"]["name"] = json!("newer");
    newer["spec"]["pool"] = json!({"name": "n1", "generation": 2, "resourceSliceCount": 2});
    snapshot.objects_mut().devices.put_slice(serde_json::from_value(newer).unwrap());
    let found = judge(&snapshot, asks()).unwrap();
    assert_eq!(found.each_ref().map(Option::as_deref), [NONE, None]);
}

#[test]
fn bad_expressions_are_told() {
    let broken = world(claim(json!([exactly("r", 1, "device.")]), json!([])));
    let told = "claim default/c: selector #0: CEL compile error: compilation failed: \
                ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'\n | device.\n | .......^";
    assert_eq!(judge(&broken, asks()).unwrap_err(), (Code::Error, told.to_owned()));
    let unknown = world(claim(json!([exactly("r", 1, "device.attributes['gpu'].healthy")]), json!([])));
    let told = "filter node n1: claim default/c: selector #0: CEL runtime error: no such key: healthy";
    assert_eq!(judge(&unknown, asks()).unwrap()[0].as_deref(), Some(told));
}

/// One node whose pool has these devices and counter sets.
fn pool(devices: &[Value], counters: &Value, claim: Value) -> Snapshot {
    let mut snapshot = snapshot([node("n1"), node("n2")], []);
    let books = &mut snapshot.objects_mut().devices;
    books.put_class(serde_json::from_value(json!({"metadata": {"name": "any"}})).unwrap());
    let part = |name: &str, field: &str, content: Value| {
        json!({"metadata": {"name": name}, "spec": {"driver": "gpu", "nodeName": "n1", field: content,
            "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 2}}})
    };
    books.put_slice(serde_json::from_value(part("devices", "devices", json!(devices))).unwrap());
    books.put_slice(serde_json::from_value(part("counters", "sharedCounters", counters.clone())).unwrap());
    books.put_claim(serde_json::from_value(claim).unwrap());
    snapshot
}

#[test]
fn parts_of_a_device_take_from_the_same_counters() {
    let part = |name: &str, slices: u32| {
        json!({"name": name, "consumesCounters": [
            {"counterSet": "gpu0", "counters": {"slices": {"value": slices.to_string()}}}]})
    };
    let counters = json!([{"name": "gpu0", "counters": {"slices": {"value": "7"}}}]);
    let devices = [part("small", 2), part("other", 3), part("whole", 7)];
    let fits = |count: usize| {
        let world = pool(&devices, &counters, claim(json!([exactly("r", count, "")]), json!([])));
        judge(&world, asks()).unwrap()[0].is_none()
    };
    assert_eq!([1, 2, 3].map(fits), [true, true, false]);
    let mut world = pool(&devices, &counters, claim(json!([exactly("r", 1, "")]), json!([])));
    let other = json!({"metadata": {"name": "o", "namespace": "default", "uid": "o"}, "spec": {}, "status": {
        "allocation": {"devices": {"results": [{"request": "r", "driver": "gpu", "pool": "n1", "device": "small"}]}}}});
    world.objects_mut().devices.put_claim(serde_json::from_value(other).unwrap());
    assert_eq!(given(&mut world, "n1"), ["r=other"], "the whole is in use, for a part is");
}

#[test]
fn several_claims_share_what_a_device_has() {
    let rule = json!({"default": "1Gi", "validRange": {"min": "5Gi", "max": "20Gi", "step": "5Gi"}});
    let device = json!({"name": "nic", "allowMultipleAllocations": true,
        "capacity": {"memory": {"value": "40Gi", "requestPolicy": rule}}});
    let wants = |memory: &str| {
        let capacity = json!({"requests": {"memory": memory}});
        claim(
            json!([{"name": "r", "exactly": {"deviceClassName": "any", "count": 1, "capacity": capacity}}]),
            json!([]),
        )
    };
    let shared = |consumed: &str| {
        json!({"metadata": {"name": "o", "namespace": "default", "uid": "o"}, "spec": {}, "status": {"allocation": {
            "devices": {"results": [{"request": "r", "driver": "gpu", "pool": "n1", "device": "nic", "shareID": "s",
                "consumedCapacity": {"memory": consumed}}]}}}})
    };
    for (memory, others, fits) in [
        ("12Gi", "25Gi", true),
        ("12Gi", "30Gi", false),
        ("3Gi", "35Gi", true),
        ("21Gi", "0", false),
        ("20Gi", "0", true),
    ] {
        let mut world = pool(std::slice::from_ref(&device), &json!([]), wants(memory));
        world.objects_mut().devices.put_claim(serde_json::from_value(shared(others)).unwrap());
        let found = judge(&world, asks()).unwrap();
        assert_eq!(found[0].is_none(), fits, "{memory} beside {others}: {found:?}");
    }
    let unknown = claim(
        json!([{"name": "r", "exactly": {"deviceClassName": "any", "count": 1, "capacity": {"requests": {"x": "1"}}}}]),
        json!([]),
    );
    assert!(judge(&pool(&[device], &json!([]), unknown), asks()).unwrap()[0].is_some());
}

#[test]
fn attributes_can_be_asked_to_differ() {
    let distinct = json!([{"distinctAttribute": "gpu/numa"}]);
    check(json!([exactly("r", 2, "")]), distinct.clone(), [None, None]);
    check(json!([exactly("r", 2, "device.attributes['gpu'].numa == 0")]), distinct, [NONE, NONE]);
}

#[test]
fn better_alternatives_make_better_nodes() {
    let alternatives = json!([{"name": "r", "firstAvailable": [
        {"name": "best", "deviceClassName": "any", "count": 1,
            "selectors": [{"cel": {"expression": "device.attributes['gpu'].model == 'H100'"}}]},
        {"name": "good", "deviceClassName": "any", "count": 1}]}]);
    let world = world(claim(alternatives, json!([])));
    let (plugin, pod, mut state) = (DynamicResources::default(), asks().build(), CycleState::new());
    state.show(&world);
    plugin.pre_filter(&mut state, &pod, &world).unwrap();
    assert_eq!(plugin.pre_score(&mut state, &pod, &[], &world), Ok(Flow::Continue));
    let score = |name: &str| ScorePlugin::score(&plugin, &state, &pod, world.node(name).unwrap(), &world).unwrap();
    assert_eq!((score("n1"), score("n2")), (7, 8));
}

#[test]
fn all_devices_of_a_pool_that_is_being_updated_cannot_be_told() {
    let all = json!([{"name": "r", "exactly": {"deviceClassName": "any", "allocationMode": "All"}}]);
    let mut world = world(claim(all, json!([])));
    let mut more = slice("n1", &[]);
    (more["metadata"]["name"], more["spec"]["pool"]["resourceSliceCount"]) = (json!("more"), json!(3));
    world.objects_mut().devices.put_slice(serde_json::from_value(more).unwrap());
    let found = judge(&world, asks()).unwrap();
    let why = "claim default/c, request r: asks for all devices, but resource pool gpu/n1 is currently being updated";
    assert_eq!((found[0].as_deref(), found[1].as_deref()), (Some(why), None));
}

#[test]
fn rules_taint_devices_whatever_their_drivers_say() {
    let tolerant = || {
        let mut request = exactly("r", 2, "");
        request["exactly"]["tolerations"] = json!([{"key": "broken", "operator": "Exists"}]);
        request
    };
    let rule = |selector: Value| -> crate::object::DeviceTaintRule {
        let spec = json!({"deviceSelector": selector, "taint": {"key": "broken", "effect": "NoSchedule"}});
        serde_json::from_value(json!({"metadata": {"name": "rule"}, "spec": spec})).unwrap()
    };
    for (selector, expected) in [
        (json!(null), [NONE, NONE]),
        (json!({}), [NONE, NONE]),
        (json!({"pool": "n1"}), [NONE, None]),
        (json!({"pool": "n1", "device": "b"}), [NONE, None]),
        (json!({"device": "c"}), [None, None]),
        (json!({"driver": "other"}), [None, None]),
        (json!({"driver": "gpu", "pool": "n2"}), [None, NONE]),
    ] {
        let mut snapshot = world(claim(json!([exactly("r", 2, "")]), json!([])));
        let devices = &mut snapshot.objects_mut().devices;
        let any = expected != [None, None] || selector["device"] == "c";
        assert_eq!(devices.put_taint_rule(rule(selector.clone())), any, "{selector}");
        let found = judge(&snapshot, asks()).unwrap();
        assert_eq!(found.each_ref().map(Option::as_deref), expected, "{selector}");
        let tolerated = claim(json!([tolerant()]), json!([]));
        snapshot.objects_mut().devices.put_claim(serde_json::from_value(tolerated).unwrap());
        assert_eq!(judge(&snapshot, asks()).unwrap(), [None, None], "{selector}, tolerated");
        // A slice that comes later is tainted as well; without the rule none is.
        let again = [gpu("a", "A100", 0), gpu("b", "A100", 1)];
        let devices = &mut snapshot.objects_mut().devices;
        devices.put_slice(serde_json::from_value(slice("n1", &again)).unwrap());
        devices.put_claim(serde_json::from_value(claim(json!([exactly("r", 2, "")]), json!([]))).unwrap());
        assert_eq!(judge(&snapshot, asks()).unwrap()[0].as_deref(), expected[0], "{selector}, again");
        assert_eq!(snapshot.objects_mut().devices.remove_taint_rule(&"rule".into()), any);
        assert_eq!(judge(&snapshot, asks()).unwrap(), [None, None], "{selector}, taken back");
    }
}

#[test]
fn an_expression_is_asked_about_no_device_that_need_not_be_looked_at() {
    // The second device lacks what is asked about, and nobody minds until the first is taken.
    let mut snapshot = world(claim(json!([exactly("r", 1, "device.attributes['gpu'].numa == 0")]), json!([])));
    let odd = [gpu("a", "A100", 0), json!({"name": "b"})];
    snapshot.objects_mut().devices.put_slice(serde_json::from_value(slice("n1", &odd)).unwrap());
    assert_eq!(judge(&snapshot, asks()).unwrap(), [None, None]);
    let id = crate::object::DeviceId { driver: "gpu".into(), pool: "n1".into(), device: "a".into() };
    let given = crate::object::GivenDevice { id, ..Default::default() };
    let taken = DeviceAllocation { devices: vec![given], ..DeviceAllocation::default() };
    snapshot.objects_mut().devices.pend(&"other".into(), Arc::new(taken));
    let why = "filter node n1: claim default/c: selector #0: CEL runtime error: no such key: numa";
    assert_eq!(judge(&snapshot, asks()).unwrap()[0].as_deref(), Some(why));
}
