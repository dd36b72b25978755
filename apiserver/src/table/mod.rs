//! Tables: what `kubectl get` prints, rendered by the server.

mod cells;
mod duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub(crate) use cells::{
    AGE, NAME, boolean, container_images, container_names, containers, date, images, integer, list_with_more, or_none,
    or_unset, selector, selector_cell, since, text, text_of, wide,
};
pub use duration::human_duration;

use crate::registry::Column;

/// What each row carries beside its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// The object's metadata, as `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

/// The columns of kinds that have none of their own.
static FALLBACK: [Column; 2] = [
    NAME,
    date("Created At", "When it was created.", |object, _| {
        object["metadata"]["creationTimestamp"].as_str().map_or_else(|| json!("<unknown>"), |time| json!(time))
    }),
];

fn or_fallback(columns: &[Column]) -> &[Column] {
    if columns.is_empty() { &FALLBACK } else { columns }
}

/// The column definitions of a kind; a kind without columns shows name and age.
#[must_use]
pub fn column_definitions(columns: &[Column]) -> Value {
    let definition = |column: &Column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    };
    or_fallback(columns).iter().map(definition).collect()
}

/// The cells of an object.
#[must_use]
pub fn cells(columns: &[Column], object: &Value, now: Timestamp) -> Vec<Value> {
    or_fallback(columns).iter().map(|column| (column.cell)(object, now)).collect()
}

/// The row of an object with these cells.
#[must_use]
pub fn row(cells: Vec<Value>, object: &Value, include: IncludeObject) -> Value {
    let mut row = Map::from_iter([("cells".to_owned(), Value::Array(cells))]);
    match include {
        IncludeObject::None => {}
        IncludeObject::Metadata => {
            let partial = json!({
                "apiVersion": "meta.k8s.io/v1",
                "kind": "PartialObjectMetadata",
                "metadata": object["metadata"],
            });
            row.insert("object".to_owned(), partial);
        }
        IncludeObject::Object => drop(row.insert("object".to_owned(), object.clone())),
    }
    Value::Object(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_without_columns_show_name_and_creation() {
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}});
        let definitions = column_definitions(&[]);
        assert_eq!(definitions[1]["name"], "Created At");
        let row = row(cells(&[], &object, Timestamp::UNIX_EPOCH), &object, IncludeObject::Metadata);
        assert_eq!(row["cells"], json!(["a", "2026-01-01T00:00:00Z"]));
        assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    }
}
