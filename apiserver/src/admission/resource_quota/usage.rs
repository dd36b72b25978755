//! How much of what an object counts for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kubewright_api::quantity::Quantity;
use kubewright_api::quota;
use kubewright_api::requests::{PodResources, QosClass};
use serde_json::Value;

/// Amounts by resource name.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// Reads a resource list.
pub(super) fn amounts(value: &Value) -> Amounts {
    let entries = value.as_object().into_iter().flatten();
    let parse = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    };
    entries.filter_map(|(name, value)| Some((name.clone(), parse(value)?))).collect()
}

fn whole(number: usize) -> Quantity {
    number.to_string().parse().unwrap_or_default()
}

/// What an object counts for; nothing once it is done with.
pub(super) fn usage(group: &str, resource: &str, object: &Value) -> Amounts {
    let mut used = Amounts::new();
    let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    used.insert(format!("count/{qualified}"), whole(1));
    match (group, resource) {
        ("", "pods") => {
            if matches!(object["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) {
                return Amounts::from([("count/pods".to_owned(), whole(1))]);
            }
            used.insert("pods".into(), whole(1));
            pod(object, &mut used);
        }
        ("", "services") => {
            used.insert("services".into(), whole(1));
            let ports = || object["spec"]["ports"].as_array().into_iter().flatten();
            let kind = object["spec"]["type"].as_str().unwrap_or("ClusterIP");
            let allocates = object["spec"]["allocateLoadBalancerNodePorts"] != false;
            let node_ports = match kind {
                "NodePort" => ports().count(),
                "LoadBalancer" if allocates => ports().count(),
                "LoadBalancer" => {
                    ports().filter(|port| port["nodePort"].as_i64().is_some_and(|port| port != 0)).count()
                }
                _ => 0,
            };
            used.insert("services.nodeports".into(), whole(node_ports));
            used.insert("services.loadbalancers".into(), whole(usize::from(kind == "LoadBalancer")));
        }
        ("", "persistentvolumeclaims") => {
            used.insert(resource.into(), whole(1));
            used.extend(quota::of_volume_claim(object));
        }
        ("resource.k8s.io", "resourceclaims") => used.extend(quota::of_resource_claim(object)),
        ("", "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => {
            used.insert(resource.into(), whole(1));
        }
        _ => {}
    }
    used
}

fn pod(object: &Value, used: &mut Amounts) {
    let Ok(resources) = serde_json::from_value::<PodResources>(object["spec"].clone()) else { return };
    for (name, amount) in resources.requests() {
        let name = name.to_string();
        // The bare names of these mean requests.
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            used.insert(name.clone(), amount);
        }
        used.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in resources.limits() {
        used.insert(format!("limits.{name}"), amount);
    }
}

/// What of the limited compute resources a pod's containers leave unsaid.
pub(super) fn missing(group: &str, resource: &str, object: &Value, limited: &Amounts) -> Vec<String> {
    // Where something is said for the pod as a whole its containers may be silent.
    let pod_level = ["requests", "limits"].iter().any(|list| {
        let said = object["spec"]["resources"][*list].as_object().into_iter().flatten();
        said.filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-")).count() > 0
    });
    if (group, resource) != ("", "pods") || pod_level {
        return Vec::new();
    }
    let mut missing = Vec::new();
    for name in limited.keys() {
        let (list, short) = match name.split_once('.') {
            Some(("requests", short @ ("cpu" | "memory"))) => ("requests", short),
            Some(("limits", short @ ("cpu" | "memory"))) => ("limits", short),
            _ if matches!(name.as_str(), "cpu" | "memory") => ("requests", name.as_str()),
            _ => continue,
        };
        let silent: BTreeSet<&str> = ["initContainers", "containers"]
            .iter()
            .flat_map(|kind| object["spec"][*kind].as_array().into_iter().flatten())
            .filter(|container| container["resources"][list].get(short).is_none())
            .filter_map(|container| container["name"].as_str())
            .collect();
        if !silent.is_empty() {
            missing.push(format!("{name} for: {}", silent.into_iter().collect::<Vec<_>>().join(",")));
        }
    }
    missing
}

/// The scopes of a quota: name, operator and values of each.
pub(super) fn selectors(quota: &Value) -> Vec<(&str, &str, &Value)> {
    let scopes = quota["spec"]["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let expressions = quota["spec"]["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    expressions
        .filter_map(|e| Some((e["scopeName"].as_str()?, e["operator"].as_str()?, &e["values"])))
        .chain(scopes.map(|scope| (scope, "Exists", &Value::Null)))
        .collect()
}

/// Whether a quota with scopes, which are about pods and claims, counts the object.
pub(super) fn matches_scopes(quota: &Value, group: &str, resource: &str, object: &Value) -> bool {
    let mut selectors = selectors(quota).into_iter();
    selectors.all(|(scope, operator, values)| matches_scope_of(group, resource, object, scope, operator, values))
}

/// Whether an object is in that scope; all but pods and claims are in none.
pub(super) fn matches_scope_of(
    group: &str,
    resource: &str,
    object: &Value,
    scope: &str,
    operator: &str,
    values: &Value,
) -> bool {
    match (group, resource) {
        ("", "pods") => matches_scope(object, scope, operator, values),
        ("", "persistentvolumeclaims") => claim_matches_scope(object, scope, operator, values),
        _ => false,
    }
}

/// Whether a selector picks one of these names; none at all is like a name that it doesn't list.
fn picks(names: &[&str], operator: &str, values: &Value) -> bool {
    let listed = |name: &str| values.as_array().is_some_and(|values| values.iter().any(|value| value == name));
    match operator {
        "In" => names.iter().any(|name| listed(name)),
        "NotIn" => names.is_empty() || names.iter().any(|name| !listed(name)),
        "Exists" => !names.is_empty(),
        "DoesNotExist" => names.is_empty(),
        _ => false,
    }
}

fn claim_matches_scope(claim: &Value, scope: &str, operator: &str, values: &Value) -> bool {
    let status = &claim["status"];
    // A claim that changes its class counts for both.
    let classes = [
        &claim["spec"]["volumeAttributesClassName"],
        &status["currentVolumeAttributesClassName"],
        &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ];
    let names: Vec<&str> = classes.iter().filter_map(|name| name.as_str()).filter(|name| !name.is_empty()).collect();
    scope == "VolumeAttributesClass" && picks(&names, operator, values)
}

/// Whether a pod wants to be near pods of other namespaces, or far from them.
fn looks_abroad(pod: &Value) -> bool {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let abroad = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|list| !list.is_empty()) || !term["namespaceSelector"].is_null()
    };
    let items = |list: &'_ Value| list.as_array().cloned().unwrap_or_default();
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let terms = &pod["spec"]["affinity"][*kind];
        items(&terms[REQUIRED]).iter().any(abroad)
            || items(&terms[PREFERRED]).iter().any(|weighted| abroad(&weighted["podAffinityTerm"]))
    })
}

