//! Source text to trees: the grammar is the `cel` crate's; macros become nodes of their own here.
//!
//! The crate's parser recurses deeply, so it works on a stack that suffices for the longest source; what leaves it is
//! at most [`DEPTH_MAX`] deep, which every later walk over a tree can afford.

use std::thread;

use cel::common::ast::{CallExpr, EntryExpr, Expr as Parsed, IdedEntryExpr, IdedExpr, LiteralValue, SourceInfo};

use super::SyntaxError;
use super::ast::{Binary, Expr, Fold, FoldKind, Literal, Node};
use super::functions::signatures;
use super::types::unescape_property;

/// Deeper expressions are refused, so that nothing that walks a tree overflows its stack.
const DEPTH_MAX: usize = 100;
/// Longer sources are refused, as upstream does.
const SOURCE_MAX: usize = 100_000;
/// Address space for the parser's stack, in bytes; memory is used as far as a source is deep. Five thousand
/// operators in a row take 16 MB in a development build, and [`SOURCE_MAX`] has room for fifty thousand.
const STACK: usize = 512 << 20;
/// Deeper is a chain that the depth of the tree would refuse anyway.
const DEEP: &str = "expression recursion limit exceeded: 100";

/// The tree of a source.
///
/// # Errors
/// Where it departs from the grammar, in order of place.
pub(super) fn parse(source: &str) -> Result<Node, Vec<SyntaxError>> {
    if source.chars().count() > SOURCE_MAX {
        let message = format!("expression code point size exceeds limit: limit: {SOURCE_MAX}");
        return Err(vec![SyntaxError { at: 0, message }]);
    }
    let failed = |what: &str| Err(vec![SyntaxError { at: 0, message: format!("Syntax error: {what}") }]);
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("cel-parser".to_owned()).stack_size(STACK);
        match builder.spawn_scoped(scope, || parse_here(source)) {
            Ok(worker) => worker.join().unwrap_or_else(|_| failed("the parser gave up")),
            Err(error) => failed(&format!("no stack for the parser: {error}")),
        }
    })
}

fn parse_here(source: &str) -> Result<Node, Vec<SyntaxError>> {
    let parser = cel::Env::default().parser().enable_optional_syntax(true).enable_ident_escape_syntax(true);
    let places = Places::new(source);
    let (tree, info) = parser.parse_with_source_info(source).map_err(|faults| {
        let faults = faults.errors.into_iter();
        faults.map(|fault| SyntaxError { at: places.at(fault.pos), message: message(fault.msg) }).collect::<Vec<_>>()
    })?;
    Lowering { info, places }.node(tree, 0).map_err(|error| vec![error])
}

/// The parser wraps its own refusal of depth in the text of a fault of the grammar.
fn message(text: String) -> String {
    if text.contains("Recursion limit of") { DEEP.to_owned() } else { text }
}

/// Places in characters.
struct Places {
    /// The byte at which each character starts.
    bytes: Vec<usize>,
    /// The character at which each line starts.
    lines: Vec<usize>,
}

impl Places {
    fn new(source: &str) -> Self {
        let bytes = source.char_indices().map(|(byte, _)| byte).collect();
        let breaks = source.chars().enumerate().filter(|(_, c)| *c == '\n').map(|(at, _)| at + 1);
        Self { bytes, lines: std::iter::once(0).chain(breaks).collect() }
    }

    /// A line and a column, both from one.
    fn at(&self, (line, column): (isize, isize)) -> usize {
        let line = usize::try_from(line - 1).ok().and_then(|line| self.lines.get(line)).copied().unwrap_or(0);
        (line + usize::try_from(column - 1).unwrap_or(0)).min(self.bytes.len())
    }

    fn of_byte(&self, byte: usize) -> usize {
        self.bytes.partition_point(|start| *start < byte)
    }
}

struct Lowering {
    info: SourceInfo,
    places: Places,
}

type Lowered = Result<Node, SyntaxError>;

impl Lowering {
    fn at(&self, id: u64) -> usize {
        self.info.offset_for(id).map_or(0, |(start, _)| self.places.of_byte(start as usize))
    }

    fn node(&self, tree: IdedExpr, depth: usize) -> Lowered {
        let at = self.at(tree.id);
        if depth > DEPTH_MAX {
            return Err(SyntaxError { at, message: DEEP.to_owned() });
        }
        let below = depth + 1;
        let expr = match tree.expr {
            Parsed::Literal(literal) => Expr::Literal(plain(literal)),
            // A leading dot asks for the outermost scope, which is the only one here.
            Parsed::Ident(name) => Expr::Ident(name.trim_start_matches('.').to_owned()),
            Parsed::Select(select) => {
                let operand = Box::new(self.node(*select.operand, below)?);
                if select.test {
                    Expr::Has { operand, field: select.field }
                } else {
                    Expr::Select { operand, field: select.field, optional: false }
                }
            }
            Parsed::Call(call) => return self.call(at, call, depth),
            Parsed::List(list) => {
                let optional = |at| list.optional_indices.contains(&at);
                let elements = list.elements.into_iter().enumerate();
                Expr::List(
                    elements.map(|(at, tree)| Ok((optional(at), self.node(tree, below)?))).collect::<Result<_, _>>()?,
                )
            }
            Parsed::Map(map) => Expr::Map(self.entries(map.entries, below)?),
            Parsed::Struct(object) => {
                Expr::Object { entries: self.entries(object.entries, below)?, name: object.type_name }
            }
            Parsed::Comprehension(_) | Parsed::Unspecified => {
                return Err(SyntaxError { at, message: "Syntax error: no viable alternative".to_owned() });
            }
        };
        finish(at, expr)
    }

