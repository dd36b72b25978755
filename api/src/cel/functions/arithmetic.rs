//! Operators.

use jiff::SignedDuration;

use super::super::EvalError;
use super::super::ast::Binary;
use super::super::value::Value;
use super::bounds;

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

fn overflow(kind: &str) -> EvalError {
    EvalError::new(format!("{kind} overflow"))
}

pub(in super::super) fn negate<'a>(value: &Value<'a>) -> Result<'a> {
    match value {
        Value::Int(number) => number.checked_neg().map(Value::Int).ok_or_else(|| overflow("integer")),
        Value::Double(number) => Ok(Value::Double(-number)),
        Value::Duration(length) => length.checked_neg().map(Value::Duration).ok_or_else(|| overflow("duration")),
        _ => Err(EvalError::no_overload()),
    }
}

pub(in super::super) fn operate<'a>(operator: Binary, left: &Value<'a>, right: &Value<'a>) -> Result<'a> {
    match operator {
        Binary::Equal => Ok(Value::Bool(left.equals(right))),
        Binary::NotEqual => Ok(Value::Bool(!left.equals(right))),
        Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual => order(operator, left, right),
        Binary::In => contained(left, right),
        _ => calculate(operator, left, right),
    }
}

fn order<'a>(operator: Binary, left: &Value<'a>, right: &Value<'a>) -> Result<'a> {
    let numeric = |value: &Value<'_>| matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_));
    let Some(ordering) = left.compare(right) else {
        // Nothing is ordered with what is not a number.
        let both = numeric(left) && numeric(right);
        return if both { Ok(Value::Bool(false)) } else { Err(EvalError::no_overload()) };
    };
    Ok(Value::Bool(match operator {
        Binary::Less => ordering.is_lt(),
        Binary::LessEqual => ordering.is_le(),
        Binary::Greater => ordering.is_gt(),
        _ => ordering.is_ge(),
    }))
}

fn contained<'a>(value: &Value<'a>, collection: &Value<'a>) -> Result<'a> {
    if let Some(elements) = collection.elements() {
        return Ok(Value::Bool(elements.iter().any(|element| element.equals(value))));
    }
    if let Value::MapOr(entries, _) = collection {
        return Ok(Value::Bool(entries.contains_key(&value.key()?)));
    }
    if collection.entries().is_some() {
        return Ok(Value::Bool(collection.at(value)?.is_some()));
    }
    Err(EvalError::no_overload())
}

fn calculate<'a>(operator: Binary, left: &Value<'a>, right: &Value<'a>) -> Result<'a> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => int(operator, *a, *b),
        (Value::Uint(a), Value::Uint(b)) => uint(operator, *a, *b),
        (Value::Double(a), Value::Double(b)) => double(operator, *a, *b),
        _ if operator == Binary::Add => add(left, right),
        _ if operator == Binary::Subtract => subtract(left, right),
        _ => Err(EvalError::no_overload()),
    }
}

fn int<'a>(operator: Binary, a: i64, b: i64) -> Result<'a> {
    let result = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide if b == 0 => return Err(EvalError::new("division by zero")),
        Binary::Divide => a.checked_div(b),
        Binary::Remainder if b == 0 => return Err(EvalError::new("modulus by zero")),
        Binary::Remainder => a.checked_rem(b),
        _ => return Err(EvalError::no_overload()),
    };
    result.map(Value::Int).ok_or_else(|| overflow("integer"))
}

fn uint<'a>(operator: Binary, a: u64, b: u64) -> Result<'a> {
    let result = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide if b == 0 => return Err(EvalError::new("division by zero")),
        Binary::Divide => a.checked_div(b),
        Binary::Remainder if b == 0 => return Err(EvalError::new("modulus by zero")),
        Binary::Remainder => a.checked_rem(b),
        _ => return Err(EvalError::no_overload()),
    };
    result.map(Value::Uint).ok_or_else(|| overflow("unsigned integer"))
}

fn double<'a>(operator: Binary, a: f64, b: f64) -> Result<'a> {
    Ok(Value::Double(match operator {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        _ => return Err(EvalError::no_overload()),
    }))
}

fn add<'a>(left: &Value<'a>, right: &Value<'a>) -> Result<'a> {
    match (left, right) {
        (Value::String(a), Value::String(b)) => {
            bounds::text(a.len().saturating_add(b.len()))?;
            Ok(Value::text(format!("{}{}", &**a, &**b)))
        }
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes([&**a, &**b].concat().into())),
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(|| overflow("duration"))
        }
        (Value::Timestamp(at), Value::Duration(length)) | (Value::Duration(length), Value::Timestamp(at)) => {
            at.checked_add(*length).map(Value::Timestamp).map_err(|_| overflow("timestamp"))
        }
        (a, b) => match (a.elements(), b.elements()) {
            (Some(mut a), Some(b)) => {
                bounds::list(a.len().saturating_add(b.len()))?;
                a.extend(b);
                Ok(Value::list(a))
            }
            _ => Err(EvalError::no_overload()),
        },
    }
}

fn subtract<'a>(left: &Value<'a>, right: &Value<'a>) -> Result<'a> {
    match (left, right) {
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(|| overflow("duration"))
        }
        (Value::Timestamp(at), Value::Duration(length)) => {
            at.checked_sub(*length).map(Value::Timestamp).map_err(|_| overflow("timestamp"))
        }
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            let nanos = i64::try_from(a.as_nanosecond() - b.as_nanosecond()).map_err(|_| overflow("duration"))?;
            Ok(Value::Duration(SignedDuration::from_nanos(nanos)))
        }
        _ => Err(EvalError::no_overload()),
    }
}
