//! Named formats of text.

use std::sync::Arc;

use crate::names;
use base64::Engine;

use super::super::time;
use super::super::value::Value;
use super::Called;

/// A format by name: what is wrong with a text.
#[derive(Debug)]
pub struct NamedFormat {
    name: &'static str,
    faults: fn(&str) -> Vec<String>,
}

static FORMATS: [NamedFormat; 13] = [
    NamedFormat { name: "dns1123Label", faults: names::dns1123_label },
    NamedFormat { name: "dns1123Subdomain", faults: names::dns1123_subdomain },
    NamedFormat { name: "dns1035Label", faults: names::dns1035_label },
    NamedFormat { name: "qualifiedName", faults: names::qualified_name },
    NamedFormat { name: "dns1123LabelPrefix", faults: |text| names::dns1123_label(&masked(text)) },
    NamedFormat { name: "dns1123SubdomainPrefix", faults: |text| names::dns1123_subdomain(&masked(text)) },
    NamedFormat { name: "dns1035LabelPrefix", faults: |text| names::dns1035_label(&masked(text)) },
    NamedFormat { name: "labelValue", faults: names::label_value },
    NamedFormat { name: "uri", faults: |text| unless(is_uri(text), "invalid URI for request") },
    NamedFormat { name: "uuid", faults: |text| unless(is_uuid(text), "does not match the UUID format") },
    NamedFormat { name: "byte", faults: |text| unless(is_base64(text), "invalid base64") },
    NamedFormat { name: "date", faults: |text| unless(is_date(text), "invalid date") },
    NamedFormat { name: "datetime", faults: |text| unless(time::timestamp(text).is_some(), "invalid datetime") },
];

fn unless(fits: bool, fault: &str) -> Vec<String> {
    if fits { Vec::new() } else { vec![fault.to_owned()] }
}

/// A prefix of a name may end in a dash, for something follows.
fn masked(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => text.to_owned(),
    }
}

/// Whether a text is a URI with a scheme or an absolute path.
#[must_use]
pub fn is_uri(text: &str) -> bool {
    matches!(super::urls::make("isURL", text), Some(Ok(Value::Bool(true))))
}

/// Whether a text is a UUID, with dashes or without.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    let placed = dashes.is_empty() || dashes == [8, 13, 18, 23];
    hex.len() == 32 && placed && hex.chars().all(|c| c.is_ascii_hexdigit())
}

/// Whether a text is base64.
#[must_use]
pub fn is_base64(text: &str) -> bool {
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

/// Whether a text is a day: `2026-01-31`.
#[must_use]
pub fn is_date(text: &str) -> bool {
    text.len() == 10 && time::timestamp(text).is_some()
}

/// Whether a text is a duration.
#[must_use]
pub fn is_duration(text: &str) -> bool {
    time::duration(text).is_some()
}

pub(super) fn named(name: &str) -> Option<&'static NamedFormat> {
    FORMATS.iter().find(|format| format.name == name)
}

pub(super) fn call<'a>(format: &NamedFormat, args: &[Value<'a>]) -> Called<'a> {
    let [Value::String(text)] = args else { return None };
    let faults = (format.faults)(text);
    let faults = (!faults.is_empty()).then(|| Arc::new(Value::list(faults.into_iter().map(Value::text).collect())));
    Some(Ok(Value::Optional(faults)))
}
