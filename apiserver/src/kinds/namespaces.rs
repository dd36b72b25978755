//! Namespaces.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::edit::{default_text, ensure, restore, set, with};
use super::kind::{Kind, METADATA, Part};
use super::read::Field;
use crate::registry::{Column, SelectableField};
use crate::table::{AGE, NAME, text, text_of};

/// Namespaces. The finalizer `kubernetes` keeps one until all it holds is gone.
pub(crate) static NAMESPACES: Kind = Kind {
    answers_deleted: true,
    default: |object| {
        name_label(object);
        with(object, "status", |status| default_text(status, "phase", "Active"));
    },
    status: Some(|| json!({"phase": "Active"})),
    create: |_, object| {
        name_label(object);
        let Some(spec) = ensure(object, "spec") else { return };
        let mut finalizers = spec["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
            finalizers.push(json!("kubernetes"));
        }
        set(spec, "finalizers", finalizers);
    },
    update: |_, object, old| {
        name_label(object);
        if let Some(spec) = ensure(object, "spec") {
            restore(spec, "finalizers", &old["spec"]);
        }
    },
    validate: |object, errors| {
        let list = Field::of(object).at("spec.finalizers");
        for finalizer in list.items() {
            finalizer_name(&list, finalizer.text(), errors);
        }
    },
    subresources: &[("status", &STATUS), ("finalize", &FINALIZE)],
    name: names::dns1123_label,
    selectable: &[
        SelectableField {
            path: "status.phase",
            value: |object| object["status"]["phase"].as_str().unwrap_or_default().into(),
        },
        SelectableField {
            path: "name",
            value: |object| object["metadata"]["name"].as_str().unwrap_or_default().into(),
        },
    ],
    columns: &COLUMNS,
    delete: |_, object| {
        if let Some(status) = ensure(object, "status") {
            set(status, "phase", "Terminating");
        }
    },
    own_finalizers: |object| object["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty()),
    ..Kind::PLAIN
};

static STATUS: Part = Part { validate: validate_status, ..Part::STATUS };

/// `namespaces/finalize` changes `spec.finalizers` and nothing else.
static FINALIZE: Part = Part { fields: &["spec"], keeps: METADATA, validate: validate_finalize, ..Part::STATUS };

static COLUMNS: [Column; 3] = [
    NAME,
    text("Status", "Whether it is in use or on its way out.", |object, _| json!(text_of(&object["status"]["phase"]))),
    AGE,
];

fn name_label(object: &mut Value) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if !name.is_empty()
        && let Some(labels) = ensure(object, "metadata.labels")
    {
        set(labels, "kubernetes.io/metadata.name", name);
    }
}

fn finalizer_name(path: &Field<'_>, name: &str, errors: &mut FieldErrors) {
    for fault in names::qualified_name(name) {
        path.invalid_value(errors, name, fault);
    }
    if !name.contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&name) {
        path.invalid_value(errors, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

fn validate_finalize(object: &Value, _: &Value, errors: &mut FieldErrors) {
    for finalizer in Field::of(object).at("spec.finalizers").items() {
        finalizer_name(&finalizer, finalizer.text(), errors);
    }
}

fn validate_status(object: &Value, _: &Value, errors: &mut FieldErrors) {
    let namespace = Field::of(object);
    let phase = namespace.at("status.phase").text();
    let (expected, when) = if namespace.at("metadata.deletionTimestamp").is_set() {
        ("Terminating", "not empty")
    } else {
        ("Active", "empty")
    };
    if phase != expected {
        let path = namespace.at("status.Phase").path();
        let why = format!("may only be '{expected}' if `deletionTimestamp` is {when}");
        errors.push(FieldError::invalid(&path, phase, why));
    }
}
