//! What running costs, in upstream's units: one for reading a name, a field or an element; one for a call, or more if
//! it looks at every character.

use super::ast::Binary;
use super::value::Value;

/// Making a list.
pub(super) const LIST: u64 = 10;
/// Making a map.
pub(super) const MAP: u64 = 30;
/// An object that is made.
pub(super) const OBJECT: u64 = 40;
/// An authorization check.
const CHECK: u64 = 350_000;
pub(super) const TRAVERSAL: f64 = 0.1;
pub(super) const REGEX: f64 = 0.25;

/// A part of a size, rounded up.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
pub(super) fn part(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

fn size(value: Option<&Value<'_>>) -> u64 {
    match value {
        Some(Value::Ip(address)) => {
            if address.is_ipv4() {
                4
            } else {
                16
            }
        }
        Some(Value::Cidr(address, _)) => {
            if address.is_ipv4() {
                4
            } else {
                16
            }
        }
        value => value.and_then(Value::size).map_or(1, |size| size as u64),
    }
}

/// What matching a regular expression costs.
fn matching(text: u64, pattern: u64) -> u64 {
    part(text + 1, TRAVERSAL) * part(pattern, REGEX)
}

/// The costs of calls that depend on the arguments alone and can be great: asked before the call is made.
pub(super) fn before_call(function: &str, args: &[Value<'_>]) -> Option<u64> {
    let (first, second) = (size(args.first()), size(args.get(1)));
    Some(match function {
        "matches" | "find" | "findAll" => matching(first, second),
        "contains" => part(first, TRAVERSAL) * part(second, TRAVERSAL),
        "replace" | "split" => part(first, 2.0 * TRAVERSAL),
        "sets.contains" | "sets.intersects" => 1 + first * second,
        "sets.equivalent" => 1 + 2 * first * second,
        "sort" | "sortBy" | "distinct" => 1 + first * u64::from(first.max(1).ilog2() + 1),
        "isSorted" | "sum" | "max" | "min" => traversal(args.first()),
        "indexOf" | "lastIndexOf" => traversal(args.first()),
        "validate" => matching(second, 60),
        _ => return None,
    })
}

/// What looking at a list or a text as a whole costs.
fn traversal(value: Option<&Value<'_>>) -> u64 {
    let each = |element: &Value<'_>| match element {
        Value::String(_) | Value::Bytes(_) => 1 + part(size(Some(element)), TRAVERSAL),
        _ => 1,
    };
    match value {
        Some(Value::String(text)) => part(text.len() as u64, TRAVERSAL),
        Some(value) => value.elements().into_iter().flatten().map(|element| each(&element)).sum(),
        None => 1,
    }
}

/// What a call costs.
pub(super) fn of_call(function: &str, args: &[Value<'_>], result: Option<&Value<'_>>) -> u64 {
    let first = size(args.first());
    match function {
        "check" => CHECK,
        "fieldSelector" | "labelSelector" => {
            let length = size(args.get(1));
            LIST + part(length, TRAVERSAL) + part(part(length, 0.5), 50.0)
        }
        "startsWith" | "endsWith" => part(size(args.get(1)), TRAVERSAL),
        "bytes"
        | "url"
        | "isURL"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isCIDR"
        | "isIP"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => part(first, TRAVERSAL),
        "string" if matches!(args.first(), Some(Value::Bytes(_))) => part(first, TRAVERSAL),
        "ip" if matches!(args.first(), Some(Value::String(_))) => part(first, TRAVERSAL),
        "ip.isCanonical" => part(first, 2.0 * TRAVERSAL),
        "join" => part(size(result), 2.0 * TRAVERSAL),
        "format" => part(first, 0.1).max(1) + part(size(result), TRAVERSAL),
        "containsIP" | "containsCIDR" => 2 + part(size(args.get(1)), TRAVERSAL),
        "flatten" | "slice" | "reverse" | "lists.range" => 1 + result.map_or(0, |result| size(Some(result))),
        _ => 1,
    }
}

/// What an operator costs.
pub(super) fn of_operator(operator: Binary, left: &Value<'_>, right: &Value<'_>) -> u64 {
    match operator {
        Binary::In => {
            if matches!(right, Value::Map(_) | Value::MapOr(..) | Value::Json(serde_json::Value::Object(_), _)) {
                1
            } else {
                size(Some(right))
            }
        }
        Binary::Add => match left {
            Value::String(_) | Value::Bytes(_) => part(size(Some(left)) + size(Some(right)), TRAVERSAL),
            _ => part(size(Some(left)) + size(Some(right)), TRAVERSAL).max(1),
        },
        Binary::Equal | Binary::NotEqual => part(deep(left).min(deep(right)), TRAVERSAL).max(1),
        Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual => {
            part(size(Some(left)).min(size(Some(right))), TRAVERSAL).max(1)
        }
        _ => 1,
    }
}

/// The size of a value with everything in it, which is what comparing it looks at.
fn deep(value: &Value<'_>) -> u64 {
    match value {
        Value::Json(json, _) => json_size(json),
        value => size(Some(value)),
    }
}

fn json_size(json: &serde_json::Value) -> u64 {
    match json {
        serde_json::Value::String(text) => text.len() as u64,
        serde_json::Value::Array(list) => list.iter().map(json_size).sum::<u64>() + 1,
        serde_json::Value::Object(map) => map.values().map(json_size).sum::<u64>() + 1,
        _ => 1,
    }
}
