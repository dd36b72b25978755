//! FlowSchemas.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::fixed;
use crate::kinds::edit::{default_number, ensure};
use crate::kinds::kind::{Kind, Part, empty_status};
use crate::kinds::read::Field;
use crate::registry::Column;
use crate::table::{AGE, NAME, text, text_of};

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// FlowSchemas.
pub(crate) static FLOW_SCHEMAS: Kind = Kind {
    default: |object| {
        if let Some(spec) = ensure(object, "spec") {
            default_number(spec, "matchingPrecedence", 1000);
        }
    },
    status: Some(empty_status),
    validate: schema,
    subresources: &[("status", &Part::STATUS)],
    columns: &SCHEMA_COLUMNS,
    generation: true,
    ..Kind::PLAIN
};

pub(super) fn schema(object: &Value, errors: &mut FieldErrors) {
    let schema = Field::of(object);
    let spec = schema.field("spec");
    fixed(&schema, schema_that_must_be, errors);
    let precedence = spec.field("matchingPrecedence");
    match precedence.int() {
        ..=0 => precedence.invalid_value(errors, precedence.int(), "must be a positive value"),
        1 if schema.at("metadata.name").text() != "exempt" => {
            precedence.invalid(errors, "only the schema named 'exempt' may have matchingPrecedence 1");
        }
        10_001.. => precedence.invalid(errors, "must not be greater than 10000"),
        _ => {}
    }
    let (method, methods) = (spec.at("distinguisherMethod.type"), ["ByNamespace", "ByUser"]);
    if spec.field("distinguisherMethod").is_set() && !methods.contains(&method.text()) {
        // Upstream shows what the method is the type of.
        errors.push(FieldError::not_supported(&method.path(), json!({"Type": method.text()}), &methods));
    }
    let level = spec.at("priorityLevelConfiguration.name");
    if level.is_empty() {
        level.required(errors, "must reference a priority level");
    } else {
        level.check(errors, names::dns1123_subdomain);
    }
    for rule in spec.field("rules").items() {
        let (subjects, resources, urls) =
            (rule.field("subjects"), rule.field("resourceRules"), rule.field("nonResourceRules"));
        if subjects.is_empty() {
            subjects.required(errors, "subjects must contain at least one value");
        }
        subjects.items().for_each(|one| subject(&one, errors));
        if resources.is_empty() && urls.is_empty() {
            rule.required(errors, "at least one of resourceRules and nonResourceRules has to be non-empty");
        }
        resources.items().for_each(|one| resource_rule(&one, errors));
        for one in urls.items() {
            verbs(&one, errors);
            all_or_some(
                &one.field("nonResourceURLs"),
                "nonResourceURLs must contain at least one value",
                "non-resource URLs",
                errors,
            );
            let all = one.field("nonResourceURLs").len() == 1 && one.field("nonResourceURLs").has("*");
            for url in one.field("nonResourceURLs").items().filter(|_| !all) {
                if let Some(why) = url_fault(url.text()) {
                    url.invalid(errors, why);
                }
            }
        }
    }
}

/// The one spec that a FlowSchema of that name may have, if there is one.
pub(super) fn schema_that_must_be(name: &str) -> Option<Value> {
    let (precedence, method, groups): (_, _, &[&str]) = match name {
        "exempt" => (1, Value::Null, &["system:masters"]),
        "catch-all" => (10_000, json!({"type": "ByUser"}), &["system:unauthenticated", "system:authenticated"]),
        _ => return None,
    };
    let subject = |group: &&str| json!({"kind": "Group", "group": {"name": group}});
    Some(json!({
        "priorityLevelConfiguration": {"name": name},
        "matchingPrecedence": precedence,
        "distinguisherMethod": method,
        "rules": [{
            "subjects": groups.iter().map(subject).collect::<Vec<_>>(),
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
            }],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }],
    }))
}

