//! Nodes.

use std::collections::BTreeSet;

use kubewright_api::field::{FieldError, FieldErrors};
use serde_json::{Value, json};

use super::edit::{default_to, ensure, find, remove, restore, set, with};
use super::kind::{Kind, Part};
use super::podspec::round_up;
use super::read::Field;
use super::validate::addresses::cidr;
use super::validate::resources::amount;
use super::validate::scheduling::taints;
use crate::registry::{Column, SelectableField};
use crate::table::{AGE, NAME, or_none, text, text_of, wide};

/// Nodes. A kubelet registers its node with a status, so a create keeps it.
pub(crate) static NODES: Kind = Kind {
    default: |object| {
        default_to(object, "spec", json!({}));
        one_block(object);
        with(object, "status.capacity", round_up);
        with(object, "status.allocatable", round_up);
        if let Some(capacity) = find(object, "status.capacity").map(|capacity| capacity.clone())
            && let Some(status) = ensure(object, "status")
        {
            default_to(status, "allocatable", capacity);
        }
    },
    create: |_, object| drop_dynamic_configuration(object),
    update: |_, object, old| {
        restore(object, "status", old);
        drop_dynamic_configuration(object);
    },
    warnings: |object, _| {
        if Field::of(object).at("spec.externalID").is_empty() {
            return Vec::new();
        }
        vec!["spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned()]
    },
    validate: |object, errors| {
        validate(object, errors);
        let list = Field::of(object).at("spec.podCIDRs");
        list.items().for_each(|block| cidr(&block, &[], errors));
        let families: BTreeSet<bool> = list.texts().iter().map(|block| block.contains(':')).collect();
        if list.len() > families.len() && list.len() > 1 {
            list.invalid(errors, "may specify no more than one CIDR for each IP family");
        }
    },
    validate_update: Some(validate_update),
    subresources: &[("status", &STATUS)],
    selectable: &[SelectableField {
        path: "spec.unschedulable",
        value: |object| if object["spec"]["unschedulable"] == true { "true".into() } else { "false".into() },
    }],
    columns: &COLUMNS,
    ..Kind::PLAIN
};

static STATUS: Part =
    Part { update: |_, object, _| drop_dynamic_configuration(object), validate: validate_update, ..Part::STATUS };

/// Nodes are no longer configured by the API; what is left of it is dropped.
fn drop_dynamic_configuration(object: &mut Value) {
    with(object, "spec", |spec| drop(remove(spec, "configSource")));
    with(object, "status", |status| drop(remove(status, "config")));
}

/// The single block of pod addresses is the first of many.
fn one_block(object: &mut Value) {
    let single = object["spec"]["podCIDR"].as_str().unwrap_or_default().to_owned();
    let first = object["spec"]["podCIDRs"][0].as_str().map(str::to_owned);
    let Some(spec) = object.get_mut("spec") else { return };
    match first {
        None if !single.is_empty() => set(spec, "podCIDRs", json!([single])),
        Some(first) if single.is_empty() => set(spec, "podCIDR", first),
        Some(first) if first != single => set(spec, "podCIDRs", json!([single])),
        _ => {}
    }
}

fn validate(object: &Value, errors: &mut FieldErrors) {
    let node = Field::of(object);
    let mut faults = FieldErrors::new();
    taints(&node.at("spec.taints"), &mut faults);
    // Upstream says that a node's taints are in its metadata.
    errors.extend(faults.into_iter().map(|mut fault| {
        let path = fault.path.to_string();
        let below = path.strip_prefix("spec.taints").unwrap_or(&path);
        fault.path = kubewright_api::field::Path::new(&format!("metadata.taints{below}"));
        fault
    }));
    for list in ["capacity", "allocatable"] {
        for (name, value) in node.field("status").field(list).entries() {
            let mut faults = FieldErrors::new();
            amount(&value, name, &mut faults);
            let path = node.field("status").field(list).field(name).path();
            errors.extend(faults.into_iter().map(|fault| FieldError { path: path.clone(), ..fault }));
        }
    }
    let features = node.at("status.declaredFeatures");
    let texts = features.texts();
    for at in 0..texts.len() {
        features.index(at).check(errors, feature_faults);
        match texts.get(at + 1) {
            Some(next) if texts[at] == *next => features.index(at + 1).duplicate(errors),
            Some(next) if texts[at] > *next => {
                features.index(at + 1).invalid(errors, "list must be sorted alphabetically");
            }
            _ => {}
        }
    }
}

/// What is wrong with the name of a feature that a node declares, such as `MyFeature/mySubFeature`.
fn feature_faults(name: &str) -> Vec<String> {
    let lead = format!("invalid feature name {name:?}: must");
    if name.len() > 253 {
        return vec![format!("{lead} be no more than 253 characters")];
    }
    let segment = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if name.starts_with(|first: char| first.is_ascii_uppercase()) && name.split('/').all(segment) {
        return Vec::new();
    }
    vec![format!(
        "{lead} start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or \
         MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
    )]
}

fn validate_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    validate(object, errors);
    let (node, old) = (Field::of(object), Field::of(old));
    let mut seen: Vec<Field<'_>> = Vec::new();
    for address in node.at("status.addresses").items() {
        if seen.iter().any(|other| other.same_as(&address)) {
            address.duplicate(errors);
        }
        seen.push(address);
    }
    let (blocks, before) = (node.at("spec.podCIDRs"), old.at("spec.podCIDRs"));
    if !before.is_empty() && blocks.texts() != before.texts() {
        blocks.forbidden(errors, "node updates may not change podCIDR except from \"\" to valid");
    }
    if !node.at("spec.externalID").same_as(&old.at("spec.externalID")) {
        node.at("spec.externalID").forbidden(errors, "may not be updated");
    }
    let (id, before) = (node.at("spec.providerID"), old.at("spec.providerID"));
    if !before.is_empty() && !id.same_as(&before) {
        id.forbidden(errors, "node updates may not change providerID except from \"\" to valid");
    }
}

