//! What is given out, what is refused, and when what was given out is free again.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::json;

use super::taken::UNKNOWN_MAX;
use super::*;
use crate::environment::SystemEnvironment;

fn allocator(addresses: &str, ports: &str) -> ServiceAllocator {
    ServiceAllocator::new(addresses.parse().unwrap(), ports.parse().unwrap(), Arc::new(SystemEnvironment))
}

fn service(spec: Value) -> Value {
    json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec})
}

async fn refused(allocator: &ServiceAllocator, spec: Value) -> String {
    allocator.before(&mut service(spec), None, false).await.err().expect("it is refused").message
}

#[tokio::test]
async fn addresses_are_distinct_until_the_range_is_full() {
    let allocator = allocator("10.0.0.0/29", "30000-30010");
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    for _ in 0..6 {
        let mut object = service(json!({"ports": [{"port": 80}]}));
        kept.push(allocator.before(&mut object, None, false).await.unwrap());
        assert_eq!(object["spec"]["clusterIPs"][0], object["spec"]["clusterIP"]);
        assert_eq!(object["spec"]["ipFamilies"], json!(["IPv4"]));
        seen.insert(object["spec"]["clusterIP"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen.len(), 6);
    assert!(refused(&allocator, json!({})).await.contains("range is full"));
    drop(kept);
    assert!(allocator.before(&mut service(json!({})), None, false).await.is_ok());
}

#[tokio::test]
async fn what_services_have_is_taken_until_they_are_gone() {
    let allocator = allocator("10.0.0.0/24", "30000-30010");
    let spec = json!({"type": "NodePort", "clusterIP": "10.0.0.9", "ports": [{"port": 80, "nodePort": 30001}]});
    let object = service(spec.clone());
    allocator.changed("n", "s", Some(&object));
    let message = refused(&allocator, spec).await;
    assert!(
        message.ends_with("spec.clusterIPs: Invalid value: [\"10.0.0.9\"]: failed to allocate IP 10.0.0.9: provided IP is already allocated"),
        "{message}"
    );
    let message = refused(&allocator, json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]})).await;
    assert!(
        message.ends_with("spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"),
        "{message}"
    );
    assert!(allocator.before(&mut object.clone(), Some(&object), false).await.unwrap().is_none(), "it keeps its own");
    allocator.changed("n", "s", None);
    assert!(allocator.before(&mut object.clone(), None, false).await.unwrap().is_some());
}

#[tokio::test]
async fn what_may_have_been_stored_is_taken_until_it_is_seen() {
    let allocator = allocator("10.0.0.0/24", "30000-30010");
    let spec = json!({"type": "NodePort", "clusterIP": "10.0.0.9", "ports": [{"port": 80, "nodePort": 30001}]});
    let mut object = service(spec.clone());
    let reserve = async |object: &mut Value| allocator.before(object, None, false).await.unwrap().unwrap();
    let is_taken = async || allocator.before(&mut service(spec.clone()), None, false).await.is_err();
    // Nothing was asked of the store, or it refused.
    drop(reserve(&mut object).await);
    let mut refused = reserve(&mut object).await;
    refused.begin();
    refused.end(false);
    assert!(!is_taken().await);
    // The client went while it was being stored, and it is observed only later.
    let mut cut_off = reserve(&mut object).await;
    cut_off.begin();
    drop(cut_off);
    assert!(is_taken().await);
    allocator.changed("n", "s", Some(&object));
    assert!(is_taken().await);
    // Once it was observed nothing is left of the reservation.
    allocator.changed("n", "s", None);
    assert!(!is_taken().await);
    // It never comes: a minute later it is free.
    let mut lost = reserve(&mut object).await;
    lost.begin();
    drop(lost);
    let long_ago = Instant::now().checked_sub(UNKNOWN_MAX);
    allocator.taken().pending.values_mut().for_each(|pending| pending.unknown_since = long_ago);
    assert!(!is_taken().await);
}

#[tokio::test]
async fn what_is_out_of_range_is_refused() {
    let allocator = allocator("10.0.0.0/24", "30000-30010");
    assert!(
        refused(&allocator, json!({"clusterIP": "10.1.0.1"})).await.contains("The range of valid IPs is 10.0.0.0/24")
    );
    let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]});
    assert!(refused(&allocator, spec).await.contains("The range of valid ports is 30000-30010"));
}

#[tokio::test]
async fn protocols_share_a_node_port_and_headless_services_have_no_address() {
    let allocator = allocator("10.0.0.0/24", "30000-30010");
    let ports = json!([{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 54}]);
    let mut object = service(json!({"type": "NodePort", "ports": ports}));
    let _held = allocator.before(&mut object, None, false).await.unwrap();
    let ports = &object["spec"]["ports"];
    assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
    assert_ne!(ports[0]["nodePort"], ports[2]["nodePort"]);
    let mut headless = service(json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}}));
    assert!(allocator.before(&mut headless, None, false).await.unwrap().is_none());
    assert_eq!(headless["spec"]["ipFamilyPolicy"], "SingleStack");
}

#[tokio::test]
async fn a_port_for_health_checks_that_is_asked_for_is_reserved_as_others_are() {
    let allocator = allocator("10.0.0.0/24", "30000-30010");
    let local = |port: u16, node_port: u16| {
        json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port,
            "ports": [{"port": 80, "nodePort": node_port}]})
    };
    let _held = allocator.before(&mut service(local(30001, 30002)), None, false).await.unwrap().unwrap();
    for (port, node_port, why) in [
        (30001, 30003, "spec.healthCheckNodePort: Invalid value: 30001: provided port is already allocated"),
        (30002, 30003, "spec.healthCheckNodePort: Invalid value: 30002: provided port is already allocated"),
        (30004, 30001, "spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"),
        (30004, 30004, "spec.healthCheckNodePort: Invalid value: 30004: provided port is already allocated"),
        (80, 30003, "spec.healthCheckNodePort: Invalid value: 80: provided port is not in the valid range"),
    ] {
        let told = refused(&allocator, local(port, node_port)).await;
        assert!(told.contains(why), "{told}");
    }
}

#[tokio::test]
async fn what_a_service_has_that_cannot_be_read_stays_taken() {
    let allocator = allocator("10.0.0.0/24", "30000-30010");
    let object = service(json!({"clusterIP": "10.0.0.9", "ports": [{"port": 80}]}));
    allocator.changed("n", "s", Some(&object));
    allocator.unreadable("n", "s");
    assert!(refused(&allocator, json!({"clusterIP": "10.0.0.9"})).await.contains("provided IP is already allocated"));
    assert!(allocator.before(&mut service(json!({})), None, false).await.is_ok(), "others are free");
    // Of one that never was read nobody knows what it has.
    allocator.unreadable("n", "other");
    assert!(refused(&allocator, json!({})).await.contains("the Service n/other can't be read"));
    allocator.changed("n", "other", None);
    assert!(allocator.before(&mut service(json!({})), None, false).await.is_ok());
}
