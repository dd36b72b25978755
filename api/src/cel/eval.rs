//! Running an expression.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Binary, Expr, Fold, FoldKind, Literal, Node};
use super::value::{Key, Text, Value};
use super::{Budget, EvalError, cost, functions};

/// Names and what they stand for, innermost last.
pub(super) struct Scope<'s, 'a> {
    variables: &'s [(&'s str, Value<'a>)],
    locals: Vec<(String, Value<'a>)>,
    budget: &'s mut Budget,
}

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

impl<'s, 'a> Scope<'s, 'a> {
    pub(super) fn new(variables: &'s [(&'s str, Value<'a>)], budget: &'s mut Budget) -> Self {
        Self { variables, locals: Vec::new(), budget }
    }

    pub(super) fn eval(&mut self, node: &Node) -> Result<'a> {
        match &node.expr {
            Expr::Literal(literal) => Ok(literal_value(literal)),
            Expr::Ident(name) => self.ident(name),
            Expr::Select { operand, field, optional } => self.select(operand, field, *optional),
            Expr::Has { operand, field } => self.has(operand, field),
            Expr::Index { operand, index, optional } => self.index(operand, index, *optional),
            Expr::Call { target, function, args } => self.call(target.as_deref(), function, args),
            Expr::Not(node) => match self.eval(node)? {
                Value::Bool(truth) => self.paid(1, Value::Bool(!truth)),
                _ => Err(EvalError::no_overload()),
            },
            Expr::Negate(node) => {
                let value = self.eval(node)?;
                self.paid(1, functions::arithmetic::negate(&value)?)
            }
            Expr::Binary(operator, left, right) => self.binary(*operator, left, right),
            Expr::And(nodes) => self.junction(nodes, false),
            Expr::Or(nodes) => self.junction(nodes, true),
            Expr::Conditional(nodes) => match self.eval(&nodes[0])? {
                Value::Bool(true) => self.eval(&nodes[1]),
                Value::Bool(false) => self.eval(&nodes[2]),
                _ => Err(EvalError::no_overload()),
            },
            Expr::List(nodes) => self.list(nodes),
            Expr::Map(entries) => {
                let entries = self.map(entries)?;
                self.paid(cost::MAP, Value::Map(Arc::new(entries)))
            }
            Expr::Object { name, entries } => {
                let fields = self.map(entries)?;
                self.paid(cost::OBJECT, Value::Object(name.as_str().into(), Arc::new(fields)))
            }
            Expr::Fold(fold) => self.fold(fold),
            Expr::Bind { name, value, body } => {
                let value = self.eval(value)?;
                self.with(name, value, body)
            }
            Expr::OptMap { operand, name, body, flat } => match self.eval(operand)? {
                Value::Optional(Some(value)) => {
                    let mapped = self.with(name, (*value).clone(), body)?;
                    Ok(if *flat { mapped } else { Value::some(mapped) })
                }
                Value::Optional(None) => Ok(Value::Optional(None)),
                _ => Err(EvalError::no_overload()),
            },
        }
    }

    fn paid(&mut self, cost: u64, value: Value<'a>) -> Result<'a> {
        self.budget.spend(cost)?;
        Ok(value)
    }

    fn with(&mut self, name: &str, value: Value<'a>, body: &Node) -> Result<'a> {
        self.locals.push((name.to_owned(), value));
        let result = self.eval(body);
        self.locals.pop();
        result
    }

    fn ident(&mut self, name: &str) -> Result<'a> {
        self.budget.spend(1)?;
        if let Some((_, value)) = self.locals.iter().rev().find(|(known, _)| known == name) {
            return Ok(value.clone());
        }
        if let Some((_, value)) = self.variables.iter().find(|(known, _)| *known == name) {
            return Ok(value.clone());
        }
        match functions::signatures::type_of_name(name) {
            Some(name) => Ok(Value::Type(name.into())),
            None => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        }
    }

    fn field(&mut self, operand: &Value<'a>, field: &str) -> std::result::Result<Option<Value<'a>>, EvalError> {
        match operand {
            Value::Host(host) => host.field(field, self.budget).transpose(),
            operand => operand.field(field),
        }
    }

    fn select(&mut self, operand: &Node, field: &str, optional: bool) -> Result<'a> {
        let value = self.eval(operand)?;
        self.budget.spend(1)?;
        if let Value::Optional(inner) = &value {
            let Some(inner) = inner else { return Ok(Value::Optional(None)) };
            return Ok(Value::Optional(self.field(inner, field)?.map(Arc::new)));
        }
        match self.field(&value, field)? {
            found if optional => Ok(Value::Optional(found.map(Arc::new))),
            Some(found) => Ok(found),
            None => Err(EvalError::no_key(field)),
        }
    }

    fn has(&mut self, operand: &Node, field: &str) -> Result<'a> {
        let value = self.eval(operand)?;
        self.budget.spend(1)?;
        let value = match &value {
            Value::Optional(Some(inner)) => (**inner).clone(),
            Value::Optional(None) => return Ok(Value::Bool(false)),
            value => value.clone(),
        };
        Ok(Value::Bool(self.field(&value, field)?.is_some()))
    }

