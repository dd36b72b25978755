//! Who a pod's processes are, and what they may become.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, Violation, blame, containers, quoted};

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn capabilities<'a>(container: &'a Value, list: &str) -> impl Iterator<Item = &'a str> {
    let list = container["securityContext"]["capabilities"][list].as_array();
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// Who adds capabilities that aren't allowed, in words.
fn adding(pod: Pod<'_>, allowed: &[&str]) -> Option<String> {
    let bad = |capability: &&str| !allowed.contains(capability);
    let guilty = pod.guilty(|container| capabilities(container, "add").any(|added| bad(&added)));
    let added: BTreeSet<&str> =
        pod.containers().flat_map(|container| capabilities(container, "add")).filter(bad).collect();
    let say =
        || format!("{} must not include {} in securityContext.capabilities.add", containers(&guilty), quoted(added));
    (!guilty.is_empty()).then(say)
}

pub(super) fn capabilities_baseline(pod: Pod<'_>) -> Option<Violation> {
    adding(pod, &DEFAULT_CAPABILITIES).map(|detail| Violation { reason: "non-default capabilities", detail })
}

pub(super) fn capabilities_restricted(pod: Pod<'_>) -> Option<Violation> {
    let keeping = pod.guilty(|container| !capabilities(container, "drop").any(|dropped| dropped == "ALL"));
    let must_drop = || format!(r#"{} must set securityContext.capabilities.drop=["ALL"]"#, containers(&keeping));
    let keeping = (!keeping.is_empty()).then(must_drop);
    let said: Vec<String> = keeping.into_iter().chain(adding(pod, &["NET_BIND_SERVICE"])).collect();
    (!said.is_empty()).then(|| Violation { reason: "unrestricted capabilities", detail: said.join("; ") })
}

pub(super) fn capabilities_restricted_25(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { capabilities_restricted(pod) }
}

pub(super) fn privileged(pod: Pod<'_>) -> Option<Violation> {
    let guilty = pod.guilty(|container| container["securityContext"]["privileged"] == true);
    let detail = || format!("{} must not set securityContext.privileged=true", containers(&guilty));
    (!guilty.is_empty()).then(|| Violation { reason: "privileged", detail: detail() })
}

pub(super) fn escalation(pod: Pod<'_>) -> Option<Violation> {
    let guilty = pod.guilty(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    let detail = || format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&guilty));
    (!guilty.is_empty()).then(|| Violation { reason: "allowPrivilegeEscalation != false", detail: detail() })
}

pub(super) fn escalation_25(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { escalation(pod) }
}

pub(super) fn non_root(pod: Pod<'_>) -> Option<Violation> {
    let reason = "runAsNonRoot != true";
    let of = |container: &Value| container["securityContext"]["runAsNonRoot"].as_bool();
    let explicit = pod.guilty(|container| of(container) == Some(false));
    let pod_wide = pod.context("runAsNonRoot").as_bool();
    if let Some(who) = blame(pod_wide == Some(false), &explicit) {
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return Some(Violation { reason, detail });
    }
    let silent = pod.guilty(|container| of(container).is_none() && pod_wide != Some(true));
    let detail = || format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent));
    (!silent.is_empty()).then(|| Violation { reason, detail: detail() })
}

pub(super) fn non_root_35(pod: Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { non_root(pod) }
}

pub(super) fn user(pod: Pod<'_>) -> Option<Violation> {
    let guilty = pod.guilty(|container| container["securityContext"]["runAsUser"] == 0);
    let who = blame(*pod.context("runAsUser") == 0, &guilty)?;
    Some(Violation { reason: "runAsUser=0", detail: format!("{who} must not set runAsUser=0") })
}

pub(super) fn user_35(pod: Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { user(pod) }
}
