//! Webhook configurations and admission policies.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::edit::{default_to, each, ensure, with};
use super::kind::{Kind, Part, empty_status};
use super::read::Field;
use super::validate::labels::label_selector;
use super::validate::paths::port_number;
use crate::registry::Column;
use crate::table::{AGE, NAME, integer, text, text_of};

/// MutatingWebhookConfigurations.
pub(crate) static MUTATING_WEBHOOKS: Kind = Kind {
    default: |object| {
        webhook_defaults(object);
        each(object, "webhooks").for_each(|webhook| default_to(webhook, "reinvocationPolicy", "Never"));
    },
    ..WEBHOOKS
};

/// ValidatingWebhookConfigurations.
pub(crate) static VALIDATING_WEBHOOKS: Kind = WEBHOOKS;

const WEBHOOKS: Kind =
    Kind { default: webhook_defaults, validate: webhooks, columns: &WEBHOOK_COLUMNS, generation: true, ..Kind::PLAIN };

static WEBHOOK_COLUMNS: [Column; 3] =
    [NAME, integer("Webhooks", "How many webhooks it has.", |object, _| count(&object["webhooks"])), AGE];

fn count(list: &Value) -> Value {
    json!(list.as_array().map_or(0, Vec::len))
}

fn match_defaults(object: &mut Value) {
    default_to(object, "matchPolicy", "Equivalent");
    default_to(object, "namespaceSelector", json!({}));
    default_to(object, "objectSelector", json!({}));
}

fn webhook_defaults(object: &mut Value) {
    for webhook in each(object, "webhooks") {
        default_to(webhook, "failurePolicy", "Fail");
        match_defaults(webhook);
        default_to(webhook, "timeoutSeconds", 10);
        each(webhook, "rules").for_each(|rule| default_to(rule, "scope", "*"));
        with(webhook, "clientConfig.service", |service| default_to(service, "port", 443));
    }
}

fn webhooks(object: &Value, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for webhook in Field::of(object).field("webhooks").items() {
        let name = webhook.field("name");
        fully_qualified(&name, errors);
        webhook.field("rules").items().for_each(|one| rule(&one, errors));
        webhook.field("failurePolicy").one_of_if_set(errors, &["Fail", "Ignore"]);
        webhook.field("matchPolicy").one_of_if_set(errors, &["Equivalent", "Exact"]);
        webhook.field("reinvocationPolicy").one_of_if_set(errors, &["IfNeeded", "Never"]);
        let effects = webhook.field("sideEffects");
        if effects.is_set() {
            effects.one_of_if_set(errors, &["None", "NoneOnDryRun"]);
        } else {
            effects.required(errors, "must specify one of None, NoneOnDryRun");
        }
        let timeout = webhook.field("timeoutSeconds");
        if timeout.opt_int().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
            timeout.invalid(errors, "the timeout value must be between 1 and 30 seconds");
        }
        label_selector(&webhook.field("namespaceSelector"), errors);
        label_selector(&webhook.field("objectSelector"), errors);
        client(&webhook.field("clientConfig"), errors);
        match_conditions(&webhook.field("matchConditions"), errors);
        review_versions(&webhook.field("admissionReviewVersions"), errors);
        if !name.is_empty() && seen.contains(&name.text()) {
            name.duplicate(errors);
        }
        seen.push(name.text());
    }
}

fn fully_qualified(name: &Field<'_>, errors: &mut FieldErrors) {
    if !name.require(errors) {
        return;
    }
    let faults = names::dns1123_subdomain(name.text());
    if !faults.is_empty() {
        name.invalid(errors, faults.join(","));
    } else if name.text().split('.').count() < 3 {
        name.invalid(errors, "should be a domain with at least three segments separated by dots");
    }
}

fn client(client: &Field<'_>, errors: &mut FieldErrors) {
    let (url, service) = (client.field("url"), client.field("service"));
    if url.is_set() == service.is_set() {
        client.required(errors, "exactly one of url or service is required");
    } else if url.is_set() {
        if !url.text().starts_with("https://") {
            let why = "'https' is the only allowed URL scheme";
            let scheme = url.text().split("://").next().unwrap_or_default();
            url.invalid_value(errors, scheme, format!("{why}; desired format: https://host[/path]"));
        }
    } else {
        service.field("name").require(errors);
        service.field("namespace").require(errors);
        port_number(&service.field("port"), errors);
        let path = service.field("path");
        if path.is_set() && !path.text().starts_with('/') {
            path.invalid(errors, "must start with a '/'");
        }
    }
}

