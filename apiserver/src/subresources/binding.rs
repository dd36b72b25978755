//! Binding a pod to a node.

use jiff::Timestamp;
use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde_json::{Map, Value, json};

use super::conditions;
use crate::object::{self, metadata_mut};

/// The rules for a binding.
#[must_use]
pub fn faults(binding: &Value) -> FieldErrors {
    let target = Path::new("target");
    let mut faults = FieldErrors::new();
    let kind = binding["target"]["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        faults.push(FieldError::not_supported(&target.child("kind"), kind, &["Node", "<empty>"]));
    }
    if binding["target"]["name"].as_str().unwrap_or_default().is_empty() {
        faults.push(FieldError::required(&target.child("name"), ""));
    }
    faults
}

/// Assigns the pod to the binding's node, and gives it the binding's annotations and labels.
///
/// # Errors
/// Why the pod cannot be assigned, in upstream's words.
pub fn bind(pod: &mut Value, binding: &Value, now: Timestamp) -> Result<(), String> {
    let name = object::name(pod).to_owned();
    if object::is_terminating(pod) {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !node.is_empty() {
        return Err(format!("pod {name} is already assigned to node {node:?}"));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    if let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("nominatedNodeName");
    }
    for field in ["annotations", "labels"] {
        if let Some(given) = binding["metadata"][field].as_object().filter(|given| !given.is_empty()) {
            let own = metadata_mut(pod).entry(field).or_insert_with(|| Value::Object(Map::new()));
            if let Some(own) = own.as_object_mut() {
                own.extend(given.clone());
            }
        }
    }
    conditions::set(pod, json!({ "type": "PodScheduled", "status": "True" }), now);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_bound_once() {
        let mut pod = json!({ "metadata": { "name": "p" }, "spec": {} });
        let binding = json!({ "metadata": { "annotations": { "a": "1" } }, "target": { "name": "n" } });
        assert!(faults(&binding).is_empty());
        bind(&mut pod, &binding, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((&pod["spec"]["nodeName"], &pod["metadata"]["annotations"]["a"]), (&json!("n"), &json!("1")));
        let error = bind(&mut pod, &binding, Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(error, "pod p is already assigned to node \"n\"");
        let mut gated = json!({ "metadata": { "name": "p" }, "spec": { "schedulingGates": [{ "name": "g" }] } });
        assert!(bind(&mut gated, &binding, Timestamp::UNIX_EPOCH).is_err());
    }
}
