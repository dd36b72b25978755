//! Functions of text.

use regex::Regex;

use super::super::EvalError;
use super::super::time;
use super::super::value::{Text, Value};
use super::{Called, bounds, convert};

/// Compiled expressions above this size are refused.
const REGEX_SIZE_MAX: usize = 1 << 20;

fn compile(pattern: &str) -> Result<Regex, EvalError> {
    regex::RegexBuilder::new(pattern)
        .size_limit(REGEX_SIZE_MAX)
        .build()
        .map_err(|_| EvalError::new(format!("error parsing regexp: invalid pattern: `{pattern}`")))
}

pub(super) fn call<'a>(text: &str, function: &str, args: &[Value<'a>]) -> Called<'a> {
    let boolean = |truth: bool| Some(Ok(Value::Bool(truth)));
    match (function, args) {
        ("contains", [Value::String(part)]) => boolean(text.contains(&**part)),
        ("startsWith", [Value::String(part)]) => boolean(text.starts_with(&**part)),
        ("endsWith", [Value::String(part)]) => boolean(text.ends_with(&**part)),
        ("matches", [Value::String(pattern)]) => Some(compile(pattern).map(|regex| Value::Bool(regex.is_match(text)))),
        ("find", [Value::String(pattern)]) => {
            Some(compile(pattern).map(|regex| Value::text(regex.find(text).map_or("", |found| found.as_str()))))
        }
        ("findAll", [Value::String(pattern), rest @ ..]) => {
            let limit = match rest {
                [] => usize::MAX,
                [Value::Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
                _ => return None,
            };
            Some(compile(pattern).map(|regex| {
                Value::list(regex.find_iter(text).take(limit).map(|found| Value::text(found.as_str())).collect())
            }))
        }
        ("lowerAscii", []) => Some(Ok(Value::text(text.to_ascii_lowercase()))),
        ("upperAscii", []) => Some(Ok(Value::text(text.to_ascii_uppercase()))),
        ("trim", []) => Some(Ok(Value::text(text.trim()))),
        ("reverse", []) => Some(Ok(Value::text(text.chars().rev().collect::<String>()))),
        ("charAt", [Value::Int(at)]) => Some(char_at(text, *at)),
        ("substring", [Value::Int(start)]) => Some(substring(text, *start, None)),
        ("substring", [Value::Int(start), Value::Int(end)]) => Some(substring(text, *start, Some(*end))),
        ("replace", [Value::String(from), Value::String(to)]) => Some(replace(text, from, to, usize::MAX)),
        ("replace", [Value::String(from), Value::String(to), Value::Int(limit)]) => {
            Some(replace(text, from, to, usize::try_from(*limit).unwrap_or(usize::MAX)))
        }
        ("split", [Value::String(separator)]) => Some(Ok(split(text, separator, -1))),
        ("split", [Value::String(separator), Value::Int(limit)]) => Some(Ok(split(text, separator, *limit))),
        ("indexOf" | "lastIndexOf", [Value::String(part), rest @ ..]) => {
            let offset = match rest {
                [] => None,
                [Value::Int(offset)] => Some(*offset),
                _ => return None,
            };
            Some(index_of(text, part, offset, function == "lastIndexOf"))
        }
        ("format", [arguments]) => Some(format(text, &arguments.elements()?).map(Value::text)),
        _ => None,
    }
}

fn replace<'a>(text: &str, from: &str, to: &str, limit: usize) -> Result<Value<'a>, EvalError> {
    let places = text.matches(from).take(limit).count();
    bounds::text(text.len().saturating_add(places.saturating_mul(to.len())))?;
    Ok(Value::text(text.replacen(from, to, limit)))
}

fn out_of_range<'a>(at: i64) -> Result<Value<'a>, EvalError> {
    Err(EvalError::new(format!("index out of range: {at}")))
}

fn char_at<'a>(text: &str, at: i64) -> Result<Value<'a>, EvalError> {
    let Ok(place) = usize::try_from(at) else { return out_of_range(at) };
    match text.chars().nth(place) {
        Some(c) => Ok(Value::text(c.to_string())),
        None if place == text.chars().count() => Ok(Value::text("")),
        None => out_of_range(at),
    }
}

fn substring<'a>(text: &str, start: i64, end: Option<i64>) -> Result<Value<'a>, EvalError> {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let end = end.unwrap_or(length);
    if start < 0 || start > length {
        return out_of_range(start);
    }
    if end < 0 || end > length {
        return out_of_range(end);
    }
    if start > end {
        return Err(EvalError::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    let (skip, take) = (usize::try_from(start).unwrap_or(0), usize::try_from(end - start).unwrap_or(0));
    Ok(Value::text(text.chars().skip(skip).take(take).collect::<String>()))
}

fn split<'a>(text: &str, separator: &str, limit: i64) -> Value<'a> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Value::list(Vec::new());
    }
    let parts: Vec<Value<'a>> = if separator.is_empty() {
        let mut chars = text.chars();
        let mut parts: Vec<String> = chars.by_ref().take(limit - 1).map(String::from).collect();
        let rest = chars.as_str();
        if !rest.is_empty() {
            parts.push(rest.to_owned());
        }
        parts.into_iter().map(Value::text).collect()
    } else {
        text.splitn(limit, separator).map(Value::text).collect()
    };
    Value::list(parts)
}

