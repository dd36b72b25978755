//! Changes of Services: what was allocated stays, unless the type no longer wants it.

use kubewright_api::field::FieldErrors;
use serde_json::{Value, json};

use super::{addresses, is_external, needs_health_check};
use crate::kinds::edit::{each, remove, restore, set};
use crate::kinds::read::Field;
use crate::kinds::same::same;
use crate::registry::StrategyContext;

/// Carries over what was allocated, drops what the new type can't have.
pub(super) fn prepare(_: &StrategyContext<'_>, object: &mut Value, old: &Value) {
    addresses::normalize(object, Some(old));
    carry_over(object, old);
    drop_fields_of_old_type(object, old);
}

fn kind(object: &Value) -> &str {
    object["spec"]["type"].as_str().unwrap_or_default()
}

fn needs_node_port(object: &Value) -> bool {
    matches!(kind(object), "NodePort" | "LoadBalancer")
}

/// A client that sends its manifest again doesn't know what was allocated.
fn carry_over(object: &mut Value, old: &Value) {
    if kind(object) != "ExternalName" && kind(old) != "ExternalName" {
        let empty = |name: &str, object: &Value| {
            object["spec"][name].as_str().is_none_or(str::is_empty)
                && object["spec"]["clusterIPs"].as_array().is_none_or(Vec::is_empty)
        };
        if empty("clusterIP", object)
            && let Some(spec) = object.get_mut("spec")
        {
            for name in ["clusterIP", "clusterIPs"] {
                restore(spec, name, &old["spec"]);
            }
        }
    }
    if needs_node_port(object) && needs_node_port(old) {
        let before = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
        let used: Vec<i64> = object["spec"]["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|port| port["nodePort"].as_i64().filter(|number| *number != 0))
            .collect();
        for port in each(object, "spec.ports") {
            if port["nodePort"].as_i64().unwrap_or_default() != 0 {
                continue;
            }
            let matches = |other: &&Value| other["protocol"] == port["protocol"] && other["port"] == port["port"];
            let number = before.iter().find(matches).and_then(|other| other["nodePort"].as_i64());
            if let Some(number) = number.filter(|number| *number != 0 && !used.contains(number)) {
                set(port, "nodePort", number);
            }
        }
    }
    let checked = |object: &Value| needs_health_check(&Field::of(object).field("spec"));
    if checked(object)
        && checked(old)
        && object["spec"]["healthCheckNodePort"].as_i64().unwrap_or_default() == 0
        && let Some(spec) = object.get_mut("spec")
    {
        restore(spec, "healthCheckNodePort", &old["spec"]);
    }
}

fn drop_fields_of_old_type(object: &mut Value, old: &Value) {
    let unchanged = |object: &Value, name: &str| same(object["spec"].get(name), old["spec"].get(name));
    let mut stale: Vec<&str> = Vec::new();
    if kind(old) != "ExternalName" && kind(object) == "ExternalName" {
        if unchanged(object, "clusterIP") && unchanged(object, "clusterIPs") {
            stale.extend(["clusterIP", "clusterIPs"]);
        }
        stale.extend(["ipFamilies", "ipFamilyPolicy"].into_iter().filter(|name| unchanged(object, name)));
    }
    let spec_of = |object: &Value, test: fn(&Field<'_>) -> bool| test(&Field::of(object).field("spec"));
    if spec_of(old, needs_health_check)
        && !spec_of(object, needs_health_check)
        && unchanged(object, "healthCheckNodePort")
    {
        stale.push("healthCheckNodePort");
    }
    if kind(old) == "LoadBalancer" && kind(object) != "LoadBalancer" {
        let balanced = ["allocateLoadBalancerNodePorts", "loadBalancerClass"];
        stale.extend(balanced.into_iter().filter(|name| unchanged(object, name)));
    }
    if spec_of(old, is_external) && !spec_of(object, is_external) && unchanged(object, "externalTrafficPolicy") {
        stale.push("externalTrafficPolicy");
    }
    let numbers = |object: &Value| -> Vec<i64> {
        let ports = object["spec"]["ports"].as_array().into_iter().flatten();
        ports.filter_map(|port| port["nodePort"].as_i64().filter(|number| *number != 0)).collect()
    };
    let before = numbers(old);
    let no_new_ports = numbers(object).iter().all(|number| before.contains(number));
    if needs_node_port(old) && !needs_node_port(object) && no_new_ports {
        each(object, "spec.ports").for_each(|port| drop(remove(port, "nodePort")));
    }
    if let Some(spec) = object.get_mut("spec") {
        stale.iter().for_each(|name| drop(remove(spec, name)));
    }
    if kind(object) != "LoadBalancer"
        && let Some(status) = object.get_mut("status")
    {
        set(status, "loadBalancer", json!({}));
    }
}

/// The rules for a change.
pub(super) fn validate(service: &Field<'_>, old: &Field<'_>, errors: &mut FieldErrors) {
    let (spec, before) = (service.field("spec"), old.field("spec"));
    addresses::validate_change(&spec, &before, errors);
    let both = [&spec, &before].iter().all(|spec| spec.field("type").text() == "LoadBalancer");
    let class = spec.field("loadBalancerClass");
    if both && !class.same_as(&before.field("loadBalancerClass")) {
        class.invalid(errors, "may not change once set");
    }
    let check = spec.field("healthCheckNodePort");
    if needs_health_check(&spec)
        && needs_health_check(&before)
        && check.int() != before.field("healthCheckNodePort").int()
    {
        check.forbidden(errors, "field is immutable");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_sent_again_keeps_what_was_allocated() {
        let old = json!({"spec": {
            "type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}],
        }});
        let mut object = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}});
        carry_over(&mut object, &old);
        assert_eq!(object, old);
        let mut object = json!({"spec": {
            "type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}],
        }});
        drop_fields_of_old_type(&mut object, &old);
        assert!(object["spec"]["ports"][0].get("nodePort").is_none());
        object["spec"]["type"] = json!("ExternalName");
        drop_fields_of_old_type(&mut object, &old);
        assert!(object["spec"].get("clusterIP").is_none());
    }
}
