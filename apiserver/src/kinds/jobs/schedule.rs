//! Cron schedules: five fields, or `@hourly` and its kin.

/// Checks a schedule.
///
/// # Errors
/// Why it isn't one.
pub(super) fn parse(schedule: &str) -> Result<(), String> {
    let mut text = schedule;
    for prefix in ["TZ=", "CRON_TZ="] {
        if let Some(rest) = schedule.strip_prefix(prefix) {
            text = rest.split_once(' ').map_or("", |(_, rest)| rest).trim();
        }
    }
    if let Some(name) = text.strip_prefix('@') {
        return descriptor(text, name);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if text.is_empty() {
        return Err("empty spec string".into());
    }
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let bounds: [(u32, u32, &[&str], u32); 5] =
        [(0, 59, &[], 0), (0, 23, &[], 0), (1, 31, &[], 0), (1, 12, MONTHS, 1), (0, 6, DAYS, 0)];
    fields.iter().zip(bounds).try_for_each(|(field, (low, high, names, base))| {
        field.split(',').filter(|part| !part.is_empty()).try_for_each(|part| range(part, low, high, names, base))
    })
}

fn descriptor(text: &str, name: &str) -> Result<(), String> {
    match name {
        "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => Ok(()),
        _ => match name.strip_prefix("every ") {
            Some(duration) if is_duration(duration) => Ok(()),
            Some(duration) => Err(format!("failed to parse duration {text}: time: invalid duration {duration:?}")),
            None => Err(format!("unrecognized descriptor: {text}")),
        },
    }
}

/// Go's durations: `1h30m`, `1.5s`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    let mut any = false;
    while !rest.is_empty() {
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let digits = &rest[..rest.len() - number.len()];
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"].iter().find(|unit| {
            number.strip_prefix(**unit).is_some_and(|after| !after.starts_with(|c: char| c.is_alphabetic()))
        });
        let (Some(unit), true) = (unit, digits.bytes().any(|byte| byte.is_ascii_digit())) else { return false };
        if digits.matches('.').count() > 1 {
            return false;
        }
        rest = &number[unit.len()..];
        any = true;
    }
    any
}

fn range(text: &str, low: u32, high: u32, names: &[&str], base: u32) -> Result<(), String> {
    let (span, step) = text.split_once('/').map_or((text, None), |(span, step)| (span, Some(step)));
    if step.is_some_and(|step| step.contains('/')) {
        return Err(format!("too many slashes: {text}"));
    }
    let (first, last) = span.split_once('-').map_or((span, None), |(first, last)| (first, Some(last)));
    if last.is_some_and(|last| last.contains('-')) {
        return Err(format!("too many hyphens: {text}"));
    }
    let (start, end) = if first == "*" || first == "?" {
        (low, high)
    } else {
        let start = number(first, names, base)?;
        let end = match last {
            Some(last) => number(last, names, base)?,
            None if step.is_some() => high,
            None => start,
        };
        (start, end)
    };
    let step = step.map_or(Ok(1), |step| number(step, &[], 0))?;
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {text}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn number(text: &str, names: &[&str], base: u32) -> Result<u32, String> {
    let lower = text.to_lowercase();
    if let Some(at) = names.iter().position(|name| *name == lower) {
        return Ok(u32::try_from(at).unwrap_or_default() + base);
    }
    match text.parse::<i64>() {
        Ok(value) if value < 0 => Err(format!("negative number ({value}) not allowed: {text}")),
        Ok(value) => u32::try_from(value).map_err(|_| format!("failed to parse int from {text}")),
        Err(_) => {
            let why = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
            Err(format!("failed to parse int from {text}: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text).err().unwrap_or_default(), expected, "{text}");
        };
        for good in ["* * * * *", "*/5 0-6,8 1 JAN-dec sun", "@hourly", "@every 1h30m", "0 0 ? * 1/2"] {
            check(good, "");
        }
        check("error", "expected exactly 5 fields, found 1: [error]");
        check("60 * * * *", "end of range (60) above maximum (59): 60");
        check("0 0 0 * *", "beginning of range (0) below minimum (1): 0");
        check("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1");
        check("*/0 * * * *", "step of range should be a positive number: */0");
        check("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax");
        check("@never", "unrecognized descriptor: @never");
        check("1-2-3 * * * *", "too many hyphens: 1-2-3");
    }
}
