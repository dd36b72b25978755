//! `RuntimeClass`: a pod gets its class's overhead and scheduling constraints.

use async_trait::async_trait;
use kubewright_api::requests::ResourceList;
use kubewright_api::status::Status;
use kubewright_api::taint::{TaintEffect, Toleration, TolerationOperator};
use serde_json::Value;

use super::plugin::plugin;
use super::{Admission, AdmissionAttributes};
use crate::objects::{GroupResource, Objects};

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

plugin! {
    /// The plugin.
    RuntimeClass, objects: dyn Objects
}

impl RuntimeClass {
    fn class(&self, a: &AdmissionAttributes<'_>) -> Result<Value, Status> {
        let Some(name) = a.object["spec"].get("runtimeClassName").and_then(Value::as_str) else {
            return Ok(Value::Null);
        };
        let found = self.objects.cached(GroupResource::new("node.k8s.io", "runtimeclasses"), "", name);
        found.ok_or_else(|| a.forbidden(format!("pod rejected: RuntimeClass {name:?} not found")))
    }
}

/// Whether two resource lists say the same, however their quantities are written.
fn same(one: &Value, other: &Value) -> bool {
    let read = |list: &Value| -> Option<ResourceList> {
        if list.is_null() { Some(ResourceList::new()) } else { serde_json::from_value(list.clone()).ok() }
    };
    match (read(one), read(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Whether the one tolerates all that the other does.
fn covers(one: &Toleration, other: &Toleration) -> bool {
    if one == other {
        return true;
    }
    let exists = one.operator == TolerationOperator::Exists;
    let key = one.key == other.key || (one.key.is_empty() && exists);
    let effect = one.effect.is_none() || one.effect == other.effect;
    let as_long = one.effect != Some(TaintEffect::NoExecute)
        || one.toleration_seconds.is_none_or(|most| other.toleration_seconds.is_some_and(|seconds| seconds <= most));
    let both_equal = [one, other].iter().all(|toleration| toleration.operator == TolerationOperator::Equal);
    let value = exists || (both_equal && one.value == other.value);
    key && effect && as_long && value
}

/// Both lists in one, without what others of them cover.
fn merged(own: &Value, class: &Value) -> Vec<Value> {
    let lists = own.as_array().into_iter().chain(class.as_array()).flatten();
    let read = |value: &Value| serde_json::from_value::<Toleration>(value.clone()).ok();
    let all: Vec<(&Value, Option<Toleration>)> = lists.map(|value| (value, read(value))).collect();
    let mut kept: Vec<(&Value, &Option<Toleration>)> = Vec::new();
    for (at, (value, toleration)) in all.iter().enumerate() {
        let by = |other: &Option<Toleration>| {
            other.as_ref().zip(toleration.as_ref()).is_some_and(|(other, own)| covers(other, own))
        };
        // Of equal ones the first stays.
        let later = all[at + 1..].iter().any(|(_, other)| other != toleration && by(other));
        if !later && !kept.iter().any(|(_, other)| by(other)) {
            kept.push((value, toleration));
        }
    }
    kept.into_iter().map(|(value, _)| value.clone()).collect()
}

#[async_trait]
impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.creates("", "pods")
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        let class = self.class(a)?;
        let overhead = &class["overhead"]["podFixed"];
        if class["overhead"].is_object() {
            let given = &a.object["spec"]["overhead"];
            if given.as_object().is_some_and(|given| !given.is_empty()) && !same(given, overhead) {
                return Err(a.forbidden(MISMATCH));
            }
            if overhead.is_object() {
                a.object["spec"]["overhead"] = overhead.clone();
            }
        }
        for (key, value) in class["scheduling"]["nodeSelector"].as_object().into_iter().flatten() {
            let own = a.object["spec"].get("nodeSelector").and_then(|own| own.get(key));
            if let Some(own) = own.filter(|own| *own != value) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                return Err(a.forbidden(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    text(value),
                    text(own)
                )));
            }
            a.object["spec"]["nodeSelector"][key] = value.clone();
        }
        if class["scheduling"].is_object() {
            let tolerations = merged(&a.object["spec"]["tolerations"], &class["scheduling"]["tolerations"]);
            if !tolerations.is_empty() {
                a.object["spec"]["tolerations"] = tolerations.into();
            }
        }
        Ok(())
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let class = self.class(a)?;
        let given = &a.object["spec"]["overhead"];
        if class["overhead"].is_object() {
            if !same(given, &class["overhead"]["podFixed"]) {
                return Err(a.forbidden(MISMATCH));
            }
        } else if !given.is_null() {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(a.forbidden(why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tolerations_that_others_cover_are_left_out() {
        let all = json!({"operator": "Exists"});
        let key = json!({"key": "a", "operator": "Exists"});
        let value = json!({"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"});
        let brief = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10});
        let long = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20});
        let other = json!({"key": "b", "operator": "Exists", "effect": "NoExecute"});
        for (own, class, expected) in [
            (json!(null), json!(null), vec![]),
            (json!([key]), json!(null), vec![&key]),
            (json!([key]), json!([key]), vec![&key]),
            (json!([value]), json!([key]), vec![&key]),
            (json!([key]), json!([value]), vec![&key]),
            (json!([brief]), json!([long]), vec![&long]),
            (json!([long]), json!([brief]), vec![&long]),
            (json!([value, other]), json!([long]), vec![&value, &other, &long]),
            (json!([value, other, long]), json!([all]), vec![&all]),
        ] {
            assert_eq!(merged(&own, &class).iter().collect::<Vec<_>>(), expected, "{own} {class}");
        }
    }

    #[test]
    fn quantities_are_the_same_however_they_are_written() {
        assert!(same(&json!({"cpu": "250m"}), &json!({"cpu": "0.25"})));
        assert!(same(&json!({}), &json!(null)));
        assert!(!same(&json!({"cpu": "250m"}), &json!({"cpu": "0.25", "memory": "1"})));
    }
}
