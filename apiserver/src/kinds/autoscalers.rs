//! HorizontalPodAutoscalers, version 2.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use kubewright_api::quantity::Quantity;
use serde_json::{Value, json};

use super::edit::{default_to, ensure, find, set};
use super::kind::{Kind, Part};
use super::read::Field;
use super::validate::resources::container_resource_name;
use super::workloads::counters;
use crate::registry::Column;
use crate::table::{AGE, NAME, text, text_of};

/// HorizontalPodAutoscalers.
pub(crate) static HORIZONTAL_POD_AUTOSCALERS: Kind = Kind {
    default: defaults,
    status: Some(|| json!({"desiredReplicas": 0, "currentMetrics": null})),
    validate,
    validate_update: Some(|object, old, errors| {
        let target = |object: &Value| ["apiVersion", "kind"].map(|name| object["spec"]["scaleTargetRef"][name].clone());
        let mut faults = FieldErrors::new();
        validate(object, &mut faults);
        // What was taken before is taken still.
        if target(object) == target(old) {
            faults.retain(|fault| fault.path.to_string() != "spec.scaleTargetRef.apiVersion");
        }
        errors.extend(faults);
    }),
    subresources: &[("status", &STATUS)],
    columns: &COLUMNS,
    ..Kind::PLAIN
};

static STATUS: Part = Part {
    validate: |object, _, errors| {
        counters(&Field::of(object).field("status"), &["currentReplicas", "desiredReplicas"], &[], errors);
    },
    ..Part::STATUS
};

fn defaults(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    default_to(spec, "minReplicas", 1);
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        set(spec, "metrics", json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    }
    if find(spec, "behavior").is_some() {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        for (name, policies) in [("behavior.scaleUp", json!([pods, percent])), ("behavior.scaleDown", json!([percent]))]
        {
            let Some(rules) = ensure(spec, name) else { continue };
            default_to(rules, "selectPolicy", "Max");
            default_to(rules, "policies", policies);
            if name == "behavior.scaleUp" {
                default_to(rules, "stabilizationWindowSeconds", 0);
            }
        }
    }
}

fn validate(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    let (least, most) = (spec.field("minReplicas"), spec.field("maxReplicas"));
    if least.opt_int().is_some_and(|least| least < 1) {
        least.invalid(errors, "must be greater than or equal to 1");
    }
    match most.int() {
        0 => most.required(errors, "must be set and greater than 0"),
        ..0 => most.invalid(errors, "must be greater than or equal to 1"),
        _ => {}
    }
    if least.is_set() && most.int() < least.int() {
        most.invalid_value(errors, most.int(), "must be greater than or equal to `minReplicas`");
    }
    let target = spec.field("scaleTargetRef");
    target_reference(&target, errors);
    // Nothing else in the core group can be scaled.
    let version = target.field("apiVersion").text();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    if group.is_empty() && target.field("kind").text() != "ReplicationController" {
        target.field("apiVersion").invalid_value(errors, version, "apiVersion must specify API group");
    }
    spec.field("metrics").items().for_each(|one| metric(&one, errors));
    for name in ["scaleUp", "scaleDown"] {
        let rules = spec.field("behavior").field(name);
        if rules.is_set() {
            scaling_rules(&rules, errors);
        }
    }
}

fn target_reference(field: &Field<'_>, errors: &mut FieldErrors) {
    field.field("kind").require_and_check(errors, names::path_segment);
    field.field("name").require_and_check(errors, names::path_segment);
    let version = field.field("apiVersion");
    if version.text().matches('/').count() > 1 {
        version.invalid(errors, format!("unexpected GroupVersion string: {}", version.text()));
    }
}

fn scaling_rules(rules: &Field<'_>, errors: &mut FieldErrors) {
    let window = rules.field("stabilizationWindowSeconds");
    if window.int() < 0 {
        window.invalid(errors, "must be greater than or equal to zero");
    } else if window.int() > 3600 {
        window.invalid(errors, "must be less than or equal to 3600");
    }
    rules.field("selectPolicy").one_of_if_set(errors, &["Disabled", "Max", "Min"]);
    let policies = rules.field("policies");
    if policies.is_empty() {
        policies.required(errors, "must specify at least one Policy");
    }
    for policy in policies.items() {
        let kind = policy.field("type");
        if !["Percent", "Pods"].contains(&kind.text()) {
            errors.push(FieldError::not_supported_in_order(&kind.path(), kind.text(), &["Percent", "Pods"]));
        }
        policy.field("value").positive(errors);
        let period = policy.field("periodSeconds");
        period.positive(errors);
        if period.int() > 1800 {
            period.invalid(errors, "must be less than or equal to 1800");
        }
    }
    let tolerance = rules.field("tolerance");
    if tolerance.quantity().is_some_and(|tolerance| tolerance < Quantity::ZERO) {
        tolerance.invalid(errors, "must be greater than or equal to 0");
    }
}

const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

fn metric(one: &Field<'_>, errors: &mut FieldErrors) {
    let kind = one.field("type");
    let present: Vec<&str> = SOURCES.iter().map(|(_, name)| *name).filter(|name| one.field(name).is_set()).collect();
    if let Some(first) = present.first() {
        source(&one.field(first), first, errors);
    }
    let kinds = ["ContainerResource", "External", "Object", "Pods", "Resource"];
    if kind.is_empty() {
        kind.required(errors, "must specify a metric source type");
    }
    let expected = SOURCES.iter().find(|(kind_name, _)| *kind_name == kind.text()).map(|(_, name)| *name);
    match expected {
        None => errors.push(FieldError::not_supported_in_order(&kind.path(), kind.text(), &kinds)),
        Some(name) if !present.contains(&name) => {
            one.field(name).required(errors, "must populate information for the given metric source");
        }
        Some(_) => {}
    }
    if present.len() != 1 {
        for name in present.into_iter().filter(|name| Some(*name) != expected) {
            one.field(name).forbidden(errors, "must populate the given metric source only");
        }
    }
}

