//! Where pods may run: node selectors, taints, tolerations, affinity, spreading.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;

use super::labels::{label_name, label_selector};
use crate::kinds::read::Field;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// A `NodeSelector`.
pub(crate) fn node_selector(selector: &Field<'_>, errors: &mut FieldErrors) {
    let terms = selector.field("nodeSelectorTerms");
    if terms.is_empty() {
        terms.required(errors, "must have at least one node selector term");
    }
    for term in terms.items() {
        node_selector_term(&term, true, errors);
    }
}

fn node_selector_term(term: &Field<'_>, check_values: bool, errors: &mut FieldErrors) {
    for requirement in term.field("matchExpressions").items() {
        let (operator, values) = (requirement.field("operator"), requirement.field("values"));
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                values.forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if values.len() != 1 => {
                values.required(errors, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => operator.invalid_value(errors, other, "not a valid selector operator"),
        }
        label_name(&requirement.field("key"), errors);
        if check_values {
            values.items().for_each(|value| value.check(errors, names::label_value));
        }
    }
    for requirement in term.field("matchFields").items() {
        let (operator, values) = (requirement.field("operator"), requirement.field("values"));
        match operator.text() {
            "In" | "NotIn" if values.len() != 1 => {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                values.required(errors, why);
            }
            "In" | "NotIn" => {}
            other => operator.invalid_value(errors, other, "not a valid selector operator"),
        }
        let key = requirement.field("key");
        if key.text() == "metadata.name" {
            values.items().for_each(|value| value.check(errors, names::dns1123_subdomain));
        } else {
            key.invalid_value(errors, key.text(), "not a valid field selector key");
        }
    }
}

/// A pod's affinity.
pub(crate) fn affinity(affinity: &Field<'_>, errors: &mut FieldErrors) {
    let (required, preferred) =
        ("requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution");
    let node = affinity.field("nodeAffinity");
    if node.field(required).is_set() {
        node_selector(&node.field(required), errors);
    }
    for term in node.field(preferred).items() {
        weight(&term, errors);
        node_selector_term(&term.field("preference"), false, errors);
    }
    for name in ["podAffinity", "podAntiAffinity"] {
        let field = affinity.field(name);
        field.field(required).items().for_each(|term| pod_affinity_term(&term, errors));
        for term in field.field(preferred).items() {
            weight(&term, errors);
            pod_affinity_term(&term.field("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Field<'_>, errors: &mut FieldErrors) {
    let weight = term.field("weight");
    if !(1..=100).contains(&weight.int()) {
        weight.invalid_value(errors, weight.int(), "must be in the range 1-100");
    }
}

fn pod_affinity_term(term: &Field<'_>, errors: &mut FieldErrors) {
    label_selector(&term.field("labelSelector"), errors);
    label_selector(&term.field("namespaceSelector"), errors);
    for namespace in term.field("namespaces").items() {
        for fault in names::dns1123_label(namespace.text()) {
            term.field("namespace").invalid_value(errors, namespace.text(), fault);
        }
    }
    label_keys(term, errors);
    let key = term.field("topologyKey");
    if key.is_empty() {
        key.required(errors, "can not be empty");
    }
    label_name(&key, errors);
}

/// Keys whose values are taken from the pod itself.
fn label_keys(term: &Field<'_>, errors: &mut FieldErrors) {
    let selector = term.field("labelSelector");
    let (matching, mismatching) = (term.field("matchLabelKeys"), term.field("mismatchLabelKeys"));
    for keys in [&matching, &mismatching].into_iter().filter(|keys| !keys.is_empty()) {
        if selector.is_set() {
            keys.items().for_each(|key| label_name(&key, errors));
        } else {
            keys.forbidden(errors, "must not be specified when labelSelector is not set");
        }
    }
    let keys = matching.texts();
    let mut seen: Vec<&str> = selector.field("matchLabels").entries().map(|(key, _)| key).collect();
    for expression in selector.field("matchExpressions").items() {
        let key = expression.field("key").text();
        if let Some(at) = keys.iter().position(|other| *other == key).filter(|_| seen.contains(&key)) {
            term.index(at).invalid_value(errors, key, "exists in both matchLabelKeys and labelSelector");
        }
        seen.push(key);
    }
    for key in matching.items().filter(|key| mismatching.has(key.text())) {
        key.invalid(errors, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

/// A pod's topology spread constraints.
pub(crate) fn topology_spread(list: &Field<'_>, errors: &mut FieldErrors) {
    let identity = |item: &Field<'_>| {
        format!("{{{}, {}}}", item.field("topologyKey").text(), item.field("whenUnsatisfiable").text())
    };
    let constraints: Vec<Field<'_>> = list.items().collect();
    for (at, constraint) in constraints.iter().enumerate() {
        constraint.field("maxSkew").positive(errors);
        let key = constraint.field("topologyKey");
        if key.is_empty() {
            key.required(errors, "can not be empty");
        }
        let action = constraint.field("whenUnsatisfiable");
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action.text()) {
            let error =
                FieldError::not_supported_in_order(&action.path(), action.text(), &["DoNotSchedule", "ScheduleAnyway"]);
            errors.push(error);
        }
        let this = identity(constraint);
        if constraints[at + 1..].iter().any(|other| identity(other) == this) {
            let path = constraint.field("{topologyKey, whenUnsatisfiable}").path();
            errors.push(FieldError::duplicate(&path, this));
        }
        let domains = constraint.field("minDomains");
        if domains.is_set() {
            domains.positive(errors);
            if action.text() != "DoNotSchedule" {
                let why = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not";
                domains.invalid(errors, format!("{why} {}", action.text()));
            }
        }
        for name in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            constraint.field(name).one_of_if_set(errors, &["Honor", "Ignore"]);
        }
        label_keys(constraint, errors);
        label_selector(&constraint.field("labelSelector"), errors);
    }
}

/// The tolerations of a pod.
pub(crate) fn tolerations(list: &Field<'_>, errors: &mut FieldErrors) {
    for toleration in list.items() {
        let field = |name| toleration.field(name);
        let (key, operator, value, effect) = (field("key"), field("operator"), field("value"), field("effect"));
        key.check_if_set(errors, names::qualified_name);
        if key.is_empty() && operator.text() != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            operator.invalid_value(errors, operator.text(), why);
        }
        if field("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            effect.invalid_value(errors, effect.text(), why);
        }
        match operator.text() {
            "Equal" | "" => {
                let faults = names::label_value(value.text());
                if !faults.is_empty() {
                    operator.invalid_value(errors, value.text(), faults.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                operator.invalid_value(errors, value.text(), "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            "Lt" | "Gt" => operator.unsupported(errors, &["Equal", "Exists", "Gt", "Lt"]),
            _ => operator.unsupported(errors, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            effect.one_of_if_set(errors, EFFECTS);
        }
    }
}

/// The taints of a node.
pub(crate) fn taints(list: &Field<'_>, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for taint in list.items() {
        label_name(&taint.field("key"), errors);
        let value = taint.field("value");
        let faults = names::label_value(value.text());
        if !faults.is_empty() {
            value.invalid(errors, faults.join(";"));
        }
        taint.field("effect").one_of(errors, EFFECTS);
        let this = (taint.field("key").text(), taint.field("effect").text());
        if seen.contains(&this) {
            let mut error = FieldError::duplicate(&taint.path(), taint.raw());
            error.detail = "taints must be unique by key and effect pair".into();
            errors.push(error);
        }
        seen.push(this);
    }
}
