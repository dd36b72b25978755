use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECONDS_A_DAY: i64 = 86_400;

/// A time in UTC, as RFC 3339 with all nine digits of the nanoseconds. Times before 1970 are shown as 1970.
#[must_use]
pub fn format_timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX / SECONDS_A_DAY);
    let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_A_DAY));
    let of_day = seconds.rem_euclid(SECONDS_A_DAY);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        since.subsec_nanos()
    )
}

/// Reads an RFC 3339 time, with any number of fractional digits and any offset. `None` if it is none, or before 1970.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<i64> {
        let digits = bytes.get(from..from + len)?;
        digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &text[19..];
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        nanos = fraction[..digits.min(9)].parse::<u32>().ok()? * 10_u32.pow(9 - u32::try_from(digits.min(9)).ok()?);
        rest = &fraction[digits..];
    }
    let seconds = days_from_civil(year, month, day) * SECONDS_A_DAY + hour * 3600 + minute * 60 + second;
    let seconds = u64::try_from(seconds - offset(rest)?).ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// `Z`, or `+hh:mm`, in seconds.
fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar. Years are counted from
/// March, so that the leap day is the last of its year.
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: u64, nanos: u32, text: &str) {
        let time = UNIX_EPOCH + Duration::new(seconds, nanos);
        assert_eq!(format_timestamp(time), text);
        assert_eq!(parse_timestamp(text), Some(time), "{text}");
    }

    #[test]
    fn writes_and_reads_known_instants() {
        check(0, 0, "1970-01-01T00:00:00.000000000Z");
        check(951_782_400, 1, "2000-02-29T00:00:00.000000001Z");
        check(1_735_689_599, 999_999_999, "2024-12-31T23:59:59.999999999Z");
        check(1_795_000_000, 120_000_000, "2026-11-18T11:06:40.120000000Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z");
    }

    #[test]
    fn reads_offsets_and_short_fractions() {
        let noon = parse_timestamp("2026-11-18T12:00:00Z").unwrap();
        assert_eq!(parse_timestamp("2026-11-18T14:00:00.0+02:00"), Some(noon));
        assert_eq!(parse_timestamp("2026-11-18T06:30:00-05:30"), Some(noon));
        assert_eq!(parse_timestamp("2026-11-18T12:00:00.5Z"), Some(noon + Duration::from_millis(500)));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in ["", "2026-11-18", "2026-11-18T12:00:00", "2026-13-18T12:00:00Z", "2026-11-18T12:00:00.Z", "é"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
