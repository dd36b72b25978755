//! Pods, case by case.

use serde_json::{Value, json};

use super::{faults, update_faults, with};
use crate::kinds::strategy;

fn pod() -> Value {
    json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
}

fn check(pointer: &str, value: Value, expected: &[&str]) {
    assert_eq!(faults("", "pods", &with(&pod(), pointer, value.clone())), expected, "{pointer} {value}");
}

#[test]
fn containers() {
    assert_eq!(faults("", "pods", &pod()), [] as [&str; 0]);
    check("/spec/containers", json!([]), &["spec.containers: Required value"]);
    check("/spec/containers/0/image", json!(null), &["spec.containers[0].image: Required value"]);
    check(
        "/spec/containers/0/image",
        json!(" x"),
        &["spec.containers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace"],
    );
    check(
        "/spec/containers/0/imagePullPolicy",
        json!("Sometimes"),
        &[
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ],
    );
    let twice = json!([{"name": "c", "image": "x"}, {"name": "c", "image": "x"}]);
    check("/spec/containers", twice.clone(), &["spec.containers[1].name: Duplicate value: \"c\""]);
    check(
        "/spec/initContainers",
        json!([{"name": "c", "image": "x"}]),
        &["spec.initContainers[0].name: Duplicate value: \"c\""],
    );
    let probed = json!([{"name": "i", "image": "x", "livenessProbe": {"exec": {"command": ["a"]}}}]);
    check(
        "/spec/initContainers",
        probed.clone(),
        &[
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
    check("/spec/initContainers", with(&probed, "/0/restartPolicy", json!("Always")), &[]);
    check(
        "/spec/ephemeralContainers",
        json!([{"name": "e", "image": "x"}]),
        &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
    );
}

#[test]
fn ports_and_variables() {
    let port = |port: Value| json!([port]);
    check(
        "/spec/containers/0/ports",
        port(json!({"containerPort": 0})),
        &["spec.containers[0].ports[0].containerPort: Required value"],
    );
    check(
        "/spec/containers/0/ports",
        port(json!({"containerPort": 70000})),
        &["spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
    );
    check(
        "/spec/containers/0/ports",
        json!([{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]),
        &["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//9\""],
    );
    let hosted = with(&pod(), "/spec/hostNetwork", json!(true));
    let hosted = with(&hosted, "/spec/containers/0/ports", json!([{"containerPort": 1, "hostPort": 9}]));
    assert_eq!(
        faults("", "pods", &hosted),
        [
            "spec.containers[0].ports[0].hostPort: Invalid value: 9: must match `containerPort` when `hostNetwork` is true",
        ]
    );
    let variable = |value: Value| json!([value]);
    check(
        "/spec/containers/0/env",
        variable(json!({"name": "A=B"})),
        &[
            "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of \
         printable ASCII characters other than '='",
        ],
    );
    let field = json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.restartPolicy"}}});
    check(
        "/spec/containers/0/env",
        variable(field),
        &[
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"spec.restartPolicy\": supported values: \
         \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \
         \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
        ],
    );
    let unknown = json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo"}}});
    check(
        "/spec/containers/0/env",
        variable(unknown),
        &[
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.foo\": error converting fieldPath: \
         field label not supported: spec.foo",
        ],
    );
    let empty = json!({"name": "A", "valueFrom": {}});
    check(
        "/spec/containers/0/env",
        variable(empty),
        &[
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, \
         `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ],
    );
    let label = json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}});
    check("/spec/containers/0/env", variable(label), &[]);
}

#[test]
fn resources() {
    let at = "/spec/containers/0/resources";
    check(
        at,
        json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        &["spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
    );
    check(
        at,
        json!({"requests": {"cpu": "-1"}}),
        &["spec.containers[0].resources.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
    );
    check(
        at,
        json!({"limits": {"unknown": "1"}}),
        &[
            "spec.containers[0].resources.limits[unknown]: Invalid value: \"unknown\": must be a standard resource type or fully qualified",
            "spec.containers[0].resources.limits[unknown]: Invalid value: \"unknown\": must be a standard resource for containers",
            "spec.containers[0].resources.requests[unknown]: Invalid value: \"unknown\": must be a standard resource type or fully qualified",
            "spec.containers[0].resources.requests[unknown]: Invalid value: \"unknown\": must be a standard resource for containers",
        ],
    );
    check(
        at,
        json!({"requests": {"example.com/gpu": "1"}}),
        &["spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"],
    );
    check(
        at,
        json!({"limits": {"example.com/gpu": "500m", "cpu": "1"}}),
        &[
            "spec.containers[0].resources.limits[example.com/gpu]: Invalid value: \"500m\": must be an integer",
            "spec.containers[0].resources.requests[example.com/gpu]: Invalid value: \"500m\": must be an integer",
        ],
    );
    check(
        at,
        json!({"limits": {"hugepages-2Mi": "2Mi"}}),
        &["spec.containers[0].resources: Forbidden: HugePages require cpu or memory"],
    );
}

#[test]
fn probes_and_handlers() {
    let at = "/spec/containers/0/livenessProbe";
    check(at, json!({}), &["spec.containers[0].livenessProbe: Required value: must specify a handler type"]);
    check(
        at,
        json!({"httpGet": {"port": 80}, "tcpSocket": {"port": 80}}),
        &["spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
    );
    check(
        at,
        json!({"tcpSocket": {"port": 80}, "successThreshold": 2}),
        &["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    );
    check(
        at,
        json!({"tcpSocket": {"port": 0}}),
        &["spec.containers[0].livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive"],
    );
    check(
        "/spec/containers/0/lifecycle",
        json!({"preStop": {"sleep": {"seconds": 60}}}),
        &["spec.containers[0].lifecycle.preStop.sleep: Invalid value: 60: must be non-negative and less than \
         terminationGracePeriodSeconds (30)"],
    );
}

#[test]
fn volumes_and_mounts() {
    let mounted = with(&pod(), "/spec/containers/0/volumeMounts", json!([{"name": "v", "mountPath": "/x"}]));
    assert_eq!(faults("", "pods", &mounted), ["spec.containers[0].volumeMounts[0].name: Not found: \"v\""]);
    assert_eq!(faults("", "pods", &with(&mounted, "/spec/volumes", json!([{"name": "v"}]))), [] as [&str; 0]);
    let two = json!([{"name": "v", "emptyDir": {}, "configMap": {"name": "m"}}]);
    check("/spec/volumes", two, &["spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type"]);
    let away = json!([{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "../x"}]}}]);
    check(
        "/spec/volumes",
        away,
        &["spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'"],
    );
    let token = json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}}]);
    let named = with(&pod(), "/spec/serviceAccountName", json!("default"));
    assert_eq!(
        faults("", "pods", &with(&named, "/spec/volumes", token)),
        [
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a \
         duration less than 10 minutes",
        ]
    );
    check(
        "/spec/volumes",
        json!([{"name": "v", "hostPath": {"path": "/a/../b"}}]),
        &["spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
    );
}

#[test]
fn where_it_may_run() {
    check(
        "/spec/tolerations",
        json!([{"operator": "Equal", "value": "x"}]),
        &[
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \
         \"match all values and all keys\"",
        ],
    );
    let term = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
    let affinity =
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}});
    check(
        "/spec/affinity",
        affinity,
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: \
         Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ],
    );
    check(
        "/spec/topologySpreadConstraints",
        json!([{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]),
        &["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
    );
    check(
        "/spec/nodeName",
        json!("Bad"),
        &[
            "spec.nodeName: Invalid value: \"Bad\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
         characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
         validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
    let gated = with(&pod(), "/spec/schedulingGates", json!([{"name": "a/b"}]));
    assert_eq!(
        faults("", "pods", &with(&gated, "/spec/nodeName", json!("n"))),
        ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",]
    );
}

#[test]
fn security() {
    check(
        "/spec/securityContext",
        json!({"runAsUser": -1}),
        &["spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
    );
    check(
        "/spec/securityContext",
        json!({"seccompProfile": {"type": "Localhost"}}),
        &[
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ],
    );
    let context = json!({"privileged": true, "allowPrivilegeEscalation": false});
    let found = faults("", "pods", &with(&pod(), "/spec/containers/0/securityContext", context));
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("cannot set `allowPrivilegeEscalation` to false and `privileged` to true"), "{found:?}");
    check(
        "/spec/os",
        json!({"name": "plan9"}),
        &["spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\""],
    );
}

#[test]
fn little_may_change() {
    let old = pod();
    let unchanged = |pointer: &str, value: Value| update_faults("", "pods", &with(&old, pointer, value), &old);
    assert_eq!(unchanged("/spec/containers/0/image", json!("y")), [] as [&str; 0]);
    assert_eq!(unchanged("/metadata/labels", json!({"a": "b"})), [] as [&str; 0]);
    assert_eq!(unchanged("/spec/activeDeadlineSeconds", json!(5)), [] as [&str; 0]);
    assert_eq!(unchanged("/spec/tolerations", json!([{"operator": "Exists"}])), [] as [&str; 0]);
    assert_eq!(
        unchanged("/spec/containers/0/command", json!(["x"])),
        ["spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
         `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
         tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n\
         - containers[0].command: null\n+ containers[0].command: [\"x\"]\n",]
    );
    let more = json!([{"name": "c", "image": "x"}, {"name": "d", "image": "x"}]);
    assert_eq!(
        unchanged("/spec/containers", more),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"]
    );
    assert_eq!(
        unchanged("/spec/schedulingGates", json!([{"name": "a"}])),
        ["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a'",]
    );
}

#[test]
fn a_status_must_not_revive_what_has_ended() {
    let ended = json!({"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0}}}]});
    let running = json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]});
    let check = |policy: &str, expected: &[&str]| {
        let pod = with(&pod(), "/spec/restartPolicy", json!(policy));
        let (now, old) = (with(&pod, "/status", running.clone()), with(&pod, "/status", ended.clone()));
        let status = strategy("", "pods").subresource("status").unwrap();
        let texts: Vec<String> = status.validate_update(&now, &old).iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected, "{policy}");
    };
    check("Always", &[]);
    let why = "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    check("Never", &[why]);
    check("OnFailure", &[why]);
}
