//! `x-kubernetes-validations`: rules of a schema, compiled with it and run on every write.

use std::collections::BTreeMap;
use std::time::Instant;

use kubewright_api::field::{FaultKind, FieldError, FieldErrors, Path};
use serde_json::Value;

use super::metrics;
use super::structural::{ListType, Structural};
use super::types::{Declared, declare};
use super::validate::Before;
use crate::cel::{self, Budget, Env, Program, Type};

/// Longer messages of `messageExpression` are not used.
const MESSAGE_MAX: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The rules of a schema and of all below it.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    declared: Declared,
    kind: String,
    properties: BTreeMap<String, Self>,
    additional: Option<Box<Self>>,
    items: Option<(Box<Self>, ListType)>,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) source: String,
    pub(super) program: Result<Program, String>,
    pub(super) message: String,
    pub(super) message_expression: Option<Result<Program, String>>,
    pub(super) reason: String,
    pub(super) field_path: String,
    pub(super) optional_old: bool,
    pub(super) uses_old: bool,
}

impl Rule {
    pub(super) fn compile(rule: &Value, ty: &Type) -> Self {
        let text = |name: &str| rule[name].as_str().unwrap_or_default();
        let optional_old = rule["optionalOldSelf"] == true;
        let old = if optional_old { Type::optional(ty.clone()) } else { ty.clone() };
        let env = Env::new().with("self", ty.clone()).with("oldSelf", old);
        let program = Program::compile(text("rule"), &env)
            .map_err(|error| format!("compilation failed: {error}"))
            .and_then(|program| match program.result() {
                Type::Bool => Ok(program),
                // What can only be told when it runs may still be true or false.
                Type::Dyn => Ok(program),
                _ => Err("cel expression must evaluate to a bool".to_owned()),
            });
        let message_expression = Some(text("messageExpression")).filter(|text| !text.is_empty()).map(|source| {
            Program::compile(source, &env)
                .map_err(|error| format!("messageExpression compilation failed: {error}"))
                .and_then(|program| match program.result() {
                    Type::String | Type::Dyn => Ok(program),
                    _ => Err("messageExpression must evaluate to a string".to_owned()),
                })
        });
        Self {
            source: text("rule").to_owned(),
            uses_old: program.as_ref().is_ok_and(|program| program.reads("oldSelf")),
            program,
            message: text("message").trim().to_owned(),
            message_expression,
            reason: text("reason").to_owned(),
            field_path: text("fieldPath").replace("['", ".").replace("']", ""),
            optional_old,
        }
    }

    fn describe(&self) -> String {
        self.source.trim().to_owned()
    }
}

impl Rules {
    /// The rules of a schema; `None` if it has none.
    pub(crate) fn compile(schema: &Structural) -> Option<Self> {
        let started = Instant::now();
        let rules = Self::of(schema, true);
        if rules.is_some() {
            metrics::compiled(started);
        }
        rules
    }

    fn of(schema: &Structural, root: bool) -> Option<Self> {
        let properties: BTreeMap<String, Self> = schema
            .properties
            .iter()
            .filter_map(|(name, property)| Some((name.clone(), Self::of(property, property.embedded)?)))
            .collect();
        let additional = schema.additional.as_ref().and_then(|inner| Self::of(inner, inner.embedded)).map(Box::new);
        let items = schema.items.as_ref().and_then(|inner| Self::of(inner, inner.embedded));
        let items = items.map(|items| (Box::new(items), schema.list.clone()));
        let own = &schema.validations;
        if own.is_empty() && properties.is_empty() && additional.is_none() && items.is_none() {
            return None;
        }
        let declared = declare(schema, root);
        let rules = own.iter().map(|rule| Rule::compile(rule, &declared.ty)).collect();
        Some(Self { rules, declared, kind: schema.kind.clone(), properties, additional, items })
    }

    /// Runs the rules on an object, given what it was before.
    pub(crate) fn check(&self, object: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let mut run = Run { left: cel::RUNTIME_BUDGET, errors, over: false };
        let started = Instant::now();
        run.node(self, object, old, &Path::root(), true);
        metrics::evaluated(started);
    }
}

