//! Claims on devices, classes of devices, and what nodes have of them.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::edit::{default_text, each};
use super::kind::{Kind, Part, empty_status};
use super::read::Field;
use super::validate::labels::{annotations, labels};
use super::validate::scheduling::node_selector;
use crate::registry::{Column, SelectableField};
use crate::table::{AGE, NAME, text, text_of};

/// DeviceClasses.
pub(crate) static DEVICE_CLASSES: Kind = Kind {
    validate: |object, errors| {
        let spec = Field::of(object).field("spec");
        selectors(&spec.field("selectors"), errors);
        configurations(&spec.field("config"), None, errors);
    },
    columns: &[NAME, AGE],
    generation: true,
    ..Kind::PLAIN
};

/// ResourceClaims.
pub(crate) static RESOURCE_CLAIMS: Kind = Kind {
    default: |object| request_defaults(object, "spec.devices.requests"),
    status: Some(empty_status),
    validate: |object, errors| claim(&Field::of(object).field("spec"), errors),
    validate_update: Some(|object, old, errors| {
        claim(&Field::of(object).field("spec"), errors);
        Field::of(object).field("spec").unchanged(errors, &Field::of(old).field("spec"));
    }),
    subresources: &[("status", &CLAIM_STATUS)],
    columns: &CLAIM_COLUMNS,
    ..Kind::PLAIN
};

static CLAIM_STATUS: Part = Part {
    validate: |object, old, errors| {
        let (status, before) = (Field::of(object).field("status"), Field::of(old).field("status"));
        let (allocation, reserved) = (status.field("allocation"), status.field("reservedFor"));
        if before.field("allocation").is_set() && allocation.is_set() {
            allocation.unchanged(errors, &before.field("allocation"));
        }
        if !reserved.is_empty() && !allocation.is_set() {
            reserved.forbidden(errors, "may not be specified when `allocated` is not set");
        }
        if reserved.len() > 256 {
            errors.push(FieldError::too_many(&reserved.path(), reserved.len(), 256));
        }
        let mut seen = Vec::new();
        for consumer in reserved.items() {
            for name in ["resource", "name", "uid"] {
                consumer.field(name).require(errors);
            }
            let uid = consumer.field("uid");
            if seen.contains(&uid.text()) {
                uid.duplicate(errors);
            }
            seen.push(uid.text());
        }
        node_selector_if_set(&allocation.field("nodeSelector"), errors);
    },
    ..Part::STATUS_ONLY
};

static CLAIM_COLUMNS: [Column; 3] = [
    NAME,
    text("State", "Whether it has devices, and is in use.", |object, _| {
        let deleted = object["metadata"]["deletionTimestamp"].is_string();
        let mut states = Vec::new();
        if deleted {
            states.push("deleted");
        }
        if object["status"]["allocation"].is_null() {
            if !deleted {
                states.push("pending");
            }
        } else {
            states.push("allocated");
            if object["status"]["reservedFor"].as_array().is_some_and(|list| !list.is_empty()) {
                states.push("reserved");
            }
        }
        json!(states.join(","))
    }),
    AGE,
];

/// ResourceClaimTemplates.
pub(crate) static RESOURCE_CLAIM_TEMPLATES: Kind = Kind {
    default: |object| request_defaults(object, "spec.spec.devices.requests"),
    validate: template,
    validate_update: Some(|object, old, errors| {
        template(object, errors);
        Field::of(object).field("spec").unchanged(errors, &Field::of(old).field("spec"));
    }),
    columns: &[NAME, AGE],
    ..Kind::PLAIN
};

fn template(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    labels(&spec.at("metadata.labels"), errors);
    annotations(&spec.at("metadata.annotations"), errors);
    let metadata = spec.field("metadata");
    for (name, value) in metadata.entries() {
        if !["labels", "annotations"].contains(&name) && !value.is_empty() {
            metadata.field(name).forbidden(errors, "cannot be set");
        }
    }
    claim(&spec.field("spec"), errors);
}

fn node_selector_if_set(selector: &Field<'_>, errors: &mut FieldErrors) {
    if selector.is_set() {
        node_selector(selector, errors);
        if selector.field("nodeSelectorTerms").len() > 1 {
            let terms = selector.field("nodeSelectorTerms");
            terms.invalid(errors, "must have exactly one node selector term");
        }
    }
}

fn request_defaults(object: &mut Value, requests: &str) {
    for request in each(object, requests) {
        super::edit::with(request, "exactly", allocation_defaults);
        each(request, "firstAvailable").for_each(allocation_defaults);
    }
}

fn allocation_defaults(request: &mut Value) {
    default_text(request, "allocationMode", "ExactCount");
    if request["allocationMode"] == "ExactCount" {
        super::edit::default_number(request, "count", 1);
    }
    each(request, "tolerations").for_each(|toleration| default_text(toleration, "operator", "Equal"));
}

fn at_most(list: &Field<'_>, items_max: usize, errors: &mut FieldErrors) {
    if list.len() > items_max {
        errors.push(FieldError::too_many(&list.path(), list.len(), items_max));
    }
}

