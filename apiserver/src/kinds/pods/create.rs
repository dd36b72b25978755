//! New pods.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;
use serde_json::{Value, json};

use super::qos_class;
use crate::kinds::edit::{each, ensure, set, with};
use crate::kinds::podspec::{annotations, image_is_trimmed, service_account, validate_spec};
use crate::kinds::read::Field;
use crate::registry::StrategyContext;

/// Sets the first status, and the conditions and selectors that derive from the spec.
pub(crate) fn prepare(_: &StrategyContext<'_>, pod: &mut Value) {
    let class = qos_class(pod);
    with(pod, "status", |status| set(status, "qosClass", class));
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        let condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        });
        with(pod, "status", |status| set(status, "conditions", json!([condition])));
    }
    merge_label_keys(pod);
    app_armor_fields(pod);
    // Admission may have given it an account.
    with(pod, "spec", service_account);
}

/// AppArmor profiles of old annotations become fields, where these say nothing.
fn app_armor_fields(pod: &mut Value) {
    if pod["spec"]["os"]["name"] == "windows" {
        return;
    }
    let Some(annotations) = pod["metadata"]["annotations"].as_object().cloned() else { return };
    let of_pod = pod["spec"]["securityContext"]["appArmorProfile"].clone();
    for list in ["spec.initContainers", "spec.containers"] {
        for container in each(pod, list) {
            let name = container["name"].as_str().unwrap_or_default();
            let annotation = annotations.get(&format!("{}{name}", annotations::APP_ARMOR)).and_then(Value::as_str);
            let Some(profile) = annotation.and_then(annotations::app_armor_profile) else { continue };
            if container["securityContext"]["appArmorProfile"].is_null()
                && profile != of_pod
                && let Some(context) = ensure(container, "securityContext")
            {
                set(context, "appArmorProfile", profile);
            }
        }
    }
}

/// The pod's own values of `matchLabelKeys` and `mismatchLabelKeys` become part of the selectors beside them.
fn merge_label_keys(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let Some(spec) = pod.get_mut("spec") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let required = format!("affinity.{kind}.requiredDuringSchedulingIgnoredDuringExecution");
        each(spec, &required).for_each(|term| merge_into(term, &labels));
        let preferred = format!("affinity.{kind}.preferredDuringSchedulingIgnoredDuringExecution");
        for weighted in each(spec, &preferred) {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                merge_into(term, &labels);
            }
        }
    }
    each(spec, "topologySpreadConstraints").for_each(|constraint| merge_into(constraint, &labels));
}

fn merge_into(term: &mut Value, labels: &Value) {
    for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys: Vec<Value> = term[keys].as_array().cloned().unwrap_or_default();
        let Some(selector) = term.get_mut("labelSelector").filter(|selector| selector.is_object()) else { return };
        for key in keys {
            let Some(value) = key.as_str().and_then(|key| labels.get(key)) else { continue };
            let requirement = json!({"key": key, "operator": operator, "values": [value]});
            match selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
                Some(list) => list.push(requirement),
                None => set(selector, "matchExpressions", json!([requirement])),
            }
        }
    }
}

/// The rules for the annotations and the spec of any pod.
pub(crate) fn metadata_and_spec(pod: &Field<'_>, errors: &mut FieldErrors) {
    let (metadata, spec) = (pod.field("metadata"), pod.field("spec"));
    annotations::validate(&metadata.field("annotations"), &spec, errors);
    validate_spec(&spec, Some(&metadata), errors);
    if spec.field("serviceAccountName").is_empty() {
        for volume in spec.field("volumes").items() {
            for source in volume.field("projected").field("sources").items() {
                let token = source.field("serviceAccountToken");
                if token.is_set() {
                    token.forbidden(errors, "must not be specified when serviceAccountName is not set");
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        spec.field(list).items().for_each(|container| image_is_trimmed(&container, errors));
    }
}

/// The rules for a new pod.
pub(crate) fn validate(pod: &Value, errors: &mut FieldErrors) {
    let pod = Field::of(pod);
    metadata_and_spec(&pod, errors);
    let spec = pod.field("spec");
    if !spec.field("ephemeralContainers").is_empty() {
        spec.field("ephemeralContainers").forbidden(errors, "cannot be set on create");
    }
    if !spec.field("nodeName").is_empty() && !spec.field("schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        spec.field("nodeName").forbidden(errors, why);
    }
    annotations::match_fields(&pod.field("metadata").field("annotations"), &spec, errors);
}

/// What to warn of in a new pod.
pub(crate) fn warnings(pod: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let faults = names::dns1123_label(name);
    if !faults.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            faults.join(" ")
        ));
    }
    crate::kinds::podspec::warnings(&Field::of(pod), &mut warnings);
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_app_armor_annotations_become_fields() {
        let check = |annotation: &str, of_pod: Value, expected: Value| {
            let key = format!("{}a", annotations::APP_ARMOR);
            let mut pod = json!({
                "metadata": {"annotations": {key: annotation}},
                "spec": {"securityContext": {"appArmorProfile": of_pod}, "containers": [{"name": "a"}, {"name": "b"}]},
            });
            app_armor_fields(&mut pod);
            assert_eq!(pod["spec"]["containers"][0]["securityContext"]["appArmorProfile"], expected, "{annotation}");
            assert!(pod["spec"]["containers"][1].get("securityContext").is_none());
        };
        check("runtime/default", Value::Null, json!({"type": "RuntimeDefault"}));
        check("runtime/default", json!({"type": "RuntimeDefault"}), Value::Null);
        check("unconfined", json!({"type": "RuntimeDefault"}), json!({"type": "Unconfined"}));
        check("localhost/own", Value::Null, json!({"type": "Localhost", "localhostProfile": "own"}));
        check("localhost/", Value::Null, Value::Null);
    }
}