    fn index(&mut self, operand: &Node, index: &Node, optional: bool) -> Result<'a> {
        let value = self.eval(operand)?;
        let index = self.eval(index)?;
        self.budget.spend(1)?;
        let (value, optional) = match &value {
            Value::Optional(Some(inner)) => ((**inner).clone(), true),
            Value::Optional(None) => return Ok(Value::Optional(None)),
            value => (value.clone(), optional),
        };
        match value.at(&index)? {
            found if optional => Ok(Value::Optional(found.map(Arc::new))),
            Some(found) => Ok(found),
            None if value.elements().is_some() => Err(EvalError::new(format!("index out of bounds: {index:?}"))),
            None => match &index {
                Value::String(key) => Err(EvalError::no_key(&**key)),
                index => Err(EvalError::no_key(format!("{index:?}"))),
            },
        }
    }

    fn call(&mut self, target: Option<&Node>, function: &str, args: &[Node]) -> Result<'a> {
        // What an optional falls back on is looked at only if need be.
        if let (Some(target), "or" | "orValue", [fallback]) = (target, function, args) {
            return match self.eval(target)? {
                Value::Optional(Some(value)) if function == "orValue" => self.paid(1, (*value).clone()),
                Value::Optional(Some(value)) => self.paid(1, Value::Optional(Some(value))),
                Value::Optional(None) => self.eval(fallback),
                _ => Err(EvalError::no_overload()),
            };
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for node in target.into_iter().chain(args) {
            values.push(self.eval(node)?);
        }
        if let (Some(_), [Value::Host(host), rest @ ..]) = (target, values.as_slice()) {
            let called = host.call(function, rest);
            self.budget.spend(cost::of_call(function, &values, None))?;
            return called.unwrap_or_else(|| Err(EvalError::no_overload()));
        }
        if let Some(cost) = cost::before_call(function, &values) {
            self.budget.spend(cost)?;
            return functions::call(target.is_some(), function, &values);
        }
        let result = functions::call(target.is_some(), function, &values)?;
        self.budget.spend(cost::of_call(function, &values, Some(&result)))?;
        Ok(result)
    }

    fn binary(&mut self, operator: Binary, left: &Node, right: &Node) -> Result<'a> {
        let left = self.eval(left)?;
        let right = self.eval(right)?;
        self.budget.spend(cost::of_operator(operator, &left, &right))?;
        functions::arithmetic::operate(operator, &left, &right)
    }

    /// `&&` and `||`: one operand may decide whatever the others are, errors too.
    fn junction(&mut self, nodes: &[Node], decides: bool) -> Result<'a> {
        let mut failed = None;
        for (place, node) in nodes.iter().enumerate() {
            match self.eval(node) {
                Ok(Value::Bool(truth)) if truth == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failed = failed.or_else(|| Some(EvalError::no_overload())),
                Err(error) if error.over_budget => return Err(error),
                Err(error) => failed = failed.or(Some(error)),
            }
            if place > 0 {
                self.budget.spend(1)?;
            }
        }
        failed.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn list(&mut self, nodes: &[(bool, Node)]) -> Result<'a> {
        let mut list = Vec::with_capacity(nodes.len());
        for (optional, node) in nodes {
            match (self.eval(node)?, optional) {
                (Value::Optional(value), true) => list.extend(value.map(|value| (*value).clone())),
                (_, true) => return Err(EvalError::no_overload()),
                (value, false) => list.push(value),
            }
        }
        self.paid(cost::LIST, Value::list(list))
    }

    fn map(&mut self, entries: &[(bool, Node, Node)]) -> std::result::Result<BTreeMap<Key, Value<'a>>, EvalError> {
        let mut map = BTreeMap::new();
        for (optional, key, value) in entries {
            let key = self.eval(key)?.key()?;
            let value = match (self.eval(value)?, optional) {
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (Value::Optional(None), true) => continue,
                (_, true) => return Err(EvalError::no_overload()),
                (value, false) => value,
            };
            insert(&mut map, key, value)?;
        }
        Ok(map)
    }

    fn fold(&mut self, fold: &Fold) -> Result<'a> {
        let range = self.eval(&fold.range)?;
        let items: Vec<(Value<'a>, Value<'a>)> = match (range.elements(), range.entries()) {
            (Some(elements), _) => (0..).map(Value::Int).zip(elements).collect(),
            (None, Some(entries)) => entries,
            _ => return Err(EvalError::no_overload()),
        };
        let over_map = range.entries().is_some();
        let mut state = FoldState::default();
        for (key, value) in items {
            let depth = self.locals.len();
            match fold.names.as_slice() {
                [name] => self.locals.push((name.clone(), if over_map { key.clone() } else { value })),
                [first, second, ..] => {
                    self.locals.push((first.clone(), key.clone()));
                    self.locals.push((second.clone(), value));
                }
                [] => {}
            }
            let done = self.step(fold, &key, &mut state);
            self.locals.truncate(depth);
            if done? {
                break;
            }
        }
        state.finish(fold.kind)
    }

    /// One element. Says whether the rest does not matter.
    fn step(
        &mut self,
        fold: &Fold,
        key: &Value<'a>,
        state: &mut FoldState<'a>,
    ) -> std::result::Result<bool, EvalError> {
        if let Some(filter) = &fold.filter {
            match self.eval(filter)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(false),
                _ => return Err(EvalError::no_overload()),
            }
        }
        // The loop's own operators, as upstream counts them.
        let overhead = match fold.kind {
            FoldKind::All | FoldKind::Exists => 2,
            FoldKind::ExistsOne => 1,
            _ => cost::LIST + 1,
        };
        self.budget.spend(overhead)?;
        let value = match (self.eval(&fold.body), fold.kind) {
            (Err(error), FoldKind::All | FoldKind::Exists) if !error.over_budget => {
                state.failed.get_or_insert(error);
                return Ok(false);
            }
            (value, _) => value?,
        };
        match (fold.kind, value) {
            (FoldKind::All | FoldKind::Exists, Value::Bool(truth)) => {
                let decided = truth == (fold.kind == FoldKind::Exists);
                state.decided |= decided;
                return Ok(decided);
            }
            (FoldKind::ExistsOne, Value::Bool(truth)) => state.count += usize::from(truth),
            (FoldKind::Filter, Value::Bool(truth)) => {
                if truth && let Some((_, element)) = self.locals.last() {
                    state.list.push(element.clone());
                }
            }
            (FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne | FoldKind::Filter, _) => {
                return Err(EvalError::no_overload());
            }
            (FoldKind::Map | FoldKind::TransformList, value) => state.list.push(value),
            (FoldKind::TransformMap, value) => insert(&mut state.map, key.key()?, value)?,
            (FoldKind::TransformMapEntry, value) => {
                for (key, value) in value.entries().ok_or_else(EvalError::no_overload)? {
                    insert(&mut state.map, key.key()?, value)?;
                }
            }
        }
        Ok(false)
    }
}