fn claim(spec: &Field<'_>, errors: &mut FieldErrors) {
    let devices = spec.field("devices");
    let requests = devices.field("requests");
    at_most(&requests, 32, errors);
    let mut seen = Vec::new();
    for request in requests.items() {
        let name = request.field("name");
        name.require_and_check(errors, names::dns1123_label);
        if !name.is_empty() && seen.contains(&name.text()) {
            errors.push(FieldError::duplicate(&name.path(), name.text()));
        }
        seen.push(name.text());
        let (exactly, first) = (request.field("exactly"), request.field("firstAvailable"));
        match (exactly.is_set(), first.is_empty()) {
            (false, true) => request.required(errors, "exactly one of `exactly` or `firstAvailable` is required"),
            (true, false) => {
                request.invalid(
                    errors,
                    "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
                );
            }
            (true, true) => device_request(&exactly, errors),
            (false, false) => {
                at_most(&first, 8, errors);
                for sub in first.items() {
                    sub.field("name").require_and_check(errors, names::dns1123_label);
                    device_request(&sub, errors);
                }
            }
        }
    }
    let constraints = devices.field("constraints");
    at_most(&constraints, 32, errors);
    for constraint in constraints.items() {
        known_requests(&constraint.field("requests"), &seen, errors);
        let (matching, distinct) = (constraint.field("matchAttribute"), constraint.field("distinctAttribute"));
        if !matching.is_set() && !distinct.is_set() {
            constraint.field("matchAttribute").required(errors, "");
        }
    }
    configurations(&devices.field("config"), Some(&seen), errors);
}

fn known_requests(list: &Field<'_>, known: &[&str], errors: &mut FieldErrors) {
    at_most(list, 32, errors);
    for request in list.items() {
        let name = request.text().split('/').next().unwrap_or_default();
        if !known.contains(&name) {
            let why =
                "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
            request.invalid(errors, why);
        }
    }
}

fn device_request(request: &Field<'_>, errors: &mut FieldErrors) {
    request.field("deviceClassName").require_and_check(errors, names::dns1123_subdomain);
    selectors(&request.field("selectors"), errors);
    let (mode, count) = (request.field("allocationMode"), request.field("count"));
    match mode.text() {
        "ExactCount" if count.int() <= 0 => count.invalid_value(errors, count.int(), "must be greater than zero"),
        "ExactCount" => {}
        "All" if count.int() != 0 => {
            count.invalid(errors, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        _ => mode.one_of(errors, &["All", "ExactCount"]),
    }
    at_most(&request.field("tolerations"), 16, errors);
}

fn selectors(list: &Field<'_>, errors: &mut FieldErrors) {
    at_most(list, 32, errors);
    for selector in list.items() {
        let cel = selector.field("cel");
        if !cel.is_set() {
            cel.required(errors, "");
        } else if cel.field("expression").text().len() > 10 * 1024 {
            cel.field("expression").too_long(errors, 10 * 1024);
        } else if cel.field("expression").is_empty() {
            cel.field("expression").required(errors, "");
        }
    }
}

fn configurations(list: &Field<'_>, requests: Option<&[&str]>, errors: &mut FieldErrors) {
    at_most(list, 32, errors);
    for configuration in list.items() {
        if let Some(known) = requests {
            known_requests(&configuration.field("requests"), known, errors);
        }
        let opaque = configuration.field("opaque");
        if !opaque.is_set() {
            opaque.required(errors, "");
            continue;
        }
        driver(&opaque.field("driver"), errors);
        let parameters = opaque.field("parameters");
        if !parameters.is_set() {
            parameters.required(errors, "");
        } else if !parameters.value().is_some_and(Value::is_object) {
            let why = "parameters must be a valid JSON object";
            errors.push(FieldError::invalid(&parameters.path(), "<value omitted>", why));
        }
    }
}

fn driver(name: &Field<'_>, errors: &mut FieldErrors) {
    if name.require(errors) {
        if name.text().len() > 63 {
            name.too_long(errors, 63);
        }
        name.check(errors, names::dns1123_subdomain);
    }
}

/// ResourceSlices.
pub(crate) static RESOURCE_SLICES: Kind = Kind {
    validate: slice,
    validate_update: Some(|object, old, errors| {
        slice(object, errors);
        let (spec, before) = (Field::of(object).field("spec"), Field::of(old).field("spec"));
        for name in ["driver", "nodeName"] {
            spec.field(name).unchanged(errors, &before.field(name));
        }
        spec.at("pool.name").unchanged(errors, &before.at("pool.name"));
    }),
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

fn slice(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    driver(&spec.field("driver"), errors);
    let pool = spec.field("pool");
    let name = pool.field("name");
    if name.require(errors) {
        if name.text().len() > 253 {
            name.too_long(errors, 253);
        }
        name.text().split('/').for_each(|part| {
            for fault in names::dns1123_subdomain(part) {
                name.invalid_value(errors, part, fault);
            }
        });
    }
    pool.field("resourceSliceCount").positive(errors);
    pool.field("generation").not_negative(errors);
    let node = spec.field("nodeName");
    if node.is_set() {
        node.require_and_check(errors, names::dns1123_subdomain);
    }
    node_selector_if_set(&spec.field("nodeSelector"), errors);
    let ways = [
        node.is_set(),
        spec.field("nodeSelector").is_set(),
        spec.field("allNodes").flag(),
        spec.field("perDeviceNodeSelection").flag(),
    ];
    let lead = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match ways.iter().filter(|way| **way).count() {
        0 => spec.required(errors, lead),
        1 => {}
        _ => spec.invalid(errors, format!("{lead}, but multiple fields are set")),
    }
    let devices = spec.field("devices");
    at_most(&devices, 128, errors);
    let mut seen = Vec::new();
    for device in devices.items() {
        let name = device.field("name");
        name.require_and_check(errors, names::dns1123_label);
        if !name.is_empty() && seen.contains(&name.text()) {
            errors.push(FieldError::duplicate(&name.path(), name.text()));
        }
        seen.push(name.text());
    }
}