    fn nodes(&self, trees: Vec<IdedExpr>, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        trees.into_iter().map(|tree| self.node(tree, depth)).collect()
    }

    fn entries(&self, entries: Vec<IdedEntryExpr>, depth: usize) -> Result<Vec<(bool, Node, Node)>, SyntaxError> {
        let entry = |entry: IdedEntryExpr| match entry.expr {
            EntryExpr::MapEntry(map) => Ok((map.optional, self.node(map.key, depth)?, self.node(map.value, depth)?)),
            EntryExpr::StructField(field) => {
                let name = Literal::String(unescape_property(&field.field));
                let key = Node::new(self.at(entry.id), Expr::Literal(name));
                Ok((field.optional, key, self.node(field.value, depth)?))
            }
        };
        entries.into_iter().map(entry).collect()
    }

    fn call(&self, at: usize, call: CallExpr, depth: usize) -> Lowered {
        let below = depth + 1;
        match (call.target, call.func_name.as_str()) {
            (None, "_&&_" | "_||_") => {
                let terms = self.terms(&call.func_name, call.args, below)?;
                finish(at, if call.func_name == "_&&_" { Expr::And(terms) } else { Expr::Or(terms) })
            }
            (None, name) if is_operator(name) => self.operator(at, &call.func_name, call.args, below),
            (target, _) => {
                let target = target.map(|target| self.node(*target, below)).transpose()?;
                let args = self.nodes(call.args, below)?;
                finish(at, self.function(at, target, call.func_name, args)?)
            }
        }
    }

    /// What a chain of one logical operator joins, which the parser hands out as a balanced tree.
    fn terms(&self, operator: &str, args: Vec<IdedExpr>, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        let (mut terms, mut left) = (Vec::new(), args);
        left.reverse();
        while let Some(tree) = left.pop() {
            match tree.expr {
                Parsed::Call(call) if call.target.is_none() && call.func_name == operator => {
                    left.extend(call.args.into_iter().rev());
                }
                expr => terms.push(self.node(IdedExpr { id: tree.id, expr }, depth)?),
            }
        }
        Ok(terms)
    }

    fn operator(&self, at: usize, name: &str, args: Vec<IdedExpr>, depth: usize) -> Lowered {
        let args = self.nodes(args, depth)?;
        let count = args.len();
        let unexpected = || SyntaxError { at, message: format!("Syntax error: {name} with {count} operands") };
        let expr = match <[Node; 3]>::try_from(args) {
            Ok(three) if name == "_?_:_" => Expr::Conditional(Box::new(three)),
            Ok(_) => return Err(unexpected()),
            Err(args) => match (name, <[Node; 2]>::try_from(args)) {
                ("_[_]" | "_[?_]", Ok([operand, index])) => {
                    Expr::Index { operand: Box::new(operand), index: Box::new(index), optional: name == "_[?_]" }
                }
                ("_?._", Ok([operand, Node { expr: Expr::Literal(Literal::String(field)), .. }])) => {
                    Expr::Select { operand: Box::new(operand), field, optional: true }
                }
                (_, Ok([left, right])) => {
                    Expr::Binary(binary(name).ok_or_else(unexpected)?, Box::new(left), Box::new(right))
                }
                ("!_", Err(one)) => Expr::Not(Box::new(one.into_iter().next().ok_or_else(unexpected)?)),
                ("-_", Err(one)) => Expr::Negate(Box::new(one.into_iter().next().ok_or_else(unexpected)?)),
                _ => return Err(unexpected()),
            },
        };
        finish(at, expr)
    }

    fn function(
        &self,
        at: usize,
        target: Option<Node>,
        function: String,
        mut args: Vec<Node>,
    ) -> Result<Expr, SyntaxError> {
        Ok(match (target, function.as_str(), args.len()) {
            (None, "has", 1) => match args.remove(0).expr {
                Expr::Select { operand, field, optional: false } => Expr::Has { operand, field },
                _ => return Err(SyntaxError { at, message: "invalid argument to has() macro".into() }),
            },
            (Some(Node { expr: Expr::Ident(space), .. }), "bind", 3) if space == "cel" => {
                let [name, value, body] = three(at, args)?;
                Expr::Bind { name: variable(&name)?, value: Box::new(value), body: Box::new(body) }
            }
            (Some(operand), "optMap" | "optFlatMap", 2) => {
                let (flat, name) = (function == "optFlatMap", variable(&args[0])?);
                Expr::OptMap { operand: Box::new(operand), name, body: Box::new(args.remove(1)), flat }
            }
            (Some(range), name, count) => match fold_of(name, count) {
                Some(form) => fold(at, form, range, args)?,
                None => match qualified(&range, name) {
                    Some(function) => Expr::Call { target: None, function, args },
                    None => Expr::Call { target: Some(Box::new(range)), function, args },
                },
            },
            (None, ..) => Expr::Call { target: None, function, args },
        })
    }
}

