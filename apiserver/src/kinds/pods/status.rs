//! The status of pods, as kubelets and schedulers write it.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::Value;

use super::update::annotations_update;
use crate::kinds::edit::{default_text, find, restore};
use crate::kinds::kind::Part;
use crate::kinds::read::Field;
use crate::kinds::validate::addresses::{ip, is_dual_stack};
use crate::registry::StrategyContext;

/// `pods/status`.
pub(crate) static STATUS: Part =
    Part { keeps: &["deletionTimestamp", "ownerReferences"], update: prepare, validate, ..Part::STATUS };

fn prepare(_: &StrategyContext<'_>, pod: &mut Value, old: &Value) {
    if let Some(status) = find(pod, "status") {
        if let Some(class) = old["status"]["qosClass"].as_str() {
            default_text(status, "qosClass", class);
        }
        if status["observedGeneration"].as_i64().unwrap_or_default() == 0 {
            restore(status, "observedGeneration", &old["status"]);
        }
    }
}

fn validate(pod: &Value, old: &Value, errors: &mut FieldErrors) {
    let (pod, old) = (Field::of(pod), Field::of(old));
    annotations_update(&pod, &old, errors);
    let (status, before) = (pod.field("status"), old.field("status"));
    conditions(&status.field("conditions"), errors);
    nominated_node(&old, &status, &before, errors);
    status.field("qosClass").unchanged(errors, &before.field("qosClass"));
    let observed = status.field("observedGeneration");
    if observed.int() < 0 {
        observed.invalid(errors, "must be a non-negative integer");
    }
    let spec = old.field("spec");
    for (name, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", ""),
    ] {
        transitions(&status.field(name), &before.field(name), &spec, containers, errors);
    }
    for (one, name) in [("podIP", "podIPs"), ("hostIP", "hostIPs")] {
        addresses(&status, &before, one, name, errors);
    }
    claim_statuses(&pod, errors);
}

fn conditions(list: &Field<'_>, errors: &mut FieldErrors) {
    for condition in list.items() {
        let observed = condition.field("observedGeneration");
        if observed.int() < 0 {
            observed.invalid(errors, "must be a non-negative integer");
        }
        let kind = condition.field("type").text();
        if !["PodScheduled", "Ready", "Initialized"].contains(&kind) {
            for fault in names::qualified_name(kind) {
                condition.field("Type").invalid_value(errors, kind, fault);
            }
        }
    }
}

fn nominated_node(old: &Field<'_>, status: &Field<'_>, before: &Field<'_>, errors: &mut FieldErrors) {
    let nominated = status.field("nominatedNodeName");
    if nominated.is_empty() || nominated.same_as(&before.field("nominatedNodeName")) {
        return;
    }
    nominated.check(errors, names::dns1123_subdomain);
    if !old.at("spec.nodeName").is_empty() {
        nominated.forbidden(errors, "may not be set on pods that are already bound to a node");
    }
}

/// A container that has ended for good must not come back.
fn transitions(now: &Field<'_>, before: &Field<'_>, spec: &Field<'_>, list: &'static str, errors: &mut FieldErrors) {
    if !list.is_empty() && all_may_restart(spec) {
        return;
    }
    for (at, old) in before.items().enumerate() {
        let ended = old.at("state.terminated");
        if !ended.is_set() {
            continue;
        }
        let name = old.field("name").text();
        let revived =
            now.items().any(|status| status.field("name").text() == name && !status.at("state.terminated").is_set());
        let container = spec.field(list).items().find(|container| container.field("name").text() == name);
        let may = container.is_some_and(|container| may_restart(&container, spec, ended.field("exitCode").int()));
        if revived && !may {
            let why = "may not be transitioned to non-terminated state";
            now.index(at).field("state").forbidden(errors, why);
        }
    }
}

fn all_may_restart(spec: &Field<'_>) -> bool {
    ["containers", "initContainers"].iter().flat_map(|list| spec.field(list).items()).any(|container| {
        let rules = container.field("restartPolicyRules");
        rules.items().any(|rule| rule.field("action").text() == "RestartAllContainers")
    })
}

fn may_restart(container: &Field<'_>, spec: &Field<'_>, exit_code: i64) -> bool {
    for rule in container.field("restartPolicyRules").items() {
        let codes = rule.field("exitCodes");
        let listed = codes.field("values").items().any(|value| value.int() == exit_code);
        let matches = listed == (codes.field("operator").text() == "In");
        if codes.is_set() && matches && rule.field("action").text().starts_with("Restart") {
            return true;
        }
    }
    let own = container.field("restartPolicy");
    let policy = if own.is_set() { own.text() } else { spec.field("restartPolicy").text() };
    match policy {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

fn addresses(status: &Field<'_>, before: &Field<'_>, one: &'static str, name: &'static str, errors: &mut FieldErrors) {
    let list = status.field(name);
    let texts = |list: &Field<'_>| list.items().map(|item| item.field("ip").raw()).collect::<Vec<_>>();
    let (now, then) = (texts(&list), texts(&before.field(name)));
    let then: Vec<&str> = then.iter().filter_map(Value::as_str).collect();
    let now: Vec<&str> = now.iter().filter_map(Value::as_str).collect();
    let first = list.index(0).field("ip");
    if one == "hostIP" && first.is_set() && first.text() != status.field(one).text() {
        first.invalid(errors, "must be equal to `hostIP`");
    }
    for item in list.items() {
        let mut faults = FieldErrors::new();
        ip(&item.field("ip"), &then, &mut faults);
        errors.extend(faults.into_iter().map(|fault| FieldError { path: item.path(), ..fault }));
    }
    if now.len() > 1 && (!is_dual_stack(&now) || now.len() > 2) {
        list.invalid(errors, "may specify no more than one IP for each IP family");
    }
}

fn claim_statuses(pod: &Field<'_>, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for status in pod.at("status.resourceClaimStatuses").items() {
        let name = status.field("name");
        let mut claims = pod.at("spec.resourceClaims").items();
        if !claims.any(|claim| claim.field("name").text() == name.text()) {
            name.invalid_value(errors, name.text(), "must match the name of an entry in `spec.resourceClaims`");
        }
        if seen.contains(&name.text()) {
            name.duplicate(errors);
        }
        seen.push(name.text());
        let claim = status.field("resourceClaimName");
        if claim.is_set() {
            claim.check(errors, names::dns1123_subdomain);
        }
    }
}
