//! FlowSchemas and PriorityLevelConfigurations.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::edit::{default_number, default_to, ensure, with};
use super::kind::{Kind, Part, empty_status};
use super::read::Field;
use super::same::same;
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

fn schema(object: &Value, errors: &mut FieldErrors) {
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

/// The cluster's own objects are what they must be, so that nobody locks themselves out.
fn fixed(object: &Field<'_>, must_be: fn(&str) -> Option<Value>, errors: &mut FieldErrors) {
    let (name, spec) = (object.at("metadata.name").text(), object.field("spec"));
    if let Some(wanted) = must_be(name)
        && !same(spec.value(), Some(&wanted))
    {
        spec.invalid(errors, format!("spec of '{name}' must equal the fixed value"));
    }
}

fn schema_that_must_be(name: &str) -> Option<Value> {
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

fn level_that_must_be(name: &str) -> Option<Value> {
    let limited = json!({
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"},
    });
    (name == "catch-all").then(|| json!({"type": "Limited", "limited": limited}))
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

/// PriorityLevelConfigurations.
pub(crate) static PRIORITY_LEVELS: Kind = Kind {
    default: |object| {
        with(object, "spec.exempt", |exempt| {
            default_to(exempt, "nominalConcurrencyShares", 0);
            default_to(exempt, "lendablePercent", 0);
        });
        with(object, "spec.limited", |limited| {
            default_to(limited, "nominalConcurrencyShares", 30);
            default_to(limited, "lendablePercent", 0);
            with(limited, "limitResponse.queuing", |queuing| {
                default_number(queuing, "handSize", 8);
                default_number(queuing, "queues", 64);
                default_number(queuing, "queueLengthLimit", 50);
            });
        });
    },
    status: Some(empty_status),
    validate: level,
    subresources: &[("status", &Part::STATUS)],
    columns: &LEVEL_COLUMNS,
    generation: true,
    ..Kind::PLAIN
};

fn level(object: &Value, errors: &mut FieldErrors) {
    let level = Field::of(object);
    let spec = level.field("spec");
    let (kind, exempt, limited) = (spec.field("type"), spec.field("exempt"), spec.field("limited"));
    if (level.at("metadata.name").text() == "exempt") != (kind.text() == "Exempt") {
        kind.invalid_value(errors, kind.text(), "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    fixed(&level, level_that_must_be, errors);
    match kind.text() {
        "Exempt" => {
            if limited.is_set() {
                limited.forbidden(errors, "must be nil if the type is not Limited");
            }
            exempt.field("nominalConcurrencyShares").not_negative(errors);
            percent(&exempt.field("lendablePercent"), errors);
        }
        "Limited" => {
            if exempt.is_set() {
                exempt.forbidden(errors, "must be nil if the type is Limited");
            }
            if limited.is_set() {
                limits(&limited, errors);
            } else {
                limited.required(errors, "must not be empty when type is Limited");
            }
        }
        _ => errors.push(FieldError::not_supported_in_order(&kind.path(), kind.text(), &["Exempt", "Limited"])),
    }
}

fn percent(field: &Field<'_>, errors: &mut FieldErrors) {
    if field.opt_int().is_some_and(|percent| !(0..=100).contains(&percent)) {
        field.invalid(errors, "must be between 0 and 100, inclusive");
    }
}

fn limits(limited: &Field<'_>, errors: &mut FieldErrors) {
    let shares = limited.field("nominalConcurrencyShares");
    if shares.int() < 0 {
        shares.invalid(errors, "must be a non-negative integer");
    }
    let response = limited.field("limitResponse");
    let (kind, queuing) = (response.field("type"), response.field("queuing"));
    match kind.text() {
        "Reject" if queuing.is_set() => {
            queuing.forbidden(errors, "must be nil if limited.limitResponse.type is not Limited")
        }
        "Reject" => {}
        "Queue" if !queuing.is_set() => {
            queuing.required(errors, "must not be empty if limited.limitResponse.type is Limited");
        }
        "Queue" => queues(&queuing, errors),
        _ => errors.push(FieldError::not_supported_in_order(&kind.path(), kind.text(), &["Queue", "Reject"])),
    }
    percent(&limited.field("lendablePercent"), errors);
    let borrowing = limited.field("borrowingLimitPercent");
    if borrowing.int() < 0 {
        borrowing.invalid(errors, "if specified, must be a non-negative integer");
    }
}

/// How many bits of a flow's hash it takes to deal a hand of so many out of so many queues.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "both are small")]
fn entropy_bits(queues: i64, hand: i64) -> i64 {
    ((queues as f64).log2() * hand as f64).ceil() as i64
}

/// How many bits a flow's hash is good for.
const HASH_BITS_MAX: i64 = 60;

fn queues(queuing: &Field<'_>, errors: &mut FieldErrors) {
    let (length, queues, hand) =
        (queuing.field("queueLengthLimit"), queuing.field("queues"), queuing.field("handSize"));
    for field in [&length, &queues] {
        if field.int() <= 0 {
            field.invalid_value(errors, field.int(), "must be positive");
        }
    }
    if queues.int() > 10_000_000 {
        queues.invalid(errors, "must not be greater than 10000000");
    }
    let (all, some) = (queues.int(), hand.int());
    if some <= 0 {
        hand.invalid_value(errors, some, "must be positive");
    } else if some > all {
        hand.invalid(errors, format!("should not be greater than queues ({all})"));
    } else if entropy_bits(all, some) > HASH_BITS_MAX {
        let why = format!("required entropy bits of deckSize {all} and handSize {some} should not be greater than");
        hand.invalid(errors, format!("{why} {HASH_BITS_MAX}"));
    }
}

static LEVEL_COLUMNS: [Column; 7] = [
    NAME,
    text("Type", "Whether it is limited.", |object, _| json!(text_of(&object["spec"]["type"]))),
    text("NominalConcurrencyShares", "Its share of what runs at once.", |object, _| {
        limited(object, |limited| &limited["nominalConcurrencyShares"])
    }),
    text("Queues", "How many queues it has.", |object, _| {
        limited(object, |limited| &limited["limitResponse"]["queuing"]["queues"])
    }),
    text("HandSize", "How many queues a flow may use.", |object, _| {
        limited(object, |limited| &limited["limitResponse"]["queuing"]["handSize"])
    }),
    text("QueueLengthLimit", "How long a queue may get.", |object, _| {
        limited(object, |limited| &limited["limitResponse"]["queuing"]["queueLengthLimit"])
    }),
    AGE,
];

fn limited(object: &Value, of: fn(&Value) -> &Value) -> Value {
    match of(&object["spec"]["limited"]) {
        Value::Null => json!("<none>"),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clusters_own_objects_are_what_they_must_be() {
        let check = |rule: fn(&Value, &mut FieldErrors), name: &str, spec: Value, expected: &[&str]| {
            let mut errors = FieldErrors::new();
            rule(&json!({"metadata": {"name": name}, "spec": spec}), &mut errors);
            let details: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
            assert_eq!(details, expected, "{name}");
        };
        for name in ["exempt", "catch-all"] {
            let good = schema_that_must_be(name).unwrap();
            let mut bad = good.clone();
            bad["rules"] = json!([]);
            check(schema, name, good, &[]);
            check(schema, name, bad, &[&format!("spec of '{name}' must equal the fixed value")]);
        }
        let good = level_that_must_be("catch-all").unwrap();
        let mut bad = good.clone();
        bad["limited"]["nominalConcurrencyShares"] = json!(6);
        check(level, "catch-all", good, &[]);
        check(level, "catch-all", bad, &["spec of 'catch-all' must equal the fixed value"]);
        check(level, "exempt", json!({"type": "Exempt", "exempt": {"lendablePercent": 10}}), &[]);
    }
}
