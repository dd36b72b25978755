//! Columns and cells that many kinds share.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::human_duration;
use crate::kinds::label_selector_text;
use crate::registry::Column;

type Cell = fn(&Value, Timestamp) -> Value;

const fn column(name: &'static str, kind: &'static str, description: &'static str, cell: Cell) -> Column {
    Column { name, kind, format: "", priority: 0, description, cell }
}

/// A column of text.
pub(crate) const fn text(name: &'static str, description: &'static str, cell: Cell) -> Column {
    column(name, "string", description, cell)
}

/// A column of whole numbers.
pub(crate) const fn integer(name: &'static str, description: &'static str, cell: Cell) -> Column {
    column(name, "integer", description, cell)
}

/// A column of booleans.
pub(crate) const fn boolean(name: &'static str, description: &'static str, cell: Cell) -> Column {
    column(name, "boolean", description, cell)
}

/// A column of times.
pub(crate) const fn date(name: &'static str, description: &'static str, cell: Cell) -> Column {
    column(name, "date", description, cell)
}

/// The column, but in wide output only.
pub(crate) const fn wide(column: Column) -> Column {
    Column { priority: 1, ..column }
}

/// The object's name.
pub(crate) const NAME: Column = Column {
    format: "name",
    ..text("Name", "Its name, unique in its namespace.", |object, _| object["metadata"]["name"].clone())
};

/// How long ago the object was created.
pub(crate) const AGE: Column = text("Age", "How long ago it was created.", |object, now| {
    since(&object["metadata"]["creationTimestamp"], now).into()
});

/// Names of a pod template's containers.
pub(crate) const fn containers(cell: Cell) -> Column {
    wide(text("Containers", "Names of the containers in the template.", cell))
}

/// Images of a pod template's containers.
pub(crate) const fn images(cell: Cell) -> Column {
    wide(text("Images", "Images that the containers in the template use.", cell))
}

/// The selector of the objects that are looked after.
pub(crate) const fn selector(cell: Cell) -> Column {
    wide(text("Selector", "Labels of the objects that it looks after.", cell))
}

/// How long ago a time was: `5m3s`, or `<unknown>` if there is none.
pub(crate) fn since(time: &Value, now: Timestamp) -> String {
    match time.as_str().and_then(|time| time.parse::<Timestamp>().ok()) {
        Some(time) => {
            let nanoseconds = now.as_nanosecond() - time.as_nanosecond();
            human_duration(i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX))
        }
        None => "<unknown>".into(),
    }
}

/// The text, or `<none>` if it is empty.
pub(crate) fn or_none(text: impl Into<String>) -> Value {
    let text = text.into();
    if text.is_empty() { json!("<none>") } else { json!(text) }
}

/// The text of a value, or `<unset>` if there is none.
pub(crate) fn or_unset(value: &Value) -> Value {
    match text_of(value) {
        text if text.is_empty() => json!("<unset>"),
        text => json!(text),
    }
}

/// A value as text; empty if there is none.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// The first so many of the texts, and how many more there are.
pub(crate) fn list_with_more(texts: &[String], shown_max: usize) -> String {
    let shown = texts.iter().take(shown_max).map(String::as_str).collect::<Vec<_>>().join(",");
    match texts.len().saturating_sub(shown_max) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

/// Names of the containers of a pod spec.
pub(crate) fn container_names(spec: &Value) -> Value {
    joined(spec, "name")
}

/// Images of the containers of a pod spec.
pub(crate) fn container_images(spec: &Value) -> Value {
    joined(spec, "image")
}

fn joined(spec: &Value, field: &str) -> Value {
    let containers = spec["containers"].as_array().into_iter().flatten();
    json!(containers.map(|container| container[field].as_str().unwrap_or_default()).collect::<Vec<_>>().join(","))
}

/// A label selector as text, as `kubectl` shows it.
pub(crate) fn selector_cell(selector: &Value) -> Value {
    if selector.is_null() { json!("<none>") } else { or_none(label_selector_text(selector)) }
}
