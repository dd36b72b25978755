//! Conversions between types.

use super::super::value::{Text, Value};
use super::super::{EvalError, time};
use super::Called;

pub(super) fn convert<'a>(function: &str, value: &Value<'a>) -> Called<'a> {
    match function {
        "int" => int(value),
        "uint" => uint(value),
        "double" => double(value),
        "string" => string(value),
        "bytes" => match value {
            Value::String(text) => Some(Ok(Value::Bytes(text.as_bytes().into()))),
            Value::Bytes(_) => Some(Ok(value.clone())),
            _ => None,
        },
        "bool" => match value {
            Value::Bool(_) => Some(Ok(value.clone())),
            Value::String(text) => Some(match &**text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
                _ => Err(failed("string", "bool")),
            }),
            _ => None,
        },
        "timestamp" => match value {
            Value::Timestamp(_) => Some(Ok(value.clone())),
            Value::Int(seconds) => Some(
                jiff::Timestamp::from_second(*seconds)
                    .map(Value::Timestamp)
                    .map_err(|_| failed("int", "google.protobuf.Timestamp")),
            ),
            Value::String(text) => Some(match time::timestamp(text).filter(|_| text.contains(['T', 't'])) {
                Some(at) => Ok(Value::Timestamp(at)),
                None => Err(failed("string", "google.protobuf.Timestamp")),
            }),
            _ => None,
        },
        "duration" => match value {
            Value::Duration(_) => Some(Ok(value.clone())),
            Value::Int(nanos) => Some(Ok(Value::Duration(jiff::SignedDuration::from_nanos(*nanos)))),
            Value::String(text) => Some(match time::duration(text) {
                Some(length) => Ok(Value::Duration(length)),
                None => Err(failed("string", "google.protobuf.Duration")),
            }),
            _ => None,
        },
        _ => None,
    }
}

fn failed(from: &str, to: &str) -> EvalError {
    EvalError::new(format!("type conversion error from '{from}' to '{to}'"))
}

fn range() -> EvalError {
    EvalError::new("range error")
}

#[allow(clippy::cast_possible_truncation, reason = "checked against the range before")]
fn int<'a>(value: &Value<'a>) -> Called<'a> {
    Some(match value {
        Value::Int(_) => Ok(value.clone()),
        Value::Uint(number) => i64::try_from(*number).map(Value::Int).map_err(|_| range()),
        Value::Double(number) if number.abs() < 9.223_372_036_854_775e18 => Ok(Value::Int(*number as i64)),
        Value::Double(_) => Err(range()),
        Value::String(text) => text.parse().map(Value::Int).map_err(|_| failed("string", "int")),
        Value::Timestamp(at) => Ok(Value::Int(at.as_second())),
        Value::Duration(length) => i64::try_from(length.as_nanos()).map(Value::Int).map_err(|_| range()),
        _ => return None,
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked against the range before")]
fn uint<'a>(value: &Value<'a>) -> Called<'a> {
    Some(match value {
        Value::Uint(_) => Ok(value.clone()),
        Value::Int(number) => u64::try_from(*number).map(Value::Uint).map_err(|_| range()),
        Value::Double(number) if (0.0..1.844_674_407_370_955e19).contains(number) => Ok(Value::Uint(*number as u64)),
        Value::Double(_) => Err(range()),
        Value::String(text) => text.parse().map(Value::Uint).map_err(|_| failed("string", "uint")),
        _ => return None,
    })
}

#[allow(clippy::cast_precision_loss, reason = "what a conversion to a double means")]
fn double<'a>(value: &Value<'a>) -> Called<'a> {
    Some(match value {
        Value::Double(_) => Ok(value.clone()),
        Value::Int(number) => Ok(Value::Double(*number as f64)),
        Value::Uint(number) => Ok(Value::Double(*number as f64)),
        Value::String(text) => text.parse().map(Value::Double).map_err(|_| failed("string", "double")),
        _ => return None,
    })
}

fn string<'a>(value: &Value<'a>) -> Called<'a> {
    Some(Ok(match value {
        Value::String(_) => value.clone(),
        Value::Bool(truth) => Value::text(truth.to_string()),
        Value::Int(number) => Value::text(number.to_string()),
        Value::Uint(number) => Value::text(number.to_string()),
        Value::Double(number) => Value::text(double_text(*number)),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::String(Text::Shared(text.into())),
            Err(_) => return Some(Err(EvalError::new("invalid UTF-8 in bytes, cannot convert to string"))),
        },
        Value::Timestamp(at) => Value::text(at.to_string()),
        Value::Duration(length) => Value::text(time::seconds_text(*length)),
        Value::Ip(address) => Value::text(address.to_string()),
        Value::Cidr(address, prefix) => Value::text(format!("{address}/{prefix}")),
        Value::Url(url) => Value::text(url.text.as_str()),
        Value::Quantity(quantity) => Value::text(quantity.to_string()),
        _ => return None,
    }))
}

/// As Go writes it: without a fraction if there is none.
pub(super) fn double_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    number.to_string()
}
