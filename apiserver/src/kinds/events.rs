//! Events: what happened to which object. They vanish after an hour.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::names;
use serde_json::{Value, json};

use super::kind::Kind;
use super::read::Field;
use super::same::same;
use crate::registry::{Column, GarbageCollection, SelectableField};
use crate::table::{NAME, since, text, text_of, wide};

/// Events, as the core group has them.
pub(crate) static EVENTS: Kind =
    Kind { validate: |event, errors| lenient(event, "reportingComponent", errors), ..PLAIN };

/// Events, as `events.k8s.io` has them: more must be said, and nothing but the series may change. The fields' names are
/// those of the core group, in which they are stored and of which upstream speaks too.
pub(crate) static STRICT_EVENTS: Kind = Kind {
    validate: |object, errors| {
        lenient(object, "reportingController", errors);
        strict(object, errors);
    },
    validate_update: Some(|object, old, errors| {
        lenient(object, "reportingController", errors);
        strict_update(object, old, errors);
    }),
    ..PLAIN
};

/// What both have.
const PLAIN: Kind = Kind {
    selectable: SELECTABLE,
    columns: &COLUMNS,
    create_on_update: true,
    garbage: GarbageCollection::Unsupported,
    seconds_to_live: Some(3600),
    ..Kind::PLAIN
};

fn lenient(object: &Value, reporter_shown: &str, errors: &mut FieldErrors) {
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
        let (reporter, shown) = (event.field("reportingComponent"), Path::new(reporter_shown));
        if reporter.is_empty() {
            errors.push(FieldError::required(&shown, ""));
        }
        for fault in names::qualified_name(reporter.text()) {
            errors.push(FieldError::invalid(&shown, reporter.text(), fault));
        }
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
        errors.push(FieldError::invalid(&Path::new("namespace"), namespace, fault));
    }
}

fn strict(object: &Value, errors: &mut FieldErrors) {
    let event = Field::of(object);
    series(&event, errors);
    event.field("eventTime").require(errors);
    let kind = event.field("type");
    if !["Normal", "Warning"].contains(&kind.text()) {
        kind.invalid_value(errors, "", format!("has invalid value: {}", kind.text()));
    }
    for name in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        if !same(event.field(name).value(), None) {
            event.field(name).invalid_value(errors, "", "needs to be unset");
        }
    }
}

fn series(event: &Field<'_>, errors: &mut FieldErrors) {
    let series = event.field("series");
    if !series.is_set() {
        return;
    }
    if series.field("count").int() < 2 {
        series.field("count").invalid_value(errors, "", "should be at least 2");
    }
    series.field("lastObservedTime").require(errors);
}

/// What of an event stays as it was.
const FIXED: [&str; 12] = [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingInstance",
];

fn strict_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let (event, old) = (Field::of(object), Field::of(old));
    if !event.field("series").same_as(&old.field("series")) {
        series(&event, errors);
    }
    for name in FIXED {
        event.field(name).unchanged(errors, &old.field(name));
    }
    let reporter = event.field("reportingComponent");
    if !reporter.same_as(&old.field("reportingComponent")) {
        let path = Path::new("reportingController");
        errors.push(FieldError::invalid(&path, reporter.text(), "field is immutable"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Strategy;

    #[test]
    fn events_of_the_newer_group_are_held_to_more() {
        let check = |change: Value, expected: &[&str]| {
            let mut event = json!({"metadata": {"namespace": "n"}, "involvedObject": {"namespace": "n"}, "reason": "R",
                "action": "A", "type": "Normal", "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "a.b/c",
                "reportingInstance": "i"});
            for (name, value) in change.as_object().unwrap() {
                event[name] = value.clone();
            }
            let texts: Vec<String> = STRICT_EVENTS.validate(&event).iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{change}");
        };
        check(json!({}), &[]);
        check(json!({"count": 1}), &["count: Invalid value: \"\": needs to be unset"]);
        check(json!({"source": {"component": ""}}), &[]);
        check(json!({"type": "Odd"}), &["type: Invalid value: \"\": has invalid value: Odd"]);
        check(
            json!({"series": {"count": 1}}),
            &["series.count: Invalid value: \"\": should be at least 2", "series.lastObservedTime: Required value"],
        );
        check(json!({"eventTime": null}), &["eventTime: Required value"]);
        let faults: Vec<String> = EVENTS
            .validate(&json!({"metadata": {"namespace": "n"}, "involvedObject": {"namespace": "n"}, "count": 1}))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(faults.is_empty(), "{faults:?}");
    }

    #[test]
    fn only_the_series_of_an_event_changes() {
        let event = json!({"metadata": {"namespace": "n"}, "involvedObject": {"namespace": "n"}, "reason": "R",
            "action": "A", "type": "Normal", "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "a.b/c",
            "reportingInstance": "i"});
        let mut again = event.clone();
        again["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"});
        assert!(STRICT_EVENTS.validate_update(&again, &event).is_empty());
        again["message"] = json!("m");
        let texts: Vec<String> =
            STRICT_EVENTS.validate_update(&again, &event).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["message: Invalid value: \"m\": field is immutable"]);
    }
}
