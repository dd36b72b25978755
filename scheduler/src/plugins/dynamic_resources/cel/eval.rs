//! From expression to value.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use kubewright_api::quantity::Quantity;

use super::{Expression, Value};
use crate::object::{Attribute, Device};

/// A device as expressions see it.
pub(super) fn device(driver: &str, device: &Device) -> Value {
    let mut attributes: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    let mut capacity: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    let place = |name: &str| match name.split_once('/') {
        Some((domain, name)) => (domain.to_owned(), name.to_owned()),
        None => (driver.to_owned(), name.to_owned()),
    };
    for (name, attribute) in &device.attributes {
        let (domain, name) = place(name);
        let value = match attribute {
            Attribute::Bool(value) => Value::Bool(*value),
            Attribute::Int(value) => Value::Int(*value),
            Attribute::Text(value) => Value::Text(value.as_str().into()),
            Attribute::Version(value) => version(value).unwrap_or(Value::Null),
        };
        attributes.entry(domain).or_default().insert(name, value);
    }
    for (name, amount) in &device.capacity {
        let (domain, name) = place(name);
        capacity.entry(domain).or_default().insert(name, Value::Quantity(*amount));
    }
    let domains = |all: BTreeMap<String, BTreeMap<String, Value>>| {
        Value::Domains(Arc::new(
            all.into_iter().map(|(domain, values)| (domain, Value::Map(Arc::new(values)))).collect(),
        ))
    };
    let members = [
        ("driver".to_owned(), Value::Text(driver.into())),
        ("attributes".to_owned(), domains(attributes)),
        ("capacity".to_owned(), domains(capacity)),
        ("allowMultipleAllocations".to_owned(), Value::Bool(false)),
    ];
    Value::Map(Arc::new(members.into_iter().collect()))
}

/// Names and what they stand for.
pub(super) struct Scope<'a> {
    device: &'a Value,
    bound: Vec<(String, Value)>,
}

type Found = Result<Value, String>;

fn overload(name: &str) -> String {
    format!("no such overload: {name}")
}

impl<'a> Scope<'a> {
    pub(super) const fn new(device: &'a Value) -> Self {
        Self { device, bound: Vec::new() }
    }

    pub(super) fn value(&mut self, expression: &Expression) -> Found {
        match expression {
            Expression::Literal(value) => Ok(value.clone()),
            Expression::Name(name) => self.named(name),
            Expression::Member(of, name) => member(&self.value(of)?, name),
            Expression::Index(of, index) => {
                let (of, index) = (self.value(of)?, self.value(index)?);
                element(&of, &index)
            }
            Expression::Not(of) => match self.value(of)? {
                Value::Bool(value) => Ok(Value::Bool(!value)),
                _ => Err(overload("!")),
            },
            Expression::Negative(of) => match self.value(of)? {
                Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(|| "integer overflow".to_owned()),
                Value::Double(value) => Ok(Value::Double(-value)),
                _ => Err(overload("-")),
            },
            Expression::If(condition, yes, no) => match self.value(condition)? {
                Value::Bool(true) => self.value(yes),
                Value::Bool(false) => self.value(no),
                _ => Err(overload("?:")),
            },
            Expression::List(items) => {
                Ok(Value::List(items.iter().map(|item| self.value(item)).collect::<Result<Arc<[_]>, _>>()?))
            }
            Expression::Binary("&&", left, right) => self.logic(left, right, false),
            Expression::Binary("||", left, right) => self.logic(left, right, true),
            Expression::Binary(mark, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                operate(mark, &left, &right)
            }
            Expression::Call(target, name, arguments) => self.call(target.as_deref(), name, arguments),
        }
    }

