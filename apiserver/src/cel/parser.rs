//! Tokens to trees: CEL's grammar, with its macros, optional accesses and two-variable comprehensions.

use super::SyntaxError;
use super::ast::{Binary, Expr, Fold, FoldKind, Literal, Node};
use super::functions::signatures;
use super::lexer::{Token, tokens};
use super::types::unescape_property;

/// Deeper expressions are refused, so that nothing that walks a tree overflows its stack.
const DEPTH_MAX: usize = 100;
/// Longer sources are refused, as upstream does.
const SOURCE_MAX: usize = 100_000;

/// Words that cannot be names.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

pub(super) fn parse(source: &str) -> Result<Node, SyntaxError> {
    if source.chars().count() > SOURCE_MAX {
        let message = format!("expression code point size exceeds limit: limit: {SOURCE_MAX}");
        return Err(SyntaxError { at: 0, message });
    }
    let mut parser = Parser { tokens: tokens(source)?, next: 0, depth: 0 };
    let node = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(node),
        token => {
            let message = format!("Syntax error: mismatched input '{}' expecting <EOF>", token.describe());
            parser.error(message)
        }
    }
}

/// Whether braces after it make an object: `Object`, `Object.spec` and so on, or `JSONPatch`.
fn is_object_type(node: &Node) -> bool {
    match &node.expr {
        Expr::Ident(name) => matches!(name.as_str(), "Object" | "JSONPatch"),
        Expr::Select { operand, optional: false, .. } => is_object_type(operand),
        _ => false,
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

type Parsed = Result<Node, SyntaxError>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    fn at(&self) -> usize {
        self.tokens[self.next].0
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { at: self.at(), message: message.into() })
    }

    fn unexpected<T>(&self) -> Result<T, SyntaxError> {
        self.error(format!("Syntax error: no viable alternative at input '{}'", self.peek().describe()))
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        if token != Token::End {
            self.next += 1;
        }
        token
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        if found {
            self.next += 1;
        }
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), SyntaxError> {
        if self.take(symbol) {
            return Ok(());
        }
        self.error(format!("Syntax error: mismatched input '{}' expecting '{symbol}'", self.peek().describe()))
    }

    fn node(&self, at: usize, expr: Expr) -> Parsed {
        let node = Node::new(at, expr);
        if node.depth > DEPTH_MAX { self.error("expression recursion limit exceeded: 100") } else { Ok(node) }
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.error("expression recursion limit exceeded: 100");
        }
        let at = self.at();
        let condition = self.or()?;
        let node = if self.take("?") {
            let then = self.or()?;
            self.expect(":")?;
            let otherwise = self.expression()?;
            self.node(at, Expr::Conditional(Box::new([condition, then, otherwise])))
        } else {
            Ok(condition)
        };
        self.depth -= 1;
        node
    }

    fn or(&mut self) -> Parsed {
        let at = self.at();
        let mut nodes = vec![self.and()?];
        while self.take("||") {
            nodes.push(self.and()?);
        }
        if nodes.len() > 1 { self.node(at, Expr::Or(nodes)) } else { Ok(nodes.remove(0)) }
    }

    fn and(&mut self) -> Parsed {
        let at = self.at();
        let mut nodes = vec![self.binary(0)?];
        while self.take("&&") {
            nodes.push(self.binary(0)?);
        }
        if nodes.len() > 1 { self.node(at, Expr::And(nodes)) } else { Ok(nodes.remove(0)) }
    }

    fn operator(&self) -> Option<(Binary, u8)> {
        Some(match self.peek() {
            Token::Symbol("<") => (Binary::Less, 0),
            Token::Symbol("<=") => (Binary::LessEqual, 0),
            Token::Symbol(">") => (Binary::Greater, 0),
            Token::Symbol(">=") => (Binary::GreaterEqual, 0),
            Token::Symbol("==") => (Binary::Equal, 0),
            Token::Symbol("!=") => (Binary::NotEqual, 0),
            Token::Ident(name) if name == "in" => (Binary::In, 0),
            Token::Symbol("+") => (Binary::Add, 1),
            Token::Symbol("-") => (Binary::Subtract, 1),
            Token::Symbol("*") => (Binary::Multiply, 2),
            Token::Symbol("/") => (Binary::Divide, 2),
            Token::Symbol("%") => (Binary::Remainder, 2),
            _ => return None,
        })
    }

    fn binary(&mut self, lowest: u8) -> Parsed {
        let mut left = self.unary()?;
        while let Some((operator, rank)) = self.operator()
            && rank >= lowest
        {
            // Upstream's positions of operators are those of the operator itself.
            let at = self.at();
            self.next += 1;
            let right = self.binary(rank + 1)?;
            left = self.node(at, Expr::Binary(operator, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at();
        let (mut nots, mut minuses) = (0, 0);
        while self.take("!") {
            nots += 1;
        }
        if nots == 0 {
            while self.take("-") {
                minuses += 1;
            }
        }
        if minuses > 0 {
            // The least int has no positive counterpart.
            if let Token::Int(number) = *self.peek() {
                let literal = i64::try_from(-i128::from(number)).unwrap_or(i64::MIN);
                self.next += 1;
                let node = self.node(at, Expr::Literal(Literal::Int(literal)))?;
                let node = self.members(node)?;
                return if minuses % 2 == 1 { Ok(node) } else { self.node(at, Expr::Negate(Box::new(node))) };
            }
        }
        let primary = self.primary()?;
        let node = self.members(primary)?;
        match (nots % 2, minuses % 2) {
            (1, _) => self.node(at, Expr::Not(Box::new(node))),
            (_, 1) => self.node(at, Expr::Negate(Box::new(node))),
            _ => Ok(node),
        }
    }

    fn members(&mut self, mut node: Node) -> Parsed {
        loop {
            let at = self.at();
            if matches!(self.peek(), Token::Symbol("{")) && is_object_type(&node) {
                self.next += 1;
                node = self.object(at)?;
                continue;
            }
            let optional = match self.peek() {
                Token::Symbol("." | "[") => false,
                Token::Symbol(".?" | "[?") => true,
                _ => return Ok(node),
            };
            let indexed = matches!(self.advance(), Token::Symbol("[" | "[?"));
            if indexed {
                let index = self.expression()?;
                self.expect("]")?;
                node = self.node(at, Expr::Index { operand: Box::new(node), index: Box::new(index), optional })?;
                continue;
            }
            let Token::Ident(name) = self.advance() else {
                self.next -= 1;
                return self.unexpected();
            };
            let open = self.at();
            if !optional && self.take("(") {
                let args = self.arguments(")")?;
                node = self.call(open, Some(node), name, args)?;
            } else {
                node = self.node(at, Expr::Select { operand: Box::new(node), field: name, optional })?;
            }
        }
    }

    fn arguments(&mut self, end: &str) -> Result<Vec<Node>, SyntaxError> {
        let mut list = Vec::new();
        if self.take(end) {
            return Ok(list);
        }
        loop {
            list.push(self.expression()?);
            if !self.take(",") {
                self.expect(end)?;
                return Ok(list);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let token = self.advance();
        let literal = match token {
            Token::Symbol("(") => {
                let node = self.expression()?;
                self.expect(")")?;
                return Ok(node);
            }
            Token::Symbol("[") => return self.list(at, false),
            Token::Symbol("[?") => return self.list(at, true),
            Token::Symbol("{") => return self.map(at, false),
            Token::Symbol("{?") => return self.map(at, true),
            Token::Symbol(".") => return self.primary(),
            Token::Int(number) => match i64::try_from(number) {
                Ok(number) => Literal::Int(number),
                Err(_) => return self.error("Syntax error: invalid int literal"),
            },
            Token::Uint(number) => Literal::Uint(number),
            Token::Double(number) => Literal::Double(number),
            Token::String(text) => Literal::String(text),
            Token::Bytes(bytes) => Literal::Bytes(bytes),
            Token::Ident(name) => match name.as_str() {
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "null" => Literal::Null,
                "in" => {
                    self.next -= 1;
                    return self.unexpected();
                }
                word if RESERVED.contains(&word) => {
                    return Err(SyntaxError { at, message: format!("reserved identifier: {word}") });
                }
                _ => {
                    let open = self.at();
                    if self.take("(") {
                        let args = self.arguments(")")?;
                        return self.call(open, None, name, args);
                    }
                    return self.node(at, Expr::Ident(name));
                }
            },
            _ => {
                self.next = self.next.saturating_sub(usize::from(token != Token::End));
                return self.unexpected();
            }
        };
        self.node(at, Expr::Literal(literal))
    }

    fn list(&mut self, at: usize, mut optional: bool) -> Parsed {
        let mut list = Vec::new();
        loop {
            optional |= self.take("?");
            if !optional && self.take("]") {
                break;
            }
            list.push((optional, self.expression()?));
            optional = false;
            if !self.take(",") {
                self.expect("]")?;
                break;
            }
        }
        self.node(at, Expr::List(list))
    }

    /// The fields of an object that is made: a map by their names.
    fn object(&mut self, at: usize) -> Parsed {
        let mut entries = Vec::new();
        loop {
            let optional = self.take("?");
            if !optional && self.take("}") {
                break;
            }
            let place = self.at();
            let Token::Ident(name) = self.advance() else {
                self.next -= 1;
                return self.unexpected();
            };
            let key = self.node(place, Expr::Literal(Literal::String(unescape_property(&name))))?;
            self.expect(":")?;
            entries.push((optional, key, self.expression()?));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        self.node(at, Expr::Map(entries))
    }

    fn map(&mut self, at: usize, mut optional: bool) -> Parsed {
        let mut entries = Vec::new();
        loop {
            optional |= self.take("?");
            if !optional && self.take("}") {
                break;
            }
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((optional, key, self.expression()?));
            optional = false;
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        self.node(at, Expr::Map(entries))
    }

    fn call(&mut self, at: usize, target: Option<Node>, function: String, mut args: Vec<Node>) -> Parsed {
        match (target, function.as_str(), args.len()) {
            (None, "has", 1) => match args.remove(0).expr {
                Expr::Select { operand, field, optional: false } => self.node(at, Expr::Has { operand, field }),
                _ => Err(SyntaxError { at, message: "invalid argument to has() macro".into() }),
            },
            (Some(Node { expr: Expr::Ident(space), .. }), "bind", 3) if space == "cel" => {
                let (Some(body), Some(value)) = (args.pop(), args.pop()) else { return self.unexpected() };
                let name = self.variable(&args[0])?;
                self.node(at, Expr::Bind { name, value: Box::new(value), body: Box::new(body) })
            }
            (Some(operand), "optMap" | "optFlatMap", 2) => {
                let (flat, name) = (function == "optFlatMap", self.variable(&args[0])?);
                let body = Box::new(args.remove(1));
                self.node(at, Expr::OptMap { operand: Box::new(operand), name, body, flat })
            }
            (Some(range), name, count) => match fold_of(name, count) {
                Some((kind, names, filtered)) => self.fold(at, kind, names, filtered, range, args),
                None if let Some(function) = qualified(&range, name) => {
                    self.node(at, Expr::Call { target: None, function, args })
                }
                None => self.node(at, Expr::Call { target: Some(Box::new(range)), function, args }),
            },
            (None, ..) => self.node(at, Expr::Call { target: None, function, args }),
        }
    }

    fn fold(
        &mut self,
        at: usize,
        kind: FoldKind,
        names: usize,
        filtered: bool,
        range: Node,
        mut args: Vec<Node>,
    ) -> Parsed {
        let rest = args.split_off(names);
        let names = args.iter().map(|arg| self.variable(arg)).collect::<Result<Vec<_>, _>>()?;
        if names.len() == 2 && names[0] == names[1] {
            return Err(SyntaxError { at, message: "duplicate variable name".into() });
        }
        let mut rest = rest.into_iter();
        let filter = if filtered { rest.next() } else { None };
        let Some(body) = rest.next() else { return self.unexpected() };
        self.node(at, Expr::Fold(Box::new(Fold { kind, range, names, filter, body })))
    }

    fn variable(&self, node: &Node) -> Result<String, SyntaxError> {
        match &node.expr {
            Expr::Ident(name) => Ok(name.clone()),
            _ => Err(SyntaxError { at: node.at, message: "argument must be a simple name".into() }),
        }
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
