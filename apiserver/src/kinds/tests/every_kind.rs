//! What holds for every built-in kind.

use jiff::Timestamp;
use kubewright_api::resources;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::strategy;
use crate::registry::StrategyContext;
use crate::request::User;
use crate::table::{IncludeObject, column_definitions, row};

/// Names that rules look at, so that random objects reach deep.
const NAMES: &[&str] = &[
    "metadata",
    "spec",
    "status",
    "name",
    "labels",
    "annotations",
    "template",
    "containers",
    "ports",
    "env",
    "valueFrom",
    "volumes",
    "selector",
    "matchLabels",
    "matchExpressions",
    "values",
    "rules",
    "type",
    "clusterIPs",
    "ipFamilies",
    "limits",
    "requests",
    "resources",
    "conditions",
    "data",
    "subsets",
    "addresses",
    "ip",
    "webhooks",
    "versions",
    "requirements",
    "ingress",
    "egress",
    "backend",
    "path",
    "paths",
    "http",
    "metrics",
    "behavior",
    "schedule",
    "hard",
    "scopes",
    "devices",
    "drivers",
    "securityContext",
    "affinity",
    "nodeAffinity",
    "tolerations",
    "limited",
    "max",
    "min",
    "jobTemplate",
    "podFailurePolicy",
    "successPolicy",
    "subjects",
    "roleRef",
    "names",
    "capacity",
    "accessModes",
    "readinessProbe",
    "httpGet",
    "lifecycle",
    "volumeMounts",
    "projected",
    "sources",
    "topologySpreadConstraints",
    "initContainers",
    "ephemeralContainers",
    "containerStatuses",
    "state",
    "terminated",
    "stringData",
    "podIPs",
    "port",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "Always",
    "None",
    "50%",
    "-1",
    "10.0.0.1",
    "1Gi",
    "é",
    "a/b",
    "Container",
    "ClusterIP",
    "In",
    "*/5 * * * *",
    "/x",
];

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(TEXTS).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 96, 6, |inner| {
        let key = prop_oneof![9 => proptest::sample::select(NAMES).prop_map(str::to_owned), 1 => any::<String>()];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((key, inner), 0..6).prop_map(|entries| Value::Object(Map::from_iter(entries))),
        ]
    })
}

