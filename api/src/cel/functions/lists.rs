//! Functions of lists and sets.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::super::EvalError;
use super::super::ast::Binary;
use super::super::value::Value;
use super::{Called, arithmetic, bounds, strings};

pub(super) fn call<'a>(list: &[Value<'a>], function: &str, args: &[Value<'a>]) -> Called<'a> {
    match (function, args) {
        ("isSorted", []) => {
            let sorted = list.windows(2).all(|pair| pair[0].compare(&pair[1]).is_some_and(Ordering::is_le));
            Some(Ok(Value::Bool(sorted)))
        }
        ("sum", []) => Some(sum(list)),
        ("min" | "max", []) => Some(extreme(list, function)),
        ("indexOf", [value]) => Some(Ok(place(list.iter().position(|element| element.equals(value))))),
        ("lastIndexOf", [value]) => Some(Ok(place(list.iter().rposition(|element| element.equals(value))))),
        ("join", []) => strings::join(list, ""),
        ("join", [Value::String(separator)]) => strings::join(list, separator),
        ("reverse", []) => Some(Ok(Value::list(list.iter().rev().cloned().collect()))),
        ("slice", [Value::Int(start), Value::Int(end)]) => Some(slice(list, *start, *end)),
        ("flatten", []) => Some(flat(list, 1)),
        ("flatten", [Value::Int(depth)]) => Some(match usize::try_from(*depth) {
            Ok(depth) => flat(list, depth),
            Err(_) => Err(EvalError::new("level must be non-negative")),
        }),
        ("distinct", []) => Some(Ok(Value::list(distinct(list)))),
        ("sort", []) => {
            let mut sorted = list.to_vec();
            if list.windows(2).any(|pair| pair[0].compare(&pair[1]).is_none()) {
                return Some(Err(EvalError::new("list elements must be comparable")));
            }
            sorted.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
            Some(Ok(Value::list(sorted)))
        }
        ("first", []) => Some(Ok(Value::Optional(list.first().map(|value| value.clone().into())))),
        ("last", []) => Some(Ok(Value::Optional(list.last().map(|value| value.clone().into())))),
        _ => None,
    }
}

fn place<'a>(at: Option<usize>) -> Value<'a> {
    Value::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn sum<'a>(list: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
    let Some((first, rest)) = list.split_first() else { return Ok(Value::Int(0)) };
    rest.iter().try_fold(first.clone(), |sum, value| arithmetic::operate(Binary::Add, &sum, value))
}

fn extreme<'a>(list: &[Value<'a>], function: &str) -> Result<Value<'a>, EvalError> {
    let wanted = if function == "min" { Ordering::Less } else { Ordering::Greater };
    let Some((first, rest)) = list.split_first() else {
        return Err(EvalError::new(format!("{function} called on empty list")));
    };
    rest.iter().try_fold(first.clone(), |best, value| match value.compare(&best) {
        Some(ordering) if ordering == wanted => Ok(value.clone()),
        Some(_) => Ok(best),
        None => Err(EvalError::no_overload()),
    })
}

fn slice<'a>(list: &[Value<'a>], start: i64, end: i64) -> Result<Value<'a>, EvalError> {
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(from), Ok(to)) if from > to => Err(EvalError::new(format!(
            "cannot slice({start}, {end}), start index must be less than or equal to end index"
        ))),
        (Ok(_), Ok(to)) if to > list.len() => {
            Err(EvalError::new(format!("cannot slice({start}, {end}), list is length {}", list.len())))
        }
        (Ok(from), Ok(to)) => Ok(Value::list(list[from..to].to_vec())),
        _ => Err(EvalError::new(format!("cannot slice({start}, {end}), negative indexes not supported"))),
    }
}

fn flat<'a>(list: &[Value<'a>], depth: usize) -> Result<Value<'a>, EvalError> {
    let mut flat = Vec::new();
    flatten(list, depth, &mut flat)?;
    Ok(Value::list(flat))
}

fn flatten<'a>(list: &[Value<'a>], depth: usize, flat: &mut Vec<Value<'a>>) -> Result<(), EvalError> {
    for value in list {
        match value.elements() {
            Some(inner) if depth > 0 => flatten(&inner, depth - 1, flat)?,
            _ => flat.push(value.clone()),
        }
        bounds::list(flat.len())?;
    }
    Ok(())
}

/// The first of each. Texts are looked up, for lists of them can be long; others are compared one by one.
fn distinct<'a>(list: &[Value<'a>]) -> Vec<Value<'a>> {
    let mut texts: BTreeSet<&str> = BTreeSet::new();
    let (mut others, mut seen): (Vec<&Value<'a>>, Vec<Value<'a>>) = (Vec::new(), Vec::new());
    for value in list {
        let new = match value {
            Value::String(text) => texts.insert(text),
            other => {
                let new = !others.iter().any(|known| known.equals(other));
                others.extend(new.then_some(other));
                new
            }
        };
        if new {
            seen.push(value.clone());
        }
    }
    seen
}

/// Functions that are called by a qualified name.
pub(super) fn global<'a>(function: &str, args: &[Value<'a>]) -> Called<'a> {
    if let ("lists.range", [Value::Int(count)]) = (function, args) {
        if *count > 100_000 {
            return Some(Err(EvalError::new("lists.range() of more than 100000 elements")));
        }
        return Some(Ok(Value::list((0..*count).map(Value::Int).collect())));
    }
    let [a, b] = args else { return None };
    let (a, b) = (a.elements()?, b.elements()?);
    let within = |inner: &[Value<'a>], outer: &[Value<'a>]| {
        inner.iter().all(|value| outer.iter().any(|other| other.equals(value)))
    };
    let truth = match function {
        "sets.contains" => within(&b, &a),
        "sets.equivalent" => within(&a, &b) && within(&b, &a),
        "sets.intersects" => a.iter().any(|value| b.iter().any(|other| other.equals(value))),
        _ => return None,
    };
    Some(Ok(Value::Bool(truth)))
}
