//! What a claim asks for: requests, constraints between them, configuration for their drivers.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::Value;

use super::names::fully_qualified;
use super::selectors::selectors;
use super::taints::toleration;
use crate::kinds::edit::{default_number, default_text, each, remove, with};
use crate::kinds::read::Field;
use crate::kinds::validate::lists::{bounded, bounded_set};
use crate::kinds::validate::sources::csi_driver_name;

/// How many requests a claim may have, and how many a constraint or a configuration may name.
pub(super) const REQUESTS_MAX: usize = 32;
/// How many configurations a claim or a class may have.
pub(super) const CONFIGURATIONS_MAX: usize = 32;
/// How long what is meant for a driver may be, in bytes.
const PARAMETERS_BYTES_MAX: usize = 10 * 1024;

/// Defaults of the requests at a path.
pub(super) fn default_requests(object: &mut Value, requests: &str) {
    for request in each(object, requests) {
        with(request, "exactly", default_allocation);
        each(request, "firstAvailable").for_each(default_allocation);
    }
}

fn default_allocation(request: &mut Value) {
    default_text(request, "allocationMode", "ExactCount");
    if request["allocationMode"] == "ExactCount" {
        default_number(request, "count", 1);
    }
    if request["count"] == 0 {
        remove(request, "count");
    }
    each(request, "tolerations").for_each(|toleration| default_text(toleration, "operator", "Equal"));
}

/// The names of a claim's requests, each with those of its alternatives.
pub(super) struct RequestNames<'a>(Vec<(&'a str, Vec<&'a str>)>);

impl<'a> RequestNames<'a> {
    /// Of a claim's `devices`.
    pub(super) fn of(devices: &Field<'a>) -> Self {
        let alternatives = |request: &Field<'a>| {
            request.field("firstAvailable").items().map(|alternative| alternative.field("name").text()).collect()
        };
        let requests = devices.field("requests");
        Self(requests.items().map(|request| (request.field("name").text(), alternatives(&request))).collect())
    }

    fn has(&self, request: &str, alternative: Option<&str>) -> bool {
        // Of two requests with one name the last counts.
        let found = self.0.iter().rfind(|(name, _)| *name == request);
        found.is_some_and(|(_, names)| alternative.is_none_or(|alternative| names.contains(&alternative)))
    }

    /// A field that names a request, or a request and one of its alternatives.
    pub(super) fn check(&self, field: &Field<'_>, errors: &mut FieldErrors) {
        let why =
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        let parts: Vec<&str> = field.text().split('/').collect();
        if parts.len() > 2 {
            field.invalid_value(errors, field.text(), why);
            return;
        }
        for part in &parts {
            for fault in names::dns1123_label(part) {
                field.invalid_value(errors, *part, fault);
            }
        }
        if !self.has(parts[0], parts.get(1).copied()) {
            field.invalid_value(errors, field.text(), why);
        }
    }

    /// A list of such names.
    pub(super) fn check_list(&self, list: &Field<'_>, errors: &mut FieldErrors) {
        bounded_set(list, REQUESTS_MAX, Field::raw, errors, |name, errors| self.check(name, errors));
    }
}

/// The rules for the `spec` of a claim.
pub(super) fn claim(spec: &Field<'_>, errors: &mut FieldErrors) {
    let devices = spec.field("devices");
    let known = RequestNames::of(&devices);
    bounded_set(&devices.field("requests"), REQUESTS_MAX, |request| request.field("name").key_text(), errors, request);
    bounded(&devices.field("constraints"), 32, errors, |constraint, errors| {
        known.check_list(&constraint.field("requests"), errors);
        let (matching, distinct) = (constraint.field("matchAttribute"), constraint.field("distinctAttribute"));
        match (matching.is_set(), distinct.is_set()) {
            (true, _) => fully_qualified(&matching, errors),
            (false, true) => fully_qualified(&distinct, errors),
            (false, false) => {
                let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields \
                           are set";
                constraint.required(errors, why);
            }
        }
    });
    bounded(&devices.field("config"), CONFIGURATIONS_MAX, errors, |configured, errors| {
        known.check_list(&configured.field("requests"), errors);
        configuration(configured, errors);
    });
}

fn request(request: &Field<'_>, errors: &mut FieldErrors) {
    request.field("name").check(errors, names::dns1123_label);
    let (exactly, first) = (request.field("exactly"), request.field("firstAvailable"));
    let lead = "exactly one of `exactly` or `firstAvailable` is required";
    match (exactly.is_set(), first.is_empty()) {
        (false, true) => request.required(errors, lead),
        (true, false) => {
            request.invalid_value(errors, Value::Null, format!("{lead}, but multiple fields are set"));
        }
        (true, true) => device_request(&exactly, errors),
        (false, false) => {
            bounded_set(
                &first,
                8,
                |alternative| alternative.field("name").key_text(),
                errors,
                |alternative, errors| {
                    alternative.field("name").check(errors, names::dns1123_label);
                    device_request(alternative, errors);
                },
            );
        }
    }
}

fn device_request(request: &Field<'_>, errors: &mut FieldErrors) {
    request.field("deviceClassName").require_and_check(errors, names::dns1123_subdomain);
    selectors(&request.field("selectors"), errors);
    let (mode, count) = (request.field("allocationMode"), request.field("count"));
    match mode.text() {
        "ExactCount" if count.int() <= 0 => count.invalid_value(errors, count.int(), "must be greater than zero"),
        "ExactCount" => {}
        "All" if count.int() != 0 => count.invalid(errors, "must not be specified when allocationMode is 'All'"),
        "All" => {}
        other => {
            let modes = ["All", "ExactCount"];
            errors.push(FieldError::not_supported_in_order(&mode.path(), other, &modes));
        }
    }
    request.field("tolerations").items().for_each(|item| toleration(&item, errors));
}

/// What is meant for a driver.
pub(super) fn configuration(configuration: &Field<'_>, errors: &mut FieldErrors) {
    let opaque = configuration.field("opaque");
    if opaque.is_set() {
        csi_driver_name(&opaque.field("driver"), errors);
        json_object(&opaque.field("parameters"), PARAMETERS_BYTES_MAX, errors);
    } else {
        opaque.required(errors, "");
    }
}

/// An object of any fields, not too long as JSON.
pub(super) fn json_object(field: &Field<'_>, bytes_max: usize, errors: &mut FieldErrors) {
    match field.value() {
        None => field.required(errors, ""),
        Some(value) if value.to_string().len() > bytes_max => field.too_long(errors, bytes_max),
        Some(Value::Object(_)) => {}
        Some(_) => field.invalid_value(errors, "<value omitted>", "must be a valid JSON object"),
    }
}
