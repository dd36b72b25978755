//! The conditions of a status, as `metav1.Condition` has them.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;

use super::labels::label_name;
use crate::kinds::read::Field;

/// How long a condition's reason and message may be, in bytes.
const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// A list of conditions, one of a type.
pub(crate) fn conditions(list: &Field<'_>, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for condition in list.items() {
        let kind = condition.field("type");
        if seen.contains(&kind.text()) {
            kind.duplicate(errors);
        }
        seen.push(kind.text());
        one(&condition, errors);
    }
}

fn one(condition: &Field<'_>, errors: &mut FieldErrors) {
    label_name(&condition.field("type"), errors);
    let status = condition.field("status");
    if !["False", "True", "Unknown"].contains(&status.text()) {
        status.unsupported_text(errors, &["False", "True", "Unknown"]);
    }
    let generation = condition.field("observedGeneration");
    if generation.int() < 0 {
        generation.invalid(errors, "must be greater than or equal to zero");
    }
    condition.field("lastTransitionTime").require(errors);
    let reason = condition.field("reason");
    if reason.require(errors) {
        reason.check(errors, reason_faults);
        if reason.text().len() > REASON_BYTES_MAX {
            reason.too_long(errors, REASON_BYTES_MAX);
        }
    }
    if condition.field("message").text().len() > MESSAGE_BYTES_MAX {
        condition.field("message").too_long(errors, MESSAGE_BYTES_MAX);
    }
}

fn reason_faults(reason: &str) -> Vec<String> {
    let good = reason.starts_with(|first: char| first.is_ascii_alphabetic())
        && reason.ends_with(|last: char| last.is_ascii_alphanumeric() || last == '_')
        && reason.chars().all(|c| c.is_ascii_alphanumeric() || "_,:".contains(c));
    if good {
        return Vec::new();
    }
    let rule = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
                characters or '_,:', and must end with an alphanumeric character or '_'";
    let pattern = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
    vec![names::pattern_fault(rule, pattern, &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"])]
}
