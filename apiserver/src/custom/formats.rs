//! The formats that schemas may demand of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use kubewright_api::names;
use regex::Regex;

use crate::cel::formats as cel;

/// Compiled once: lists may hold hundreds of thousands of texts of a format.
macro_rules! pattern {
    ($pattern:literal) => {{
        static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($pattern).ok());
        PATTERN.as_ref()
    }};
}

/// Whether text has a format. What is no known format demands nothing.
pub(super) fn fits(format: &str, text: &str) -> bool {
    let matches = |pattern: Option<&Regex>| pattern.is_some_and(|pattern| pattern.is_match(text));
    match format.replace('-', "").as_str() {
        "datetime" => text.contains(['T', 't']) && text.parse::<jiff::Timestamp>().is_ok(),
        "date" => cel::is_date(text),
        "duration" => cel::is_duration(text),
        "byte" => cel::is_base64(text),
        "uuid" => cel::is_uuid(text),
        "uuid3" => matches(pattern!("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$")),
        "uuid4" => matches(pattern!("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$")),
        "uuid5" => matches(pattern!("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$")),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => matches(pattern!("^([0-9A-Fa-f]{2}[:-]){5}([0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){0,2})$")),
        "hostname" => is_hostname(text),
        "email" => text
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains(['@', ' '])),
        "uri" => cel::is_uri(text),
        "bsonobjectid" => text.len() == 24 && text.chars().all(|c| c.is_ascii_hexdigit()),
        "hexcolor" => matches(pattern!("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")),
        "ssn" => matches(pattern!("^\\d{3}[- ]?\\d{2}[- ]?\\d{4}$")),
        "k8sshortname" => names::dns1123_label(text).is_empty(),
        "k8slongname" => names::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    match (address.parse::<IpAddr>(), prefix.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(prefix)) => prefix <= 32,
        (Ok(IpAddr::V6(_)), Ok(prefix)) => prefix <= 128,
        _ => false,
    }
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c == '-' || c.is_ascii_alphanumeric())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 255 && text.trim_end_matches('.').split('.').all(label)
}
