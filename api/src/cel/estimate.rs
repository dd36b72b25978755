//! What an expression may cost at most, whatever the object, as far as the schema bounds it.

use std::collections::BTreeMap;

use super::ast::{Binary, Expr, Fold, FoldKind, Literal, Node};
use super::cost::{LIST, MAP, REGEX, TRAVERSAL, part};

/// How large a value can get, and what is in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sizes {
    /// At most so many elements, entries, characters or bytes.
    pub max: u64,
    /// Of each field of an object, by the name that expressions use.
    pub fields: BTreeMap<String, Self>,
    /// Of the elements of a list or the values of a map.
    pub element: Option<Box<Self>>,
    /// Whether the element is one of a map, by key.
    pub map: bool,
}

/// An estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// It costs at most so much; the greatest number if there is no telling.
    pub max: u64,
}

pub(super) fn estimate(root: &Node, variables: &[(&str, &Sizes)]) -> Cost {
    let locals = variables.iter().map(|(name, sizes)| ((*name).to_owned(), Known::of(Some(sizes)))).collect();
    Cost { max: Estimator { locals }.node(root).cost }
}

/// What is known of a value.
#[derive(Clone, Copy, Debug)]
struct Known<'s> {
    size: u64,
    sizes: Option<&'s Sizes>,
}

impl<'s> Known<'s> {
    fn of(sizes: Option<&'s Sizes>) -> Self {
        Self { size: sizes.map_or(u64::MAX, |sizes| sizes.max), sizes }
    }

    const fn sized(size: u64) -> Self {
        Self { size, sizes: None }
    }
}

/// Cost and result of a node.
struct Estimate<'s> {
    cost: u64,
    value: Known<'s>,
}

struct Estimator<'s> {
    locals: Vec<(String, Known<'s>)>,
}

