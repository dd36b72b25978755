//! When a job's pods count as failed, and when enough have succeeded.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;

use super::{indexes, invalid_without_value};
use crate::kinds::podspec::visit_containers;
use crate::kinds::read::Field;

fn listed(values: &[&str]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", values.join(" "))
}

fn one_of_listed(field: &Field<'_>, allowed: &[&str], errors: &mut FieldErrors) {
    if field.is_empty() {
        field.required(errors, &listed(allowed));
    } else {
        field.one_of_if_set(errors, allowed);
    }
}

fn at_most(list: &Field<'_>, items_max: usize, errors: &mut FieldErrors) {
    if list.len() > items_max {
        errors.push(FieldError::too_many(&list.path(), list.len(), items_max));
    }
}

/// The rules for `podFailurePolicy`.
pub(super) fn failure(spec: &Field<'_>, errors: &mut FieldErrors) {
    let rules = spec.field("podFailurePolicy").field("rules");
    at_most(&rules, 20, errors);
    for rule in rules.items() {
        let action = rule.field("action");
        if action.text() == "FailIndex" {
            if !spec.field("backoffLimitPerIndex").is_set() {
                action.invalid(errors, "requires the backoffLimitPerIndex to be set");
            }
        } else {
            one_of_listed(&action, &["Count", "FailIndex", "FailJob", "Ignore"], errors);
        }
        let (codes, conditions) = (rule.field("onExitCodes"), rule.field("onPodConditions"));
        if codes.is_set() {
            exit_codes(spec, &codes, errors);
        }
        at_most(&conditions, 20, errors);
        for pattern in conditions.items() {
            pattern.field("type").check(errors, names::qualified_name);
            one_of_listed(&pattern.field("status"), &["False", "True", "Unknown"], errors);
        }
        let why = match (codes.is_set(), conditions.is_empty()) {
            (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        invalid_without_value(&rule, why, errors);
    }
}

fn exit_codes(spec: &Field<'_>, codes: &Field<'_>, errors: &mut FieldErrors) {
    let operator = codes.field("operator");
    one_of_listed(&operator, &["In", "NotIn"], errors);
    let name = codes.field("containerName");
    let mut known = !name.is_set();
    visit_containers(&spec.at("template.spec"), |container| known |= container.field("name").text() == name.text());
    if !known {
        name.invalid(errors, "must be one of the container or initContainer names in the pod template");
    }
    let values = codes.field("values");
    if values.is_empty() {
        values.invalid(errors, "at least one value is required");
    }
    at_most(&values, 255, errors);
    let mut seen: Vec<i64> = Vec::new();
    for value in values.items() {
        if operator.text() == "In" && value.int() == 0 {
            value.invalid(errors, "must not be 0 for the In operator");
        }
        if seen.contains(&value.int()) {
            value.duplicate(errors);
        }
        seen.push(value.int());
    }
    if !seen.is_sorted() {
        values.invalid(errors, "must be ordered");
    }
}

/// The rules for `successPolicy`.
pub(super) fn success(spec: &Field<'_>, errors: &mut FieldErrors) {
    let completions = spec.field("completions").int();
    let rules = spec.field("successPolicy").field("rules");
    if rules.is_empty() {
        rules.required(errors, "at least one rules must be specified when the successPolicy is specified");
    }
    at_most(&rules, 20, errors);
    for rule in rules.items() {
        let (list, count) = (rule.field("succeededIndexes"), rule.field("succeededCount"));
        if !list.is_set() && !count.is_set() {
            rule.required(errors, "at least one of succeededCount or succeededIndexes must be specified");
        }
        if list.text().len() > 64 * 1024 {
            list.too_long(errors, 64 * 1024);
        }
        let total = indexes::count(list.text(), completions);
        if let Err(why) = &total {
            list.invalid(errors, format!("error parsing succeededIndexes: {why}"));
        }
        count.not_negative(errors);
        if count.int() > completions {
            let why = format!("must be less than or equal to {completions} (the number of specified completions)");
            count.invalid(errors, why);
        }
        let total = total.unwrap_or_default();
        if list.is_set() && count.int() > total {
            let what = "(the number of indexes in the specified succeededIndexes field)";
            count.invalid(errors, format!("must be less than or equal to {total} {what}"));
        }
    }
}
