//! Quantities.

use crate::quantity::Quantity;

use super::super::EvalError;
use super::super::value::Value;
use super::Called;

const MALFORMED: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

pub(super) fn make<'a>(function: &str, text: &str) -> Called<'a> {
    let parsed = text.parse::<Quantity>();
    Some(match (function, parsed) {
        ("quantity", Ok(quantity)) => Ok(Value::Quantity(quantity)),
        ("quantity", Err(_)) => Err(EvalError::new(MALFORMED)),
        (_, parsed) => Ok(Value::Bool(parsed.is_ok())),
    })
}

/// The whole number that a quantity is, if it is one.
fn whole(quantity: &Quantity) -> Option<i64> {
    let value = quantity.value();
    (i128::from(value).to_string().parse::<Quantity>().ok()? == *quantity).then_some(value)
}

pub(super) fn call<'a>(quantity: &Quantity, function: &str, args: &[Value<'a>]) -> Called<'a> {
    let zero = || "0".parse::<Quantity>().ok();
    let other = match args {
        [] => None,
        [Value::Quantity(other)] => Some(*other),
        [Value::Int(number)] => Some(number.to_string().parse::<Quantity>().ok()?),
        _ => return None,
    };
    let sign = |ordering: std::cmp::Ordering| Value::Int(ordering as i64);
    Some(Ok(match (function, other) {
        ("sign", None) => sign(quantity.cmp(&zero()?)),
        ("isInteger", None) => Value::Bool(whole(quantity).is_some()),
        ("asInteger", None) => match whole(quantity) {
            Some(number) => Value::Int(number),
            None => return Some(Err(EvalError::new("cannot convert value to integer"))),
        },
        ("asApproximateFloat", None) => Value::Double(quantity.as_f64()),
        ("add", Some(other)) => Value::Quantity(*quantity + other),
        ("sub", Some(other)) => Value::Quantity(*quantity - other),
        ("isLessThan", Some(other)) => Value::Bool(*quantity < other),
        ("isGreaterThan", Some(other)) => Value::Bool(*quantity > other),
        ("compareTo", Some(other)) => sign(quantity.cmp(&other)),
        _ => return None,
    }))
}
