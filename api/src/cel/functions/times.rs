//! Parts of times and durations.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::super::EvalError;
use super::super::value::Value;
use super::Called;

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Called<'a> {
    match args {
        [Value::Timestamp(at)] => part(at.to_zoned(TimeZone::UTC).datetime(), function),
        [Value::Timestamp(at), Value::String(zone)] => match offset(zone) {
            Some(offset) => part(offset.to_datetime(*at), function),
            None => Some(Err(EvalError::new(format!("unknown time zone {}", &**zone)))),
        },
        [Value::Duration(length)] => {
            let number = match function {
                "getHours" => length.as_secs() / 3600,
                "getMinutes" => length.as_secs() / 60,
                "getSeconds" => length.as_secs(),
                "getMilliseconds" => i64::from(length.subsec_millis()),
                _ => return None,
            };
            Some(Ok(Value::Int(number)))
        }
        _ => None,
    }
}

/// `UTC`, `+02:00`, `-7:30`.
fn offset(zone: &str) -> Option<Offset> {
    if matches!(zone, "" | "UTC" | "Z") {
        return Some(Offset::UTC);
    }
    let (negative, rest) = match zone.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?;
    Offset::from_seconds(if negative { -seconds } else { seconds }).ok()
}

fn part<'a>(at: DateTime, function: &str) -> Called<'a> {
    let number: i64 = match function {
        "getFullYear" => at.year().into(),
        "getMonth" => i64::from(at.month()) - 1,
        "getDate" => at.day().into(),
        "getDayOfMonth" => i64::from(at.day()) - 1,
        "getDayOfYear" => i64::from(at.day_of_year()) - 1,
        "getDayOfWeek" => at.weekday().to_sunday_zero_offset().into(),
        "getHours" => at.hour().into(),
        "getMinutes" => at.minute().into(),
        "getSeconds" => at.second().into(),
        "getMilliseconds" => at.millisecond().into(),
        _ => return None,
    };
    Some(Ok(Value::Int(number)))
}
