//! Probes, lifecycle handlers and what they do.

use kubewright_api::field::FieldErrors;
use kubewright_api::names::pattern_fault;

use crate::kinds::read::Field;
use crate::kinds::validate::paths::{port_number, port_number_or_name};

/// The probes and the lifecycle of a container that may have them.
pub(crate) fn probes_and_lifecycle(
    container: &Field<'_>,
    grace: Option<i64>,
    os: &Field<'_>,
    errors: &mut FieldErrors,
) {
    lifecycle(&container.field("lifecycle"), grace, os, errors);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let field = container.field(name);
        if !field.is_set() {
            continue;
        }
        probe(&field, errors);
        let grace = field.field("terminationGracePeriodSeconds");
        if name == "readinessProbe" {
            if grace.is_set() {
                grace.invalid(errors, "must not be set for readinessProbes");
            }
        } else if field.field("successThreshold").int() != 1 {
            let threshold = field.field("successThreshold");
            threshold.invalid_value(errors, threshold.int(), "must be 1");
        }
    }
}

fn probe(probe: &Field<'_>, errors: &mut FieldErrors) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, errors);
    for name in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        probe.field(name).not_negative(errors);
    }
    let grace = probe.field("terminationGracePeriodSeconds");
    if grace.opt_int().is_some_and(|seconds| seconds <= 0) {
        grace.invalid(errors, "must be greater than 0");
    }
}

fn lifecycle(lifecycle: &Field<'_>, grace: Option<i64>, os: &Field<'_>, errors: &mut FieldErrors) {
    for name in ["postStart", "preStop"] {
        let field = lifecycle.field(name);
        if field.is_set() {
            handler(&field, &["exec", "httpGet", "tcpSocket", "sleep"], grace, errors);
        }
    }
    let signal = lifecycle.field("stopSignal");
    if signal.is_set() {
        match os.field("name").text() {
            "" => signal.forbidden(errors, "may not be set for containers with empty `spec.os.name`"),
            "windows" => signal.one_of_if_set(errors, &["SIGKILL", "SIGTERM"]),
            _ => {}
        }
    }
}

fn handler(field: &Field<'_>, kinds: &[&'static str], grace: Option<i64>, errors: &mut FieldErrors) {
    let mut found = false;
    for kind in kinds {
        let action = field.field(kind);
        if !action.is_set() {
            continue;
        }
        if found {
            action.forbidden(errors, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *kind {
            "exec" => {
                action.field("command").require(errors);
            }
            "httpGet" => http_get(&action, errors),
            "tcpSocket" => port_number_or_name(&action.field("port"), errors),
            "grpc" => port_number(&action.field("port"), errors),
            _ => sleep(&action, grace, errors),
        }
    }
    if !found {
        field.required(errors, "must specify a handler type");
    }
}

fn http_get(action: &Field<'_>, errors: &mut FieldErrors) {
    action.field("path").require(errors);
    port_number_or_name(&action.field("port"), errors);
    let scheme = action.field("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme.text()) {
        scheme.unsupported(errors, &["HTTP", "HTTPS"]);
    }
    let headers = action.field("httpHeaders");
    for header in headers.items() {
        let name = header.field("name").text();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let rule = "a valid HTTP header must consist of alphanumeric characters or '-'";
            headers.invalid_value(errors, name, pattern_fault(rule, "[-A-Za-z0-9]+", &["X-Header-Name"]));
        }
    }
}

fn sleep(action: &Field<'_>, grace: Option<i64>, errors: &mut FieldErrors) {
    let seconds = action.field("seconds").int();
    if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
        let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        action.invalid_value(errors, seconds, why);
    }
}
