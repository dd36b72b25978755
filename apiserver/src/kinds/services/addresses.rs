//! Cluster addresses and families of Services: `clusterIP` is the first of `clusterIPs`.

use kubewright_api::field::{FieldError, FieldErrors};
use serde_json::{Value, json};

use super::is_headless;
use crate::kinds::edit::{remove, set};
use crate::kinds::read::Field;
use crate::kinds::validate::addresses::{ip, is_dual_stack};

/// Makes `clusterIPs` follow `clusterIP`, which is all that older clients know.
pub(super) fn normalize(object: &mut Value, old: Option<&Value>) {
    let single = |object: &Value| object["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let (now, before) = (single(object), old.map(single).unwrap_or_default());
    let many = object["spec"]["clusterIPs"].as_array().cloned().unwrap_or_default();
    let old_many = old.and_then(|old| old["spec"]["clusterIPs"].as_array().cloned()).unwrap_or_default();
    let Some(spec) = object.get_mut("spec") else { return };
    if old.is_none() {
        if !now.is_empty() && many.is_empty() {
            set(spec, "clusterIPs", json!([now]));
        }
        return;
    }
    if now.is_empty() && !before.is_empty() {
        // Cleared by a client that knows the single address only.
        if many == old_many {
            remove(spec, "clusterIPs");
        }
    } else if now != before && many == old_many {
        set(spec, "clusterIPs", json!([now]));
    }
}

/// The rules for addresses and families.
pub(super) fn validate(spec: &Field<'_>, old: &Field<'_>, errors: &mut FieldErrors) {
    if spec.field("type").text() == "ExternalName" {
        return;
    }
    let (single, many) = (spec.field("clusterIP"), spec.field("clusterIPs"));
    let texts = many.texts();
    match (single.text(), texts.first()) {
        ("", None) => {}
        ("", Some(_)) => many.invalid(errors, "must be empty when `clusterIP` is not specified"),
        (_, None) => many.required(errors, ""),
        (single, Some(first)) if single != *first => many.invalid(errors, "first value must match `clusterIP`"),
        _ => {}
    }
    let families = spec.field("ipFamilies");
    let mut seen = Vec::new();
    for family in families.items() {
        family.one_of_if_set(errors, &["IPv4", "IPv6"]);
        if seen.contains(&family.text()) {
            family.duplicate(errors);
        }
        seen.push(family.text());
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    spec.field("ipFamilyPolicy").one_of_if_set(errors, &policies);
    let before = old.field("clusterIPs").texts();
    let count = errors.len();
    for (at, address) in many.items().enumerate() {
        if at == 0 && address.text() == "None" {
            if many.len() > 1 {
                many.invalid(errors, "'None' must be the first and only value");
            }
        } else {
            ip(&address, &before, errors);
        }
    }
    let bad = errors.len() > count;
    if many.len() > 2 {
        many.invalid(errors, "may only hold up to 2 values");
    }
    if bad {
        return;
    }
    if texts.len() > 1 && !is_dual_stack(&texts) {
        many.invalid(errors, "may specify no more than one IP for each IP family");
    }
    if !is_headless(spec) {
        for (at, (address, family)) in many.items().zip(families.texts()).enumerate() {
            let actual = if address.text().contains(':') { "IPv6" } else { "IPv4" };
            if actual != family && ["IPv4", "IPv6"].contains(&family) {
                let why = format!("expected an {family} value as indicated by `ipFamilies[{at}]`");
                address.invalid(errors, why);
            }
        }
    }
}

/// The rules for a change of addresses and families.
pub(super) fn validate_change(spec: &Field<'_>, old: &Field<'_>, errors: &mut FieldErrors) {
    if [spec, old].iter().any(|spec| spec.field("type").text() == "ExternalName") {
        return;
    }
    let (headless, was_headless) = (is_headless(spec), is_headless(old));
    if !(headless && was_headless) {
        primary_stays(spec, old, "clusterIPs", "primary clusterIP can not be unset", "secondary clusterIP", errors);
    }
    if !headless && !was_headless {
        primary_stays(spec, old, "ipFamilies", "primary ipFamily can not be unset", "secondary ipFamily", errors);
    }
}

fn primary_stays(
    spec: &Field<'_>,
    old: &Field<'_>,
    name: &'static str,
    unset: &str,
    secondary: &str,
    errors: &mut FieldErrors,
) {
    let list = spec.field(name);
    let (now, before) = (list.texts(), old.field(name).texts());
    let mut fault = |at: usize, why: &str| errors.push(FieldError::invalid(&list.index(at).path(), list.raw(), why));
    let changed = "may not change once set";
    if now.len() == before.len() {
        for at in (0..now.len()).filter(|at| now[*at] != before[*at]) {
            fault(if name == "clusterIPs" { at } else { 0 }, changed);
        }
        return;
    }
    if let (Some(first), Some(first_before)) = (now.first(), before.first())
        && first != first_before
    {
        fault(0, changed);
    }
    if now.len() < before.len() {
        if now.is_empty() {
            fault(0, unset);
        }
        let policy = spec.field("ipFamilyPolicy");
        if now.len() == 1 && policy.text() != "SingleStack" {
            policy.invalid(errors, format!("must be set to 'SingleStack' when releasing the {secondary}"));
        }
    }
}
