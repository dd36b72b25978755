//! The strategy of a built-in kind, as a table of what it does differently from the rest.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;
use serde_json::Value;

use super::edit;
use crate::registry::{Column, GarbageCollection, Scale, Scaling, SelectableField, Strategy, StrategyContext};

/// Rules for a new object.
pub(crate) type Validate = fn(&Value, &mut FieldErrors);
/// Rules for a change: the object, what it was.
pub(crate) type ValidateUpdate = fn(&Value, &Value, &mut FieldErrors);

/// The seconds that a deletion waits: of the object, given those asked for.
pub(crate) type Grace = fn(&Value, Option<i64>) -> Option<i64>;

/// What a built-in kind does differently from the rest. [`Kind::PLAIN`] does nothing of its own.
pub(crate) struct Kind {
    /// Fills in defaults.
    pub(crate) default: fn(&mut Value),
    /// What `status` is at first; `None` for kinds whose status isn't a thing of its own.
    pub(crate) status: Option<fn() -> Value>,
    /// What a create sets and drops, after the status.
    pub(crate) create: fn(&StrategyContext<'_>, &mut Value),
    /// What an update restores, after the status.
    pub(crate) update: fn(&StrategyContext<'_>, &mut Value, &Value),
    /// Rules for a new object.
    pub(crate) validate: Validate,
    /// Rules for a change; `None` applies those for a new object.
    pub(crate) validate_update: Option<ValidateUpdate>,
    /// What to warn of.
    pub(crate) warnings: fn(&Value, Option<&Value>) -> Vec<String>,
    /// Subresources that read and write the whole object.
    pub(crate) subresources: &'static [(&'static str, &'static dyn Strategy)],
    /// The rule for names.
    pub(crate) name: fn(&str) -> Vec<String>,
    /// Fields for selectors.
    pub(crate) selectable: &'static [SelectableField],
    /// Columns of tables.
    pub(crate) columns: &'static [Column],
    /// Whether it counts generations.
    pub(crate) generation: bool,
    /// Whether an update may create it.
    pub(crate) create_on_update: bool,
    /// Whether an update needs no resource version.
    pub(crate) unconditional_update: bool,
    /// Seconds before a graceful deletion is over.
    pub(crate) grace: Option<Grace>,
    /// Marks the begin of a deletion.
    pub(crate) delete: fn(&StrategyContext<'_>, &mut Value),
    /// Whether finalizers of its own keep it.
    pub(crate) own_finalizers: fn(&Value) -> bool,
    /// A finalizer that deleting it gives it.
    pub(crate) deletion_finalizer: Option<&'static str>,
    /// Whether deleting it at once answers the object.
    pub(crate) answers_deleted: bool,
    /// What happens to dependents.
    pub(crate) garbage: GarbageCollection,
    /// Its scale.
    pub(crate) scale: Option<Scale>,
    /// Seconds to live.
    pub(crate) seconds_to_live: Option<u32>,
}

impl Kind {
    /// A kind that needs nothing of its own.
    pub(crate) const PLAIN: Self = Self {
        default: |_| {},
        status: None,
        create: |_, _| {},
        update: |_, _, _| {},
        validate: |_, _| {},
        validate_update: None,
        warnings: |_, _| Vec::new(),
        subresources: &[],
        name: names::dns1123_subdomain,
        selectable: &[],
        columns: &[],
        generation: false,
        create_on_update: false,
        unconditional_update: true,
        grace: None,
        delete: |_, _| {},
        own_finalizers: |_| false,
        deletion_finalizer: None,
        answers_deleted: false,
        garbage: GarbageCollection::Delete,
        scale: None,
        seconds_to_live: None,
    };
}

/// A status that starts empty.
pub(crate) fn empty_status() -> Value {
    Value::Object(serde_json::Map::new())
}

impl Strategy for Kind {
    fn default(&self, object: &mut Value) {
        (self.default)(object);
    }

    fn prepare_for_create(&self, context: &StrategyContext<'_>, object: &mut Value) {
        if let Some(status) = self.status {
            edit::set(object, "status", status());
        }
        (self.create)(context, object);
    }

    fn prepare_for_update(&self, context: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        if self.status.is_some() {
            edit::restore(object, "status", old);
        }
        (self.update)(context, object, old);
    }

    fn validate(&self, object: &Value) -> FieldErrors {
        let mut errors = FieldErrors::new();
        (self.validate)(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> FieldErrors {
        let mut errors = FieldErrors::new();
        match self.validate_update {
            Some(validate) => validate(object, old, &mut errors),
            None => (self.validate)(object, &mut errors),
        }
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        (self.warnings)(object, old)
    }

    fn subresource(&self, name: &str) -> Option<&dyn Strategy> {
        self.subresources.iter().find(|(other, _)| *other == name).map(|(_, strategy)| *strategy as &dyn Strategy)
    }

    fn name_rule(&self) -> fn(&str) -> Vec<String> {
        self.name
    }

    fn selectable_fields(&self) -> &'static [SelectableField] {
        self.selectable
    }

    fn columns(&self) -> &'static [Column] {
        self.columns
    }

    fn tracks_generation(&self) -> bool {
        self.generation
    }

    fn allow_create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn allow_unconditional_update(&self) -> bool {
        self.unconditional_update
    }

    fn grace_period(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        self.grace.and_then(|grace| grace(object, requested))
    }

    fn prepare_for_delete(&self, context: &StrategyContext<'_>, object: &mut Value) {
        (self.delete)(context, object);
    }

    fn has_own_finalizers(&self, object: &Value) -> bool {
        (self.own_finalizers)(object)
    }

    fn returns_deleted_object(&self) -> bool {
        self.answers_deleted
    }

    fn garbage_collection(&self) -> GarbageCollection {
        self.garbage
    }

    fn scale(&self) -> Option<&dyn Scaling> {
        self.scale.as_ref().map(|scale| scale as &dyn Scaling)
    }

    fn deletion_finalizer(&self) -> Option<&'static str> {
        self.deletion_finalizer
    }

    fn time_to_live(&self) -> Option<u32> {
        self.seconds_to_live
    }
}

/// What users write of the metadata.
pub(crate) const METADATA: &[&str] =
    &["annotations", "deletionTimestamp", "finalizers", "generation", "labels", "ownerReferences"];

/// The strategy of a subresource that changes one part of an object, `status` most often.
pub(crate) struct Part {
    /// The parts it may change beside the metadata; everything else stays as it was.
    pub(crate) fields: &'static [&'static str],
    /// What of the metadata stays as it was.
    pub(crate) keeps: &'static [&'static str],
    /// What else it restores or derives.
    pub(crate) update: fn(&StrategyContext<'_>, &mut Value, &Value),
    /// Rules for a change.
    pub(crate) validate: ValidateUpdate,
}

impl Part {
    /// `status`, with no rules.
    pub(crate) const STATUS: Self =
        Self { fields: &["status"], keeps: &[], update: |_, _, _| {}, validate: |_, _, _| {} };
    /// `status` alone: the metadata stays as it was.
    pub(crate) const STATUS_ONLY: Self = Self { keeps: METADATA, ..Self::STATUS };
}

impl Strategy for Part {
    fn prepare_for_update(&self, context: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        let Some(entries) = old.as_object() else { return };
        let restored = entries.keys().filter(|name| *name != "metadata" && !self.fields.contains(&name.as_str()));
        restored.for_each(|name| edit::restore(object, name, old));
        if let Some(entries_now) = object.as_object_mut() {
            entries_now.retain(|name, _| {
                entries.contains_key(name) || name == "metadata" || self.fields.contains(&name.as_str())
            });
        }
        edit::with(object, "metadata", |metadata| {
            self.keeps.iter().for_each(|name| edit::restore(metadata, name, &old["metadata"]));
        });
        (self.update)(context, object, old);
    }

    fn validate_update(&self, object: &Value, old: &Value) -> FieldErrors {
        let mut errors = FieldErrors::new();
        (self.validate)(object, old, &mut errors);
        errors
    }
}
