//! ComponentStatuses, which are never stored.

use serde_json::{Value, json};

use super::kind::Kind;
use crate::registry::Column;
use crate::table::{NAME, text, text_of};

/// ComponentStatuses.
pub(crate) static COMPONENT_STATUSES: Kind = Kind { columns: &COLUMNS, ..Kind::PLAIN };

fn healthy(object: &Value) -> Option<&Value> {
    object["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Healthy")
}

static COLUMNS: [Column; 4] = [
    NAME,
    text("Status", "Whether the component is well.", |object, _| match healthy(object) {
        Some(condition) if condition["status"] == "True" => json!("Healthy"),
        Some(_) => json!("Unhealthy"),
        None => json!("Unknown"),
    }),
    text("Message", "What it says.", |object, _| {
        json!(healthy(object).map_or_else(String::new, |condition| text_of(&condition["message"])))
    }),
    text("Error", "Why it could not be asked.", |object, _| {
        json!(healthy(object).map_or_else(String::new, |condition| text_of(&condition["error"])))
    }),
];
