//! MutatingWebhookConfigurations and ValidatingWebhookConfigurations.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;
use serde_json::Value;

use super::{count, match_conditions, match_defaults, rule};
use crate::kinds::edit::{default_to, each, with};
use crate::kinds::kind::Kind;
use crate::kinds::read::Field;
use crate::kinds::validate::labels::label_selector;
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
        check_url(&url, errors);
    } else {
        service.field("name").require(errors);
        service.field("namespace").require(errors);
        let port = service.field("port");
        for fault in names::port_number(port.int()) {
            port.invalid_value(errors, port.int(), format!("port is not valid: {fault}"));
        }
        check_path(&service.field("path"), errors);
    }
}

/// `https://host[/path]`, and nothing else.
fn check_url(url: &Field<'_>, errors: &mut FieldErrors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (plain, fragment) = url.text().split_once('#').unwrap_or_else(|| (url.text(), ""));
    let (scheme, rest) = plain.split_once("://").unwrap_or(("", plain));
    if scheme != "https" {
        url.invalid_value(errors, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if host.is_empty() {
        url.invalid_value(errors, "", format!("host must be specified{FORM}"));
    } else if plain.parse::<http::Uri>().is_err() {
        url.required(errors, &format!("url must be a valid URL{FORM}"));
    }
    if let Some(user) = user {
        url.invalid_value(errors, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        url.invalid_value(errors, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        url.invalid_value(errors, query, "query parameters are not permitted in the URL");
    }
}

/// The path at a service: segments that are names.
fn check_path(path: &Field<'_>, errors: &mut FieldErrors) {
    let text = path.text();
    if matches!(text, "" | "/") {
        return;
    }
    if text == "//" {
        return path.invalid(errors, "segment[0] may not be empty");
    }
    if !text.starts_with('/') {
        path.invalid(errors, "must start with a '/'");
    }
    // As upstream, which looks at what follows the first character, whatever that is.
    let rest = text.char_indices().nth(1).map_or("", |(at, _)| &text[at..]);
    for (at, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if segment.is_empty() {
            path.invalid(errors, format!("segment[{at}] may not be empty"));
            continue;
        }
        for why in names::dns1123_subdomain(segment) {
            path.invalid(errors, format!("segment[{at}]: {why}"));
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
