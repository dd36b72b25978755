//! Expressions about a request: what they see, and the conditions under which a webhook or a policy applies at all.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::FutureExt;
use serde_json::{Value, json};

use super::AdmissionAttributes;
use super::matching::Seen;
use super::webhook::review;
use crate::authz::{Attributes, Authorizer, Decision};
use crate::cel::{Budget, Env, EvalError, Host, Program, Type, Value as Cel};
use crate::request::User;

/// What all match conditions of a webhook or policy may cost together.
const CONDITIONS_BUDGET: u64 = 2_500_000;

/// What expressions see of a request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    object: Value,
    old: Value,
    request: Value,
    namespace: Value,
    params: Value,
    user: User,
    resource: Attributes,
}

impl Asked {
    /// The request in that version, with the namespace's object and a policy's parameters.
    pub(super) fn new(
        a: &AdmissionAttributes<'_>,
        seen: &Seen,
        namespace: Option<Value>,
        params: Option<Value>,
    ) -> Self {
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
        Self {
            object: seen.convert(a, &a.object),
            old: a.old.map_or(Value::Null, |old| seen.convert(a, old)),
            request: review::request(a, seen),
            namespace: namespace.unwrap_or_default(),
            params: params.unwrap_or_default(),
            user: a.user.clone(),
            resource,
        }
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
        env = env.with("authorizer", Type::Dyn);
    }
    if variables {
        env = env.with("variables", Type::Dyn);
    }
    env
}

/// Conditions, compiled.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    list: Vec<(String, Result<Program, String>)>,
    ignores_failures: bool,
}

/// What conditions say of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is meant.
    Matches,
    /// It is not.
    Skips,
    /// That can't be told, and that counts as a refusal.
    Fails(String),
}

/// What came of judging.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) outcome: Outcome,
    /// How many conditions could not be told.
    pub(super) errors: u64,
}

