//! Changes of pods: little of a pod's spec may ever change.

use kubewright_api::field::{FieldError, FieldErrors};
use serde_json::Value;

use super::create::metadata_and_spec;
use crate::kinds::edit::{ensure, restore};
use crate::kinds::podspec::annotations::MIRROR;
use crate::kinds::read::Field;
use crate::kinds::same::same;
use crate::kinds::validate::scheduling::tolerations;

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The fields that a pod update may change, as the message lists them.
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// The rules for a change of a pod.
pub(crate) fn validate(pod: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new_pod, old_pod) = (Field::of(pod), Field::of(old));
    metadata_and_spec(&new_pod, errors);
    annotations_update(&new_pod, &old_pod, errors);
    let (spec, old_spec) = (new_pod.field("spec"), old_pod.field("spec"));
    for list in ["containers", "initContainers"] {
        let (containers, before) = (spec.field(list), old_spec.field(list));
        if containers.len() != before.len() {
            containers.forbidden(errors, "pod updates may not add or remove containers");
            return;
        }
    }
    if !active_deadline(&spec, &old_spec, errors) {
        return;
    }
    only_added_tolerations(&spec, &old_spec, errors);
    only_deleted_gates(&spec.field("schedulingGates"), &old_spec.field("schedulingGates"), errors);
    if !spec.same_as(&old_spec) {
        rest_is_unchanged(&spec, &old_spec, errors);
    }
}

/// The rules for changes of annotations that say something about the spec.
pub(crate) fn annotations_update(pod: &Field<'_>, old: &Field<'_>, errors: &mut FieldErrors) {
    let (now, before) = (pod.field("metadata").field("annotations"), old.field("metadata").field("annotations"));
    let mut forbid = |key: &str, app_armor: &str, mirror: &str| {
        let path = now.path().key(key);
        if key.starts_with(APP_ARMOR) {
            errors.push(FieldError::forbidden(&path, app_armor));
        }
        if key == MIRROR {
            errors.push(FieldError::forbidden(&path, mirror));
        }
    };
    for (key, value) in before.entries() {
        if now.key(key).opt_text() != Some(value.text()) {
            let app_armor = "may not remove or update AppArmor annotations";
            forbid(key, app_armor, "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in now.entries().filter(|(key, _)| !before.key(key).is_set()) {
        forbid(key, "may not add AppArmor annotations", "may not add mirror pod annotation");
    }
}

fn active_deadline(spec: &Field<'_>, old: &Field<'_>, errors: &mut FieldErrors) -> bool {
    let (now, before) = (spec.field("activeDeadlineSeconds"), old.field("activeDeadlineSeconds"));
    match (now.opt_int(), before.opt_int()) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            now.within(errors, 0, i64::from(i32::MAX));
            false
        }
        (Some(seconds), Some(longest)) if longest < seconds => {
            now.invalid(errors, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            now.invalid(errors, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn only_added_tolerations(spec: &Field<'_>, old: &Field<'_>, errors: &mut FieldErrors) {
    let list = spec.field("tolerations");
    for before in old.field("tolerations").items() {
        let mut wanted = before.raw();
        let kept = list.items().any(|toleration| {
            restore(&mut wanted, "tolerationSeconds", &toleration.raw());
            same(Some(&wanted), toleration.value())
        });
        if !kept {
            list.forbidden(errors, "existing toleration can not be modified except its tolerationSeconds");
            return;
        }
    }
    tolerations(&list, errors);
}

fn only_deleted_gates(gates: &Field<'_>, old: &Field<'_>, errors: &mut FieldErrors) {
    let before: Vec<&str> = old.items().map(|gate| gate.field("name").text()).collect();
    for gate in gates.items() {
        let name = gate.field("name");
        if !before.contains(&name.text()) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{}'", name.text());
            name.forbidden(errors, why);
        }
    }
}

/// Puts back what may change, then compares.
fn rest_is_unchanged(spec: &Field<'_>, old: &Field<'_>, errors: &mut FieldErrors) {
    let (mut munged, before) = (spec.raw(), old.raw());
    for list in ["containers", "initContainers"] {
        let olds = before[list].as_array().cloned().unwrap_or_default();
        if let Some(containers) = munged.get_mut(list).and_then(Value::as_array_mut) {
            for (container, old) in containers.iter_mut().zip(&olds) {
                restore(container, "image", old);
            }
        }
    }
    for name in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        restore(&mut munged, name, &before);
    }
    let grace = "terminationGracePeriodSeconds";
    if before[grace].as_i64().is_some_and(|seconds| seconds < 0) && munged[grace] == 1 {
        restore(&mut munged, grace, &before);
    }
    if !old.field("schedulingGates").is_empty() {
        gated_directives(spec, old, &mut munged, errors);
    }
    if !same(Some(&munged), Some(&before)) {
        let why = format!("pod updates may not change fields other than {UPDATABLE}\n{}", difference(&before, &munged));
        spec.forbidden(errors, why);
    }
}

/// While a pod is held back, where it may run may still be narrowed.
fn gated_directives(spec: &Field<'_>, old: &Field<'_>, munged: &mut Value, errors: &mut FieldErrors) {
    let (selector, before) = (spec.field("nodeSelector"), old.field("nodeSelector"));
    if before.entries().any(|(key, value)| selector.key(key).opt_text() != Some(value.text())) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        selector.invalid(errors, why);
    }
    restore(munged, "nodeSelector", &old.raw());
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let path = |spec: &Field<'_>| spec.at("affinity.nodeAffinity").raw();
    let (now, then) = (path(spec), path(old));
    if !same(Some(&now), Some(&then)) {
        let terms = spec.field("affinity").field("nodeAffinity").field(required).field("nodeSelectorTerms");
        let old_terms = old.field("affinity").field("nodeAffinity").field(required).field("nodeSelectorTerms");
        if !old_terms.is_empty() && old_terms.len() != terms.len() {
            terms.invalid(errors, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
        } else {
            for (term, old_term) in terms.items().zip(old_terms.items()) {
                if !only_additions(&term, &old_term) {
                    let why = "only additions are allowed (no mutations or deletions)";
                    term.invalid_value(errors, term.raw(), why);
                }
            }
        }
        if let Some(affinity) = ensure(munged, "affinity") {
            restore(affinity, "nodeAffinity", &old.field("affinity").raw());
        }
    }
}

fn only_additions(term: &Field<'_>, old: &Field<'_>) -> bool {
    if old.field("matchExpressions").is_empty() && old.field("matchFields").is_empty() {
        return same(term.value(), old.value());
    }
    ["matchExpressions", "matchFields"].iter().all(|list| {
        let (now, before) = (term.field(list), old.field(list));
        now.len() >= before.len() && before.items().zip(now.items()).all(|(a, b)| a.same_as(&b))
    })
}

/// Where two values differ, a line each: what it was with `-`, what it is with `+`.
pub(crate) fn difference(old: &Value, new: &Value) -> String {
    let mut lines = String::new();
    collect(&mut lines, "", old, new);
    lines
}

fn collect(lines: &mut String, path: &str, old: &Value, new: &Value) {
    if same(Some(old), Some(new)) {
        return;
    }
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                collect(lines, &format!("{path}.{key}"), &old[key], &new[key]);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                collect(lines, &format!("{path}[{at}]"), a, b);
            }
        }
        _ => lines.push_str(&format!(
            "- {}: {old}\n+ {}: {new}\n",
            path.trim_start_matches('.'),
            path.trim_start_matches('.')
        )),
    }
}
