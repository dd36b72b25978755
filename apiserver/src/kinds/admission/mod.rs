//! Webhook configurations and admission policies: what they share is which requests they are for.

mod expressions;
mod policies;
#[cfg(test)]
mod tests;
mod webhooks;

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

pub(crate) use policies::{
    MUTATING_POLICIES, MUTATING_POLICY_BINDINGS, VALIDATING_POLICIES, VALIDATING_POLICY_BINDINGS,
};
pub(crate) use webhooks::{MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS};

pub(crate) use expressions::{namespace as namespace_type, request as request_type};

use self::expressions::Known;
use super::edit::default_to;
use super::read::Field;
use crate::cel::Type;

fn count(list: &Value) -> Value {
    json!(list.as_array().map_or(0, Vec::len))
}

fn match_defaults(object: &mut Value) {
    default_to(object, "matchPolicy", "Equivalent");
    default_to(object, "namespaceSelector", json!({}));
    default_to(object, "objectSelector", json!({}));
}

fn match_conditions(list: &Field<'_>, params: bool, errors: &mut FieldErrors) {
    let known = Known { params, variables: None };
    if list.len() > 64 {
        errors.push(FieldError::too_many(&list.path(), list.len(), 64));
    }
    let mut seen = Vec::new();
    for condition in list.items() {
        let expression = condition.field("expression");
        if expression.text().trim().is_empty() {
            expression.required(errors, "");
        } else {
            known.check(&expression, true, Some(Type::Bool), errors);
        }
        let name = condition.field("name");
        if name.require(errors) {
            name.check(errors, names::qualified_name);
            if seen.contains(&name.text()) {
                name.duplicate(errors);
            }
            seen.push(name.text());
        }
    }
}

fn rule(rule: &Field<'_>, errors: &mut FieldErrors) {
    let operations = rule.field("operations");
    operations.require(errors);
    if operations.len() > 1 && operations.has("*") {
        operations.invalid(errors, "if '*' is present, must not specify other operations");
    }
    for operation in operations.items() {
        operation.one_of_if_set(errors, &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]);
    }
    for (name, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = rule.field(name);
        list.require(errors);
        if list.len() > 1 && list.has("*") {
            list.invalid(errors, format!("if '*' is present, must not specify other {what}"));
        }
    }
    rule.field("apiVersions").items().for_each(|version| {
        version.require(errors);
    });
    resources(&rule.field("resources"), errors);
    rule.field("scope").one_of_if_set(errors, &["*", "Cluster", "Namespaced"]);
}

fn resources(list: &Field<'_>, errors: &mut FieldErrors) {
    list.require(errors);
    let texts = list.texts();
    let (mut whole, mut everywhere) = (Vec::new(), Vec::new());
    for item in list.items() {
        let text = item.text();
        if text.is_empty() {
            item.required(errors, "");
            continue;
        }
        let Some((resource, sub)) = text.split_once('/') else { continue };
        if whole.contains(&resource) {
            item.invalid(errors, format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if everywhere.contains(&sub) {
            item.invalid(errors, format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            whole.push(resource);
        }
        if resource == "*" {
            everywhere.push(sub);
        }
    }
    if texts.len() > 1 && texts.contains(&"*/*") {
        list.invalid(errors, "if '*/*' is present, must not specify other resources");
    }
    // As upstream has it, the last one without a subresource decides.
    let mut whole = texts.iter().rev().filter(|text| !text.is_empty() && !text.contains('/'));
    if texts.contains(&"*") && whole.next().is_some_and(|last| *last != "*") {
        let why = "if '*' is present, must not specify other resources without subresources";
        list.invalid(errors, why);
    }
}