fn insert<'a>(map: &mut BTreeMap<Key, Value<'a>>, key: Key, value: Value<'a>) -> std::result::Result<(), EvalError> {
    if map.contains_key(&key) {
        return Err(EvalError::new(format!("insert failed: key {:?} already exists", key.value())));
    }
    map.insert(key, value);
    Ok(())
}

/// What a macro has found so far.
#[derive(Default)]
struct FoldState<'a> {
    decided: bool,
    failed: Option<EvalError>,
    count: usize,
    list: Vec<Value<'a>>,
    map: BTreeMap<Key, Value<'a>>,
}

impl<'a> FoldState<'a> {
    fn finish(self, kind: FoldKind) -> Result<'a> {
        match (kind, self.decided, self.failed) {
            (FoldKind::All | FoldKind::Exists, false, Some(error)) => Err(error),
            (FoldKind::All, decided, _) => Ok(Value::Bool(!decided)),
            (FoldKind::Exists, decided, _) => Ok(Value::Bool(decided)),
            (FoldKind::ExistsOne, ..) => Ok(Value::Bool(self.count == 1)),
            (FoldKind::Filter | FoldKind::Map | FoldKind::TransformList, ..) => Ok(Value::list(self.list)),
            (FoldKind::TransformMap | FoldKind::TransformMapEntry, ..) => Ok(Value::Map(Arc::new(self.map))),
        }
    }
}

fn literal_value<'a>(literal: &Literal) -> Value<'a> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(truth) => Value::Bool(*truth),
        Literal::Int(number) => Value::Int(*number),
        Literal::Uint(number) => Value::Uint(*number),
        Literal::Double(number) => Value::Double(*number),
        Literal::String(text) => Value::String(Text::Shared(text.as_str().into())),
        Literal::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}
