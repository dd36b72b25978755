//! The rules for a job's spec, in jobs and in the templates of cron jobs.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;

use super::policies;
use crate::kinds::podspec;
use crate::kinds::read::Field;

/// What both have in common.
pub(super) fn validate(spec: &Field<'_>, errors: &mut FieldErrors) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.field(name).not_negative(errors);
    }
    let per_index = spec.field("backoffLimitPerIndex");
    if spec.field("maxFailedIndexes").is_set() && !per_index.is_set() {
        per_index.required(errors, "when maxFailedIndexes is specified");
    }
    managed_by(&spec.field("managedBy"), errors);
    let mode = spec.field("completionMode");
    mode.one_of_if_set(errors, &["NonIndexed", "Indexed"]);
    let success = spec.field("successPolicy");
    if mode.text() == "Indexed" {
        indexed(spec, errors);
        if success.is_set() {
            policies::success(spec, errors);
        }
    } else {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
            if spec.field(name).is_set() {
                spec.field(name).invalid(errors, "requires indexed completion mode");
            }
        }
    }
    policies::failure(spec, errors);
    let replacement = spec.field("podReplacementPolicy");
    let replacements: &[&str] =
        if spec.field("podFailurePolicy").is_set() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    replacement.one_of_if_set(errors, replacements);
    podspec::validate_template(&spec.field("template"), errors);
    restart_policy(spec, errors);
}

fn managed_by(field: &Field<'_>, errors: &mut FieldErrors) {
    if !field.is_set() {
        return;
    }
    match field.text().split_once('/') {
        _ if field.is_empty() => field.required(errors, ""),
        None | Some(("", _) | (_, "")) => {
            field.invalid(errors, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        }
        Some((host, _)) => {
            for fault in names::dns1123_subdomain(host) {
                field.invalid_value(errors, host, fault);
            }
        }
    }
    if field.text().len() > 63 {
        field.too_long(errors, 63);
    }
}

fn indexed(spec: &Field<'_>, errors: &mut FieldErrors) {
    let (completions, parallelism) = (spec.field("completions"), spec.field("parallelism"));
    let failed = spec.field("maxFailedIndexes");
    if !completions.is_set() {
        completions.required(errors, "when completion mode is Indexed");
    }
    if parallelism.int() > 100_000 {
        let why = "must be less than or equal to 100000 when completion mode is Indexed";
        parallelism.invalid(errors, why);
    }
    if completions.is_set() && failed.int() > completions.int() {
        failed.invalid(errors, "must be less than or equal to completions");
    }
    if failed.int() > 100_000 {
        failed.invalid(errors, "must be less than or equal to 100000");
    }
    if completions.int() > 100_000 && spec.field("backoffLimitPerIndex").is_set() {
        let suffix = "when completions are above 100000 and used with backoff limit per index";
        if !failed.is_set() {
            failed.required(errors, "must be specified when completions is above 100000");
        }
        for field in [&parallelism, &failed] {
            if field.int() > 10_000 {
                field.invalid(errors, format!("must be less than or equal to 10000 {suffix}"));
            }
        }
    }
}

fn restart_policy(spec: &Field<'_>, errors: &mut FieldErrors) {
    let policy = spec.at("template.spec.restartPolicy");
    match policy.text() {
        "Always" | "" => policy.required(errors, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.field("podFailurePolicy").is_set() => {
            policy.invalid(errors, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => errors.push(FieldError::not_supported_in_order(&policy.path(), other, &["OnFailure", "Never"])),
    }
}
