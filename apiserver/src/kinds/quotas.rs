//! ResourceQuotas and LimitRanges.

use std::collections::BTreeSet;

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use kubewright_api::quantity::{Format, Quantity};
use serde_json::{Value, json};

use super::edit::{default_to, each, ensure};
use super::kind::{Kind, Part, empty_status};
use super::podspec::round_up;
use super::read::Field;
use super::validate::resources::{
    amount, any_resource_name, container_resource_name, is_quota_resource, may_overcommit, quota_resource_name,
};
use crate::registry::Column;
use crate::table::{AGE, NAME, text, text_of};

/// ResourceQuotas.
pub(crate) static RESOURCE_QUOTAS: Kind = Kind {
    answers_deleted: true,
    default: |object| super::edit::with(object, "spec.hard", round_up),
    status: Some(empty_status),
    validate: quota,
    validate_update: Some(|object, old, errors| {
        quota(object, errors);
        let set = |object| Field::of(object).at("spec.scopes").texts().into_iter().collect::<BTreeSet<_>>();
        if set(object) != set(old) {
            Field::of(object).at("spec.scopes").invalid(errors, "field is immutable");
        }
    }),
    subresources: &[("status", &QUOTA_STATUS)],
    columns: &QUOTA_COLUMNS,
    ..Kind::PLAIN
};

static QUOTA_STATUS: Part = Part {
    validate: |object, _, errors| {
        for list in ["hard", "used"] {
            amounts(&Field::of(object).field("status").field(list), errors);
        }
    },
    ..Part::STATUS
};

fn amounts(list: &Field<'_>, errors: &mut FieldErrors) {
    for (name, value) in list.entries() {
        quota_resource_name(&value, name, errors);
        amount(&value, name, errors);
    }
}

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];

/// Whether a scope can be told for what is counted.
fn scope_fits(scope: &str, resource: &str) -> bool {
    let compute = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => ["persistentvolumeclaims", "requests.storage"].contains(&resource),
        _ if SCOPES.contains(&scope) => resource == "pods" || compute.contains(&resource),
        _ => true,
    }
}

fn quota(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    let hard = spec.field("hard");
    amounts(&hard, errors);
    let (scopes, selector) = (spec.field("scopes"), spec.field("scopeSelector"));
    let unfit =
        |scope: &str| hard.entries().filter(|(name, _)| is_quota_resource(name) && !scope_fits(scope, name)).count();
    for scope in scopes.texts() {
        if !SCOPES.contains(&scope) {
            scopes.invalid(errors, "unsupported scope");
        }
        (0..unfit(scope)).for_each(|_| scopes.invalid(errors, "unsupported scope applied to resource"));
    }
    conflicting(&scopes.texts(), &scopes, errors);
    let list = selector.field("matchExpressions");
    let mut named = Vec::new();
    for expression in list.items() {
        let scope = expression.field("scopeName").text();
        if !SCOPES.contains(&scope) {
            list.field("scopeName").invalid_value(errors, scope, "unsupported scope");
        }
        (0..unfit(scope))
            .for_each(|_| list.invalid_value(errors, selector.raw(), "unsupported scope applied to resource"));
        scope_operator(&list, &expression, scope, errors);
        named.push(scope);
    }
    conflicting(&named, &scopes, errors);
}

fn conflicting(named: &[&str], scopes: &Field<'_>, errors: &mut FieldErrors) {
    for (scope, not) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if named.contains(&scope) && named.contains(&not) {
            scopes.invalid(errors, "conflicting scopes");
        }
    }
}

fn scope_operator(list: &Field<'_>, expression: &Field<'_>, scope: &str, errors: &mut FieldErrors) {
    let (operator, values) = (expression.field("operator").text(), expression.field("values"));
    if !["PriorityClass", "VolumeAttributesClass"].contains(&scope) && SCOPES.contains(&scope) && operator != "Exists" {
        let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                   ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                   ResourceQuotaScopeCrossNamespacePodAffinity";
        list.field("operator").invalid_value(errors, operator, why);
    }
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            list.field("values").required(errors, why);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            list.field("values").invalid_value(errors, values.raw(), why);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => list.field("operator").invalid_value(errors, other, "not a valid selector operator"),
    }
}

static QUOTA_COLUMNS: [Column; 4] = [
    NAME,
    text("Request", "What is used of what may be asked for.", |object, _| json!(used(object, false))),
    text("Limit", "What is used of the limits that may be set.", |object, _| json!(used(object, true))),
    AGE,
];