struct Run<'e> {
    left: u64,
    errors: &'e mut FieldErrors,
    over: bool,
}

impl Run<'_> {
    fn node(&mut self, rules: &Rules, value: &Value, old: Option<&Value>, path: &Path, root: bool) {
        if value.is_null() || self.over {
            return;
        }
        self.own(rules, value, old, path, root);
        match value {
            Value::Object(fields) => {
                for (name, inner) in fields {
                    let before = old.and_then(|old| old.get(name)).filter(|before| !before.is_null());
                    let below = path.child(name);
                    if let Some(property) = rules.properties.get(name) {
                        self.node(property, inner, before, &below, false);
                    } else if let Some(additional) = &rules.additional {
                        self.node(additional, inner, before, &path.key(name), false);
                    }
                }
            }
            Value::Array(list) => {
                let Some((items, kind)) = &rules.items else { return };
                // The elements of other lists cannot be told apart over time.
                let before = old.filter(|_| matches!(kind, ListType::Map(_)));
                let before = Before::of(before, kind);
                for (at, inner) in list.iter().enumerate() {
                    let before = before.as_ref().and_then(|before| before.element(inner, at));
                    self.node(items, inner, before, &path.index(at), false);
                }
            }
            _ => {}
        }
    }

    fn own(&mut self, rules: &Rules, value: &Value, old: Option<&Value>, path: &Path, root: bool) {
        let ty = Some(&rules.declared.ty);
        for rule in &rules.rules {
            if rule.uses_old && old.is_none() && !rule.optional_old {
                continue;
            }
            if !rule.uses_old && !root && old == Some(value) {
                continue;
            }
            let program = match &rule.program {
                Ok(program) => program,
                Err(why) => {
                    self.fault(path, rules.kind.as_str(), format!("rule compile error: {why}"));
                    continue;
                }
            };
            let before = old.map(|old| cel::Value::typed(old, ty));
            let before = if rule.optional_old {
                before.map_or(cel::Value::Optional(None), cel::Value::some)
            } else {
                before.unwrap_or(cel::Value::Null)
            };
            let variables = [("self", cel::Value::typed(value, ty)), ("oldSelf", before)];
            match self.run(program, &variables) {
                Ok(cel::Value::Bool(true)) => {}
                Ok(_) => self.failed(rule, &variables, value, path),
                Err(error) => self.broken(rule, &error, path, &rules.kind),
            }
            if self.over {
                return;
            }
        }
    }

    fn run<'a>(
        &mut self,
        program: &Program,
        variables: &[(&str, cel::Value<'a>)],
    ) -> Result<cel::Value<'a>, cel::EvalError> {
        let limit = self.left.min(cel::PER_CALL_LIMIT);
        let mut budget = Budget::new(limit);
        let result = program.eval(variables, &mut budget);
        self.left = self.left.saturating_sub(budget.spent());
        if self.left == 0 && limit < cel::PER_CALL_LIMIT {
            self.over = true;
        }
        result
    }

    fn fault(&mut self, path: &Path, value: &str, detail: String) {
        self.errors.push(FieldError::invalid(path, value, detail));
    }

    fn broken(&mut self, rule: &Rule, error: &cel::EvalError, path: &Path, kind: &str) {
        let source = rule.describe();
        if self.over {
            self.fault(path, kind, OUT_OF_BUDGET.to_owned());
        } else if error.over_budget {
            self.over = true;
            let why = "no further validation rules will be run due to call cost exceeds limit for rule";
            self.fault(path, kind, format!("'{error}': {why}: {source}"));
        } else if error.message.starts_with("no such overload") {
            let why = "call arguments did not match a supported operator, function or macro signature for rule";
            self.fault(path, kind, format!("'{error}': {why}: {source}"));
        } else {
            self.fault(path, kind, format!("{error} evaluating rule: {source}"));
        }
    }

    /// A rule does not hold.
    fn failed(&mut self, rule: &Rule, variables: &[(&str, cel::Value<'_>)], value: &Value, path: &Path) {
        let expressed = match &rule.message_expression {
            Some(Ok(program)) => match self.run(program, variables) {
                Ok(cel::Value::String(text)) => {
                    let text = text.trim();
                    let fits = !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n');
                    fits.then(|| text.to_owned())
                }
                _ => None,
            },
            _ => None,
        };
        let detail = expressed.unwrap_or_else(|| match rule.message.as_str() {
            "" => format!("failed rule: {}", rule.describe()),
            message => message.to_owned(),
        });
        let path = match rule.field_path.trim_start_matches('.') {
            "" => path.clone(),
            below => path.child(below),
        };
        // Objects and lists are not repeated.
        let shown = Some(value).filter(|value| !value.is_object() && !value.is_array()).cloned();
        let error = match rule.reason.as_str() {
            "FieldValueForbidden" => FieldError::forbidden(&path, detail),
            "FieldValueRequired" => FieldError::required(&path, detail),
            "FieldValueDuplicate" => {
                FieldError { path, kind: FaultKind::Duplicate, detail: String::new(), value: shown }
            }
            _ => FieldError { path, kind: FaultKind::Invalid, detail, value: shown },
        };
        self.errors.push(error);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(rules: Value, spec: Value, old: Option<Value>) -> Vec<String> {
        let schema = Structural::read(&json!({"type": "object", "properties": {"spec": {
        "type": "object", "x-kubernetes-validations": rules, "properties": {
            "replicas": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
                    "x-kubernetes-validations": [
                        {"rule": "self.size >= oldSelf.size", "message": "parts never shrink"}]}},
        }}}}));
        let rules = Rules::compile(&schema).unwrap();
        let mut errors = FieldErrors::new();
        rules.check(&json!({"spec": spec}), old.map(|old| json!({"spec": old})).as_ref(), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_say_what_they_were_told_to() {
        let broken = json!({"replicas": 5, "max": 3});
        for (rule, expected) in [
            (
                json!({"rule": "self.replicas <= self.max"}),
                "spec: Invalid value: failed rule: self.replicas <= self.max",
            ),
            (
                json!({"rule": "self.replicas <= self.max", "message": "too many", "fieldPath": ".replicas",
                    "reason": "FieldValueForbidden"}),
                "spec.replicas: Forbidden: too many",
            ),
            (
                json!({"rule": "self.replicas <= self.max", "messageExpression": "'at most ' + string(self.max)"}),
                "spec: Invalid value: at most 3",
            ),
            (
                json!({"rule": "self.name == 'x'"}),
                "spec: Invalid value: \"object\": no such key: name evaluating rule: self.name == 'x'",
            ),
        ] {
            assert_eq!(faults(json!([rule]), broken.clone(), None), [expected], "{rule}");
        }
        assert!(faults(json!([{"rule": "!has(self.name)"}]), broken, None).is_empty());
    }

    #[test]
    fn transition_rules_see_what_was() {
        let rule = json!([{"rule": "self.name == oldSelf.name", "message": "is immutable"}]);
        assert!(faults(rule.clone(), json!({"name": "b"}), None).is_empty(), "nothing to compare with");
        assert_eq!(
            faults(rule, json!({"name": "b"}), Some(json!({"name": "a"}))),
            ["spec: Invalid value: is immutable"]
        );
        let optional = json!([{"rule": "oldSelf.hasValue() || self.name == 'first'", "optionalOldSelf": true}]);
        assert_eq!(faults(optional.clone(), json!({"name": "b"}), None).len(), 1);
        assert!(faults(optional, json!({"name": "b"}), Some(json!({"name": "a"}))).is_empty());
        let parts = |size: i64| json!({"parts": [{"name": "a", "size": 9}, {"name": "b", "size": size}]});
        assert_eq!(faults(json!([]), parts(1), Some(parts(2))), ["spec.parts[1]: Invalid value: parts never shrink"]);
    }

    #[test]
    fn costly_rules_are_stopped() {
        let list: Vec<Value> = (0..300).map(|at| json!({"name": format!("n{at}"), "size": at})).collect();
        let rule = "self.parts.all(a, self.parts.all(b, self.parts.all(c, a.name != b.name + c.name)))";
        let found = faults(json!([{"rule": rule}]), json!({"parts": list}), None);
        assert!(found[0].contains("call cost exceeds limit"), "{found:?}");
    }
}
