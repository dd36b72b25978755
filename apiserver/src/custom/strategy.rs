//! What a definition adds to the registry.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use kubewright_api::field::{FaultKind, FieldError, FieldErrors, Path};
use serde_json::Value;

use super::columns::Columns;
use super::jsonpath::JsonPath;
use super::rules::Rules;
use super::scale::PathScale;
use super::structural::Structural;
use super::{shape, validate};
use crate::kinds::Part;
use crate::object::typed::Schema;
use crate::registry::{GarbageCollection, Scaling, Strategy, StrategyContext};

/// A version of a definition.
pub(super) struct CustomStrategy {
    checks: SchemaChecks,
    status: Option<StatusStrategy>,
    scale: Option<PathScale>,
    columns: Columns,
    selectable: Vec<(String, JsonPath)>,
}

/// The rules of a schema.
#[derive(Clone)]
struct SchemaChecks {
    schema: Arc<Structural>,
    rules: Option<Arc<Rules>>,
    replicas: Option<JsonPath>,
}

const UNCHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing \
                         errors to complete validation";

impl SchemaChecks {
    fn new(schema: Arc<Structural>) -> Self {
        Self { rules: Rules::compile(&schema).map(Arc::new), schema, replicas: None }
    }

    fn check(&self, object: &Value, old: Option<&Value>) -> FieldErrors {
        let mut errors = FieldErrors::new();
        validate::validate(object, old, &self.schema, &mut errors);
        if let Some(path) = &self.replicas
            && let Some(replicas) = path.first(object).and_then(Value::as_i64)
            && replicas < 0
        {
            let at = path.fields().unwrap_or_default().iter().fold(Path::root(), |path, name| path.child(name));
            errors.push(FieldError::invalid(&at, replicas, "should be a non-negative integer"));
        }
        let Some(rules) = &self.rules else { return errors };
        let blocks = |error: &FieldError| {
            let kinds = [FaultKind::Required, FaultKind::TooLong, FaultKind::TooMany, FaultKind::TypeInvalid];
            kinds.contains(&error.kind)
        };
        if errors.iter().any(blocks) {
            errors.push(FieldError::invalid(&Path::root(), Value::Null, UNCHECKED));
        } else {
            rules.check(object, old, &mut errors);
        }
        errors
    }
}

impl CustomStrategy {
    /// The strategy of a version as the definition writes it.
    pub(super) fn read(version: &Value, schema: Arc<Structural>) -> Self {
        let mut checks = SchemaChecks::new(schema);
        let scale = PathScale::read(&version["subresources"]["scale"]);
        checks.replicas = scale.as_ref().map(|scale| scale.spec.clone());
        let selectable = version["selectableFields"].as_array().into_iter().flatten().filter_map(|field| {
            let path = field["jsonPath"].as_str()?;
            Some((path.trim_start_matches('.').to_owned(), JsonPath::parse(path).ok()?))
        });
        let has_status = version["subresources"].get("status").is_some();
        Self {
            status: has_status.then(|| StatusStrategy(checks.clone())),
            checks,
            scale,
            columns: Columns::read(version),
            selectable: selectable.collect(),
        }
    }
}

impl Strategy for CustomStrategy {
    fn default(&self, object: &mut Value) {
        shape::default(object, &self.checks.schema);
    }

    fn prepare_for_create(&self, _: &StrategyContext<'_>, object: &mut Value) {
        if self.status.is_some()
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
    }

    fn prepare_for_update(&self, _: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        if self.status.is_some()
            && let Some(fields) = object.as_object_mut()
        {
            match old.get("status") {
                Some(status) => drop(fields.insert("status".into(), status.clone())),
                None => drop(fields.remove("status")),
            }
        }
    }

    fn validate(&self, object: &Value) -> FieldErrors {
        self.checks.check(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> FieldErrors {
        self.checks.check(object, Some(old))
    }

    fn subresource(&self, name: &str) -> Option<&dyn Strategy> {
        self.status.as_ref().filter(|_| name == "status").map(|status| status as &dyn Strategy)
    }

    fn selectable_paths(&self) -> Vec<&str> {
        self.selectable.iter().map(|(path, _)| path.as_str()).collect()
    }

    fn selectable_value<'v>(&self, at: usize, object: &'v Value) -> Cow<'v, str> {
        let found = self.selectable.get(at).and_then(|(_, path)| path.first(object));
        match found {
            Some(Value::String(text)) => Cow::Borrowed(text),
            None | Some(Value::Null) => Cow::Borrowed(""),
            Some(value) => Cow::Owned(value.to_string()),
        }
    }