    fn named(&self, name: &str) -> Found {
        let bound = self.bound.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.clone());
        bound
            .or_else(|| (name == "device").then(|| self.device.clone()))
            .ok_or_else(|| format!("undeclared reference to '{name}'"))
    }

    /// Either side alone decides if it is `decisive`, whatever is wrong with the other.
    fn logic(&mut self, left: &Expression, right: &Expression, decisive: bool) -> Found {
        let is = |found: &Found, wanted: bool| matches!(found, Ok(Value::Bool(value)) if *value == wanted);
        let left = self.value(left);
        if is(&left, decisive) {
            return left;
        }
        let right = self.value(right);
        if is(&right, decisive) || is(&left, !decisive) {
            return match right {
                Ok(Value::Bool(_)) | Err(_) => right,
                Ok(_) => Err(overload(if decisive { "||" } else { "&&" })),
            };
        }
        left.and_then(|_| Err(overload(if decisive { "||" } else { "&&" })))
    }

    fn call(&mut self, target: Option<&Expression>, name: &str, arguments: &[Expression]) -> Found {
        match (target, name, arguments) {
            (None, "has", [Expression::Member(of, name)]) => Ok(Value::Bool(member(&self.value(of)?, name).is_ok())),
            (Some(Expression::Name(own)), "bind", [Expression::Name(name), value, body]) if own == "cel" => {
                let value = self.value(value)?;
                self.bound.push((name.clone(), value));
                let found = self.value(body);
                self.bound.pop();
                found
            }
            (Some(of), "exists" | "all", [Expression::Name(item), body]) => {
                let Value::List(items) = self.value(of)? else { return Err(overload(name)) };
                self.quantify(&items, item, body, name == "exists")
            }
            (target, name, arguments) => {
                let target = target.map(|target| self.value(target)).transpose()?;
                let values: Vec<Value> = arguments.iter().map(|a| self.value(a)).collect::<Result<_, _>>()?;
                let all: Vec<&Value> = target.iter().chain(&values).collect();
                function(name, &all)
            }
        }
    }

    fn quantify(&mut self, items: &[Value], name: &str, body: &Expression, decisive: bool) -> Found {
        let mut failed = None;
        for item in items {
            self.bound.push((name.to_owned(), item.clone()));
            let found = self.value(body);
            self.bound.pop();
            match found {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failed = Some(overload("exists or all")),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(Value::Bool(!decisive)), Err)
    }
}

fn member(of: &Value, name: &str) -> Found {
    match of {
        Value::Map(map) => map.get(name).cloned().ok_or_else(|| format!("no such key: {name}")),
        _ => Err(overload(&format!(".{name}"))),
    }
}

fn element(of: &Value, index: &Value) -> Found {
    match (of, index) {
        (Value::Map(_), Value::Text(key)) => member(of, key),
        (Value::Domains(all), Value::Text(domain)) => {
            Ok(all.get(&**domain).cloned().unwrap_or_else(|| Value::Map(Arc::default())))
        }
        (Value::List(items), Value::Int(at)) => {
            let item = usize::try_from(*at).ok().and_then(|at| items.get(at));
            item.cloned().ok_or_else(|| format!("index out of bounds: {at}"))
        }
        _ => Err(overload("[]")),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    #[allow(clippy::cast_precision_loss, reason = "as the language compares integers with floating point numbers")]
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
        (Value::Double(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Quantity(a), Value::Quantity(b)) => Some(a.cmp(b)),
        (Value::Version(a, before), Value::Version(b, other)) => Some(a.cmp(b).then_with(|| releases(before, other))),
        _ => None,
    }
}

/// A version without a pre-release part comes after those with one.
fn releases(a: &str, b: &str) -> Ordering {
    a.is_empty().cmp(&b.is_empty()).then_with(|| a.cmp(b))
}

fn operate(mark: &str, left: &Value, right: &Value) -> Found {
    let compared = |wanted: fn(Ordering) -> bool| {
        order(left, right).map(|order| Value::Bool(wanted(order))).ok_or_else(|| overload(mark))
    };
    match mark {
        "==" => Ok(Value::Bool(order(left, right).map_or_else(|| left == right, Ordering::is_eq))),
        "!=" => Ok(Value::Bool(order(left, right).map_or_else(|| left != right, Ordering::is_ne))),
        "<" => compared(Ordering::is_lt),
        "<=" => compared(Ordering::is_le),
        ">" => compared(Ordering::is_gt),
        ">=" => compared(Ordering::is_ge),
        "in" => match (left, right) {
            (item, Value::List(items)) => Ok(Value::Bool(items.contains(item))),
            (Value::Text(key), Value::Map(map) | Value::Domains(map)) => Ok(Value::Bool(map.contains_key(&**key))),
            _ => Err(overload("in")),
        },
        _ => compute(mark, left, right),
    }
}

fn compute(mark: &str, left: &Value, right: &Value) -> Found {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) if mark == "+" => Ok(Value::Text(format!("{a}{b}").into())),
        (Value::Int(a), Value::Int(b)) => {
            let result = match mark {
                "+" => a.checked_add(*b),
                "-" => a.checked_sub(*b),
                "*" => a.checked_mul(*b),
                _ if *b == 0 => return Err("division by zero".to_owned()),
                "/" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            result.map(Value::Int).ok_or_else(|| "integer overflow".to_owned())
        }
        (Value::Double(a), Value::Double(b)) => match mark {
            "+" => Ok(Value::Double(a + b)),
            "-" => Ok(Value::Double(a - b)),
            "*" => Ok(Value::Double(a * b)),
            "/" => Ok(Value::Double(a / b)),
            _ => Err(overload(mark)),
        },
        _ => Err(overload(mark)),
    }
}

