//! Annotations that say something about a pod's spec.

use kubewright_api::field::{FieldError, FieldErrors};

use serde_json::{Value, json};

use super::visit_containers;
use crate::kinds::read::Field;

pub(crate) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
pub(super) const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";

pub(super) const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";

/// What makes a pod a mirror of one that its node runs by itself.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// The annotations of a pod or of a template.
pub(crate) fn validate(annotations: &Field<'_>, spec: &Field<'_>, errors: &mut FieldErrors) {
    let mirror = annotations.key(MIRROR);
    if mirror.is_set() && spec.field("nodeName").is_empty() {
        mirror.invalid(errors, "must set spec.nodeName if mirror pod annotation is set");
    }
    let cost = annotations.key("controller.kubernetes.io/pod-deletion-cost");
    if cost.is_set() && !is_deletion_cost(cost.text()) {
        cost.invalid(errors, "must be a 32bit integer");
    }
    for (key, value) in annotations.entries() {
        if key == SECCOMP_OF_POD || key.starts_with(SECCOMP) {
            seccomp(annotations, key, value.text(), errors);
        }
        if let Some(name) = key.strip_prefix(APP_ARMOR) {
            app_armor(&value, name, spec, errors);
        }
    }
}

fn is_deletion_cost(text: &str) -> bool {
    let canonical = !text.starts_with('+') && (text == "0" || !text.trim_start_matches('-').starts_with('0'));
    canonical && text.parse::<i32>().is_ok()
}

fn seccomp(annotations: &Field<'_>, key: &str, profile: &str, errors: &mut FieldErrors) {
    let path = annotations.path().child(key);
    match profile.strip_prefix("localhost/") {
        Some(path_below) if path_below.starts_with('/') => {
            errors.push(FieldError::invalid(&path, path_below, "must be a relative path"));
        }
        Some(path_below) if path_below.split('/').any(|part| part == "..") => {
            errors.push(FieldError::invalid(&path, path_below, "must not contain '..'"));
        }
        None if !["runtime/default", "docker/default", "unconfined"].contains(&profile) => {
            errors.push(FieldError::invalid(&path, profile, "must be a valid seccomp profile"));
        }
        _ => {}
    }
}

fn app_armor(value: &Field<'_>, name: &str, spec: &Field<'_>, errors: &mut FieldErrors) {
    let mut found = false;
    visit_containers(spec, |container| found |= container.field("name").text() == name);
    if !found {
        value.invalid_value(errors, name, "container not found");
    }
    let profile = value.text();
    if !["", "runtime/default", "unconfined"].contains(&profile) && !profile.starts_with("localhost/") {
        value.invalid(errors, format!("invalid AppArmor profile name: {profile:?}"));
    }
}

/// The profile that an old annotation means.
pub(crate) fn app_armor_profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let name = annotation.strip_prefix("localhost/")?;
            let is_name = !name.is_empty() && name.trim() == name && name.len() <= 4095;
            is_name.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

/// Old annotations and the fields that took their place must agree.
pub(crate) fn match_fields(annotations: &Field<'_>, spec: &Field<'_>, errors: &mut FieldErrors) {
    let pod_context = spec.field("securityContext");
    let pod_seccomp = pod_context.field("seccompProfile");
    agree(annotations, SECCOMP_OF_POD, &pod_seccomp, &pod_seccomp, "seccomp", errors);
    let windows = spec.at("os.name").text() == "windows";
    visit_containers(spec, |container| {
        let context = container.field("securityContext");
        let name = container.field("name").text();
        let own = context.field("seccompProfile");
        agree(annotations, &format!("{SECCOMP}{name}"), &own, &own, "seccomp", errors);
        let (own, of_pod) = (context.field("appArmorProfile"), pod_context.field("appArmorProfile"));
        let effective = if own.is_set() { &own } else { &of_pod };
        if !windows {
            agree(annotations, &format!("{APP_ARMOR}{name}"), effective, &own, "apparmor", errors);
        }
    });
}

fn agree(
    annotations: &Field<'_>,
    key: &str,
    profile: &Field<'_>,
    reported_at: &Field<'_>,
    what: &str,
    errors: &mut FieldErrors,
) {
    let value = annotations.value().and_then(|all| all.get(key)).and_then(Value::as_str);
    let (Some(annotation), true) = (value, profile.is_set()) else { return };
    let differs = match profile.field("type").text() {
        "Unconfined" => annotation != "unconfined",
        "RuntimeDefault" => annotation != "runtime/default" && (what != "seccomp" || annotation != "docker/default"),
        "Localhost" => match annotation.strip_prefix("localhost/") {
            Some(name) if name == profile.field("localhostProfile").text() => false,
            Some(_) => {
                let why = format!("{what} profile in annotation and field must match");
                reported_at.field("localhostProfile").forbidden(errors, why);
                return;
            }
            None => true,
        },
        _ => false,
    };
    if differs {
        reported_at.field("type").forbidden(errors, format!("{what} type in annotation and field must match"));
    }
}
