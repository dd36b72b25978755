//! CronJobs.

use jiff::tz::TimeZone;
use kubewright_api::field::FieldErrors;
use serde_json::Value;

use super::{columns, default_spec, name_warning, schedule};
use crate::kinds::edit::{default_text, default_to, ensure};
use crate::kinds::kind::{Kind, Part, empty_status};
use crate::kinds::read::Field;
use crate::kinds::workloads::template_warnings_at;

/// CronJobs.
pub(crate) static CRON_JOBS: Kind = Kind {
    default: |object| {
        let Some(spec) = ensure(object, "spec") else { return };
        default_text(spec, "concurrencyPolicy", "Allow");
        default_to(spec, "suspend", false);
        default_to(spec, "successfulJobsHistoryLimit", 3);
        default_to(spec, "failedJobsHistoryLimit", 1);
        if let Some(job) = ensure(spec, "jobTemplate.spec") {
            default_spec(job);
        }
    },
    status: Some(empty_status),
    validate: |object, errors| {
        validate(object, None, errors);
        let name = Field::of(object).at("metadata.name");
        if name.text().len() > 52 {
            name.invalid(errors, "must be no more than 52 characters");
        }
    },
    validate_update: Some(|object, old, errors| validate(object, Some(old), errors)),
    warnings: |object, old| {
        let mut warnings = Vec::new();
        if old.is_none() {
            name_warning(object, &mut warnings);
        }
        warnings.extend(template_warnings_at(object, old, "spec.jobTemplate.spec.template"));
        if old.is_some() && object["spec"]["schedule"].as_str().is_some_and(|schedule| schedule.contains("TZ")) {
            let page = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/";
            let why = "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead";
            warnings.push(format!("{why}, see {page} for more details"));
        }
        warnings
    },
    subresources: &[("status", &Part::STATUS)],
    columns: &columns::CRON_JOBS,
    generation: true,
    ..Kind::PLAIN
};

fn validate(object: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    let text = spec.field("schedule");
    let zone = spec.field("timeZone");
    if text.require(errors) {
        if let Err(why) = schedule::parse(text.text()) {
            text.invalid(errors, why);
        }
        let names_zone = text.text().contains("TZ");
        let before = old.is_some_and(|old| Field::of(old).at("spec.schedule").text().contains("TZ"));
        if names_zone && before && zone.is_set() {
            text.invalid(errors, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        } else if names_zone && !before {
            text.invalid(errors, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        }
    }
    spec.field("startingDeadlineSeconds").not_negative(errors);
    if old.is_none_or(|old| !Field::of(old).at("spec.timeZone").same_as(&zone)) {
        time_zone(&zone, errors);
    }
    spec.field("concurrencyPolicy").one_of(errors, &["Allow", "Forbid", "Replace"]);
    let job = spec.at("jobTemplate.spec");
    super::spec::validate(&job, errors);
    if job.field("selector").is_set() {
        job.field("selector").invalid(errors, "`selector` will be auto-generated");
    }
    if job.field("manualSelector").flag() {
        job.field("manualSelector").unsupported(errors, &["nil", "false"]);
    }
    spec.field("successfulJobsHistoryLimit").not_negative(errors);
    spec.field("failedJobsHistoryLimit").not_negative(errors);
}

/// Whether it is the name of a time zone, letter by letter.
fn is_known(name: &str) -> bool {
    name == "Local" || TimeZone::get(name).is_ok_and(|zone| zone.iana_name() == Some(name))
}

fn time_zone(zone: &Field<'_>, errors: &mut FieldErrors) {
    if !zone.is_set() {
        return;
    }
    if zone.is_empty() {
        zone.invalid(errors, "timeZone must be nil or non-empty string");
        return;
    }
    let good = |part: &str| {
        let letters = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte));
        letters && (1..=14).contains(&part.len()) && part != "." && part != ".." && !part.starts_with('-')
    };
    if !zone.text().split('/').all(good) {
        zone.invalid(errors, format!("unknown time zone {}", zone.text()));
        return;
    }
    if zone.text().eq_ignore_ascii_case("local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        zone.invalid(errors, why);
    }
    if !is_known(zone.text()) {
        zone.invalid(errors, format!("unknown time zone {}", zone.text()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn time_zones() {
        let check = |name: &str, expected: &[&str]| {
            let object = json!({ "timeZone": name });
            let mut errors = FieldErrors::new();
            time_zone(&Field::of(&object).field("timeZone"), &mut errors);
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{name}");
        };
        for good in ["UTC", "Etc/UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"] {
            check(good, &[]);
        }
        check("", &["timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"]);
        check("Europe/Atlantis", &["timeZone: Invalid value: \"Europe/Atlantis\": unknown time zone Europe/Atlantis"]);
        check("europe/berlin", &["timeZone: Invalid value: \"europe/berlin\": unknown time zone europe/berlin"]);
        check("../x", &["timeZone: Invalid value: \"../x\": unknown time zone ../x"]);
    }
}
