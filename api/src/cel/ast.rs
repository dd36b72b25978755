//! Expressions as trees. Macros are nodes of their own, so that evaluation and checking need not undo an expansion.

/// An expression and where in the source it starts, in characters.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) expr: Expr,
    /// How deep the tree below is, which bounds every recursion over it.
    pub(super) depth: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(super) enum Expr {
    Literal(Literal),
    Ident(String),
    Select {
        operand: Box<Node>,
        field: String,
        optional: bool,
    },
    /// `has(a.b)`
    Has {
        operand: Box<Node>,
        field: String,
    },
    Index {
        operand: Box<Node>,
        index: Box<Node>,
        optional: bool,
    },
    Call {
        target: Option<Box<Node>>,
        function: String,
        args: Vec<Node>,
    },
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Conditional(Box<[Node; 3]>),
    List(Vec<(bool, Node)>),
    Map(Vec<(bool, Node, Node)>),
    /// `Object.spec{replicas: 1}`: an object of that name.
    Object {
        name: String,
        entries: Vec<(bool, Node, Node)>,
    },
    /// A macro over the elements of a list or the entries of a map.
    Fold(Box<Fold>),
    /// `cel.bind(name, value, body)`
    Bind {
        name: String,
        value: Box<Node>,
        body: Box<Node>,
    },
    /// `a.optMap(name, body)`; `flat` if the body is itself optional.
    OptMap {
        operand: Box<Node>,
        name: String,
        body: Box<Node>,
        flat: bool,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Fold {
    pub(super) kind: FoldKind,
    pub(super) range: Node,
    pub(super) names: Vec<String>,
    pub(super) filter: Option<Node>,
    pub(super) body: Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
    TransformList,
    TransformMap,
    TransformMapEntry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

impl Binary {
    /// The operator's name in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Add => "_+_",
            Self::Subtract => "_-_",
            Self::Multiply => "_*_",
            Self::Divide => "_/_",
            Self::Remainder => "_%_",
            Self::Equal => "_==_",
            Self::NotEqual => "_!=_",
            Self::Less => "_<_",
            Self::LessEqual => "_<=_",
            Self::Greater => "_>_",
            Self::GreaterEqual => "_>=_",
            Self::In => "@in",
        }
    }
}

impl Expr {
    /// What it is made of.
    pub(super) fn children(&self) -> Vec<&Node> {
        match self {
            Self::Literal(_) | Self::Ident(_) => Vec::new(),
            Self::Select { operand, .. } | Self::Has { operand, .. } => vec![operand],
            Self::Index { operand, index, .. } => vec![operand, index],
            Self::Call { target, args, .. } => target.iter().map(|node| &**node).chain(args).collect(),
            Self::Not(node) | Self::Negate(node) => vec![node],
            Self::Binary(_, left, right) => vec![left, right],
            Self::And(nodes) | Self::Or(nodes) => nodes.iter().collect(),
            Self::Conditional(nodes) => nodes.iter().collect(),
            Self::List(nodes) => nodes.iter().map(|(_, node)| node).collect(),
            Self::Map(entries) | Self::Object { entries, .. } => {
                entries.iter().flat_map(|(_, key, value)| [key, value]).collect()
            }
            Self::Fold(fold) => [&fold.range, &fold.body].into_iter().chain(&fold.filter).collect(),
            Self::Bind { value, body, .. } => vec![value, body],
            Self::OptMap { operand, body, .. } => vec![operand, body],
        }
    }
}

impl Node {
    pub(super) fn new(at: usize, expr: Expr) -> Self {
        let depth = expr.children().into_iter().map(|node| node.depth).max().unwrap_or(0) + 1;
        Self { at, expr, depth }
    }

    /// The dotted name that it spells: `a.b.c`.
    pub(super) fn dotted(&self) -> Option<String> {
        match &self.expr {
            Expr::Ident(name) => Some(name.clone()),
            Expr::Select { operand, field, optional: false } => Some(format!("{}.{field}", operand.dotted()?)),
            _ => None,
        }
    }

    /// Whether a variable is read anywhere below, and not one that a macro declares.
    pub(super) fn reads(&self, variable: &str) -> bool {
        match &self.expr {
            Expr::Ident(name) => name == variable,
            Expr::Fold(fold) if fold.names.iter().any(|name| name == variable) => fold.range.reads(variable),
            Expr::Bind { name, value, .. } if name == variable => value.reads(variable),
            Expr::OptMap { operand, name, .. } if name == variable => operand.reads(variable),
            expr => expr.children().into_iter().any(|node| node.reads(variable)),
        }
    }

    /// Whether that field of a variable is selected, or asked for with `has`, anywhere below.
    pub(super) fn selects(&self, variable: &str, field: &str) -> bool {
        let here = match &self.expr {
            Expr::Select { operand, field: selected, .. } | Expr::Has { operand, field: selected } => {
                selected == field && matches!(&operand.expr, Expr::Ident(name) if name == variable)
            }
            _ => false,
        };
        here || self.expr.children().into_iter().any(|node| node.selects(variable, field))
    }
}
