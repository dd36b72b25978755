//! Taints of devices and what tolerates them.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;

use crate::kinds::read::Field;
use crate::kinds::validate::labels::label_name;

const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// A taint.
pub(super) fn taint(taint: &Field<'_>, errors: &mut FieldErrors) {
    label_name(&taint.field("key"), errors);
    taint.field("value").check_if_set(errors, names::label_value);
    taint.field("effect").one_of(errors, EFFECTS);
}

/// A toleration.
pub(super) fn toleration(toleration: &Field<'_>, errors: &mut FieldErrors) {
    toleration.field("key").check_if_set(errors, names::qualified_name);
    let (operator, value) = (toleration.field("operator"), toleration.field("value"));
    match operator.text() {
        "Exists" if !value.is_empty() => value.invalid(errors, "must be empty for operator `Exists`"),
        "Exists" => {}
        "Equal" => value.check_if_set(errors, names::label_value),
        "" => operator.required(errors, ""),
        _ => operator.unsupported(errors, &["Equal", "Exists"]),
    }
    let effect = toleration.field("effect");
    if !effect.is_empty() {
        effect.one_of(errors, EFFECTS);
    }
}
