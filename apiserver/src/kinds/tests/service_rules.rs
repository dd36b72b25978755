//! Services, case by case.

use serde_json::{Value, json};

use super::{faults, update_faults, with};

fn service() -> Value {
    json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"ports": [{"port": 80}]}})
}

fn check(pointer: &str, value: Value, expected: &[&str]) {
    assert_eq!(faults("", "services", &with(&service(), pointer, value.clone())), expected, "{pointer} {value}");
}

#[test]
fn ports_and_types() {
    assert_eq!(faults("", "services", &service()), [] as [&str; 0]);
    check("/spec/ports", json!([]), &["spec.ports: Required value"]);
    check(
        "/spec/ports",
        json!([{"port": 0}]),
        &[
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
        ],
    );
    check(
        "/spec/ports",
        json!([{"port": 80}, {"port": 81}]),
        &["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
    );
    check(
        "/spec/ports",
        json!([{"name": "a", "port": 80}, {"name": "b", "port": 80}]),
        &["spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}"],
    );
    check(
        "/spec/ports/0/nodePort",
        json!(30000),
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
    check("/spec/type", json!("ExternalName"), &["spec.externalName: Required value"]);
    check(
        "/spec/type",
        json!("Magic"),
        &[
            "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ],
    );
    check(
        "/spec/externalTrafficPolicy",
        json!("Local"),
        &["spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services"],
    );
    check("/spec/sessionAffinity", json!("ClientIP"), &[]);
    check("/spec/sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 1}}), &[]);
}

#[test]
fn addresses() {
    let with_ip = |ip: &str| with(&with(&service(), "/spec/clusterIP", json!(ip)), "/spec/clusterIPs", json!([ip]));
    assert_eq!(faults("", "services", &with_ip("None")), [] as [&str; 0]);
    assert_eq!(
        faults("", "services", &with_ip("1.2.3")),
        ["spec.clusterIPs[0]: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",]
    );
    check(
        "/spec/externalIPs",
        json!(["127.0.0.1"]),
        &["spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"],
    );
    let (old, new) = (with_ip("10.0.0.1"), with_ip("10.0.0.2"));
    assert_eq!(
        update_faults("", "services", &new, &old),
        ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set",]
    );
}
