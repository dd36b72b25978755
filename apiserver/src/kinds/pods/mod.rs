//! Pods.

mod columns;
mod create;
mod ephemeral;
mod grace;
mod resize;
mod state;
mod status;
mod update;

use std::borrow::Cow;

use serde_json::{Value, json};

pub(crate) use state::qos_class;
pub(crate) use update::difference;

use super::edit::{self, with};
use super::kind::Kind;
use super::podspec;
use crate::registry::SelectableField;

/// Pods.
pub(crate) static PODS: Kind = Kind {
    answers_deleted: true,
    default: defaults,
    status: Some(|| json!({"phase": "Pending"})),
    create: create::prepare,
    update: |_, object, old| {
        // Clients may send what they read; the class is the status' business, not theirs.
        edit::restore(object, "status", old);
    },
    validate: create::validate,
    validate_update: Some(update::validate),
    warnings: create::warnings,
    subresources: &[
        ("status", &status::STATUS),
        ("ephemeralcontainers", &ephemeral::EPHEMERAL_CONTAINERS),
        ("resize", &resize::RESIZE),
    ],
    selectable: SELECTABLE,
    columns: &columns::COLUMNS,
    generation: true,
    grace: Some(grace::seconds),
    ..Kind::PLAIN
};

fn defaults(pod: &mut Value) {
    if let Some(spec) = edit::ensure(pod, "spec") {
        podspec::pod_spec(spec);
        podspec::pod_only(spec);
    }
    with(pod, "status", |status| {
        // The single address and the first of many are the same.
        let first = status["podIPs"][0]["ip"].as_str().map(str::to_owned);
        match (status["podIP"].as_str().filter(|ip| !ip.is_empty()).map(str::to_owned), first) {
            (Some(ip), first) if first.as_deref() != Some(&ip) => edit::set(status, "podIPs", json!([{ "ip": ip }])),
            (None, Some(ip)) => edit::set(status, "podIP", ip),
            _ => {}
        }
    });
}

macro_rules! text_field {
    ($path:literal, $pointer:literal) => {
        SelectableField {
            path: $path,
            value: |object| object.pointer($pointer).and_then(Value::as_str).unwrap_or_default().into(),
        }
    };
}

static SELECTABLE: &[SelectableField] = &[
    text_field!("spec.nodeName", "/spec/nodeName"),
    text_field!("spec.restartPolicy", "/spec/restartPolicy"),
    text_field!("spec.schedulerName", "/spec/schedulerName"),
    text_field!("spec.serviceAccountName", "/spec/serviceAccountName"),
    SelectableField {
        path: "spec.hostNetwork",
        value: |object| Cow::Borrowed(if object["spec"]["hostNetwork"] == true { "true" } else { "false" }),
    },
    text_field!("status.phase", "/status/phase"),
    text_field!("status.podIP", "/status/podIP"),
    text_field!("status.nominatedNodeName", "/status/nominatedNodeName"),
];