    fn column_definitions(&self) -> Value {
        self.columns.definitions()
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        self.columns.cells(object, now)
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn generation_ignores_status(&self) -> bool {
        self.status.is_some()
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        false
    }

    fn scale(&self) -> Option<&dyn Scaling> {
        self.scale.as_ref().map(|scale| scale as &dyn Scaling)
    }
}

/// The `status` subresource of a definition: it changes the status alone.
struct StatusStrategy(SchemaChecks);

impl Strategy for StatusStrategy {
    fn default(&self, object: &mut Value) {
        shape::default(object, &self.0.schema);
    }

    fn prepare_for_update(&self, context: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        Part::STATUS_ONLY.prepare_for_update(context, object, old);
    }

    fn validate_update(&self, object: &Value, old: &Value) -> FieldErrors {
        self.0.check(object, Some(old))
    }
}

/// An embedder's strategy, with the rules of a schema before its own.
pub(crate) fn with_schema(strategy: Arc<dyn Strategy>, schema: &Schema) -> Arc<dyn Strategy> {
    match schema {
        Schema::Custom(schema) => {
            Arc::new(WithSchema { inner: strategy, checks: SchemaChecks::new(Arc::clone(schema)) })
        }
        _ => strategy,
    }
}

struct WithSchema {
    inner: Arc<dyn Strategy>,
    checks: SchemaChecks,
}

impl Strategy for WithSchema {
    fn default(&self, object: &mut Value) {
        shape::default(object, &self.checks.schema);
        self.inner.default(object);
    }

    fn prepare_for_create(&self, context: &StrategyContext<'_>, object: &mut Value) {
        self.inner.prepare_for_create(context, object);
    }

    fn prepare_for_update(&self, context: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        self.inner.prepare_for_update(context, object, old);
    }

    fn validate(&self, object: &Value) -> FieldErrors {
        let mut errors = self.checks.check(object, None);
        errors.extend(self.inner.validate(object));
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> FieldErrors {
        let mut errors = self.checks.check(object, Some(old));
        errors.extend(self.inner.validate_update(object, old));
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        self.inner.warnings(object, old)
    }

    fn subresource(&self, name: &str) -> Option<&dyn Strategy> {
        self.inner.subresource(name)
    }

    fn name_rule(&self) -> fn(&str) -> Vec<String> {
        self.inner.name_rule()
    }

    fn selectable_fields(&self) -> &'static [crate::registry::SelectableField] {
        self.inner.selectable_fields()
    }

    fn selectable_paths(&self) -> Vec<&str> {
        self.inner.selectable_paths()
    }

    fn selectable_value<'v>(&self, at: usize, object: &'v Value) -> Cow<'v, str> {
        self.inner.selectable_value(at, object)
    }

    fn columns(&self) -> &'static [crate::registry::Column] {
        self.inner.columns()
    }

    fn column_definitions(&self) -> Value {
        self.inner.column_definitions()
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        self.inner.cells(object, now)
    }

    fn tracks_generation(&self) -> bool {
        self.inner.tracks_generation()
    }

    fn generation_ignores_status(&self) -> bool {
        self.inner.generation_ignores_status()
    }

    fn allow_create_on_update(&self) -> bool {
        self.inner.allow_create_on_update()
    }

    fn allow_unconditional_update(&self) -> bool {
        self.inner.allow_unconditional_update()
    }

    fn grace_period(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        self.inner.grace_period(object, requested)
    }

    fn prepare_for_delete(&self, context: &StrategyContext<'_>, object: &mut Value) {
        self.inner.prepare_for_delete(context, object);
    }

    fn has_own_finalizers(&self, object: &Value) -> bool {
        self.inner.has_own_finalizers(object)
    }

    fn deletion_finalizer(&self) -> Option<&'static str> {
        self.inner.deletion_finalizer()
    }

    fn garbage_collection(&self) -> GarbageCollection {
        self.inner.garbage_collection()
    }

    fn returns_deleted_object(&self) -> bool {
        self.inner.returns_deleted_object()
    }

    fn scale(&self) -> Option<&dyn Scaling> {
        self.inner.scale()
    }

    fn time_to_live(&self) -> Option<u32> {
        self.inner.time_to_live()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_wait_until_the_structure_is_right() {
        let schema = Structural::read(&json!({"type": "object", "properties": {"spec": {"type": "object",
            "required": ["a"], "properties": {"a": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.a > 1"}]}}}));
        let checks = SchemaChecks::new(Arc::new(schema));
        let faults =
            |object: Value| -> Vec<String> { checks.check(&object, None).iter().map(ToString::to_string).collect() };
        let found = faults(json!({"spec": {}}));
        assert_eq!(found[0], "spec.a: Required value");
        assert!(
            found[1].starts_with("<nil>: Invalid value: null: some validation rules were not checked"),
            "{found:?}"
        );
        assert_eq!(faults(json!({"spec": {"a": 1}})), ["spec: Invalid value: failed rule: self.a > 1"]);
    }
}
