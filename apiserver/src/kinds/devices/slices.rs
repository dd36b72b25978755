//! ResourceSlices: the devices of a node, or of several.

use jiff::Timestamp;
use kubewright_api::field::FieldErrors;
use serde_json::{Value, json};

use super::device::{counters, device};
use super::names::{node, pool, several_set};
use crate::environment::time;
use crate::kinds::edit::{default_to, each, remove};
use crate::kinds::kind::Kind;
use crate::kinds::read::Field;
use crate::kinds::validate::lists::bounded_set;
use crate::kinds::validate::scheduling::node_selector;
use crate::kinds::validate::sources::csi_driver_name;
use crate::registry::{Column, SelectableField};
use crate::table::{AGE, NAME, text, text_of};

/// How many devices a slice may have, and how many if one of them has taints or takes from counters.
const DEVICES_MAX: usize = 128;
const ADVANCED_DEVICES_MAX: usize = 64;

/// ResourceSlices.
pub(crate) static RESOURCE_SLICES: Kind = Kind {
    create: |context, object| prepare(object, context.now),
    update: |context, object, _| prepare(object, context.now),
    validate: |object, errors| slice(object, None, errors),
    validate_update: Some(|object, old, errors| slice(object, Some(old), errors)),
    warnings: |object, _| {
        let driver = object["spec"]["driver"].as_str().unwrap_or_default();
        let why = format!("driver names should be lowercase; {driver:?} contains uppercase characters");
        if driver == driver.to_lowercase() { Vec::new() } else { vec![format!("spec.driver: {why}")] }
    },
    selectable: &[
        SelectableField {
            path: "spec.nodeName",
            value: |object| object["spec"]["nodeName"].as_str().unwrap_or_default().into(),
        },
        SelectableField {
            path: "spec.driver",
            value: |object| object["spec"]["driver"].as_str().unwrap_or_default().into(),
        },
    ],
    columns: &SLICE_COLUMNS,
    generation: true,
    ..Kind::PLAIN
};

static SLICE_COLUMNS: [Column; 5] = [
    NAME,
    text("Node", "The node that has the devices.", |object, _| json!(text_of(&object["spec"]["nodeName"]))),
    text("Driver", "The driver that looks after them.", |object, _| json!(text_of(&object["spec"]["driver"]))),
    text("Pool", "The pool that they are of.", |object, _| json!(text_of(&object["spec"]["pool"]["name"]))),
    AGE,
];

/// Taints get the time of their arrival. What belongs to features that are off by default upstream is dropped:
/// attributes that are lists, and what of a node's own resources a device stands for.
fn prepare(object: &mut Value, now: Timestamp) {
    let now = json!(time(now));
    for device in each(object, "spec.devices") {
        each(device, "taints").for_each(|taint| default_to(taint, "timeAdded", now.clone()));
        remove(device, "nodeAllocatableResourceMappings");
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
        for attribute in attributes.into_iter().flat_map(|attributes| attributes.values_mut()) {
            for list in ["bools", "ints", "strings", "versions"] {
                remove(attribute, list);
            }
        }
    }
}

fn slice(object: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    let before = old.map(|old| Field::of(old).field("spec"));
    csi_driver_name(&spec.field("driver"), errors);
    let pool_field = spec.field("pool");
    pool(&pool_field.field("name"), errors);
    pool_field.field("resourceSliceCount").positive(errors);
    let generation = pool_field.field("generation");
    if generation.int() < 0 {
        generation.invalid(errors, "must be greater than or equal to zero");
    }
    if let Some(before) = &before {
        for name in ["pool.name", "driver", "nodeName"] {
            spec.at(name).unchanged(errors, &before.at(name));
        }
    }
    nodes(&spec, errors);
    let (shared, devices) = (spec.field("sharedCounters"), spec.field("devices"));
    if shared.is_set() && devices.is_set() {
        spec.invalid_value(errors, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let advanced =
        devices.items().any(|device| ["taints", "consumesCounters"].iter().any(|name| !device.field(name).is_empty()));
    let per_device = spec.field("perDeviceNodeSelection").flag();
    let most = if advanced { ADVANCED_DEVICES_MAX } else { DEVICES_MAX };
    bounded_set(
        &devices,
        most,
        |device| device.field("name").key_text(),
        errors,
        |item, errors| {
            let name = item.field("name");
            let known = before.iter().flat_map(|before| before.field("devices").items());
            let known = known.into_iter().find(|other| other.field("name").text() == name.text());
            device(item, known.as_ref(), per_device, errors);
        },
    );
    bounded_set(&shared, 8, |set| set.field("name").key_text(), errors, |set, errors| counters(set, "name", errors));
}

/// Which nodes can get at the devices.
fn nodes(spec: &Field<'_>, errors: &mut FieldErrors) {
    let (name, selector) = (spec.field("nodeName"), spec.field("nodeSelector"));
    let mut set = Vec::new();
    if name.is_set() && name.is_empty() {
        name.invalid(errors, "must be either unset or set to a non-empty string");
    } else if name.is_set() {
        set.push("`nodeName`");
        node(&name, errors);
    }
    if selector.is_set() {
        set.push("`nodeSelector`");
        node_selector(&selector, errors);
        let terms = selector.field("nodeSelectorTerms");
        if terms.len() != 1 {
            terms.invalid(errors, "must have exactly one node selector term");
        }
    }
    for (flag, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match spec.field(flag).opt_flag() {
            Some(true) => set.push(shown),
            Some(false) => spec.field(flag).invalid(errors, "must be either unset or set to true"),
            None => {}
        }
    }
    let lead = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        0 => spec.required(errors, lead),
        1 => {}
        _ => several_set(spec, &set, &format!("{lead}, but multiple fields are set"), errors),
    }
}