fn exercise(object: &Value, old: &Value) {
    let user = User::default();
    let context = StrategyContext::new(Timestamp::UNIX_EPOCH, &user, "default");
    for resource in resources::built_in() {
        let strategy = strategy(resource.group, resource.plural);
        let (mut object, mut old) = (object.clone(), old.clone());
        strategy.default(&mut object);
        strategy.default(&mut old);
        strategy.validate(&object);
        strategy.validate_update(&object, &old);
        strategy.warnings(&object, Some(&old));
        strategy.warnings(&object, None);
        let _ = row(strategy.cells(&object, Timestamp::UNIX_EPOCH), &object, IncludeObject::Metadata);
        strategy.selectable_fields().iter().for_each(|field| drop((field.value)(&object)));
        strategy.grace_period(&object, None);
        strategy.has_own_finalizers(&object);
        for name in ["status", "ephemeralcontainers", "resize", "approval", "finalize"] {
            if let Some(part) = strategy.subresource(name) {
                let mut changed = object.clone();
                part.prepare_for_update(&context, &mut changed, &old);
                part.validate_update(&changed, &old);
            }
        }
        if let Some(scale) = strategy.scale() {
            scale.selector(&object);
            scale.set_replicas(&mut object, 3);
        }
        let mut updated = object.clone();
        strategy.prepare_for_update(&context, &mut updated, &old);
        strategy.prepare_for_create(&context, &mut object);
        strategy.prepare_for_delete(&context, &mut object);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_clients_send_makes_a_rule_panic(object in any_value(), old in any_value()) {
        exercise(&object, &old);
        let within = |value: Value| json!({"metadata": {"name": "a"}, "spec": value, "status": value});
        exercise(&within(object), &within(old));
    }
}

#[test]
fn every_resource_with_a_status_has_its_strategy() {
    for resource in resources::built_in() {
        let strategy = strategy(resource.group, resource.plural);
        for name in ["status", "ephemeralcontainers", "resize", "approval", "finalize"] {
            let served = resource.subresource(name).is_some();
            let has = strategy.subresource(name).is_some();
            assert_eq!(served, has, "{}/{} {name}", resource.group, resource.plural);
        }
        let scales = resource.subresource("scale").is_some();
        assert_eq!(scales, strategy.scale().is_some(), "{}/{} scale", resource.group, resource.plural);
    }
}

#[test]
fn defaults_are_filled_in_once() {
    for resource in resources::built_in() {
        let strategy = strategy(resource.group, resource.plural);
        let mut once =
            json!({"metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}});
        strategy.default(&mut once);
        let mut twice = once.clone();
        strategy.default(&mut twice);
        assert_eq!(once, twice, "{}", resource.plural);
    }
}

#[test]
fn every_table_begins_with_a_name_or_says_where_it_is() {
    for resource in resources::built_in() {
        let columns = strategy(resource.group, resource.plural).columns();
        let definitions = column_definitions(columns);
        let formats: Vec<&str> =
            definitions.as_array().unwrap().iter().map(|one| one["format"].as_str().unwrap()).collect();
        assert!(formats.contains(&"name"), "{}", resource.plural);
        let described =
            definitions.as_array().unwrap().iter().all(|one| !one["description"].as_str().unwrap().is_empty());
        assert!(described, "{}", resource.plural);
    }
}

#[test]
fn a_create_cannot_bring_its_own_status() {
    let user = User::default();
    let context = StrategyContext::new(Timestamp::UNIX_EPOCH, &user, "default");
    for resource in resources::built_in().iter().filter(|resource| resource.subresource("status").is_some()) {
        if resource.plural == "nodes" {
            continue; // A kubelet registers its node with a status.
        }
        let strategy = strategy(resource.group, resource.plural);
        let mut object = json!({"metadata": {"name": "a"}, "spec": {}, "status": {"observedGeneration": 7}});
        strategy.prepare_for_create(&context, &mut object);
        assert!(object["status"]["observedGeneration"].is_null(), "{}", resource.plural);
        let old = json!({"metadata": {"name": "a"}, "spec": {}, "status": {"observedGeneration": 1}});
        let mut object = json!({"metadata": {"name": "a"}, "spec": {}, "status": {"observedGeneration": 7}});
        strategy.prepare_for_update(&context, &mut object, &old);
        assert_eq!(object["status"]["observedGeneration"], 1, "{}", resource.plural);
        let mut object = json!({"metadata": {"name": "a"}, "spec": {"x": 1}, "status": {"observedGeneration": 7}});
        strategy.subresource("status").unwrap().prepare_for_update(&context, &mut object, &old);
        assert_eq!(
            (&object["status"]["observedGeneration"], &object["spec"]),
            (&json!(7), &json!({})),
            "{}",
            resource.plural
        );
    }
}

#[test]
fn some_subresources_leave_the_metadata_as_it_was() {
    let user = User::default();
    let context = StrategyContext::new(Timestamp::UNIX_EPOCH, &user, "default");
    for (group, plural, subresource) in [
        ("", "pods", "ephemeralcontainers"),
        ("", "pods", "resize"),
        ("", "namespaces", "finalize"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies", "status"),
        ("networking.k8s.io", "servicecidrs", "status"),
        ("resource.k8s.io", "resourceclaims", "status"),
        ("storage.k8s.io", "volumeattachments", "status"),
    ] {
        let old =
            json!({"metadata": {"name": "a", "labels": {"a": "1"}, "finalizers": ["a/b"], "resourceVersion": "1"}});
        let mut object = json!({
            "metadata": {"name": "a", "labels": {"a": "2"}, "annotations": {"b": "1"}, "resourceVersion": "2"},
        });
        let strategy = strategy(group, plural).subresource(subresource).unwrap();
        strategy.prepare_for_update(&context, &mut object, &old);
        let expected = json!({"name": "a", "labels": {"a": "1"}, "finalizers": ["a/b"], "resourceVersion": "2"});
        assert_eq!(object["metadata"], expected, "{plural}/{subresource}");
    }
}