fn review_versions(versions: &Field<'_>, errors: &mut FieldErrors) {
    if versions.is_empty() {
        versions.required(errors, "must specify one of v1, v1beta1");
        return;
    }
    let mut seen = Vec::new();
    for version in versions.items() {
        if seen.contains(&version.text()) {
            version.invalid(errors, "duplicate version");
            continue;
        }
        seen.push(version.text());
        version.check(errors, names::dns1035_label);
    }
    if !seen.contains(&"v1") && !seen.contains(&"v1beta1") {
        versions.invalid(errors, "must include at least one of v1, v1beta1");
    }
}

fn match_conditions(list: &Field<'_>, errors: &mut FieldErrors) {
    if list.len() > 64 {
        errors.push(FieldError::too_many(&list.path(), list.len(), 64));
    }
    let mut seen = Vec::new();
    for condition in list.items() {
        let name = condition.field("name");
        if name.require(errors) {
            name.check(errors, names::qualified_name);
            if seen.contains(&name.text()) {
                name.duplicate(errors);
            }
            seen.push(name.text());
        }
        if condition.field("expression").text().trim().is_empty() {
            condition.field("expression").required(errors, "");
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
    if texts.contains(&"*") && texts.iter().any(|text| *text != "*" && !text.contains('/')) {
        let why = "if '*' is present, must not specify other resources without subresources";
        list.invalid(errors, why);
    }
}

/// ValidatingAdmissionPolicies.
pub(crate) static VALIDATING_POLICIES: Kind = Kind {
    status: Some(empty_status),
    validate: |object, errors| {
        let spec = Field::of(object).field("spec");
        policy(&spec, errors);
        let (validations, annotations) = (spec.field("validations"), spec.field("auditAnnotations"));
        if validations.is_empty() && annotations.is_empty() {
            validations.required(errors, "validations or auditAnnotations must contain at least one item");
            annotations.required(errors, "validations or auditAnnotations must contain at least one item");
        }
        for validation in validations.items() {
            if validation.field("expression").text().trim().is_empty() {
                validation.field("expression").required(errors, "expression is not specified");
            }
        }
        for annotation in annotations.items() {
            annotation.field("key").require(errors);
            annotation.field("valueExpression").require(errors);
        }
    },
    subresources: &[("status", &Part::STATUS)],
    columns: &[
        NAME,
        integer("Validations", "How many rules it has.", |object, _| count(&object["spec"]["validations"])),
        PARAM_KIND,
        AGE,
    ],
    ..POLICIES
};

/// MutatingAdmissionPolicies.
pub(crate) static MUTATING_POLICIES: Kind = Kind {
    validate: |object, errors| {
        let spec = Field::of(object).field("spec");
        policy(&spec, errors);
        let mutations = spec.field("mutations");
        if mutations.is_empty() {
            mutations.required(errors, "mutations must contain at least one item");
        }
        for mutation in mutations.items() {
            mutation.field("patchType").one_of(errors, &["ApplyConfiguration", "JSONPatch"]);
        }
        spec.field("reinvocationPolicy").one_of(errors, &["IfNeeded", "Never"]);
    },
    columns: &[
        NAME,
        integer("Mutations", "How many changes it makes.", |object, _| count(&object["spec"]["mutations"])),
        PARAM_KIND,
        AGE,
    ],
    ..POLICIES
};

const POLICIES: Kind = Kind {
    default: |object| {
        let Some(spec) = ensure(object, "spec") else { return };
        default_to(spec, "failurePolicy", "Fail");
        with(spec, "matchConstraints", |constraints| {
            match_defaults(constraints);
            for list in ["resourceRules", "excludeResourceRules"] {
                each(constraints, list).for_each(|rule| default_to(rule, "scope", "*"));
            }
        });
    },
    generation: true,
    ..Kind::PLAIN
};

const PARAM_KIND: Column =
    text("ParamKind", "The kind of its parameters.", |object, _| match &object["spec"]["paramKind"] {
        Value::Null => json!("<unset>"),
        kind => json!(format!("{}/{}", text_of(&kind["apiVersion"]), text_of(&kind["kind"]))),
    });

fn policy(spec: &Field<'_>, errors: &mut FieldErrors) {
    spec.field("failurePolicy").one_of(errors, &["Fail", "Ignore"]);
    let param = spec.field("paramKind");
    if param.is_set() {
        let (version, kind) = (param.field("apiVersion"), param.field("kind"));
        version.require(errors);
        if kind.require(errors) {
            let faults = names::dns1035_label(&kind.text().to_lowercase());
            if !faults.is_empty() {
                let lead = "may have mixed case, but should otherwise match:";
                kind.invalid(errors, format!("{lead} {}", faults.join(",")));
            }
        }
    }
    let constraints = spec.field("matchConstraints");
    if constraints.is_set() {
        match_resources(&constraints, errors);
        let rules = constraints.field("resourceRules");
        rules.require(errors);
    } else {
        constraints.required(errors, "");
    }
    match_conditions(&spec.field("matchConditions"), errors);
    let mut seen = Vec::new();
    for variable in spec.field("variables").items() {
        let name = variable.field("name");
        if name.require(errors) {
            if seen.contains(&name.text()) {
                name.duplicate(errors);
            }
            seen.push(name.text());
        }
        if variable.field("expression").text().trim().is_empty() {
            variable.field("expression").required(errors, "expression is not specified");
        }
    }
}

fn match_resources(constraints: &Field<'_>, errors: &mut FieldErrors) {
    constraints.field("matchPolicy").one_of(errors, &["Equivalent", "Exact"]);
    label_selector(&constraints.field("namespaceSelector"), errors);
    label_selector(&constraints.field("objectSelector"), errors);
    for list in ["resourceRules", "excludeResourceRules"] {
        constraints.field(list).items().for_each(|one| rule(&one, errors));
    }
}

/// ValidatingAdmissionPolicyBindings.
pub(crate) static VALIDATING_POLICY_BINDINGS: Kind = Kind {
    validate: |object, errors| {
        binding(object, errors);
        let actions = Field::of(object).at("spec.validationActions");
        actions.require(errors);
        let mut seen = Vec::new();
        for action in actions.items() {
            action.one_of_if_set(errors, &["Audit", "Deny", "Warn"]);
            if seen.contains(&action.text()) {
                action.duplicate(errors);
            }
            seen.push(action.text());
        }
        if seen.contains(&"Deny") && seen.contains(&"Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the \
                       API response and headers serves no purpose)";
            actions.invalid(errors, why);
        }
    },
    ..BINDINGS
};

/// MutatingAdmissionPolicyBindings.
pub(crate) static MUTATING_POLICY_BINDINGS: Kind = Kind { validate: binding, ..BINDINGS };

const BINDINGS: Kind = Kind {
    default: |object| with(object, "spec.matchResources", match_defaults),
    columns: &BINDING_COLUMNS,
    generation: true,
    ..Kind::PLAIN
};

static BINDING_COLUMNS: [Column; 4] = [
    NAME,
    text("PolicyName", "The policy that it puts to work.", |object, _| json!(text_of(&object["spec"]["policyName"]))),
    text("ParamRef", "Where its parameters are.", |object, _| {
        let param = &object["spec"]["paramRef"];
        match (text_of(&param["name"]), text_of(&param["namespace"])) {
            (name, _) if name.is_empty() => json!("<unset>"),
            (name, namespace) if namespace.is_empty() => json!(format!("*/{name}")),
            (name, namespace) => json!(format!("{namespace}/{name}")),
        }
    }),
    AGE,
];

fn binding(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    spec.field("policyName").require_and_check(errors, names::dns1123_subdomain);
    let param = spec.field("paramRef");
    if param.is_set() {
        let (name, selector) = (param.field("name"), param.field("selector"));
        match (name.is_empty(), selector.is_set()) {
            (true, false) => param.required(errors, "one of name or selector must be specified"),
            (false, true) => name.forbidden(errors, "name and selector are mutually exclusive"),
            (false, false) => name.check(errors, names::path_segment),
            (true, true) => label_selector(&selector, errors),
        }
        let missing = param.field("parameterNotFoundAction");
        if missing.is_set() {
            missing.one_of_if_set(errors, &["Allow", "Deny"]);
        } else {
            missing.required(errors, "");
        }
    }
    let resources = spec.field("matchResources");
    if resources.is_set() {
        match_resources(&resources, errors);
    }
}