static COLUMNS: [Column; 10] = [
    NAME,
    text("Status", "Whether it is ready and takes pods.", |node, _| json!(status(node))),
    text("Roles", "Its roles, by its labels.", |node, _| or_none(roles(node))),
    AGE,
    text("Version", "The version of its kubelet.", |node, _| {
        json!(text_of(&node["status"]["nodeInfo"]["kubeletVersion"]))
    }),
    wide(text("Internal-IP", "Its address in the cluster.", |node, _| address(node, "InternalIP"))),
    wide(text("External-IP", "Its address outside of the cluster.", |node, _| address(node, "ExternalIP"))),
    wide(text("OS-Image", "Its operating system.", |node, _| or_unknown(&node["status"]["nodeInfo"]["osImage"]))),
    wide(text("Kernel-Version", "Its kernel.", |node, _| {
        let info = &node["status"]["nodeInfo"];
        let kernel = or_unknown(&info["kernelVersion"]);
        match text_of(&info["architecture"]) {
            architecture if architecture.is_empty() => kernel,
            architecture => json!(format!("{} ({architecture})", text_of(&kernel))),
        }
    })),
    wide(text("Container-Runtime", "What runs its containers.", |node, _| {
        or_unknown(&node["status"]["nodeInfo"]["containerRuntimeVersion"])
    })),
];

fn or_unknown(value: &Value) -> Value {
    match text_of(value) {
        text if text.is_empty() => json!("<unknown>"),
        text => json!(text),
    }
}

fn status(node: &Value) -> String {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.rfind(|condition| condition["type"] == "Ready");
    let mut text = match ready {
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => Some(text_of(value)),
        None => None,
    };
    let sorted: BTreeSet<String> = labels.filter_map(role).filter(|role| !role.is_empty()).collect();
    sorted.into_iter().collect::<Vec<_>>().join(",")
}

fn address(node: &Value, kind: &str) -> Value {
    let mut addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    or_none(
        addresses
            .find(|address| address["type"] == kind)
            .map(|address| text_of(&address["address"]))
            .unwrap_or_default(),
    )
}
