//! One device of a slice.

use std::collections::BTreeMap;

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::Value;

use super::capacity::capacity;
use super::names::{node, qualified, several_set};
use super::taints::taint;
use crate::kinds::read::Field;
use crate::kinds::validate::labels::label_name;
use crate::kinds::validate::lists::{at_most, bounded, bounded_set};
use crate::kinds::validate::scheduling::node_selector;

/// How many attributes and capacities a device may have together.
const ATTRIBUTES_AND_CAPACITIES_MAX: usize = 32;
/// How many values its attributes may have together.
const ATTRIBUTE_VALUES_MAX: usize = 48;
/// How many bytes a value of an attribute may have.
const VALUE_BYTES_MAX: usize = 64;
/// How many counters a set, or what a device takes of a set, may have.
pub(super) const COUNTERS_MAX: usize = 32;

/// The rules for a device. `before` is what the slice said of it until now.
pub(super) fn device(device: &Field<'_>, before: Option<&Field<'_>>, per_device: bool, errors: &mut FieldErrors) {
    device.field("name").check(errors, names::dns1123_label);
    let (attributes, capacities) = (device.field("attributes"), device.field("capacity"));
    let total = attributes.len() + capacities.len();
    if total > ATTRIBUTES_AND_CAPACITIES_MAX {
        let why =
            format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_AND_CAPACITIES_MAX}");
        device.invalid_value(errors, total, why);
    }
    if attributes.len() > ATTRIBUTE_VALUES_MAX {
        let why = format!("the total number of attribute values must not exceed {ATTRIBUTE_VALUES_MAX}");
        device.invalid_value(errors, attributes.len(), why);
    }
    for (name, value) in attributes.entries() {
        qualified(&attributes, name, errors);
        attribute(&value, errors);
    }
    let shared = device.field("allowMultipleAllocations").flag();
    for (name, value) in capacities.entries() {
        qualified(&capacities, name, errors);
        capacity(&value, shared, errors);
    }
    let taints = device.field("taints");
    if before.is_none_or(|before| !before.field("taints").same_as(&taints)) {
        bounded(&taints, 16, errors, taint);
    }
    let set = |consumed: &Field<'_>| consumed.field("counterSet").key_text();
    bounded_set(&device.field("consumesCounters"), 2, set, errors, |consumed, errors| {
        counters(consumed, "counterSet", errors);
    });
    nodes(device, per_device, errors);
    binding_conditions(device, errors);
}

/// A set of counters with a name, of a slice or of what a device takes.
pub(super) fn counters(of: &Field<'_>, name: &'static str, errors: &mut FieldErrors) {
    of.field(name).require_and_check(errors, names::dns1123_label);
    let counters = of.field("counters");
    if counters.require(errors) && at_most(&counters, COUNTERS_MAX, errors) {
        for (name, _) in counters.entries() {
            for fault in names::dns1123_label(name) {
                counters.invalid_value(errors, name, fault);
            }
        }
    }
}

fn attribute(attribute: &Field<'_>, errors: &mut FieldErrors) {
    let (text, version) = (attribute.field("string"), attribute.field("version"));
    if text.text().len() > VALUE_BYTES_MAX {
        text.too_long(errors, VALUE_BYTES_MAX);
    }
    if version.is_set() {
        if !is_semantic_version(version.text()) {
            version.invalid(errors, "must be a string compatible with semver.org spec 2.0.0");
        }
        if version.text().len() > VALUE_BYTES_MAX {
            version.too_long(errors, VALUE_BYTES_MAX);
        }
    }
    let given = ["bool", "int", "string", "version"].iter().filter(|name| attribute.field(name).is_set()).count();
    if given == 0 {
        attribute.invalid_value(errors, "", "exactly one value must be specified");
    } else if given > 1 {
        attribute.invalid_value(errors, as_upstream_names_it(attribute), "exactly one value must be specified");
    }
}

/// The attribute by the names of Go's fields, for that is how upstream shows it.
fn as_upstream_names_it(attribute: &Field<'_>) -> Value {
    let names = [("int", "IntValue"), ("bool", "BoolValue"), ("string", "StringValue"), ("version", "VersionValue")];
    let lists = ["IntValues", "BoolValues", "StringValues", "VersionValues"];
    let values = names.iter().map(|(name, shown)| ((*shown).to_owned(), attribute.field(name).raw()));
    let values: BTreeMap<String, Value> =
        values.chain(lists.iter().map(|name| ((*name).to_owned(), Value::Null))).collect();
    values.into_iter().collect()
}

/// Whether it is a version by semver.org's rules, version 2.
fn is_semantic_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let number = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte == b'-' || byte.is_ascii_alphanumeric());
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

/// Where the device is: for the slice to say, or for each device.
fn nodes(device: &Field<'_>, per_device: bool, errors: &mut FieldErrors) {
    let (name, selector, all) = (device.field("nodeName"), device.field("nodeSelector"), device.field("allNodes"));
    if !per_device {
        if name.is_set() || selector.is_set() || all.is_set() {
            let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to \
                       true in the ResourceSlice spec";
            device.invalid_value(errors, Value::Null, why);
        }
        return;
    }
    let mut set = Vec::new();
    if name.is_set() && name.is_empty() {
        name.invalid(errors, "must not be empty");
    } else if name.is_set() {
        set.push("`nodeName`");
        node(&name, errors);
    }
    if selector.is_set() {
        set.push("`nodeSelector`");
        node_selector(&selector, errors);
    }
    match all.opt_flag() {
        Some(true) => set.push("`allNodes`"),
        Some(false) => all.invalid(errors, "must be either unset or set to true"),
        None => {}
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set \
               to true in the ResourceSlice spec";
    match set.len() {
        0 => device.required(errors, why),
        1 => {}
        _ => several_set(device, &set, why, errors),
    }
}

/// The conditions that a device waits for before a pod is bound, and those that end the wait in vain.
pub(super) fn binding_conditions(of: &Field<'_>, errors: &mut FieldErrors) {
    let (wanted, failed) = (of.field("bindingConditions"), of.field("bindingFailureConditions"));
    for list in [&wanted, &failed] {
        bounded(list, 4, errors, label_name);
    }
    let mut twice = |list: &Field<'_>, apart: Option<&Field<'_>>| {
        let mut seen = Vec::new();
        for condition in list.items() {
            if seen.contains(&condition.text()) {
                errors.push(FieldError::duplicate(&condition.path(), condition.text()));
            }
            seen.push(condition.text());
            if apart.is_some_and(|other| other.has(condition.text())) {
                condition.invalid(errors, "bindingFailureConditions must not overlap with bindingConditions");
            }
        }
    };
    twice(&wanted, None);
    twice(&failed, Some(&wanted));
    if wanted.is_empty() && !failed.is_empty() {
        wanted.invalid(errors, "bindingConditions are required to use bindingFailureConditions");
    }
    if failed.is_empty() && !wanted.is_empty() {
        failed.invalid(errors, "bindingFailureConditions are required to use bindingConditions");
    }
}