fn index_of<'a>(text: &str, part: &str, offset: Option<i64>, last: bool) -> Result<Value<'a>, EvalError> {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(offset) = offset.filter(|offset| *offset < 0 || *offset > length) {
        return out_of_range(offset);
    }
    let at_byte = |place: i64| {
        let place = usize::try_from(place).unwrap_or(0);
        text.char_indices().nth(place).map_or(text.len(), |(byte, _)| byte)
    };
    let found = if last {
        let end = offset.map_or(text.len(), |offset| (at_byte(offset) + part.len()).min(text.len()));
        let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
        text[..end].rfind(part)
    } else {
        let start = at_byte(offset.unwrap_or(0));
        text[start..].find(part).map(|found| found + start)
    };
    let place = found.map_or(-1, |byte| i64::try_from(text[..byte].chars().count()).unwrap_or(i64::MAX));
    Ok(Value::Int(place))
}

/// The elements of a list of text with a separator between.
pub(super) fn join<'a>(elements: &[Value<'a>], separator: &str) -> Called<'a> {
    let texts: Option<Vec<&str>> = elements
        .iter()
        .map(|element| match element {
            Value::String(text) => Some(&**text),
            _ => None,
        })
        .collect();
    let texts = texts?;
    let length = texts.iter().map(|text| text.len().saturating_add(separator.len())).fold(0, usize::saturating_add);
    Some(bounds::text(length).map(|()| Value::String(Text::Shared(texts.join(separator).into()))))
}

/// Text in quotes, with escapes.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `'%s is %d'.format([name, number])`
fn format(pattern: &str, args: &[Value<'_>]) -> Result<String, EvalError> {
    let mut out = String::new();
    let mut args = args.iter().enumerate();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits.parse::<usize>().ok().map(|precision| precision.min(1000));
        }
        let Some(verb) = chars.next() else { return Err(EvalError::new("unexpected end of format string")) };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some((place, value)) = args.next() else {
            return Err(EvalError::new("index out of range: too few arguments"));
        };
        bounds::text(out.len().saturating_add(bounds::written(value)))?;
        let piece = clause(verb, precision, value)
            .map_err(|error| EvalError::new(format!("error during formatting: argument {place}: {error}")))?;
        out.push_str(&piece);
    }
    Ok(out)
}

#[allow(clippy::cast_precision_loss, reason = "shown with six digits")]
fn clause(verb: char, precision: Option<usize>, value: &Value<'_>) -> Result<String, String> {
    let digits = precision.unwrap_or(6);
    let number = match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::Uint(number) => Some(i128::from(*number)),
        _ => None,
    };
    let double = match (value, number) {
        (Value::Double(number), _) => Some(*number),
        (_, number) => number.map(|number| number as f64),
    };
    let signed = |number: i128, text: String| if number < 0 { format!("-{text}") } else { text };
    Ok(match (verb, number, double) {
        ('s', ..) => plain(value),
        ('d', Some(number), _) => number.to_string(),
        ('b', Some(number), _) => signed(number, format!("{:b}", number.unsigned_abs())),
        ('o', Some(number), _) => signed(number, format!("{:o}", number.unsigned_abs())),
        ('x', Some(number), _) => signed(number, format!("{:x}", number.unsigned_abs())),
        ('X', Some(number), _) => signed(number, format!("{:X}", number.unsigned_abs())),
        ('f', _, Some(number)) => format!("{number:.digits$}"),
        ('e', _, Some(number)) => {
            let text = format!("{number:.digits$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
        ('b', ..) if matches!(value, Value::Bool(_)) => u8::from(matches!(value, Value::Bool(true))).to_string(),
        ('x' | 'X', ..) => {
            let bytes = match value {
                Value::String(text) => text.as_bytes().to_vec(),
                Value::Bytes(bytes) => bytes.to_vec(),
                _ => {
                    return Err(format!(
                        "only integers, byte buffers, and strings can be formatted as hex, was given {}",
                        value.type_name()
                    ));
                }
            };
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            if verb == 'X' { text.to_uppercase() } else { text }
        }
        ('d' | 'b' | 'o', ..) => {
            return Err(format!("only integers can be formatted so, was given {}", value.type_name()));
        }
        ('f' | 'e', ..) => return Err(format!("only numbers can be formatted so, was given {}", value.type_name())),
        _ => return Err(format!("unrecognized formatting clause {verb:?}")),
    })
}

/// A value as `%s` writes it.
fn plain(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Null => "null".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => convert::double_text(*number),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Timestamp(at) => at.to_string(),
        Value::Duration(length) => time::seconds_text(*length),
        Value::Type(name) => name.to_string(),
        value => {
            if let Some(elements) = value.elements() {
                return format!("[{}]", elements.iter().map(plain).collect::<Vec<_>>().join(", "));
            }
            match value.entries() {
                Some(entries) => {
                    let entries: Vec<String> =
                        entries.iter().map(|(key, value)| format!("{}: {}", plain(key), plain(value))).collect();
                    format!("{{{}}}", entries.join(", "))
                }
                None => format!("{value:?}"),
            }
        }
    }
}
