//! What the rules for devices say, case by case.

use serde_json::{Value, json};

use super::*;
use crate::kinds::kind::Kind;
use crate::registry::Strategy;

fn texts(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut object = object.clone();
    kind.default(&mut object);
    let errors = match old {
        Some(old) => kind.validate_update(&object, old),
        None => kind.validate(&object),
    };
    errors.iter().map(ToString::to_string).collect()
}

fn claim_of(devices: Value) -> Vec<String> {
    texts(&RESOURCE_CLAIMS, &json!({"spec": {"devices": devices}}), None)
}

fn request() -> Value {
    json!({"name": "r", "exactly": {"deviceClassName": "c"}})
}

#[test]
fn requests_of_claims() {
    let check = |request: Value, expected: &[&str]| assert_eq!(claim_of(json!({"requests": [request]})), expected);
    check(request(), &[]);
    check(
        json!({"name": "r"}),
        &["spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"],
    );
    check(
        json!({"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "Some"}}),
        &["spec.devices.requests[0].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \
           \"ExactCount\""],
    );
    check(
        json!({"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "All", "count": 2}}),
        &[
            "spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
        ],
    );
    check(
        json!({"name": "r", "firstAvailable": [{"name": "s", "deviceClassName": "c"}, {"name": "s", "deviceClassName": ""}]}),
        &[
            "spec.devices.requests[0].firstAvailable[1].deviceClassName: Required value",
            "spec.devices.requests[0].firstAvailable[1]: Duplicate value: \"s\"",
        ],
    );
    let many: Vec<Value> = (0..33).map(|at| json!({"name": format!("r{at}"), "exactly": {}})).collect();
    assert_eq!(
        claim_of(json!({"requests": many})),
        ["spec.devices.requests: Too many: 33: must have at most 32 items"]
    );
}

#[test]
fn selectors_are_compiled() {
    let check = |expression: &str, expected: &str| {
        let exactly = json!({"deviceClassName": "c", "selectors": [{"cel": {"expression": expression}}]});
        let texts = claim_of(json!({"requests": [{"name": "r", "exactly": exactly}]}));
        let path = "spec.devices.requests[0].exactly.selectors[0].cel.expression: ";
        match expected {
            "" => assert!(texts.is_empty(), "{texts:?}"),
            expected => assert!(texts.len() == 1 && texts[0].starts_with(&format!("{path}{expected}")), "{texts:?}"),
        }
    };
    check("device.driver == 'a.b' && device.attributes['a.b'].c == 1", "");
    check("device.capacity['a.b'].memory.compareTo(quantity('1Gi')) >= 0", "");
    check("device.attributes['a.b'].flag", "");
    check("device.nothing", "Invalid value: \"device.nothing\": compilation failed: ");
    check("device.driver", "Invalid value: \"device.driver\": must evaluate to bool or the unknown type, not string");
    let dear = "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, \
                device.attributes.all(d, a + b + c + d == 'x'))))";
    check(dear, "Forbidden: too complex, exceeds cost limit");
}

#[test]
fn constraints_and_configurations_of_claims() {
    let check = |devices: Value, expected: &[&str]| {
        let mut devices = devices;
        devices["requests"] =
            json!([request(), {"name": "f", "firstAvailable": [{"name": "s", "deviceClassName": "c"}]}]);
        assert_eq!(claim_of(devices), expected);
    };
    check(json!({"constraints": [{"requests": ["r", "f/s"], "matchAttribute": "a.b/c"}]}), &[]);
    check(
        json!({"constraints": [{"requests": ["x"]}]}),
        &[
            "spec.devices.constraints[0].requests[0]: Invalid value: \"x\": must be the name of a request in the claim or \
             the name of a request and a subrequest separated by '/'",
            "spec.devices.constraints[0]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is \
             required, but multiple fields are set",
        ],
    );
    check(
        json!({"constraints": [{"matchAttribute": "c"}]}),
        &[
            "spec.devices.constraints[0].matchAttribute: Invalid value: \"c\": a fully qualified name must be a domain and \
           a name separated by a slash",
        ],
    );
    check(
        json!({"config": [{"opaque": {"driver": "a.b", "parameters": [1]}}, {}]}),
        &[
            "spec.devices.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object",
            "spec.devices.config[1].opaque: Required value",
        ],
    );
}

#[test]
fn status_of_claims() {
    let check = |status: Value, old: Value, expected: &[&str]| {
        let spec = json!({"devices": {"requests": [request()]}});
        let (object, old) = (json!({"spec": spec, "status": status}), json!({"spec": spec, "status": old}));
        let part = RESOURCE_CLAIMS.subresource("status").unwrap();
        let errors: Vec<String> = part.validate_update(&object, &old).iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected);
    };
    let allocation = json!({"devices": {"results": [{"request": "r", "driver": "a.b", "pool": "p", "device": "d"}]}});
    check(json!({"allocation": allocation}), json!({}), &[]);
    let user = json!([{"resource": "pods", "name": "p", "uid": "u"}]);
    check(
        json!({"reservedFor": user}),
        json!({}),
        &["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
    );
    check(
        json!({"allocation": allocation, "devices": [{"driver": "a.b", "pool": "p", "device": "e"}]}),
        json!({}),
        &["status.devices[0]: Invalid value: {\"Device\":{},\"Driver\":{},\"Pool\":{},\"ShareID\":{}}: must be an \
           allocated device in the claim"],
    );
    let data =
        json!([{"driver": "a.b", "pool": "p", "device": "d", "networkData": {"ips": ["10.0.0.1", "10.0.0.01/8"]}}]);
    check(
        json!({"allocation": allocation, "devices": data}),
        json!({}),
        &[
            "status.devices[0].networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, \
             (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
            "status.devices[0].networkData.ips[1]: Invalid value: \"10.0.0.01/8\": must be in canonical form \
             (\"10.0.0.1/8\")",
        ],
    );
}

#[test]
fn what_drivers_said_of_devices_goes_with_them() {
    let device = |name: &str| json!({"request": "r", "driver": "a.b", "pool": "p", "device": name});
    let old = json!({"status": {"allocation": {"devices": {"results": [device("d"), device("e")]}}}});
    let mut object = json!({"status": {"devices": [device("d"), device("e")],
        "allocation": {"devices": {"results": [device("e")]}}}});
    status::drop_status_of_deallocated(&mut object, &old);
    assert_eq!(object["status"]["devices"], json!([device("e")]));
    let mut freed = json!({"status": {"devices": [device("d")]}});
    status::drop_status_of_deallocated(&mut freed, &old);
    assert_eq!(freed, json!({"status": {}}));
}

#[test]
fn slices() {
    let check = |change: Value, expected: &[&str]| {
        let mut spec = json!({"driver": "a.b", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}});
        let mut changes = change;
        spec.as_object_mut().unwrap().append(changes.as_object_mut().unwrap());
        assert_eq!(texts(&RESOURCE_SLICES, &json!({"spec": spec}), None), expected);
    };
    check(json!({}), &[]);
    check(
        json!({"pool": {"name": "p", "generation": -1}}),
        &[
            "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
        ],
    );
    let lead = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    check(
        json!({"allNodes": true}),
        &[&format!("spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {lead}, but multiple fields are set")],
    );
    check(json!({"allNodes": false}), &["spec.allNodes: Invalid value: false: must be either unset or set to true"]);
    check(
        json!({"devices": [{"name": "d", "attributes": {"a": {}, "b/c/d": {"int": 1}, "x.y/1": {"version": "1.02.3"}}}]}),
        &[
            "spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified",
            "spec.devices[0].attributes: Invalid value: \"1\": a valid C identifier must start with alphabetic character \
             or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', \
             regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')",
            "spec.devices[0].attributes[x.y/1].version: Invalid value: \"1.02.3\": must be a string compatible with \
             semver.org spec 2.0.0",
        ],
    );
    check(
        json!({"devices": [{"name": "d", "nodeName": "n"}]}),
        &["spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if \
           `perDeviceNodeSelection` is set to true in the ResourceSlice spec"],
    );
    check(
        json!({"devices": [{"name": "d", "bindingConditions": ["a", "a"]}, {"name": "d"}]}),
        &[
            "spec.devices[0].bindingConditions[1]: Duplicate value: \"a\"",
            "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use \
             bindingConditions",
            "spec.devices[1]: Duplicate value: \"d\"",
        ],
    );
}

#[test]
fn policies_of_shared_capacity() {
    let check = |policy: Value, expected: &[&str]| {
        let capacity = json!({"a": {"value": "4Gi", "requestPolicy": policy}});
        let device = json!({"name": "d", "allowMultipleAllocations": true, "capacity": capacity});
        let spec = json!({"driver": "a.b", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}, "devices": [device]});
        let texts = texts(&RESOURCE_SLICES, &json!({"spec": spec}), None);
        let lead = "spec.devices[0].capacity[a].requestPolicy.";
        let expected: Vec<String> = expected.iter().map(|text| format!("{lead}{text}")).collect();
        assert_eq!(texts, expected);
    };
    check(json!({"default": "2Gi", "validValues": ["1Gi", "2Gi"]}), &[]);
    check(json!({"default": "2Gi", "validRange": {"min": "1Gi", "max": "3Gi", "step": "1Gi"}}), &[]);
    check(json!({"validValues": ["1Gi"]}), &["default: Required value: required when validValues is defined"]);
    check(
        json!({"default": "2Gi", "validValues": ["8Gi", "1Gi"]}),
        &[
            "validValues[1]: Invalid value: \"1Gi\": values must be sorted in ascending order",
            "validValues[0]: Invalid value: \"8Gi\": option is larger than capacity value: 4Gi",
            "validValues: Invalid value: \"2Gi\": default value is not valid according to the requestPolicy",
        ],
    );
    check(
        json!({"default": "2Gi", "validRange": {"min": "1Gi", "step": "0"}}),
        &["validRange.step: Invalid value: \"2Gi\": value is not a multiple of a given step (0) from (1Gi)"],
    );
}
