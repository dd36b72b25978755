//! MutatingWebhookConfigurations and ValidatingWebhookConfigurations.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;
use serde_json::Value;

use super::{count, match_conditions, match_defaults, rule};
use crate::kinds::edit::{default_to, each, with};
use crate::kinds::kind::Kind;
use crate::kinds::read::Field;
use crate::kinds::validate::labels::label_selector;
use crate::kinds::validate::paths::port_number;
use crate::registry::Column;
use crate::table::{AGE, NAME, integer};

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
        match_conditions(&webhook.field("matchConditions"), false, errors);
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
