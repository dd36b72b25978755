//! Durations as Go writes them.

use std::time::Duration;

/// `1m30s`, `200ms`, `1.5h`; nothing is 0.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "" if number == 0.0 => 0.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let millis = |text| parse(text).map(|duration| duration.as_millis());
        let cases = [("10s", 10_000), ("1m30s", 90_000), ("200ms", 200), ("1.5h", 5_400_000), ("0", 0), ("", 0)];
        for (text, expected) in cases {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for wrong in ["5", "s", "1x", "1.2.3s", "-1s"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