fn version(text: &str) -> Option<Value> {
    let (text, _) = text.split_once('+').unwrap_or((text, ""));
    let (numbers, release) = text.split_once('-').unwrap_or((text, ""));
    let numbers: Vec<u64> = numbers.split('.').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    Some(Value::Version(numbers.try_into().ok()?, release.into()))
}

fn count(length: usize) -> Value {
    Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
}

fn function(name: &str, arguments: &[&Value]) -> Found {
    let sign = |order: Ordering| Value::Int(order as i64);
    match (name, arguments) {
        ("size", [Value::Text(text)]) => Ok(count(text.chars().count())),
        ("size", [Value::List(items)]) => Ok(count(items.len())),
        ("size", [Value::Map(map) | Value::Domains(map)]) => Ok(count(map.len())),
        ("startsWith", [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.starts_with(&**part))),
        ("endsWith", [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.ends_with(&**part))),
        ("contains", [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.contains(&**part))),
        ("lowerAscii", [Value::Text(text)]) => Ok(Value::Text(text.to_ascii_lowercase().into())),
        ("upperAscii", [Value::Text(text)]) => Ok(Value::Text(text.to_ascii_uppercase().into())),
        ("isQuantity", [Value::Text(text)]) => Ok(Value::Bool(text.parse::<Quantity>().is_ok())),
        ("quantity", [Value::Text(text)]) => {
            text.parse().map(Value::Quantity).map_err(|_| format!("{text:?} is not a quantity"))
        }
        ("isSemver", [Value::Text(text)]) => Ok(Value::Bool(version(text).is_some())),
        ("semver", [Value::Text(text)]) => version(text).ok_or_else(|| format!("{text:?} is not a semantic version")),
        ("major", [Value::Version(numbers, _)]) => Ok(Value::Int(i64::try_from(numbers[0]).unwrap_or(i64::MAX))),
        ("minor", [Value::Version(numbers, _)]) => Ok(Value::Int(i64::try_from(numbers[1]).unwrap_or(i64::MAX))),
        ("patch", [Value::Version(numbers, _)]) => Ok(Value::Int(i64::try_from(numbers[2]).unwrap_or(i64::MAX))),
        ("compareTo", [a, b]) => order(a, b).map(sign).ok_or_else(|| overload(name)),
        ("isGreaterThan", [a, b]) => order(a, b).map(|o| Value::Bool(o.is_gt())).ok_or_else(|| overload(name)),
        ("isLessThan", [a, b]) => order(a, b).map(|o| Value::Bool(o.is_lt())).ok_or_else(|| overload(name)),
        ("asInteger" | "int", [Value::Quantity(amount)]) => Ok(Value::Int(amount.value())),
        ("int", [Value::Int(value)]) => Ok(Value::Int(*value)),
        ("string", [Value::Int(value)]) => Ok(Value::Text(value.to_string().into())),
        ("string", [Value::Text(text)]) => Ok(Value::Text(text.clone())),
        ("matches", _) => Err("regular expressions are not supported in device selectors".to_owned()),
        _ => Err(overload(name)),
    }
}
