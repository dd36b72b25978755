//! The conditions under which a webhook or a policy applies at all.

use std::sync::Arc;

use serde_json::Value;

use super::asked::{Asked, environment};
use crate::authz::Authorizer;
use crate::cel::{Budget, Program, Type, Value as Cel};

/// What all match conditions of a webhook or policy may cost together.
const CONDITIONS_BUDGET: u64 = 2_500_000;

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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use serde_json::json;

    use super::*;
    use crate::admission::asked::Variables;
    use crate::authz::{Attributes, Decision};
    use crate::request::User;

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
