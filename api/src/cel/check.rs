//! Finding what cannot work before it runs: unknown names and fields, calls that fit no function.

mod fits;
mod operators;

use std::sync::Arc;

use super::Env;
use super::ast::{Binary, Expr, Fold, FoldKind, Literal, Node};
use super::functions::signatures::{self, Overload};
use super::parser::makes_object;
use super::types::Type;
use fits::{Bound, fits, resolve};
use operators::binary_type;

/// The type of an expression, and its faults with their places.
pub(super) fn check(root: &Node, env: &Env) -> (Type, Vec<(usize, String)>) {
    let locals = env.variables.clone();
    let mut checker = Checker { locals, faults: Vec::new(), makes_patches: env.makes_patches };
    let ty = checker.check(root);
    (ty, checker.faults)
}

struct Checker {
    locals: Vec<(String, Type)>,
    faults: Vec<(usize, String)>,
    makes_patches: bool,
}

impl Checker {
    fn fault(&mut self, at: usize, message: impl Into<String>) -> Type {
        self.faults.push((at, message.into()));
        Type::Dyn
    }

    fn check(&mut self, node: &Node) -> Type {
        match &node.expr {
            Expr::Literal(literal) => literal_type(literal),
            Expr::Ident(name) => self.ident(node.at, name),
            Expr::Select { operand, field, optional } => {
                let operand = self.check(operand);
                let ty = match operand == Type::authorizer() && field == "requestResource" {
                    true => Type::Named("kubernetes.authorization.ResourceCheck"),
                    false => self.field(node.at, &operand, field),
                };
                let already = matches!(operand, Type::Optional(_)) || *optional;
                if already && !matches!(ty, Type::Optional(_)) { Type::optional(ty) } else { ty }
            }
            Expr::Has { operand, field } => {
                let operand = self.check(operand);
                self.field(node.at, &operand, field);
                Type::Bool
            }
            Expr::Index { operand, index, optional } => self.index(node.at, operand, index, *optional),
            Expr::Call { target, function, args } => self.call(node.at, target.as_deref(), function, args),
            Expr::Not(inner) => self.unary(node.at, inner, "!_", &[Type::Bool]),
            Expr::Negate(inner) => self.unary(node.at, inner, "-_", &[Type::Int, Type::Double, Type::Duration]),
            Expr::Binary(operator, left, right) => self.binary(node.at, *operator, left, right),
            Expr::And(nodes) => self.junction(nodes, "_&&_"),
            Expr::Or(nodes) => self.junction(nodes, "_||_"),
            Expr::Conditional(nodes) => {
                let (condition, then, otherwise) =
                    (self.check(&nodes[0]), self.check(&nodes[1]), self.check(&nodes[2]));
                let mut bound = Bound::new();
                let parameter = Type::Parameter('A');
                let same = fits(&parameter, &then, &mut bound) && fits(&parameter, &otherwise, &mut bound);
                if same && fits(&Type::Bool, &condition, &mut bound) {
                    return resolve(&parameter, &bound);
                }
                self.no_overload(node.at, "_?_:_", None, &[condition, then, otherwise])
            }
            Expr::List(nodes) => self.list(nodes),
            Expr::Map(entries) => self.map(entries),
            Expr::Object { name, entries } => self.object(node.at, name, entries),
            Expr::Fold(fold) => self.fold(fold),
            Expr::Bind { name, value, body } => {
                let ty = self.check(value);
                self.with(vec![(name.clone(), ty)], |checker| checker.check(body))
            }
            Expr::OptMap { operand, name, body, flat } => {
                let inner = match self.check(operand) {
                    Type::Optional(inner) => (*inner).clone(),
                    _ => Type::Dyn,
                };
                let ty = self.with(vec![(name.clone(), inner)], |checker| checker.check(body));
                if *flat { ty } else { Type::optional(ty) }
            }
        }
    }

    fn with(&mut self, names: Vec<(String, Type)>, body: impl FnOnce(&mut Self) -> Type) -> Type {
        let depth = self.locals.len();
        self.locals.extend(names);
        let ty = body(self);
        self.locals.truncate(depth);
        ty
    }

    fn ident(&mut self, at: usize, name: &str) -> Type {
        if let Some((_, ty)) = self.locals.iter().rev().find(|(known, _)| known == name) {
            return ty.clone();
        }
        if signatures::type_of_name(name).is_some() {
            return Type::Type;
        }
        self.undeclared(at, name)
    }

