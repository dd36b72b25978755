//! Policies with their expressions compiled.

use serde_json::Value;

use crate::admission::asked::environment;
use crate::admission::conditions::Conditions;
use crate::admission::matching::Matcher;
use crate::cel::{Env, Program, Type};

/// An expression, and how it compiled.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) source: String,
    pub(super) program: Result<Program, String>,
}

impl Expression {
    fn compile(source: &Value, authorizer: bool, returns: Option<Type>) -> Self {
        let env = environment(authorizer, true);
        Self::compile_in(source, if let Some(returns) = returns { env.returning(returns) } else { env })
    }

    /// One that makes a change.
    fn mutation(source: &Value, returns: Type) -> Self {
        Self::compile_in(source, environment(true, true).making_patches().returning(returns))
    }

    fn compile_in(source: &Value, env: Env) -> Self {
        let source = source.as_str().unwrap_or_default().trim().to_owned();
        let program = Program::compile(&source, &env).map_err(|error| format!("compilation failed: {error}"));
        Self { source, program }
    }
}

/// A rule.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message: String,
    pub(super) message_expression: Option<Expression>,
    pub(super) reason: String,
}

/// A change.
#[derive(Debug)]
pub(super) enum Mutation {
    /// What the expression gives is applied.
    Apply(Expression),
    /// What the expression gives is a JSON patch.
    Patch(Expression),
}

/// A policy.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    uid: Value,
    generation: Value,
    pub(super) matcher: Result<Matcher, String>,
    pub(super) conditions: Conditions,
    pub(super) ignores_failures: bool,
    /// API version and kind of its parameters.
    pub(super) param_kind: Option<(String, String)>,
    pub(super) variables: Vec<(String, Result<Program, String>)>,
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<(String, Expression)>,
    pub(super) mutations: Vec<Mutation>,
    pub(super) reinvoke: bool,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Policy {
    pub(super) fn compile(name: &str, object: &Value) -> Self {
        let spec = &object["spec"];
        let list = |field: &str| spec[field].as_array().into_iter().flatten();
        let ignores_failures = spec["failurePolicy"] == "Ignore";
        let kind = &spec["paramKind"];
        let variable_env = environment(true, true);
        let variables = list("variables").map(|variable| {
            let program = Program::compile(variable["expression"].as_str().unwrap_or_default(), &variable_env);
            (text(&variable["name"]), program.map_err(|error| format!("compilation failed: {error}")))
        });
        let validations = list("validations").map(|validation| Validation {
            expression: Expression::compile(&validation["expression"], true, Some(Type::Bool)),
            message: text(&validation["message"]).trim().to_owned(),
            message_expression: validation["messageExpression"]
                .is_string()
                .then(|| Expression::compile(&validation["messageExpression"], false, Some(Type::String))),
            reason: text(&validation["reason"]),
        });
        let annotations = list("auditAnnotations").map(|annotation| {
            (text(&annotation["key"]), Expression::compile(&annotation["valueExpression"], false, None))
        });
        let mutations = list("mutations").map(|mutation| match mutation["patchType"].as_str() {
            Some("JSONPatch") => {
                let returns = Type::list(Type::json_patch());
                Mutation::Patch(Expression::mutation(&mutation["jsonPatch"]["expression"], returns))
            }
            _ => {
                let (expression, returns) = (&mutation["applyConfiguration"]["expression"], Type::made("Object"));
                Mutation::Apply(Expression::mutation(expression, returns))
            }
        });
        Self {
            name: name.to_owned(),
            uid: object["metadata"]["uid"].clone(),
            generation: object["metadata"]["generation"].clone(),
            matcher: Matcher::read(&spec["matchConstraints"]),
            conditions: Conditions::compile(&spec["matchConditions"], ignores_failures),
            ignores_failures,
            param_kind: kind.is_object().then(|| (text(&kind["apiVersion"]), text(&kind["kind"]))),
            variables: variables.collect(),
            validations: validations.collect(),
            annotations: annotations.collect(),
            mutations: mutations.collect(),
            reinvoke: spec["reinvocationPolicy"] == "IfNeeded",
        }
    }

    /// Whether it was made of that object's specification.
    pub(super) fn is_of(&self, object: &Value) -> bool {
        let meta = &object["metadata"];
        !self.generation.is_null() && self.generation == meta["generation"] && self.uid == meta["uid"]
    }
}

/// A binding.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    /// `None` if it is for all that its policy is for.
    pub(super) matcher: Option<Result<Matcher, String>>,
    pub(super) param_ref: Value,
    pub(super) actions: Vec<String>,
}

impl Binding {
    pub(super) fn read(name: &str, object: &Value) -> Self {
        let spec = &object["spec"];
        Self {
            name: name.to_owned(),
            policy: text(&spec["policyName"]),
            matcher: spec["matchResources"].is_object().then(|| Matcher::read(&spec["matchResources"])),
            param_ref: spec["paramRef"].clone(),
            actions: serde_json::from_value(spec["validationActions"].clone()).unwrap_or_default(),
        }
    }
}
