//! The functions that expressions may call: CEL's own, its extensions for strings, lists, sets and optionals, and
//! Kubernetes' libraries.

pub(super) mod arithmetic;
mod bounds;
mod convert;
pub mod format;
mod lists;
mod net;
mod quantity;
pub(super) mod semver;
pub(super) mod signatures;
mod strings;
mod times;
pub(super) mod urls;

use super::EvalError;
use super::value::Value;

/// What a call gives; `None` if the arguments are not of the types that the function takes.
type Called<'a> = Option<Result<Value<'a>, EvalError>>;

/// Calls a function; of a member function the first argument is the target.
pub(super) fn call<'a>(member: bool, function: &str, args: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
    let called = if member { member_call(function, args) } else { global_call(function, args) };
    called.unwrap_or_else(|| Err(EvalError::no_overload()))
}

fn member_call<'a>(function: &str, args: &[Value<'a>]) -> Called<'a> {
    if function == "size" {
        return size(args);
    }
    match args.first()? {
        Value::String(text) => strings::call(text, function, &args[1..]),
        Value::Timestamp(_) | Value::Duration(_) => times::call(function, args),
        Value::Optional(value) => optional(value.as_deref(), function),
        Value::Ip(_) | Value::Cidr(..) => net::call(function, args),
        Value::Url(url) => urls::call(url, function),
        Value::Quantity(quantity) => quantity::call(quantity, function, &args[1..]),
        Value::Semver(version) => semver::call(version, function, &args[1..]),
        Value::Format(format) => format::call(format, &args[1..]),
        list => lists::call(&list.elements()?, function, &args[1..]),
    }
}

fn global_call<'a>(function: &str, args: &[Value<'a>]) -> Called<'a> {
    match (function, args) {
        ("size", _) => size(args),
        ("dyn", [value]) => Some(Ok(value.clone())),
        ("type", [value]) => Some(Ok(Value::Type(value.type_name().into()))),
        ("matches", [Value::String(text), pattern]) => strings::call(text, "matches", std::slice::from_ref(pattern)),
        ("optional.none", []) => Some(Ok(Value::Optional(None))),
        ("optional.of", [value]) => Some(Ok(Value::some(value.clone()))),
        ("optional.ofNonZeroValue", [value]) => {
            Some(Ok(if is_zero(value) { Value::Optional(None) } else { Value::some(value.clone()) }))
        }
        ("strings.quote", [Value::String(text)]) => Some(Ok(Value::text(strings::quote(text)))),
        ("jsonpatch.escapeKey", [Value::String(text)]) => {
            Some(Ok(Value::text(text.replace('~', "~0").replace('/', "~1"))))
        }
        ("url" | "isURL", [Value::String(text)]) => urls::make(function, text),
        ("ip" | "isIP" | "ip.isCanonical" | "cidr" | "isCIDR", [Value::String(text)]) => net::make(function, text),
        ("quantity" | "isQuantity", [Value::String(text)]) => quantity::make(function, text),
        ("semver" | "isSemver", [Value::String(text), rest @ ..]) => semver::make(function, text, rest),
        ("format.named", [Value::String(name)]) => {
            let found = format::named(name);
            Some(Ok(Value::Optional(found.map(|format| Value::Format(format).into()))))
        }
        (name, []) if name.starts_with("format.") => {
            format::named(&name["format.".len()..]).map(|f| Ok(Value::Format(f)))
        }
        (name, args) if name.starts_with("sets.") || name.starts_with("lists.") => lists::global(name, args),
        (_, [value]) => convert::convert(function, value),
        _ => None,
    }
}

fn size<'a>(args: &[Value<'a>]) -> Called<'a> {
    let [value] = args else { return None };
    Some(Ok(Value::Int(i64::try_from(value.size()?).unwrap_or(i64::MAX))))
}

fn optional<'a>(value: Option<&Value<'a>>, function: &str) -> Called<'a> {
    match (function, value) {
        ("hasValue", value) => Some(Ok(Value::Bool(value.is_some()))),
        ("value", Some(value)) => Some(Ok(value.clone())),
        ("value", None) => Some(Err(EvalError::new("optional.none() dereference"))),
        _ => None,
    }
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Int(number) => *number == 0,
        Value::Uint(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::Duration(length) => length.is_zero(),
        value => value.size() == Some(0),
    }
}
