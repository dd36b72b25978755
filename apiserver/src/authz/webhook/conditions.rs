//! For which requests a webhook is asked: expressions over the `SubjectAccessReview` that it would get.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::cel::{Budget, Env, Program, Type, Value as Cel};

/// What all conditions of one webhook may cost together.
const CONDITIONS_BUDGET: u64 = 10_000_000;

/// Conditions, compiled. All must hold; without any the webhook is always asked.
#[derive(Clone, Debug, Default)]
pub(in crate::authz) struct MatchConditions(Vec<(String, Program)>);

/// What expressions see as `request`.
static REQUEST: LazyLock<Type> = LazyLock::new(|| {
    let (text, texts) = (Type::String, Type::list(Type::String));
    let requirement = Type::object(
        "kubernetes.SelectorRequirement",
        [("key", text.clone()), ("operator", text.clone()), ("values", texts.clone())],
    );
    let selector =
        |name| Type::object(name, [("rawSelector", Type::String), ("requirements", Type::list(requirement.clone()))]);
    let resource = Type::object(
        "kubernetes.ResourceAttributes",
        ["namespace", "verb", "group", "version", "resource", "subresource", "name"]
            .map(|field| (field, Type::String))
            .into_iter()
            .chain([
                ("fieldSelector", selector("kubernetes.FieldSelectorAttributes")),
                ("labelSelector", selector("kubernetes.LabelSelectorAttributes")),
            ]),
    );
    let path = Type::object("kubernetes.NonResourceAttributes", [("path", text.clone()), ("verb", text.clone())]);
    Type::object(
        "kubernetes.SubjectAccessReviewSpec",
        [
            ("resourceAttributes", resource),
            ("nonResourceAttributes", path),
            ("user", text.clone()),
            ("groups", texts.clone()),
            ("extra", Type::map(texts)),
            ("uid", text),
        ],
    )
});

impl MatchConditions {
    /// Adds one; the error is upstream's.
    pub(in crate::authz) fn add(&mut self, expression: &str) -> Result<(), String> {
        let env = Env::new().with("request", REQUEST.clone());
        let program = Program::compile(expression, &env).map_err(|error| format!("compilation failed: {error}"))?;
        if *program.result() != Type::Bool {
            return Err(format!("must evaluate to bool but got {}", program.result()));
        }
        self.0.push((expression.to_owned(), program));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the webhook is to be asked. One condition that is false decides; errors count only where none is.
    pub(super) fn judge(&self, spec: &Value) -> Result<bool, String> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let shown = shown(spec);
        let mut budget = Budget::new(CONDITIONS_BUDGET);
        let mut faults = Vec::new();
        for (expression, program) in &self.0 {
            match program.eval(&[("request", Cel::typed(&shown, Some(&REQUEST)))], &mut budget) {
                Ok(Cel::Bool(true)) => {}
                Ok(Cel::Bool(false)) => return Ok(false),
                Ok(_) => faults.push(format!("expression '{expression}' eval result type should be bool")),
                Err(error) => faults.push(format!("expression '{expression}' resulted in error: {}", error.message)),
            }
        }
        match faults.as_slice() {
            [] => Ok(true),
            [one] => Err(format!("cel evaluation error: {one}")),
            several => Err(format!("cel evaluation error: [{}]", several.join(", "))),
        }
    }
}

/// The review with every text field, also those that are empty.
fn shown(spec: &Value) -> Value {
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    let or = |value: &Value, default: Value| if value.is_null() { default } else { value.clone() };
    let mut shown = json!({
        "user": text(spec, "user"),
        "uid": text(spec, "uid"),
        "groups": or(&spec["groups"], json!([])),
        "extra": or(&spec["extra"], json!({})),
    });
    let resource = &spec["resourceAttributes"];
    if resource.is_object() {
        let mut all = resource.clone();
        for field in ["namespace", "verb", "group", "version", "resource", "subresource", "name"] {
            all[field] = text(resource, field).into();
        }
        shown["resourceAttributes"] = all;
    }
    let path = &spec["nonResourceAttributes"];
    if path.is_object() {
        shown["nonResourceAttributes"] = json!({"path": text(path, "path"), "verb": text(path, "verb")});
    }
    shown
}
