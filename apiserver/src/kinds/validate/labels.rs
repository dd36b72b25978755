//! Labels, annotations and selectors in objects.

use std::collections::BTreeMap;

use kubewright_api::field::FieldErrors;
use kubewright_api::names;
use kubewright_api::selector::LabelSelector;
use serde::Deserialize;
use serde_json::Value;

use crate::kinds::read::Field;

/// How many bytes the annotations of an object may take together.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// A label's key.
pub(crate) fn label_name(field: &Field<'_>, errors: &mut FieldErrors) {
    field.check(errors, names::qualified_name);
}

/// A map of labels.
pub(crate) fn labels(field: &Field<'_>, errors: &mut FieldErrors) {
    for (key, value) in field.entries() {
        for fault in names::qualified_name(key) {
            field.invalid_value(errors, key, fault);
        }
        for fault in names::label_value(value.text()) {
            field.invalid_value(errors, value.text(), fault);
        }
    }
}

/// A map of annotations.
pub(crate) fn annotations(field: &Field<'_>, errors: &mut FieldErrors) {
    let mut bytes = 0;
    for (key, value) in field.entries() {
        bytes += key.len() + value.text().len();
        for fault in names::qualified_name(&key.to_lowercase()) {
            field.invalid_value(errors, key, fault);
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        field.too_long(errors, ANNOTATIONS_BYTES_MAX);
    }
}

/// A `LabelSelector`.
pub(crate) fn label_selector(field: &Field<'_>, errors: &mut FieldErrors) {
    labels(&field.field("matchLabels"), errors);
    for requirement in field.field("matchExpressions").items() {
        let values = requirement.field("values");
        let operator = requirement.field("operator");
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                values.forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => operator.invalid_value(errors, operator.text(), "not a valid selector operator"),
        }
        label_name(&requirement.field("key"), errors);
        for value in values.items() {
            value.check(errors, names::label_value);
        }
    }
}

/// Whether a `LabelSelector` selects everything.
pub(crate) fn selects_everything(selector: &Field<'_>) -> bool {
    selector.field("matchLabels").is_empty() && selector.field("matchExpressions").is_empty()
}

/// A `LabelSelector` made ready to match; an absent or malformed one matches nothing.
pub(crate) fn as_selector(selector: &Field<'_>) -> LabelSelector {
    let parsed = selector.value().map(LabelSelector::deserialize);
    parsed.and_then(Result::ok).unwrap_or_else(LabelSelector::nothing)
}

/// A map of labels made ready to be matched.
pub(crate) fn label_map(field: &Field<'_>) -> BTreeMap<String, String> {
    field.entries().map(|(key, value)| (key.to_owned(), value.text().to_owned())).collect()
}

/// A map of labels as the text of a selector: `a=b,c=d`.
pub(crate) fn labels_as_text(labels: &Value) -> String {
    let entries = labels.as_object().into_iter().flatten();
    let pairs: Vec<String> =
        entries.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}