fn subject(subject: &Field<'_>, errors: &mut FieldErrors) {
    let kinds = [("User", "user"), ("Group", "group"), ("ServiceAccount", "serviceAccount")];
    let kind = subject.field("kind");
    let Some((name, own)) = kinds.iter().find(|(name, _)| *name == kind.text()) else {
        errors.push(FieldError::not_supported_in_order(
            &kind.path(),
            kind.text(),
            &["Group", "ServiceAccount", "User"],
        ));
        return;
    };
    let own_field = subject.field(own);
    if !own_field.is_set() {
        own_field.required(errors, &format!("{own} is required when subject kind is '{name}'"));
    } else {
        let account = own_field.field("name");
        if account.require(errors) && *own == "serviceAccount" && account.text() != "*" {
            account.check(errors, names::dns1123_subdomain);
        }
        if *own == "serviceAccount" {
            let namespace = own_field.field("namespace");
            if namespace.is_empty() {
                namespace.required(errors, "must specify namespace for service account");
            } else {
                namespace.check(errors, names::dns1123_label);
            }
        }
    }
    for (other_name, other) in kinds.iter().filter(|(_, other)| other != own) {
        if subject.field(other).is_set() {
            let why = format!("{other} is forbidden when subject kind is not '{other_name}'");
            subject.field(other).forbidden(errors, why);
        }
    }
}

fn verbs(rule: &Field<'_>, errors: &mut FieldErrors) {
    let verbs = rule.field("verbs");
    all_or_some(&verbs, "verbs must contain at least one value", "verbs", errors);
    if !verbs.has("*") && verbs.texts().iter().any(|verb| !VERBS.contains(verb)) {
        verbs.unsupported(errors, VERBS);
    }
}

fn all_or_some(list: &Field<'_>, empty: &str, what: &str, errors: &mut FieldErrors) {
    if list.is_empty() {
        list.required(errors, empty);
    } else if list.len() > 1 && list.has("*") {
        list.invalid(errors, format!("if '*' is present, must not specify other {what}"));
    }
}

/// What is wrong with the path of a page.
fn url_fault(path: &str) -> Option<&'static str> {
    let wildcards = path.matches('*').count();
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        path if !path.starts_with('/') => Some("must start with slash"),
        path if path.contains(' ') => Some("must not contain white-space"),
        path if path.contains("//") => Some("must not contain double slash"),
        path if wildcards > 1 || (wildcards == 1 && !path.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

fn resource_rule(rule: &Field<'_>, errors: &mut FieldErrors) {
    verbs(rule, errors);
    let lead = "resource rules must supply at least one";
    all_or_some(&rule.field("apiGroups"), &format!("{lead} api group"), "api groups", errors);
    all_or_some(&rule.field("resources"), &format!("{lead} resource"), "resources", errors);
    let namespaces = rule.field("namespaces");
    if namespaces.is_empty() {
        if !rule.field("clusterScope").flag() {
            let why = "resource rules that are not cluster scoped must supply at least one namespace";
            namespaces.required(errors, why);
        }
    } else if namespaces.has("*") {
        all_or_some(&namespaces, "", "namespaces", errors);
    } else {
        for namespace in namespaces.items() {
            for fault in names::dns1123_label(namespace.text()) {
                let lead = "each member of this list must be '*' or a DNS-1123 label;";
                namespace.invalid(errors, format!("{lead} {fault}"));
            }
        }
    }
}

static SCHEMA_COLUMNS: [Column; 6] = [
    NAME,
    text("PriorityLevel", "The level its requests have.", |object, _| {
        json!(text_of(&object["spec"]["priorityLevelConfiguration"]["name"]))
    }),
    text("MatchingPrecedence", "Which is tried first.", |object, _| {
        json!(object["spec"]["matchingPrecedence"].as_i64().unwrap_or_default())
    }),
    text(
        "DistinguisherMethod",
        "What tells its flows apart.",
        |object, _| match &object["spec"]["distinguisherMethod"] {
            Value::Null => json!("<none>"),
            method => json!(text_of(&method["type"])),
        },
    ),
    AGE,
    text("MissingPL", "Whether its level is missing.", |object, _| {
        let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let dangling = conditions.find(|condition| condition["type"] == "Dangling");
        json!(dangling.map_or_else(|| "?".to_owned(), |condition| text_of(&condition["status"])))
    }),
];
