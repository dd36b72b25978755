//! Events: what happened to which object. They vanish after an hour.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;
use serde_json::{Value, json};

use super::kind::Kind;
use super::read::Field;
use crate::registry::{Column, GarbageCollection, SelectableField};
use crate::table::{NAME, since, text, text_of, wide};

/// Events, as the core group has them.
pub(crate) static EVENTS: Kind = Kind {
    validate,
    selectable: SELECTABLE,
    columns: &COLUMNS,
    create_on_update: true,
    garbage: GarbageCollection::Unsupported,
    seconds_to_live: Some(3600),
    ..Kind::PLAIN
};

fn validate(object: &Value, errors: &mut FieldErrors) {
    let event = Field::of(object);
    let namespace = event.at("metadata.namespace").text();
    let about = event.at("involvedObject.namespace");
    let timed = event.field("eventTime").is_set();
    let matches = match about.text() {
        "" if timed => ["default", "kube-system"].contains(&namespace),
        "" => ["", "default"].contains(&namespace),
        about => timed || about == namespace,
    };
    if !matches {
        about.invalid_value(errors, about.text(), "does not match event.namespace");
    }
    if timed {
        let reporter = event.field("reportingComponent");
        reporter.require(errors);
        reporter.check(errors, names::qualified_name);
        for (name, length_max) in [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)] {
            let field = event.field(name);
            if name != "message" {
                field.require(errors);
            }
            if field.text().len() > length_max {
                field.invalid_value(errors, "", format!("can have at most {length_max} characters"));
            }
        }
    }
    for fault in names::dns1123_subdomain(namespace) {
        let path = kubewright_api::field::Path::new("namespace");
        errors.push(kubewright_api::field::FieldError::invalid(&path, namespace, fault));
    }
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
    text_field!("involvedObject.kind", "/involvedObject/kind"),
    text_field!("involvedObject.namespace", "/involvedObject/namespace"),
    text_field!("involvedObject.name", "/involvedObject/name"),
    text_field!("involvedObject.uid", "/involvedObject/uid"),
    text_field!("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    text_field!("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
    text_field!("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    text_field!("reason", "/reason"),
    text_field!("reportingComponent", "/reportingComponent"),
    SelectableField {
        path: "source",
        value: |object| {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let component = text("/source/component");
            if component.is_empty() { text("/reportingComponent").into() } else { component.into() }
        },
    },
    text_field!("type", "/type"),
];

static COLUMNS: [Column; 10] = [
    text("Last Seen", "How long ago it last happened.", |event, now| {
        let series = &event["series"];
        let time = if series.is_object() {
            &series["lastObservedTime"]
        } else if !event["lastTimestamp"].is_null() {
            &event["lastTimestamp"]
        } else {
            first(event)
        };
        json!(since(time, now))
    }),
    text("Type", "Whether it is normal or a warning.", |event, _| json!(text_of(&event["type"]))),
    text("Reason", "Why, in a word.", |event, _| json!(text_of(&event["reason"]))),
    text("Object", "The object it happened to.", |event, _| {
        let kind = text_of(&event["involvedObject"]["kind"]).to_lowercase();
        match text_of(&event["involvedObject"]["name"]) {
            name if name.is_empty() => json!(kind),
            name => json!(format!("{kind}/{name}")),
        }
    }),
    wide(text("Subobject", "The part of the object.", |event, _| {
        json!(text_of(&event["involvedObject"]["fieldPath"]))
    })),
    wide(text("Source", "Who reports it, and where.", |event, _| json!(source(event)))),
    text("Message", "What happened.", |event, _| json!(text_of(&event["message"]).trim())),
    wide(text("First Seen", "How long ago it first happened.", |event, now| json!(since(first(event), now)))),
    wide(text("Count", "How often it happened.", |event, _| {
        let count = |value: &Value| value["count"].as_i64().unwrap_or_default();
        match (event["series"].is_object(), count(event)) {
            (true, _) => json!(count(&event["series"])),
            (false, 0) => json!(1),
            (false, count) => json!(count),
        }
    })),
    wide(NAME),
];

fn first(event: &Value) -> &Value {
    if event["firstTimestamp"].is_null() { &event["eventTime"] } else { &event["firstTimestamp"] }
}

fn source(event: &Value) -> String {
    let either = |a: &Value, b: &Value| if text_of(a).is_empty() { text_of(b) } else { text_of(a) };
    let component = either(&event["source"]["component"], &event["reportingComponent"]);
    let instance = either(&event["source"]["host"], &event["reportingInstance"]);
    if instance.is_empty() { component } else { format!("{component}, {instance}") }
}
