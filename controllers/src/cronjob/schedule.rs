//! Schedules as crontabs write them: five fields, or `@daily` and its like.

use jiff::ToSpan;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::objects::Time;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether the day of the month or of the week is left open; then both must match, else either.
    any_day: bool,
    /// Instead of fields: every so many seconds.
    every: Option<i64>,
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(duration) = text.strip_prefix("@every ") {
            return Self::every(duration.trim());
        }
        let expanded = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = expanded.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: {text:?}", fields.len()));
        };
        let open = |field: &str| field.starts_with(['*', '?']);
        // Sunday may be written as 7.
        let week = field(weekdays, 0, 7, &DAYS)?;
        Ok(Self {
            minutes: field(minutes, 0, 59, &[])?,
            hours: field(hours, 0, 23, &[])?,
            days: field(days, 1, 31, &[])?,
            months: field(months, 1, 12, &MONTHS)?,
            weekdays: if week & (1 << 7) == 0 { week } else { (week | 1) & !(1 << 7) },
            any_day: open(days) || open(weekdays),
            every: None,
        })
    }

    fn every(duration: &str) -> Result<Self, String> {
        let wrong = || format!("failed to parse duration {duration:?}");
        let (mut seconds, mut digits) = (0_i64, String::new());
        for c in duration.chars() {
            let unit = match c {
                '0'..='9' => {
                    digits.push(c);
                    continue;
                }
                'h' => 3600,
                'm' => 60,
                's' => 1,
                _ => return Err(wrong()),
            };
            let number: i64 = digits.parse().map_err(|_| wrong())?;
            seconds = number.checked_mul(unit).and_then(|part| seconds.checked_add(part)).ok_or_else(wrong)?;
            digits.clear();
        }
        if !digits.is_empty() || seconds <= 0 {
            return Err(wrong());
        }
        Ok(Self { minutes: 0, hours: 0, days: 0, months: 0, weekdays: 0, any_day: true, every: Some(seconds) })
    }

    /// The first time after that one, by that zone's clocks; `None` if there is none within five years.
    #[must_use]
    pub fn next(&self, after: Time, zone: &TimeZone) -> Option<Time> {
        if let Some(seconds) = self.every {
            return Some(after.truncated().plus_seconds(seconds));
        }
        let start = jiff::Timestamp::from_second(after.seconds()).ok()?.to_zoned(zone.clone());
        let minute = start.datetime().with().second(0).subsec_nanosecond(0).build().ok()?;
        let mut at = minute.checked_add(1.minute()).ok()?;
        let last_year = at.year().checked_add(5)?;
        while at.year() <= last_year {
            at = match self.mismatch(at) {
                Some(later) => later?,
                None => {
                    let due = zone.to_zoned(at).ok()?.timestamp().as_second();
                    if due > after.seconds() {
                        return Some(Time::from_seconds(due));
                    }
                    at.checked_add(1.minute()).ok()?
                }
            };
        }
        None
    }

    /// If a time doesn't match: the next one that may, past the field that doesn't.
    fn mismatch(&self, at: DateTime) -> Option<Option<DateTime>> {
        let has = |set: u64, value: i8| set & (1 << value) != 0;
        let midnight = |at: DateTime| at.with().hour(0).minute(0).build().ok();
        if !has(self.months, at.month()) {
            return Some(at.first_of_month().checked_add(1.month()).ok().and_then(midnight));
        }
        let (day, weekday) = (has(self.days, at.day()), has(self.weekdays, at.weekday().to_sunday_zero_offset()));
        let due = if self.any_day { day && weekday } else { day || weekday };
        if !due {
            return Some(at.checked_add(1.day()).ok().and_then(midnight));
        }
        if !has(self.hours, at.hour()) {
            return Some(at.checked_add(1.hour()).ok().and_then(|at| at.with().minute(0).build().ok()));
        }
        if !has(self.minutes, at.minute()) {
            return Some(at.checked_add(1.minute()).ok());
        }
        None
    }
}

/// Reads one field as a set of numbers: `*`, `1,3`, `1-5`, `*/10`, `8-18/2`, names.
fn field(text: &str, least: u32, most: u32, names: &[&str]) -> Result<u64, String> {
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                (range, Some(step.parse::<u32>().map_err(|_| format!("failed to parse int from {step:?}"))?))
            }
            None => (part, None),
        };
        let value = |word: &str| {
            let named = names.iter().position(|name| name.eq_ignore_ascii_case(word));
            // The first month is 1, the first day of the week 0: both are the field's least.
            let named = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + least);
            named.map_or_else(|| word.parse::<u32>().map_err(|_| format!("failed to parse int from {word:?}")), Ok)
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (least, if most == 7 { 6 } else { most }),
            Some((first, last)) => (value(first)?, value(last)?),
            None if step.is_some() => (value(range)?, most),
            None => (value(range)?, value(range)?),
        };
        if first < least || last > most || first > last {
            return Err(format!("{part:?} is not within {least} and {most}"));
        }
        match step {
            Some(0) => return Err(format!("step of range should be a positive number: {part:?}")),
            step => (first..=last).step_by(step.unwrap_or(1) as usize).for_each(|number| set |= 1 << number),
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_due_when_crontabs_are() {
        for (schedule, after, expected) in [
            ("* * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:16:00Z", "2026-01-01T00:30:00Z"),
            ("0 0 1 * *", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("30 8-18/2 * * mon-fri", "2026-01-02T18:31:00Z", "2026-01-05T08:30:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 12 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z"),
            ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("@daily", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"),
        ] {
            let next = Schedule::parse(schedule).unwrap().next(after.parse().unwrap(), &TimeZone::UTC).unwrap();
            assert_eq!(next.to_string(), expected, "{schedule}");
        }
        let never = Schedule::parse("0 0 31 2 *").unwrap();
        assert_eq!(never.next(Time::from_seconds(0), &TimeZone::UTC), None);
    }

    #[test]
    fn another_zone_has_other_midnights() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let next = Schedule::parse("0 0 * * *").unwrap().next("2026-01-01T00:00:00Z".parse().unwrap(), &zone).unwrap();
        assert_eq!(next.to_string(), "2026-01-01T22:00:00Z");
    }

    #[test]
    fn wrong_schedules_are_refused() {
        for wrong in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "a * * * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "@every x",
            "@every 0s",
        ] {
            assert!(Schedule::parse(wrong).is_err(), "{wrong}");
        }
    }
}
