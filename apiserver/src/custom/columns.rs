//! Printer columns.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::jsonpath::JsonPath;
use crate::table::since;

/// The columns of a definition.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns(Vec<Column>);

#[derive(Clone, Debug)]
struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: Option<JsonPath>,
}

impl Columns {
    /// Those of a version of a definition; without any, the age.
    pub(super) fn read(version: &Value) -> Self {
        let given = version["additionalPrinterColumns"].as_array().filter(|columns| !columns.is_empty());
        let age = json!([{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
        let text = |column: &Value, field: &str| column[field].as_str().unwrap_or_default().to_owned();
        let read = |column: &Value| Column {
            name: text(column, "name"),
            kind: text(column, "type"),
            format: text(column, "format"),
            description: text(column, "description"),
            priority: column["priority"].as_i64().unwrap_or(0),
            path: JsonPath::parse(&text(column, "jsonPath")).ok(),
        };
        Self(given.or(age.as_array()).into_iter().flatten().map(read).collect())
    }

    pub(super) fn definitions(&self) -> Value {
        let name = json!({"name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": "Its name, unique in its namespace."});
        let rest = self.0.iter().map(|column| {
            json!({"name": column.name, "type": column.kind, "format": column.format,
                "description": column.description, "priority": column.priority})
        });
        std::iter::once(name).chain(rest).collect()
    }

    pub(super) fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let name = object["metadata"]["name"].clone();
        std::iter::once(name).chain(self.0.iter().map(|column| column.cell(object, now))).collect()
    }
}

impl Column {
    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = self.path.as_ref().and_then(|path| path.first(object)).filter(|value| !value.is_null());
        let Some(value) = found else { return Value::Null };
        #[allow(clippy::cast_possible_truncation, reason = "what Go does with a float where a whole number is shown")]
        let whole = |number: f64| number as i64;
        match (self.kind.as_str(), value) {
            ("string", Value::String(text)) => text.as_str().into(),
            ("string", Value::Array(_) | Value::Object(_)) => value.to_string().into(),
            ("string", value) => value.to_string().into(),
            ("integer", Value::Number(number)) => {
                number.as_i64().or_else(|| number.as_f64().map(whole)).map_or(Value::Null, Into::into)
            }
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            ("date", Value::String(text)) if text.parse::<Timestamp>().is_err() => "<invalid>".into(),
            ("date", Value::String(_)) => since(value, now).into(),
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_their_columns_types() {
        let columns = Columns::read(&json!({"additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
            {"name": "Parts", "type": "string", "jsonPath": ".spec.parts"},
            {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ]}));
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"size": 3, "parts": ["x"]}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        assert_eq!(columns.cells(&object, now), [json!("a"), json!(3), json!("True"), json!("[\"x\"]"), json!("5m")]);
        assert_eq!(Columns::read(&json!({})).definitions()[1]["name"], "Age");
        assert_eq!(columns.cells(&json!({"metadata": {"name": "b"}}), now)[1], Value::Null);
    }
}
