//! Lists of indexes as text: `1,3-5`.

/// How many indexes a list names, all below `completions`.
///
/// # Errors
/// Why it isn't a list.
pub(super) fn count(list: &str, completions: i64) -> Result<i64, String> {
    let intervals = parse(list, completions)?;
    Ok(intervals.iter().map(|(first, last)| last - first + 1).sum())
}

/// The intervals of a list, first and last index each.
///
/// # Errors
/// Why it isn't a list.
pub(super) fn parse(list: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut intervals: Vec<(i64, i64)> = Vec::new();
    for text in list.split(',').filter(|_| !list.is_empty()) {
        let (first, last) = interval(text, completions)?;
        if let Some((_, before)) = intervals.last().filter(|(_, before)| *before >= first) {
            return Err(format!("non-increasing order, previous: {before}, current: {first}"));
        }
        intervals.push((first, last));
    }
    Ok(intervals)
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = text.split('-').collect();
    if parts.len() > 2 {
        let rule = "violates the requirement that an index interval can have at most two parts separated by '-'";
        return Err(format!("the fragment {text:?} {rule}"));
    }
    let mut numbers = Vec::with_capacity(2);
    for part in parts {
        let number: i64 = part.parse().map_err(|_| format!("cannot convert string to integer for index: {part:?}"))?;
        if number >= completions {
            return Err(format!("too large index: {part:?}"));
        }
        numbers.push(number);
    }
    match numbers[..] {
        [first, last] if first >= last => Err(format!("non-increasing order, previous: {first}, current: {last}")),
        [first, last] => Ok((first, last)),
        [only] => Ok((only, only)),
        _ => Err(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (list, expected) in [
            ("", Ok(0)),
            ("1", Ok(1)),
            ("1,3-5", Ok(4)),
            ("3,1", Err("non-increasing order, previous: 3, current: 1")),
            (
                "1-2-3",
                Err(
                    "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
            ("a", Err("cannot convert string to integer for index: \"a\"")),
            ("10", Err("too large index: \"10\"")),
            ("4-4", Err("non-increasing order, previous: 4, current: 4")),
        ] {
            assert_eq!(count(list, 10), expected.map_err(str::to_owned), "{list}");
        }
    }
}