fn matches_scope(pod: &Value, scope: &str, operator: &str, values: &Value) -> bool {
    let spec = &pod["spec"];
    let terminating = spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    let best_effort = || {
        let resources = serde_json::from_value::<PodResources>(spec.clone());
        resources.is_ok_and(|resources| resources.qos_class() == QosClass::BestEffort)
    };
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => {
            let class = spec["priorityClassName"].as_str().filter(|class| !class.is_empty());
            picks(class.as_slice(), operator, values)
        }
        "CrossNamespacePodAffinity" => looks_abroad(pod),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn amount(used: &Amounts, name: &str) -> String {
        used.get(name).map(ToString::to_string).unwrap_or_default()
    }

    fn pod() -> Value {
        json!({"spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Gi"}}},
            {"name": "b", "resources": {"requests": {"cpu": "250m"}}},
        ]}})
    }

    #[test]
    fn pods_count_what_they_ask_for() {
        let used = usage("", "pods", &pod());
        assert_eq!(amount(&used, "pods"), "1");
        assert_eq!((amount(&used, "cpu"), amount(&used, "requests.cpu")), ("750m".into(), "750m".into()));
        assert_eq!(amount(&used, "limits.memory"), "1Gi");
        let mut done = pod();
        done["status"]["phase"] = "Succeeded".into();
        assert_eq!(amount(&usage("", "pods", &done), "pods"), "");
    }

    #[test]
    fn other_kinds_count_one_each() {
        let service = json!({"spec": {"type": "NodePort", "ports": [{}, {}]}});
        let used = usage("", "services", &service);
        assert_eq!((amount(&used, "services"), amount(&used, "services.nodeports")), ("1".into(), "2".into()));
        let mut balanced = json!({"spec": {"type": "LoadBalancer", "ports": [{}, {"nodePort": 30000}]}});
        let count = |service: &Value| {
            let used = usage("", "services", service);
            (amount(&used, "services.loadbalancers"), amount(&used, "services.nodeports"))
        };
        assert_eq!(count(&balanced), ("1".into(), "2".into()));
        balanced["spec"]["allocateLoadBalancerNodePorts"] = false.into();
        assert_eq!(count(&balanced), ("1".into(), "1".into()));
        balanced["spec"]["type"] = "ClusterIP".into();
        assert_eq!(count(&balanced), ("0".into(), "0".into()));
        assert_eq!(amount(&usage("apps", "deployments", &json!({})), "count/deployments.apps"), "1");
        let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}});
        let used = usage("", "persistentvolumeclaims", &claim);
        assert_eq!(amount(&used, "fast.storageclass.storage.k8s.io/requests.storage"), "1Gi");
    }

    #[test]
    fn what_is_limited_must_be_said() {
        let limited = amounts(&json!({"limits.memory": "2Gi", "cpu": "1", "pods": "5"}));
        assert_eq!(missing("", "pods", &pod(), &limited), ["limits.memory for: b"]);
        assert!(missing("", "services", &json!({}), &limited).is_empty());
        let both = amounts(&json!({"limits.memory": "2Gi", "requests.memory": "2Gi"}));
        assert_eq!(missing("", "pods", &pod(), &both), ["limits.memory for: b", "requests.memory for: a,b"]);
        let mut whole = pod();
        whole["spec"]["resources"] = json!({"limits": {"cpu": "2"}});
        assert!(missing("", "pods", &whole, &both).is_empty());
    }

    #[test]
    fn scopes() {
        let quota = |scope: &str| json!({"spec": {"scopes": [scope]}});
        assert!(matches_scopes(&quota("NotBestEffort"), "", "pods", &pod()));
        assert!(!matches_scopes(&quota("BestEffort"), "", "pods", &pod()));
        assert!(!matches_scopes(&quota("Terminating"), "", "pods", &pod()));
        assert!(!matches_scopes(&quota("NotTerminating"), "", "services", &json!({})));
        assert!(matches_scopes(&json!({"spec": {}}), "", "services", &json!({})));
        let class = json!({"spec": {"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]},
        ]}}});
        assert!(!matches_scopes(&class, "", "pods", &pod()));
    }

    #[test]
    fn scopes_of_pods_case_by_case() {
        let quota = |scope: &str, operator: &str, values: Value| {
            json!({"spec": {"scopeSelector": {"matchExpressions": [
                {"scopeName": scope, "operator": operator, "values": values}]}}})
        };
        let nothing = json!({"spec": {"containers": [{"name": "a"}]}});
        let zero = json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "0"}}}]}});
        let whole = json!({"spec": {"containers": [{"name": "a"}], "resources": {"requests": {"cpu": "1"}}}});
        let ending = json!({"spec": {"containers": [{"name": "a"}], "activeDeadlineSeconds": 0}});
        let of = |class: &str| json!({"spec": {"containers": [{"name": "a"}], "priorityClassName": class}});
        for (scope, operator, values, object, expected) in [
            ("BestEffort", "Exists", Value::Null, &nothing, true),
            ("BestEffort", "Exists", Value::Null, &zero, true),
            ("BestEffort", "Exists", Value::Null, &whole, false),
            ("NotBestEffort", "Exists", Value::Null, &whole, true),
            ("Terminating", "Exists", Value::Null, &ending, true),
            ("NotTerminating", "Exists", Value::Null, &ending, false),
            ("NotTerminating", "Exists", Value::Null, &nothing, true),
            ("PriorityClass", "Exists", Value::Null, &of("high"), true),
            ("PriorityClass", "Exists", Value::Null, &nothing, false),
            ("PriorityClass", "DoesNotExist", Value::Null, &nothing, true),
            ("PriorityClass", "DoesNotExist", Value::Null, &of("high"), false),
            ("PriorityClass", "In", json!(["low", "high"]), &of("high"), true),
            ("PriorityClass", "In", json!(["low"]), &of("high"), false),
            ("PriorityClass", "NotIn", json!(["low"]), &of("high"), true),
            ("PriorityClass", "NotIn", json!(["high"]), &of("high"), false),
            ("PriorityClass", "NotIn", json!(["high"]), &nothing, true),
        ] {
            let quota = quota(scope, operator, values);
            assert_eq!(matches_scopes(&quota, "", "pods", object), expected, "{quota} {object}");
        }
        // All of several must match.
        let both = json!({"spec": {"scopes": ["NotTerminating"], "scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}});
        assert!(matches_scopes(&both, "", "pods", &of("high")));
        assert!(!matches_scopes(&both, "", "pods", &of("low")));
    }

    #[test]
    fn scopes_by_class_and_of_other_namespaces() {
        let quota = |scope: &str, operator: &str, values: Value| {
            json!({"spec": {"scopeSelector": {"matchExpressions": [
                {"scopeName": scope, "operator": operator, "values": values}]}}})
        };
        let claim = |class: Value, current: Value| json!({"spec": {"volumeAttributesClassName": class}, "status": {"currentVolumeAttributesClassName": current}});
        let (none, gold) = (claim(Value::Null, Value::Null), claim("gold".into(), Value::Null));
        let moving = claim("gold".into(), "silver".into());
        for (operator, values, expected) in [
            ("In", json!(["gold"]), [false, true, true]),
            ("In", json!(["silver"]), [false, false, true]),
            ("NotIn", json!(["gold"]), [true, false, true]),
            ("Exists", Value::Null, [false, true, true]),
            ("DoesNotExist", Value::Null, [true, false, false]),
        ] {
            let quota = quota("VolumeAttributesClass", operator, values);
            let found =
                [&none, &gold, &moving].map(|claim| matches_scopes(&quota, "", "persistentvolumeclaims", claim));
            assert_eq!(found, expected, "{quota}");
            assert!(!matches_scopes(&quota, "", "pods", &pod()));
        }
        let abroad = quota("CrossNamespacePodAffinity", "Exists", Value::Null);
        assert!(!matches_scopes(&abroad, "", "pods", &pod()));
        for term in [json!({"namespaces": ["other"]}), json!({"namespaceSelector": {}})] {
            let mut near = pod();
            near["spec"]["affinity"] = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": term}]}});
            assert!(matches_scopes(&abroad, "", "pods", &near), "{near}");
        }
    }
}
