//! ControllerRevisions.

use kubewright_api::field::FieldErrors;
use serde_json::{Value, json};

use crate::kinds::kind::Kind;
use crate::kinds::read::Field;
use crate::registry::Column;
use crate::table::{AGE, NAME, text};

/// ControllerRevisions.
pub(crate) static CONTROLLER_REVISIONS: Kind =
    Kind { validate, validate_update: Some(validate_update), columns: &COLUMNS, ..Kind::PLAIN };

static COLUMNS: [Column; 4] = [
    NAME,
    text("Controller", "The object whose history this is.", |object, _| {
        let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        match owners.into_iter().find(|owner| owner["controller"] == true) {
            Some(owner) => {
                let text = |name: &str| owner[name].as_str().unwrap_or_default().to_owned();
                let kind = match text("apiVersion").split_once('/') {
                    Some((group, _)) => format!("{}.{group}", text("kind").to_lowercase()),
                    None => text("kind").to_lowercase(),
                };
                json!(format!("{kind}/{}", text("name")))
            }
            None => json!("<none>"),
        }
    }),
    text("Revision", "Which in the history this is.", |object, _| object["revision"].clone()),
    AGE,
];

fn validate(object: &Value, errors: &mut FieldErrors) {
    let object = Field::of(object);
    object.field("revision").not_negative(errors);
    let data = object.field("data");
    if !data.is_set() {
        data.required(errors, "data is mandatory");
    } else if !data.value().is_some_and(Value::is_object) {
        data.required(errors, "data must be a valid JSON object");
    }
}

fn validate_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let (object, old) = (Field::of(object), Field::of(old));
    object.field("revision").not_negative(errors);
    object.field("data").unchanged(errors, &old.field("data"));
}
