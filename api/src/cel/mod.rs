//! The Common Expression Language with Kubernetes' libraries: rules of custom resources, admission policies, match
//! conditions, selectors of devices.
//!
//! An expression is compiled once, which finds unknown names, unknown fields and functions that don't fit, and run as
//! often as needed against JSON, which it reads where it lies. Every run has a [`Budget`]; what it costs is counted as
//! upstream counts it.
//!
//! ```
//! use kubewright_api::cel::{Budget, Env, Program, Type, Value};
//!
//! let env = Env::new().with("self", Type::map(Type::Dyn)).returning(Type::Bool);
//! let program = Program::compile("self.replicas <= self.maxReplicas", &env)?;
//! let object = serde_json::json!({"replicas": 2, "maxReplicas": 3});
//! let verdict = program.eval(&[("self", Value::json(&object))], &mut Budget::per_call())?;
//! assert!(matches!(verdict, Value::Bool(true)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The grammar is that of the [`cel`](https://docs.rs/cel) crate. Types, costs and budgets, which an API server that takes
//! expressions from strangers can't be without, and the libraries are here.
//!
//! Source: <https://github.com/google/cel-spec>, and `staging/src/k8s.io/apiserver/pkg/cel` of Kubernetes.

mod ast;
mod check;
mod cost;
mod estimate;
mod eval;
mod functions;
mod parser;
mod time;
mod types;
mod value;

pub use estimate::{Cost, Sizes};
pub use functions::format as formats;
pub use time::duration as parse_duration;
pub use types::{ObjectType, Type, escape_property};
pub use value::{Host, Key, Text, Value};

use std::fmt;

/// What one expression may cost when it runs, as upstream limits it.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// What all rules together may cost when they check one object.
pub const RUNTIME_BUDGET: u64 = 10_000_000;

/// What an expression may name, and what it must give.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Env {
    variables: Vec<(String, Type)>,
    result: Option<Type>,
    makes_patches: bool,
}

impl Env {
    /// Nothing but the libraries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable, in place of one of the same name.
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), ty));
        self
    }

    /// Knows what mutations are made of: `Object{…}`, `Object.spec{…}` and so on, `JSONPatch{…}`, `jsonpatch.escapeKey`.
    pub fn making_patches(mut self) -> Self {
        self.makes_patches = true;
        self
    }

    /// Demands a type of the result.
    pub fn returning(mut self, ty: Type) -> Self {
        self.result = Some(ty);
        self
    }
}

/// Why an expression was refused, as upstream words it: each fault with the place where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct CompileError {
    /// The faults.
    pub message: String,
}

/// Why an expression gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct EvalError {
    /// What went wrong.
    pub message: String,
    /// The budget was spent.
    pub over_budget: bool,
}

impl EvalError {
    /// An error with that message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), over_budget: false }
    }

    fn no_overload() -> Self {
        Self::new("no such overload")
    }

    fn no_key(key: impl fmt::Display) -> Self {
        Self::new(format!("no such key: {key}"))
    }
}

/// A fault of the grammar.
#[derive(Clone, Debug)]
struct SyntaxError {
    /// Place in characters.
    at: usize,
    message: String,
}

/// What runs may still cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u64,
    spent: u64,
}

impl Budget {
    /// So much.
    #[must_use]
    pub const fn new(limit: u64) -> Self {
        Self { left: limit, spent: 0 }
    }

    /// What upstream allows one run of one expression.
    #[must_use]
    pub const fn per_call() -> Self {
        Self::new(PER_CALL_LIMIT)
    }

    /// What was spent.
    #[must_use]
    pub const fn spent(&self) -> u64 {
        self.spent
    }

    /// Spends.
    ///
    /// # Errors
    /// More than is left.
    pub fn spend(&mut self, cost: u64) -> Result<(), EvalError> {
        self.spent = self.spent.saturating_add(cost);
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                let message = "operation cancelled: actual cost limit exceeded".to_owned();
                Err(EvalError { message, over_budget: true })
            }
        }
    }
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Program {
    root: ast::Node,
    result: Type,
}

impl Program {
    /// Compiles an expression.
    ///
    /// # Errors
    /// It is malformed, names what isn't there, or uses values as what they are not.
    pub fn compile(source: &str, env: &Env) -> Result<Self, CompileError> {
        let root = parser::parse(source).map_err(|faults| {
            let faults: Vec<_> = faults.into_iter().map(|fault| (fault.at, fault.message)).collect();
            report(source, &faults)
        })?;
        let (result, mut faults) = check::check(&root, env);
        if !faults.is_empty() {
            // In the order of their places.
            faults.sort_by_key(|(at, _)| *at);
            return Err(report(source, &faults));
        }
        if let Some(wanted) = &env.result
            && !result.is_dyn()
            && *wanted != result
        {
            return Err(CompileError { message: format!("must evaluate to {wanted} but got {result}") });
        }
        Ok(Self { root, result })
    }

    /// The type of what it gives, as far as it is known.
    #[must_use]
    pub fn result(&self) -> &Type {
        &self.result
    }

    /// Whether it reads a variable.
    #[must_use]
    pub fn reads(&self, variable: &str) -> bool {
        self.root.reads(variable)
    }

    /// Whether it selects that field of a variable, or asks with `has` whether it is there.
    #[must_use]
    pub fn selects(&self, variable: &str, field: &str) -> bool {
        self.root.selects(variable, field)
    }

    /// Runs it.
    ///
    /// # Errors
    /// A value isn't there or isn't what it must be, or the budget is spent.
    pub fn eval<'a>(&self, variables: &[(&str, Value<'a>)], budget: &mut Budget) -> Result<Value<'a>, EvalError> {
        eval::Scope::new(variables, budget).eval(&self.root)
    }

    /// What it may cost at most, given the sizes that the variables' schemas allow.
    #[must_use]
    pub fn estimate(&self, variables: &[(&str, &Sizes)]) -> Cost {
        estimate::estimate(&self.root, variables)
    }
}

/// Faults with the line and a mark at the place, as upstream prints them.
fn report(source: &str, faults: &[(usize, String)]) -> CompileError {
    let mut out = Vec::new();
    for (at, message) in faults {
        let before: Vec<char> = source.chars().take(*at).collect();
        let line_start = before.iter().rposition(|c| *c == '\n').map_or(0, |found| found + 1);
        let line_number = before.iter().filter(|c| **c == '\n').count() + 1;
        let column = before.len() - line_start;
        let line: String = source.chars().skip(line_start).take_while(|c| *c != '\n').collect();
        let mark = ".".repeat(column);
        out.push(format!("ERROR: <input>:{line_number}:{}: {message}\n | {line}\n | {mark}^", column + 1));
    }
    CompileError { message: out.join("\n") }
}

#[cfg(test)]
mod tests;
