//! Times and lengths of time as text.

use jiff::{SignedDuration, Timestamp};

/// A moment in RFC 3339.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    // A date alone, as OpenAPI's `date`.
    let bare = text.len() == 10 && text.as_bytes()[4] == b'-';
    bare.then(|| format!("{text}T00:00:00Z").parse().ok()).flatten()
}

/// A length of time as Go writes it: `1h30m`, `-1.5s`, `250ms`.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0f64;
    let mut exact = 0i128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_length = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        match number.parse::<i128>() {
            Ok(whole) => exact = exact.checked_add(whole.checked_mul(scale)?)?,
            #[allow(clippy::cast_precision_loss, reason = "what is below a nanosecond is dropped")]
            Err(_) => nanos += number.parse::<f64>().ok()? * scale as f64,
        }
        rest = after;
    }
    #[allow(clippy::cast_possible_truncation, reason = "what is below a nanosecond is dropped")]
    let total = exact.checked_add(nanos.round() as i128)?;
    let total = i64::try_from(if negative { -total } else { total }).ok()?;
    Some(SignedDuration::from_nanos(total))
}

/// A length of time in seconds, as `string(duration)` writes it.
pub(super) fn seconds_text(length: SignedDuration) -> String {
    let nanos = length.subsec_nanos().unsigned_abs();
    let sign = if length.is_negative() { "-" } else { "" };
    let seconds = length.as_secs().unsigned_abs();
    if nanos == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{nanos:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("1h30m", Some("5400s")),
            ("-1.5s", Some("-1.5s")),
            ("250ms", Some("0.25s")),
            ("0", Some("0s")),
            ("1d", None),
            ("", None),
            ("5", None),
        ] {
            assert_eq!(duration(text).map(seconds_text).as_deref(), expected, "{text}");
        }
    }
}
