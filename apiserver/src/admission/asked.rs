//! What expressions see of a request: the objects, the request itself, the namespace, parameters, variables.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::AdmissionAttributes;
use super::lent_authorizer::{Question, lend};
use super::matching::Seen;
use super::webhook::review;
use crate::authz::{Attributes, Authorizer};
use crate::cel::{Budget, Env, EvalError, Host, Program, Type, Value as Cel};
use crate::objects::Objects;
use crate::request::User;

/// What expressions see of a request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) object: Value,
    pub(super) old: Value,
    pub(super) request: Value,
    pub(super) namespace: Value,
    pub(super) params: Value,
    pub(super) user: User,
    pub(super) resource: Attributes,
}

impl Asked {
    /// The request in that version, with the namespace's object and a policy's parameters.
    ///
    /// # Errors
    /// It can't be had in that version.
    pub(super) async fn new(
        a: &AdmissionAttributes<'_>,
        seen: &Seen,
        namespace: Option<Value>,
        params: Option<Value>,
        objects: &dyn Objects,
    ) -> Result<Self, Status> {
        let resource = Attributes {
            user: a.user.clone(),
            group: a.group.into(),
            version: "*".into(),
            namespace: a.namespace.into(),
            resource: a.resource.into(),
            subresource: a.subresource.into(),
            name: a.name.into(),
            is_resource_request: true,
            ..Attributes::default()
        };
        let old = match a.old {
            Some(old) => seen.convert(a, old, objects).await?,
            None => Value::Null,
        };
        Ok(Self {
            object: seen.convert(a, &a.object, objects).await?,
            old,
            request: review::request(a, seen),
            namespace: namespace.unwrap_or_default(),
            params: params.unwrap_or_default(),
            user: a.user.clone(),
            resource,
        })
    }

    /// The object, in the version that is looked at.
    pub(super) const fn object(&self) -> &Value {
        &self.object
    }

    pub(super) fn set_object(&mut self, object: Value) {
        self.object = object;
    }

    /// The variables of an expression. The authorizer is lent where there is one.
    pub(super) fn variables<'a>(&'a self, authorizer: Option<&'a Arc<dyn Authorizer>>) -> Vec<(&'static str, Cel<'a>)> {
        let mut variables = vec![
            ("object", Cel::json(&self.object)),
            ("oldObject", Cel::json(&self.old)),
            ("request", Cel::json(&self.request)),
            ("namespaceObject", Cel::json(&self.namespace)),
            ("params", Cel::json(&self.params)),
        ];
        if let Some(authorizer) = authorizer {
            let question = Question::Anything { user: self.user.clone(), request: self.resource.clone() };
            variables.push(("authorizer", lend(authorizer, question)));
        }
        variables
    }
}

/// What an expression may name.
pub(super) fn environment(authorizer: bool, variables: bool) -> Env {
    let names = ["object", "oldObject", "request", "namespaceObject", "params"];
    let mut env = names.into_iter().fold(Env::new(), |env, name| env.with(name, Type::Dyn));
    if authorizer {
        env = env.with("authorizer", Type::authorizer());
    }
    if variables {
        env = env.with("variables", Type::Dyn);
    }
    env
}

/// A policy's variables: each is worked out when an expression first names it.
pub(super) struct Variables<'a> {
    programs: &'a [(String, Result<Program, String>)],
    base: Vec<(&'static str, Cel<'a>)>,
    known: Mutex<Vec<Option<Result<Cel<'a>, EvalError>>>>,
    me: Weak<Self>,
}

impl fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variables({})", self.programs.len())
    }
}

impl<'a> Variables<'a> {
    /// These programs over those variables, and `variables` itself among them.
    pub(super) fn over(
        programs: &'a [(String, Result<Program, String>)],
        base: Vec<(&'static str, Cel<'a>)>,
    ) -> Vec<(&'static str, Cel<'a>)> {
        let mut all = base.clone();
        let known = Mutex::new(vec![None; programs.len()]);
        let me: Arc<Self> = Arc::new_cyclic(|me| Self { programs, base, known, me: Weak::clone(me) });
        all.push(("variables", Cel::Host(me)));
        all
    }

    fn known(&self, at: usize) -> Option<Result<Cel<'a>, EvalError>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)[at].clone()
    }
}

impl<'a> Host<'a> for Variables<'a> {
    fn type_name(&self) -> &'static str {
        "kubernetes.variables"
    }

    fn field(&self, name: &str, budget: &mut Budget) -> Option<Result<Cel<'a>, EvalError>> {
        let at = self.programs.iter().position(|(known, _)| known == name)?;
        if let Some(known) = self.known(at) {
            return Some(known);
        }
        // Until it is known it may not name itself.
        let circular = EvalError::new(format!("variable {name} refers to itself"));
        self.known.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(Err(circular));
        let result = match &self.programs[at].1 {
            Err(error) => Err(EvalError::new(error.clone())),
            Ok(program) => {
                let mut variables = self.base.clone();
                if let Some(me) = self.me.upgrade() {
                    variables.push(("variables", Cel::Host(me)));
                }
                program.eval(&variables, budget)
            }
        };
        self.known.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result.clone());
        Some(result)
    }
}

/// The part of a namespace that expressions see.
pub(super) fn shown_namespace(namespace: &Value) -> Value {
    let meta = &namespace["metadata"];
    let mut shown = json!({});
    let kept = [
        "name",
        "generateName",
        "labels",
        "annotations",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "finalizers",
    ];
    for field in kept {
        if let Some(value) = meta.get(field) {
            shown[field] = value.clone();
        }
    }
    json!({"metadata": shown, "spec": namespace["spec"], "status": namespace["status"]})
}