impl Conditions {
    /// Compiles a list of `matchConditions`.
    pub(super) fn compile(list: &Value, ignores_failures: bool) -> Self {
        let env = environment(true, true).returning(Type::Bool);
        let compile = |condition: &Value| {
            let expression = condition["expression"].as_str().unwrap_or_default();
            let program = Program::compile(expression, &env).map_err(|error| format!("compilation failed: {error}"));
            (expression.to_owned(), program)
        };
        Self { list: list.as_array().into_iter().flatten().map(compile).collect(), ignores_failures }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One that is false decides; errors decide only where none is.
    pub(super) fn judge(&self, asked: &Asked, authorizer: &Arc<dyn Authorizer>) -> Judged {
        self.judge_with(&asked.variables(Some(authorizer)))
    }

    pub(super) fn judge_with(&self, variables: &[(&str, Cel<'_>)]) -> Judged {
        let mut budget = Budget::new(CONDITIONS_BUDGET);
        let mut faults = Vec::new();
        let mut skips = false;
        for (expression, program) in &self.list {
            let result = match program {
                Ok(program) => program.eval(variables, &mut budget).map_err(|error| error.message),
                Err(error) => Err(error.clone()),
            };
            match result {
                Ok(Cel::Bool(true)) => {}
                Ok(Cel::Bool(false)) => {
                    skips = true;
                    break;
                }
                Ok(_) => faults.push(format!("expression '{expression}' gave no truth value")),
                Err(error) => faults.push(format!("expression '{expression}' resulted in error: {error}")),
            }
        }
        let outcome = match faults.as_slice() {
            _ if skips => Outcome::Skips,
            [] => Outcome::Matches,
            _ if self.ignores_failures => Outcome::Skips,
            [one] => Outcome::Fails(one.clone()),
            several => Outcome::Fails(format!("[{}]", several.join(", "))),
        };
        Judged { outcome, errors: faults.len() as u64 }
    }
}

/// What an expression is asking the authorizer.
#[derive(Clone, Debug)]
enum Question {
    Anything { user: User, request: Attributes },
    Path { user: User, path: String },
    Group { user: User, group: String },
    Resource(Attributes),
    Decided(Decision),
    Undecided(String),
}

/// The authorizer, as expressions call it.
struct Lent {
    authorizer: Arc<dyn Authorizer>,
    question: Question,
}

fn lend<'a>(authorizer: &Arc<dyn Authorizer>, question: Question) -> Cel<'a> {
    Cel::Host(Arc::new(Lent { authorizer: Arc::clone(authorizer), question }))
}

impl Lent {
    fn decide(&self, attributes: &Attributes) -> Question {
        // Expressions don't wait: an authorizer that asks others can't be asked by them.
        match self.authorizer.authorize(attributes).now_or_never() {
            Some(decision) => Question::Decided(decision),
            None => Question::Undecided("the authorizer could not decide at once".into()),
        }
    }
}

impl<'a> Host<'a> for Lent {
    fn type_name(&self) -> &'static str {
        match self.question {
            Question::Anything { .. } => "kubernetes.authorization.Authorizer",
            Question::Path { .. } => "kubernetes.authorization.PathCheck",
            Question::Group { .. } => "kubernetes.authorization.GroupCheck",
            Question::Resource(_) => "kubernetes.authorization.ResourceCheck",
            Question::Decided(_) | Question::Undecided(_) => "kubernetes.authorization.Decision",
        }
    }

    fn field(&self, name: &str, _: &mut Budget) -> Option<Result<Cel<'a>, EvalError>> {
        match (&self.question, name) {
            (Question::Anything { request, .. }, "requestResource") => {
                Some(Ok(lend(&self.authorizer, Question::Resource(request.clone()))))
            }
            _ => None,
        }
    }

    fn call(&self, function: &str, args: &[Cel<'a>]) -> Option<Result<Cel<'a>, EvalError>> {
        let mut texts = Vec::new();
        for arg in args {
            let Cel::String(text) = arg else { return None };
            texts.push((**text).to_owned());
        }
        let next = |question| Some(Ok(lend(&self.authorizer, question)));
        match (&self.question, function, texts.as_slice()) {
            (Question::Anything { user, .. }, "path", [path]) => {
                next(Question::Path { user: user.clone(), path: path.clone() })
            }
            (Question::Anything { user, .. }, "group", [group]) => {
                next(Question::Group { user: user.clone(), group: group.clone() })
            }
            (Question::Anything { request, .. }, "serviceAccount", [namespace, name]) => {
                let groups =
                    ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
                let user = User::new(&format!("system:serviceaccount:{namespace}:{name}"), &groups);
                let request = Attributes { user: user.clone(), ..request.clone() };
                next(Question::Anything { user, request })
            }
            (Question::Group { user, group }, "resource", [resource]) => next(Question::Resource(Attributes {
                user: user.clone(),
                group: group.clone(),
                version: "*".into(),
                resource: resource.clone(),
                is_resource_request: true,
                ..Attributes::default()
            })),
            (Question::Resource(asked), field, [text]) if field != "check" => {
                let mut asked = asked.clone();
                match field {
                    "subresource" => asked.subresource.clone_from(text),
                    "namespace" => asked.namespace.clone_from(text),
                    "name" => asked.name.clone_from(text),
                    "fieldSelector" => asked.field_selector.clone_from(text),
                    "labelSelector" => asked.label_selector.clone_from(text),
                    _ => return None,
                }
                next(Question::Resource(asked))
            }
            (Question::Resource(asked), "check", [verb]) => {
                next(self.decide(&Attributes { verb: verb.clone(), ..asked.clone() }))
            }
            (Question::Path { user, path }, "check", [verb]) => {
                let (user, path) = (user.clone(), path.clone());
                next(self.decide(&Attributes { user, path, verb: verb.clone(), ..Attributes::default() }))
            }
            (Question::Decided(decision), asked, []) => Some(Ok(match (asked, decision) {
                ("allowed", decision) => Cel::Bool(decision.is_allowed()),
                ("reason", Decision::Allow(why) | Decision::Deny(why) | Decision::NoOpinion(why)) => {
                    Cel::text(why.as_str())
                }
                ("errored", _) => Cel::Bool(false),
                ("error", _) => Cel::text(""),
                _ => return None,
            })),
            (Question::Undecided(why), asked, []) => Some(Ok(match asked {
                "allowed" => Cel::Bool(false),
                "reason" => Cel::text(""),
                "errored" => Cel::Bool(true),
                "error" => Cel::text(why.as_str()),
                _ => return None,
            })),
            _ => None,
        }
    }
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    struct OnlyAlice;

    #[async_trait]
    impl Authorizer for OnlyAlice {
        async fn authorize(&self, a: &Attributes) -> Decision {
            match (a.user.name.as_str(), a.verb.as_str(), a.resource.as_str()) {
                ("alice", "get", "pods") => Decision::Allow("because".into()),
                _ => Decision::NoOpinion(String::new()),
            }
        }
    }

    fn asked(user: &str) -> Asked {
        Asked {
            object: json!({"metadata": {"name": "a", "labels": {"tier": "gold"}}, "spec": {"replicas": 3}}),
            old: Value::Null,
            request: json!({"operation": "CREATE", "userInfo": {"username": user}}),
            namespace: Value::Null,
            params: Value::Null,
            user: User::new(user, &[]),
            resource: Attributes { user: User::new(user, &[]), resource: "pods".into(), ..Attributes::default() },
        }
    }

    fn judge(user: &str, expressions: &[&str], ignores: bool) -> Outcome {
        let list: Value = expressions.iter().map(|expression| json!({"name": "n", "expression": expression})).collect();
        let authorizer: Arc<dyn Authorizer> = Arc::new(OnlyAlice);
        Conditions::compile(&list, ignores).judge(&asked(user), &authorizer).outcome
    }

    #[test]
    fn one_false_condition_decides_and_errors_only_without() {
        assert_eq!(judge("alice", &["object.spec.replicas > 2", "oldObject == null"], false), Outcome::Matches);
        assert_eq!(judge("alice", &["object.spec.missing > 2", "false"], false), Outcome::Skips);
        let Outcome::Fails(why) = judge("alice", &["object.spec.missing > 2"], false) else { panic!("it fails") };
        assert!(why.contains("no such key: missing"), "{why}");
        assert_eq!(judge("alice", &["object.spec.missing > 2"], true), Outcome::Skips);
        assert!(matches!(judge("alice", &["nonsense("], false), Outcome::Fails(_)));
    }

    #[test]
    fn the_authorizer_is_asked_for_the_user() {
        let of_group = "authorizer.group('').resource('pods').namespace('x').check('get').allowed()";
        let of_request = "authorizer.requestResource.check('get').reason() == 'because'";
        assert_eq!(judge("alice", &[of_group, of_request], false), Outcome::Matches);
        assert_eq!(judge("bob", &[of_group], false), Outcome::Skips);
        let of_account = "authorizer.serviceAccount('a', 'b').path('/metrics').check('get').allowed()";
        assert_eq!(judge("alice", &[of_account], false), Outcome::Skips);
    }

    #[test]
    fn variables_are_worked_out_once_and_may_use_others() {
        let env = environment(true, true);
        let compile =
            |name: &str, text: &str| (name.to_owned(), Program::compile(text, &env).map_err(|error| error.message));
        let programs = [
            compile("replicas", "object.spec.replicas"),
            compile("twice", "variables.replicas * 2"),
            compile("circle", "variables.circle"),
        ];
        let asked = asked("alice");
        let variables = Variables::over(&programs, asked.variables(None));
        let run = |text: &str| {
            let program = Program::compile(text, &env).unwrap();
            program.eval(&variables, &mut Budget::per_call()).map(|value| value.to_json())
        };
        assert_eq!(run("variables.twice + variables.replicas").unwrap(), Some(json!(9)));
        assert!(run("variables.circle").unwrap_err().message.contains("refers to itself"));
    }
}