    fn undeclared(&mut self, at: usize, name: &str) -> Type {
        self.fault(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn field(&mut self, at: usize, operand: &Type, field: &str) -> Type {
        match operand {
            Type::Object(object) => match object.fields.get(field) {
                Some(ty) => ty.clone(),
                // What an expression made may have any fields.
                None if makes_object(&object.name) && object.fields.is_empty() => Type::Dyn,
                None => self.fault(at, format!("undefined field '{field}'")),
            },
            Type::Map(key, value) if matches!(**key, Type::String | Type::Dyn | Type::Parameter(_)) => {
                (**value).clone()
            }
            Type::Optional(inner) => self.field(at, inner, field),
            Type::Dyn | Type::Parameter(_) => Type::Dyn,
            Type::Named(name) if name.starts_with("kubernetes.authorization.") => {
                self.fault(at, format!("unexpected failed resolution of '{name}'"))
            }
            other => self.fault(at, format!("type '{other}' does not support field selection")),
        }
    }

    fn index(&mut self, at: usize, operand: &Node, index: &Node, optional: bool) -> Type {
        let (operand, index) = (self.check(operand), self.check(index));
        let (inner, optional) = match &operand {
            Type::Optional(inner) => ((**inner).clone(), true),
            operand => (operand.clone(), optional),
        };
        let mut bound = Bound::new();
        let ty = match &inner {
            Type::List(element) if fits(&Type::Int, &index, &mut bound) => (**element).clone(),
            Type::Map(key, value) if fits(key, &index, &mut bound) => (**value).clone(),
            Type::Dyn | Type::Parameter(_) => Type::Dyn,
            _ => return self.no_overload(at, "_[_]", None, &[operand, index]),
        };
        if optional { Type::optional(ty) } else { ty }
    }

    fn unary(&mut self, at: usize, inner: &Node, operator: &str, wanted: &[Type]) -> Type {
        let ty = self.check(inner);
        if ty.is_dyn() || wanted.contains(&ty) {
            return if wanted.len() == 1 { wanted[0].clone() } else { ty };
        }
        self.no_overload(at, operator, None, &[ty])
    }

    fn binary(&mut self, at: usize, operator: Binary, left: &Node, right: &Node) -> Type {
        let (left, right) = (self.check(left), self.check(right));
        let found = binary_type(operator, &left, &right);
        found.unwrap_or_else(|| self.no_overload(at, operator.name(), None, &[left, right]))
    }

    fn junction(&mut self, nodes: &[Node], operator: &str) -> Type {
        for node in nodes {
            let ty = self.check(node);
            if !matches!(ty, Type::Bool | Type::Dyn | Type::Parameter(_)) {
                self.fault(node.at, format!("expected type 'bool' but found '{ty}' in '{operator}'"));
            }
        }
        Type::Bool
    }

    fn no_overload(&mut self, at: usize, function: &str, target: Option<&Type>, args: &[Type]) -> Type {
        let args: Vec<String> = args.iter().map(Type::to_string).collect();
        let target = target.map(|target| format!("{target}.")).unwrap_or_default();
        let message = format!("found no matching overload for '{function}' applied to '{target}({})'", args.join(", "));
        self.fault(at, message)
    }

    fn call(&mut self, at: usize, target: Option<&Node>, function: &str, args: &[Node]) -> Type {
        let target_type = target.map(|target| self.check(target));
        let arg_types: Vec<Type> = match args {
            // What is formatted may be of any types.
            [Node { expr: Expr::List(elements), .. }] if function == "format" => {
                elements.iter().for_each(|(_, element)| drop(self.check(element)));
                vec![Type::list(Type::Dyn)]
            }
            args => args.iter().map(|arg| self.check(arg)).collect(),
        };
        if target.is_some() && function == "sortBy" {
            return Type::Dyn;
        }
        let Some(overloads) = signatures::overloads(target.is_some(), function) else {
            return self.undeclared(at, function);
        };
        if let ("jsonpatch.escapeKey", false) = (function, self.makes_patches) {
            // Two names that nobody knows: what is before the dot, and the function.
            self.undeclared(at.saturating_sub(function.len()), "jsonpatch");
            return self.undeclared(at, "escapeKey");
        }
        let given: Vec<&Type> = target_type.iter().chain(&arg_types).collect();
        let results: Vec<Type> = overloads.iter().filter_map(|overload| apply(overload, &given)).collect();
        match results.as_slice() {
            [] => self.no_overload(at, function, target_type.as_ref(), &arg_types),
            [first, rest @ ..] => {
                if let (Some(Expr::Literal(Literal::String(pattern))), "matches" | "find" | "findAll") =
                    (args.last().map(|arg| &arg.expr), function)
                    && regex::Regex::new(pattern).is_err()
                {
                    return self.fault(at, format!("invalid matches argument: {pattern:?}"));
                }
                if rest.iter().all(|other| other == first) { first.clone() } else { Type::Dyn }
            }
        }
    }

    /// The one type of some nodes.
    fn common(&mut self, nodes: &[&Node]) -> Type {
        let mut common: Option<Type> = None;
        for node in nodes {
            let ty = self.check(node);
            match &common {
                None => common = Some(ty),
                Some(known) if known.is_dyn() || ty.is_dyn() => common = Some(Type::Dyn),
                Some(known) if *known == ty || fits(known, &ty, &mut Bound::new()) => {}
                Some(known) => {
                    let message = format!("expected type '{known}' but found '{ty}'");
                    self.fault(node.at, message);
                }
            }
        }
        common.unwrap_or(Type::Dyn)
    }

    fn list(&mut self, nodes: &[(bool, Node)]) -> Type {
        let plain: Vec<&Node> = nodes.iter().filter(|(optional, _)| !optional).map(|(_, node)| node).collect();
        for (_, node) in nodes.iter().filter(|(optional, _)| *optional) {
            self.check(node);
        }
        let mixed = plain.len() != nodes.len();
        let element = self.common(&plain);
        Type::list(if mixed { Type::Dyn } else { element })
    }

    fn map(&mut self, entries: &[(bool, Node, Node)]) -> Type {
        let keys: Vec<&Node> = entries.iter().map(|(_, key, _)| key).collect();
        let key = self.common(&keys);
        let values: Vec<&Node> = entries.iter().filter(|(optional, ..)| !optional).map(|(.., value)| value).collect();
        for (.., value) in entries.iter().filter(|(optional, ..)| *optional) {
            self.check(value);
        }
        let mixed = values.len() != entries.len();
        let value = self.common(&values);
        Type::Map(Arc::new(key), Arc::new(if mixed { Type::Dyn } else { value }))
    }

    /// An object that the expression makes: a JSON patch's fields are known, others' are anything.
    fn object(&mut self, at: usize, name: &str, entries: &[(bool, Node, Node)]) -> Type {
        if !(self.makes_patches && makes_object(name)) {
            return self.undeclared(at, name);
        }
        let patch = (name == "JSONPatch").then(Type::json_patch);
        for (_, key, value) in entries {
            let given = self.check(value);
            let (Some(Type::Object(patch)), Expr::Literal(Literal::String(field))) = (&patch, &key.expr) else {
                continue;
            };
            match patch.fields.get(field) {
                // Upstream knows the field, and of no type.
                None => {
                    let message = format!("expected type of field '{field}' is '' but provided type is '{given}'");
                    self.fault(key.at, message);
                }
                Some(wanted) if !fits(wanted, &given, &mut Bound::new()) => {
                    let message =
                        format!("expected type of field '{field}' is '{wanted}' but provided type is '{given}'");
                    self.fault(key.at, message);
                }
                Some(_) => {}
            }
        }
        patch.unwrap_or_else(|| Type::made(name))
    }

    fn fold(&mut self, fold: &Fold) -> Type {
        let range = self.check(&fold.range);
        let (key, value, over_map) = match &range {
            Type::List(element) => (Type::Int, (**element).clone(), false),
            Type::Map(key, value) => ((**key).clone(), (**value).clone(), true),
            Type::Dyn | Type::Parameter(_) => (Type::Dyn, Type::Dyn, false),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.fault(fold.range.at, message);
                (Type::Dyn, Type::Dyn, false)
            }
        };
        let element = if over_map { key.clone() } else { value.clone() };
        let names = match fold.names.as_slice() {
            [name] => vec![(name.clone(), element.clone())],
            [first, second, ..] => vec![(first.clone(), key.clone()), (second.clone(), value)],
            [] => Vec::new(),
        };
        let truth = matches!(fold.kind, FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne | FoldKind::Filter);
        let depth = self.locals.len();
        self.locals.extend(names);
        if let Some(filter) = &fold.filter {
            self.expect_bool(filter);
        }
        let body = if truth { self.expect_bool(&fold.body) } else { self.check(&fold.body) };
        self.locals.truncate(depth);
        match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Type::Bool,
            FoldKind::Filter => Type::list(element),
            FoldKind::Map | FoldKind::TransformList => Type::list(body),
            FoldKind::TransformMap => {
                let key = if matches!(range, Type::List(_)) { Type::Int } else { key };
                Type::Map(Arc::new(key), Arc::new(body))
            }
            FoldKind::TransformMapEntry => body,
        }
    }

    fn expect_bool(&mut self, node: &Node) -> Type {
        let ty = self.check(node);
        if !matches!(ty, Type::Bool | Type::Dyn | Type::Parameter(_)) {
            self.fault(node.at, format!("expected type 'bool' but found '{ty}'"));
        }
        Type::Bool
    }
}

fn apply(overload: &Overload, given: &[&Type]) -> Option<Type> {
    if overload.args.len() != given.len() {
        return None;
    }
    let mut bound = Bound::new();
    let all = overload.args.iter().zip(given).all(|(wanted, given)| fits(wanted, given, &mut bound));
    all.then(|| resolve(&overload.result, &bound))
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
