//! What confines a pod's processes: AppArmor, SELinux and seccomp profiles.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, Violation, blame, containers, plural, quoted};

const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// The types of all profiles in that field that leave a process unconfined: whether the pod's is one, the containers
/// whose is one, and which these are.
fn unconfined<'a>(pod: Pod<'a>, field: &str) -> (bool, Vec<&'a str>, BTreeSet<&'a str>) {
    let bad = |profile: &'a Value| {
        let kind = profile.is_object().then(|| profile["type"].as_str().unwrap_or_default());
        kind.filter(|kind| !matches!(*kind, "RuntimeDefault" | "Localhost"))
    };
    let of = |container: &'a Value| bad(&container["securityContext"][field]);
    let pod_wide = bad(pod.context(field));
    let guilty = pod.guilty(|container| of(container).is_some());
    (pod_wide.is_some(), guilty, pod_wide.into_iter().chain(pod.containers().filter_map(of)).collect())
}

fn annotations<'a>(pod: Pod<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let all = pod.metadata["annotations"].as_object().into_iter().flatten();
    all.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

pub(super) fn app_armor(pod: Pod<'_>) -> Option<Violation> {
    let (pod_wide, guilty, kinds) = unconfined(pod, "appArmorProfile");
    let confines = |value: &str| matches!(value, "" | "runtime/default") || value.starts_with("localhost/");
    let bad = annotations(pod).filter(|(key, value)| key.starts_with(APP_ARMOR_ANNOTATION) && !confines(value));
    let bad: Vec<String> = bad.map(|(key, value)| format!("{key}={value:?}")).collect();
    let mut who: Vec<String> = blame(pod_wide, &guilty).into_iter().collect();
    if !bad.is_empty() {
        who.push(plural(bad.len(), "annotation", "annotations").to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<String> = kinds.into_iter().map(str::to_owned).chain(bad).collect();
    // Upstream puts these in quotes as they are, also when they hold some.
    let listed = format!("\"{}\"", values.join("\", \""));
    let reason = plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    Some(Violation { reason, detail: format!("{} must not set AppArmor profile type to {listed}", who.join(" and ")) })
}

const SE_LINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

fn se_linux_of(pod: Pod<'_>, allowed: &[&str]) -> Option<Violation> {
    let text = |options: &Value, field: &str| options[field].as_str().unwrap_or_default().to_owned();
    let bad = |options: &Value| {
        !allowed.contains(&text(options, "type").as_str())
            || ["user", "role"].iter().any(|field| !text(options, field).is_empty())
    };
    let of = |container: &'_ Value| container["securityContext"]["seLinuxOptions"].clone();
    let guilty = pod.guilty(|container| bad(&of(container)));
    let pod_wide = pod.context("seLinuxOptions");
    let who = blame(bad(pod_wide), &guilty)?;
    let all: Vec<Value> = std::iter::once(pod_wide.clone()).chain(pod.containers().map(of)).collect();
    let types: BTreeSet<String> = all.iter().map(|options| text(options, "type")).collect();
    let types: Vec<String> = types.into_iter().filter(|kind| !allowed.contains(&kind.as_str())).collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(&types)));
    }
    for field in ["user", "role"] {
        if all.iter().any(|options| !text(options, field).is_empty()) {
            what.push(format!("{field} may not be set"));
        }
    }
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; "));
    Some(Violation { reason: "seLinuxOptions", detail })
}

pub(super) fn se_linux(pod: Pod<'_>) -> Option<Violation> {
    se_linux_of(pod, &SE_LINUX_TYPES[..4])
}

pub(super) fn se_linux_31(pod: Pod<'_>) -> Option<Violation> {
    se_linux_of(pod, &SE_LINUX_TYPES)
}

pub(super) fn seccomp_annotations(pod: Pod<'_>) -> Option<Violation> {
    let confines =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let names: BTreeSet<&str> = pod.containers().map(super::name).collect();
    let about_it = |key: &str| {
        key == SECCOMP_POD_ANNOTATION || key.strip_prefix(SECCOMP_ANNOTATION).is_some_and(|name| names.contains(name))
    };
    let bad = annotations(pod).filter(|(key, value)| about_it(key) && !confines(value));
    let bad: BTreeSet<String> = bad.map(|(key, value)| format!("{key}={value:?}")).collect();
    let word = plural(bad.len(), "annotation", "annotations");
    let detail = || format!("forbidden {word} {}", bad.iter().cloned().collect::<Vec<_>>().join(", "));
    (!bad.is_empty()).then(|| Violation { reason: "seccompProfile", detail: detail() })
}

pub(super) fn seccomp_baseline(pod: Pod<'_>) -> Option<Violation> {
    let (pod_wide, guilty, kinds) = unconfined(pod, "seccompProfile");
    let who = blame(pod_wide, &guilty)?;
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(kinds));
    Some(Violation { reason: "seccompProfile", detail })
}

pub(super) fn seccomp_restricted(pod: Pod<'_>) -> Option<Violation> {
    if let Some(violation) = seccomp_baseline(pod) {
        return Some(violation);
    }
    let confined = pod.context("seccompProfile").is_object();
    let silent = pod.guilty(|container| !confined && !container["securityContext"]["seccompProfile"].is_object());
    let rule = r#"must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost""#;
    let detail = || format!("pod or {} {rule}", containers(&silent));
    (!silent.is_empty()).then(|| Violation { reason: "seccompProfile", detail: detail() })
}

pub(super) fn seccomp_restricted_25(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { seccomp_restricted(pod) }
}