fn source(source: &Field<'_>, name: &str, errors: &mut FieldErrors) {
    let target = source.field("target");
    let (value, average, utilization) =
        (target.field("value"), target.field("averageValue"), target.field("averageUtilization"));
    match name {
        "object" | "external" | "pods" => {
            if name == "object" {
                target_reference(&source.field("describedObject"), errors);
            }
            let metric = source.at("metric.name");
            if metric.is_empty() {
                metric.required(errors, "must specify a metric name");
            } else {
                metric.check(errors, names::path_segment);
            }
        }
        _ => {
            let resource = source.field("name");
            if resource.is_empty() {
                resource.required(errors, "must specify a resource name");
            } else if name == "containerResource" {
                container_resource_name(&resource, resource.text(), errors);
            }
            let container = source.field("container");
            if name == "containerResource" && container.is_empty() {
                container.required(errors, "must specify a container");
            }
            container.check_if_set(errors, names::dns1123_label);
        }
    }
    metric_target(&target, errors);
    match name {
        "object" if !value.is_set() && !average.is_set() => {
            average.required(errors, "must set either a target value or averageValue");
        }
        "external" if !value.is_set() && !average.is_set() => {
            average.required(errors, "must set either a target value for metric or a per-pod target");
        }
        "external" if value.is_set() && average.is_set() => {
            value.forbidden(errors, "may not set both a target value for metric and a per-pod target");
        }
        "pods" if !average.is_set() => average.required(errors, "must specify a positive target averageValue"),
        "resource" | "containerResource" if !utilization.is_set() && !average.is_set() => {
            utilization.required(errors, "must set either a target raw value or a target utilization");
        }
        "resource" | "containerResource" if utilization.is_set() && average.is_set() => {
            average.forbidden(errors, "may not set both a target raw value and a target utilization");
        }
        _ => {}
    }
}

fn metric_target(target: &Field<'_>, errors: &mut FieldErrors) {
    let kind = target.field("type");
    if kind.is_empty() {
        kind.required(errors, "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind.text()) {
        kind.invalid_value(errors, kind.text(), "must be either Utilization, Value, or AverageValue");
    }
    for name in ["value", "averageValue"] {
        let field = target.field(name);
        if field.quantity().is_some_and(|amount| amount.signum() != 1) {
            field.invalid(errors, "must be positive");
        }
    }
    let utilization = target.field("averageUtilization");
    if utilization.opt_int().is_some_and(|percent| percent < 1) {
        utilization.invalid(errors, "must be greater than 0");
    }
}

static COLUMNS: [Column; 7] = [
    NAME,
    text("Reference", "What it scales.", |object, _| {
        let target = &object["spec"]["scaleTargetRef"];
        json!(format!("{}/{}", text_of(&target["kind"]), text_of(&target["name"])))
    }),
    text("Targets", "What is measured, and what is aimed at.", |object, _| json!(targets(object))),
    text("MinPods", "The fewest pods.", |object, _| {
        json!(object["spec"]["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |least| least.to_string()))
    }),
    text("MaxPods", "The most pods.", |object, _| json!(object["spec"]["maxReplicas"].as_i64().unwrap_or_default())),
    text("Replicas", "The pods there are.", |object, _| {
        json!(object["status"]["currentReplicas"].as_i64().unwrap_or_default())
    }),
    AGE,
];

fn targets(object: &Value) -> String {
    let metrics = object["spec"]["metrics"].as_array().map_or(&[][..], Vec::as_slice);
    if metrics.is_empty() {
        return "<none>".into();
    }
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(at, metric)| one_target(metric, &object["status"]["currentMetrics"][at]))
        .collect();
    let first = shown.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(", ");
    match shown.len().saturating_sub(2) {
        0 => first,
        more => format!("{first} + {more} more..."),
    }
}

fn one_target(metric: &Value, status: &Value) -> String {
    let kind = metric["type"].as_str().unwrap_or_default();
    let Some((_, name)) = SOURCES.iter().find(|(other, _)| *other == kind) else { return "<unknown type>".into() };
    let (target, current) = (&metric[*name]["target"], &status[*name]["current"]);
    let or_unknown = |value: &Value| if value.is_null() { "<unknown>".to_owned() } else { text_of(value) };
    let average = &target["averageValue"];
    let resource = text_of(&metric[*name]["name"]);
    match *name {
        "object" | "external" if average.is_null() => {
            format!("{}/{}", or_unknown(&current["value"]), text_of(&target["value"]))
        }
        "object" | "external" => format!("{}/{} (avg)", or_unknown(&current["averageValue"]), text_of(average)),
        "pods" => format!("{}/{}", or_unknown(&current["averageValue"]), text_of(average)),
        _ if !average.is_null() => format!("{resource}: {}/{}", or_unknown(&current["averageValue"]), text_of(average)),
        _ => {
            let percent =
                |value: &Value, none: &str| value.as_i64().map_or_else(|| none.to_owned(), |value| format!("{value}%"));
            let now = percent(&current["averageUtilization"], "<unknown>");
            format!("{resource}: {now}/{}", percent(&target["averageUtilization"], "<auto>"))
        }
    }
}
