//! The authorizer as expressions call it: `authorizer.group('').resource('pods').check('get').allowed()`.

use std::sync::Arc;

use futures::FutureExt;

use crate::authz::{Attributes, Authorizer, Decision};
use crate::cel::{Budget, EvalError, Host, Value as Cel};
use crate::request::User;

/// What an expression is asking the authorizer.
#[derive(Clone, Debug)]
pub(super) enum Question {
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

/// Lends the authorizer to an expression.
pub(super) fn lend<'a>(authorizer: &Arc<dyn Authorizer>, question: Question) -> Cel<'a> {
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
