//! PodTemplates.

use serde_json::Value;

use super::template_warnings_at;
use crate::kinds::edit::ensure;
use crate::kinds::kind::Kind;
use crate::kinds::podspec;
use crate::kinds::read::Field;
use crate::kinds::validate::labels::labels_as_text;
use crate::registry::Column;
use crate::table::{NAME, container_images, container_names, or_none, text};

/// PodTemplates.
pub(crate) static POD_TEMPLATES: Kind = Kind {
    answers_deleted: true,
    default: |object| {
        if let Some(template) = ensure(object, "template") {
            podspec::template(template);
        }
    },
    validate: |object: &Value, errors| podspec::validate_template(&Field::of(object).field("template"), errors),
    warnings: |object, old| template_warnings_at(object, old, "template"),
    columns: &COLUMNS,
    generation: true,
    ..Kind::PLAIN
};

static COLUMNS: [Column; 4] = [
    NAME,
    text("Containers", "Names of the containers.", |object, _| container_names(&object["template"]["spec"])),
    text("Images", "Images of the containers.", |object, _| container_images(&object["template"]["spec"])),
    text("Pod Labels", "Labels of the pods.", |object, _| {
        or_none(labels_as_text(&object["template"]["metadata"]["labels"]))
    }),
];