impl<'s> Estimator<'s> {
    fn node(&mut self, node: &Node) -> Estimate<'s> {
        match &node.expr {
            Expr::Literal(literal) => Estimate { cost: 0, value: Known::sized(literal_size(literal)) },
            Expr::Ident(name) => {
                let known = self.locals.iter().rev().find(|(local, _)| local == name);
                Estimate { cost: 1, value: known.map_or(Known::sized(1), |(_, known)| *known) }
            }
            Expr::Select { operand, field, .. } => {
                let operand = self.node(operand);
                let sizes = operand.value.sizes.and_then(|sizes| {
                    sizes.fields.get(field).or_else(|| sizes.element.as_deref().filter(|_| sizes.map))
                });
                Estimate { cost: operand.cost.saturating_add(1), value: Known::of(sizes) }
            }
            Expr::Has { operand, .. } => {
                Estimate { cost: self.node(operand).cost.saturating_add(1), value: Known::sized(1) }
            }
            Expr::Index { operand, index, .. } => {
                let (operand, index) = (self.node(operand), self.node(index));
                let sizes = operand.value.sizes.and_then(|sizes| sizes.element.as_deref());
                let cost = operand.cost.saturating_add(index.cost).saturating_add(1);
                Estimate { cost, value: Known::of(sizes) }
            }
            Expr::Call { target, function, args } => self.call(target.as_deref(), function, args),
            Expr::Not(inner) | Expr::Negate(inner) => {
                let inner = self.node(inner);
                Estimate { cost: inner.cost.saturating_add(1), value: Known::sized(1) }
            }
            Expr::Binary(operator, left, right) => self.binary(*operator, left, right),
            Expr::And(nodes) | Expr::Or(nodes) => {
                let parts: u64 = nodes.iter().map(|node| self.node(node).cost).fold(0, u64::saturating_add);
                Estimate { cost: parts.saturating_add(nodes.len() as u64 - 1), value: Known::sized(1) }
            }
            Expr::Conditional(nodes) => {
                let (condition, then, otherwise) = (self.node(&nodes[0]), self.node(&nodes[1]), self.node(&nodes[2]));
                let larger = if then.value.size >= otherwise.value.size { then.value } else { otherwise.value };
                Estimate { cost: condition.cost.saturating_add(then.cost.max(otherwise.cost)), value: larger }
            }
            Expr::List(nodes) => {
                let parts = nodes.iter().map(|(_, node)| self.node(node).cost).fold(LIST, u64::saturating_add);
                Estimate { cost: parts, value: Known::sized(nodes.len() as u64) }
            }
            Expr::Map(entries) | Expr::Object { entries, .. } => {
                let nodes = entries.iter().flat_map(|(_, key, value)| [key, value]);
                let parts = nodes.map(|node| self.node(node).cost).fold(MAP, u64::saturating_add);
                Estimate { cost: parts, value: Known::sized(entries.len() as u64) }
            }
            Expr::Fold(fold) => self.fold(fold),
            Expr::Bind { name, value, body } | Expr::OptMap { operand: value, name, body, .. } => {
                let value = self.node(value);
                self.locals.push((name.clone(), value.value));
                let body = self.node(body);
                self.locals.pop();
                Estimate { cost: value.cost.saturating_add(body.cost), value: body.value }
            }
        }
    }

    fn binary(&mut self, operator: Binary, left: &Node, right: &Node) -> Estimate<'s> {
        let (left, right) = (self.node(left), self.node(right));
        let (a, b) = (left.value.size, right.value.size);
        let own = match operator {
            Binary::In => {
                if right.value.sizes.is_some_and(|sizes| sizes.map) {
                    1
                } else {
                    b
                }
            }
            Binary::Add => part(a.saturating_add(b), TRAVERSAL).max(1),
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => 1,
            _ => part(a.min(b), TRAVERSAL).max(1),
        };
        let size = if operator == Binary::Add { a.saturating_add(b) } else { 1 };
        let cost = left.cost.saturating_add(right.cost).saturating_add(own);
        Estimate { cost, value: Known { size, sizes: left.value.sizes.filter(|_| operator == Binary::Add) } }
    }

    fn call(&mut self, target: Option<&Node>, function: &str, args: &[Node]) -> Estimate<'s> {
        let parts: Vec<Estimate<'s>> = target.into_iter().chain(args).map(|node| self.node(node)).collect();
        let size = |at: usize| parts.get(at).map_or(1, |part| part.value.size);
        let matching =
            |text: u64, pattern: u64| part(text.saturating_add(1), TRAVERSAL).saturating_mul(part(pattern, REGEX));
        let (own, result) = match function {
            "matches" => (matching(size(0), size(1)), 1),
            "find" | "findAll" => (matching(size(0), size(1)), size(0)),
            "contains" => (part(size(0), TRAVERSAL).saturating_mul(part(size(1), TRAVERSAL)), 1),
            "startsWith" | "endsWith" => (part(size(1), TRAVERSAL), 1),
            "lowerAscii" | "upperAscii" | "substring" | "trim" | "url" | "bytes" | "string" | "jsonpatch.escapeKey" => {
                (part(size(0), TRAVERSAL), size(0))
            }
            "quantity" | "isQuantity" | "semver" | "isSemver" | "ip" | "isIP" | "cidr" | "isCIDR" | "isURL" => {
                (part(size(0), TRAVERSAL), 1)
            }
            "ip.isCanonical" => (part(size(0), 2.0 * TRAVERSAL), 1),
            "replace" => (part(size(0), 2.0 * TRAVERSAL), size(0).saturating_mul(size(2).max(1))),
            "split" => (part(size(0), 2.0 * TRAVERSAL), size(0)),
            "join" => {
                let element = parts.first().and_then(|list| list.value.sizes?.element.as_deref());
                let total = size(0).saturating_mul(element.map_or(1, |element| element.max).saturating_add(size(1)));
                (part(total, TRAVERSAL), total)
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let element = parts.first().and_then(|list| list.value.sizes?.element.as_deref());
                let each = element.map_or(1, |element| part(element.max, TRAVERSAL).saturating_add(1));
                (size(0).saturating_mul(each), 1)
            }
            "sets.contains" | "sets.intersects" | "sets.equivalent" => (size(0).saturating_mul(size(1)), 1),
            "validate" => (matching(size(1), 60), 1),
            "check" => (350_000, 1),
            "distinct" | "sort" | "flatten" | "slice" | "reverse" => (size(0).saturating_add(1), size(0)),
            _ => (1, size(0)),
        };
        let cost = parts.iter().map(|part| part.cost).fold(own, u64::saturating_add);
        let sizes = parts.first().and_then(|first| first.value.sizes);
        let keeps = matches!(function, "dyn" | "slice" | "sort" | "reverse" | "distinct" | "orValue" | "or" | "value");
        Estimate { cost, value: Known { size: result, sizes: sizes.filter(|_| keeps) } }
    }

    fn fold(&mut self, fold: &Fold) -> Estimate<'s> {
        let range = self.node(&fold.range);
        let element = range.value.sizes.and_then(|sizes| sizes.element.as_deref());
        let over_map = range.value.sizes.is_some_and(|sizes| sizes.map);
        let element = match element {
            Some(element) if over_map && fold.names.len() == 1 => Known::sized(element.max),
            Some(element) => Known::of(Some(element)),
            None if range.value.sizes.is_some() => Known::sized(u64::MAX),
            None => Known::sized(1),
        };
        let depth = self.locals.len();
        for (place, name) in fold.names.iter().enumerate() {
            let is_key = fold.names.len() == 2 && place == 0;
            self.locals.push((name.clone(), if is_key { Known::sized(1) } else { element }));
        }
        let filter = fold.filter.as_ref().map_or(0, |filter| self.node(filter).cost);
        let body = self.node(&fold.body);
        self.locals.truncate(depth);
        let overhead = match fold.kind {
            FoldKind::All | FoldKind::Exists => 2,
            FoldKind::ExistsOne => 1,
            _ => LIST + 1,
        };
        let each = body.cost.saturating_add(filter).saturating_add(overhead);
        let cost = range.cost.saturating_add(range.value.size.saturating_mul(each)).saturating_add(1);
        let makes_list = !matches!(fold.kind, FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne);
        let sizes = range.value.sizes.filter(|_| fold.kind == FoldKind::Filter);
        Estimate { cost, value: Known { size: if makes_list { range.value.size } else { 1 }, sizes } }
    }
}

fn literal_size(literal: &Literal) -> u64 {
    match literal {
        Literal::String(text) => text.chars().count() as u64,
        Literal::Bytes(bytes) => bytes.len() as u64,
        _ => 1,
    }
}