fn used(object: &Value, limits: bool) -> String {
    let hard = object["status"]["hard"].as_object().into_iter().flatten();
    let shown = hard.filter(|(name, _)| name.starts_with("limits.") == limits).map(|(name, most)| {
        let used = &object["status"]["used"][name.as_str()];
        let used = if used.is_null() { "0".to_owned() } else { text_of(used) };
        format!("{name}: {used}/{}", text_of(most))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// LimitRanges.
pub(crate) static LIMIT_RANGES: Kind = Kind {
    default: |object| {
        for limit in each(object, "spec.limits") {
            for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
                super::edit::with(limit, list, round_up);
            }
            if limit["type"] == "Container" {
                for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
                    let amounts = limit[from].as_object().cloned().unwrap_or_default();
                    if let Some(target) = ensure(limit, to) {
                        amounts.into_iter().for_each(|(name, amount)| default_to(target, &name, amount));
                    }
                }
            }
        }
    },
    validate: limit_range,
    columns: &[
        NAME,
        crate::table::date("Created At", "When it was created.", |object, _| {
            object["metadata"]["creationTimestamp"].clone()
        }),
    ],
    create_on_update: true,
    ..Kind::PLAIN
};

fn limit_range(object: &Value, errors: &mut FieldErrors) {
    let mut kinds = Vec::new();
    for limit in Field::of(object).at("spec.limits").items() {
        let kind = limit.field("type");
        kind.check(errors, names::qualified_name);
        if !kind.text().contains('/')
            && !kind.is_empty()
            && !["Pod", "Container", "PersistentVolumeClaim"].contains(&kind.text())
        {
            kind.invalid(errors, "must be a standard limit type or fully qualified");
        }
        if kinds.contains(&kind.text()) {
            kind.duplicate(errors);
        }
        kinds.push(kind.text());
        one_limit(&limit, kind.text(), errors);
    }
}

fn one_limit(limit: &Field<'_>, kind: &str, errors: &mut FieldErrors) {
    let mut keys = BTreeSet::new();
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let amounts = limit.field(list);
        if kind == "Pod" && list.starts_with("default") {
            if !amounts.is_empty() {
                amounts.forbidden(errors, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, value) in amounts.entries() {
            let rule = if matches!(kind, "Pod" | "Container") { container_resource_name } else { any_resource_name };
            rule(&value, name, errors);
            keys.insert(name);
        }
    }
    let storage = |list| limit.field(list).key("storage").is_set();
    if kind == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        limit.field("limits").required(errors, why);
    }
    keys.into_iter().for_each(|key| bounds(limit, key, errors));
}

fn bounds(limit: &Field<'_>, key: &str, errors: &mut FieldErrors) {
    let of = |list| limit.field(list).key(key).quantity();
    let mut fault = |list: &str, value: Quantity, why: String| {
        errors.push(FieldError::invalid(&limit.path().child(list).key(key), value.to_string(), why));
    };
    let (min, max, default, request) = (of("min"), of("max"), of("default"), of("defaultRequest"));
    let checks = [
        ("min", min, max, "min value", "max value", true),
        ("defaultRequest", min, request, "min value", "default request value", false),
        ("defaultRequest", request, max, "default request value", "max value", true),
        ("defaultRequest", request, default, "default request value", "default limit value", true),
        ("default", min, default, "min value", "default value", true),
        ("default", default, max, "default value", "max value", false),
    ];
    for (list, low, high, low_name, high_name, shows_low) in checks {
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            let shown = if shows_low { low } else { high };
            fault(list, shown, format!("{low_name} {low} is greater than {high_name} {high}"));
        }
    }
    if let Some(ratio) = of("maxLimitRequestRatio") {
        if ratio < Quantity::new(1, Format::DecimalSi) {
            fault("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (min, max) {
            let most = max.as_f64() / min.as_f64();
            if ratio.as_f64() > most {
                fault("maxLimitRequestRatio", ratio, format!("ratio {ratio} is greater than max/min = {most:.6}"));
            }
        }
    }
    if let (false, Some(default), Some(request)) = (may_overcommit(key), default, request)
        && default != request
    {
        fault(
            "defaultRequest",
            request,
            format!("default value {default} must equal to defaultRequest value {request} in {key}"),
        );
    }
}
