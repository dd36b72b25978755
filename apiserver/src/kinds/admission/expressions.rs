//! Expressions of policies and match conditions, compiled when they are written: what can't work is refused then.

use std::collections::BTreeMap;
use std::sync::Arc;

use kubewright_api::field::FieldErrors;

use crate::cel::{Env, ObjectType, Program, Type};
use crate::kinds::read::Field;

/// What the expressions of one policy may name besides the request.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Whether there are parameters.
    pub(super) params: bool,
    /// The policy's variables so far; `None` where there are none to be had.
    pub(super) variables: Option<BTreeMap<String, Type>>,
}

impl Known {
    fn environment(&self, authorizer: bool) -> Env {
        let mut env = Env::new().with("object", Type::Dyn).with("oldObject", Type::Dyn);
        env = env.with("request", request()).with("namespaceObject", namespace());
        if self.params {
            env = env.with("params", Type::Dyn);
        }
        if authorizer {
            env = env.with("authorizer", Type::authorizer());
        }
        if let Some(variables) = &self.variables {
            env = env.with("variables", object("kubernetes.variables", variables.clone()));
        }
        env
    }

    /// Compiles a field's text, trimmed; a fault is told at the field. Gives the type of the result.
    pub(super) fn check(
        &self,
        field: &Field<'_>,
        authorizer: bool,
        returns: Option<Type>,
        errors: &mut FieldErrors,
    ) -> Option<Type> {
        let mut env = self.environment(authorizer);
        if let Some(returns) = returns {
            env = env.returning(returns);
        }
        Self::compile(field, &env, errors)
    }

    /// The same for an expression that makes a change.
    pub(super) fn check_mutation(&self, field: &Field<'_>, returns: Type, errors: &mut FieldErrors) {
        Self::compile(field, &self.environment(true).making_patches().returning(returns), errors);
    }

    fn compile(field: &Field<'_>, env: &Env, errors: &mut FieldErrors) -> Option<Type> {
        match Program::compile(field.text().trim(), env) {
            Ok(program) => Some(program.result().clone()),
            Err(error) => {
                // A result of the wrong type did compile.
                let lead = if error.message.starts_with("must evaluate") { "" } else { "compilation failed: " };
                field.invalid(errors, format!("{lead}{error}"));
                None
            }
        }
    }
}

fn object(name: &str, fields: BTreeMap<String, Type>) -> Type {
    Type::Object(Arc::new(ObjectType { name: name.into(), fields }))
}

/// What is known of a request.
pub(crate) fn request() -> Type {
    let text = || Type::String;
    let kind = Type::object("kubernetes.GroupVersionKind", [("group", text()), ("version", text()), ("kind", text())]);
    let resource =
        Type::object("kubernetes.GroupVersionResource", [("group", text()), ("version", text()), ("resource", text())]);
    let user = Type::object(
        "kubernetes.UserInfo",
        [
            ("username", text()),
            ("uid", text()),
            ("groups", Type::list(text())),
            ("extra", Type::map(Type::list(text()))),
        ],
    );
    Type::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", text()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

/// What is known of the request's namespace.
pub(crate) fn namespace() -> Type {
    let text = || Type::String;
    let texts = || Type::map(Type::String);
    let metadata = Type::object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", texts()),
            ("annotations", texts()),
            ("UID", text()),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", text()),
            ("finalizers", Type::list(text())),
        ],
    );
    let condition = Type::object(
        "kubernetes.NamespaceCondition",
        [
            ("status", text()),
            ("type", text()),
            ("lastTransitionTime", Type::Timestamp),
            ("message", text()),
            ("reason", text()),
        ],
    );
    let spec = Type::object("kubernetes.NamespaceSpec", [("finalizers", Type::list(text()))]);
    let status = Type::object("kubernetes.NamespaceStatus", [("conditions", Type::list(condition)), ("phase", text())]);
    Type::object("kubernetes.Namespace", [("metadata", metadata), ("spec", spec), ("status", status)])
}

/// Whether a variable may have that name.
pub(super) fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 20] = [
        "true",
        "false",
        "null",
        "in",
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
    ];
    let starts = name.starts_with(|first: char| first == '_' || first.is_ascii_alphabetic());
    starts
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !RESERVED.contains(&name)
        && name != "while"
}