fn finish(at: usize, expr: Expr) -> Lowered {
    let node = Node::new(at, expr);
    if node.depth > DEPTH_MAX { Err(SyntaxError { at, message: DEEP.to_owned() }) } else { Ok(node) }
}

fn three(at: usize, args: Vec<Node>) -> Result<[Node; 3], SyntaxError> {
    args.try_into().map_err(|_| SyntaxError { at, message: "Syntax error: three arguments are needed".to_owned() })
}

fn plain(literal: LiteralValue) -> Literal {
    match literal {
        LiteralValue::Null => Literal::Null,
        LiteralValue::Boolean(truth) => Literal::Bool(truth.into_inner()),
        LiteralValue::Int(number) => Literal::Int(number.into_inner()),
        LiteralValue::UInt(number) => Literal::Uint(number.into_inner()),
        LiteralValue::Double(number) => Literal::Double(number.into_inner()),
        LiteralValue::String(text) => Literal::String(text.into_inner()),
        LiteralValue::Bytes(bytes) => Literal::Bytes(bytes.into_inner()),
    }
}

/// Whether braces after it make an object: `Object`, `Object.spec` and so on, or `JSONPatch`.
pub(super) fn makes_object(type_name: &str) -> bool {
    matches!(type_name.split('.').next(), Some("Object" | "JSONPatch"))
}

/// Functions that the parser names after operators.
fn is_operator(name: &str) -> bool {
    matches!(name, "_?_:_" | "!_" | "-_" | "_[_]" | "_[?_]" | "_?._") || binary(name).is_some()
}

fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        "_+_" => Binary::Add,
        "_-_" => Binary::Subtract,
        "_*_" => Binary::Multiply,
        "_/_" => Binary::Divide,
        "_%_" => Binary::Remainder,
        "_==_" => Binary::Equal,
        "_!=_" => Binary::NotEqual,
        "_<_" => Binary::Less,
        "_<=_" => Binary::LessEqual,
        "_>_" => Binary::Greater,
        "_>=_" => Binary::GreaterEqual,
        "@in" => Binary::In,
        _ => return None,
    })
}

fn fold(
    at: usize,
    (kind, names, filtered): (FoldKind, usize, bool),
    range: Node,
    mut args: Vec<Node>,
) -> Result<Expr, SyntaxError> {
    let mut rest = args.split_off(names).into_iter();
    let names = args.iter().map(variable).collect::<Result<Vec<_>, _>>()?;
    if names.len() == 2 && names[0] == names[1] {
        return Err(SyntaxError { at, message: "duplicate variable name".into() });
    }
    let filter = if filtered { rest.next() } else { None };
    let Some(body) = rest.next() else {
        return Err(SyntaxError { at, message: "Syntax error: a macro without a body".to_owned() });
    };
    Ok(Expr::Fold(Box::new(Fold { kind, range, names, filter, body })))
}

fn variable(node: &Node) -> Result<String, SyntaxError> {
    match &node.expr {
        Expr::Ident(name) => Ok(name.clone()),
        _ => Err(SyntaxError { at: node.at, message: "argument must be a simple name".into() }),
    }
}

/// The function of that qualified name, such as `format.named`.
fn qualified(space: &Node, name: &str) -> Option<String> {
    let name = format!("{}.{name}", space.dotted()?);
    signatures::is_global(&name).then_some(name)
}
/// The comprehension of that name and number of arguments: with so many variables, and with or without a filter.
fn fold_of(name: &str, count: usize) -> Option<(FoldKind, usize, bool)> {
    Some(match (name, count) {
        ("all", 2) => (FoldKind::All, 1, false),
        ("all", 3) => (FoldKind::All, 2, false),
        ("exists", 2) => (FoldKind::Exists, 1, false),
        ("exists", 3) => (FoldKind::Exists, 2, false),
        ("exists_one" | "existsOne", 2) => (FoldKind::ExistsOne, 1, false),
        ("exists_one" | "existsOne", 3) => (FoldKind::ExistsOne, 2, false),
        ("filter", 2) => (FoldKind::Filter, 1, false),
        ("map", 2) => (FoldKind::Map, 1, false),
        ("map", 3) => (FoldKind::Map, 1, true),
        ("transformList", 3) => (FoldKind::TransformList, 2, false),
        ("transformList", 4) => (FoldKind::TransformList, 2, true),
        ("transformMap", 3) => (FoldKind::TransformMap, 2, false),
        ("transformMap", 4) => (FoldKind::TransformMap, 2, true),
        ("transformMapEntry", 3) => (FoldKind::TransformMapEntry, 2, false),
        ("transformMapEntry", 4) => (FoldKind::TransformMapEntry, 2, true),
        _ => return None,
    })
}
