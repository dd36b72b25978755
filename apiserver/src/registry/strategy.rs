//! What distinguishes one kind from another. The registry does the rest, the same for all.

use std::borrow::Cow;

use async_trait::async_trait;
use jiff::Timestamp;
use kubewright_api::field::FieldErrors;
use kubewright_api::names;
use kubewright_api::status::Status;
use serde_json::Value;

use crate::authz::Attributes;
use crate::request::User;
use crate::table;

/// Circumstances of a write, as plain data.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StrategyContext<'a> {
    /// When.
    pub now: Timestamp,
    /// Who asks.
    pub user: &'a User,
    /// Namespace; empty for a cluster-scoped object.
    pub namespace: &'a str,
    /// API version of the request.
    pub version: &'a str,
}

impl<'a> StrategyContext<'a> {
    /// A write at that time, by that user, in that namespace.
    #[must_use]
    pub const fn new(now: Timestamp, user: &'a User, namespace: &'a str) -> Self {
        Self { now, user, namespace, version: "v1" }
    }
}

/// A field that field selectors may name, beyond `metadata.name` and `metadata.namespace`.
#[derive(Clone, Copy, Debug)]
pub struct SelectableField {
    /// Its path, such as `spec.nodeName`.
    pub path: &'static str,
    /// Its value as text; empty if it is not there.
    pub value: fn(&Value) -> Cow<'_, str>,
}

/// A column of the tables that `kubectl get` shows.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Header, such as `Ready`.
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer`, `date`, `boolean`.
    pub kind: &'static str,
    /// OpenAPI format: `name` for the name column, otherwise mostly empty.
    pub format: &'static str,
    /// 0 is always shown, 1 in wide output.
    pub priority: i32,
    /// What it means.
    pub description: &'static str,
    /// The cell of an object.
    pub cell: fn(&Value, Timestamp) -> Value,
}

/// How the `scale` subresource reads and writes a kind.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The wanted replicas.
    pub spec_replicas: fn(&Value) -> i64,
    /// Sets the wanted replicas.
    pub set_replicas: fn(&mut Value, i64),
    /// The replicas there are.
    pub status_replicas: fn(&Value) -> i64,
    /// The label selector of the pods, as text.
    pub selector: fn(&Value) -> String,
}

/// Reads and writes what the `scale` subresource shows.
pub trait Scaling: Send + Sync {
    /// The wanted replicas.
    fn replicas(&self, object: &Value) -> i64;
    /// Sets the wanted replicas.
    fn set_replicas(&self, object: &mut Value, replicas: i64);
    /// The replicas there are.
    fn current_replicas(&self, object: &Value) -> i64;
    /// The label selector of the pods, as text; may be empty.
    fn selector(&self, object: &Value) -> String;

    /// Where the wanted replicas should be, if they are not there (default: they always are).
    fn missing_replicas(&self, object: &Value) -> Option<&str> {
        let _ = object;
        None
    }
}

impl Scaling for Scale {
    fn replicas(&self, object: &Value) -> i64 {
        (self.spec_replicas)(object)
    }

    fn set_replicas(&self, object: &mut Value, replicas: i64) {
        (self.set_replicas)(object, replicas);
    }

    fn current_replicas(&self, object: &Value) -> i64 {
        (self.status_replicas)(object)
    }

    fn selector(&self, object: &Value) -> String {
        (self.selector)(object)
    }
}

/// What happens to dependents when a delete request doesn't say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GarbageCollection {
    /// The garbage collector deletes them.
    Delete,
    /// They stay.
    Orphan,
    /// The kind takes no part in garbage collection.
    Unsupported,
}

/// What distinguishes one kind: pure functions, no IO. Objects come in the version of the table of resources, decoded
/// and free of unknown fields; the metadata every object has is the registry's business.
///
/// Order of a write: default, mutating admission, `prepare_for_…`, hooks (see [`CommitHook`]), `validate…`, validating
/// admission, store.
pub trait Strategy: Send + Sync + 'static {
    /// Fills in the version's defaults, also on objects that come out of the store.
    fn default(&self, object: &mut Value) {
        let _ = object;
    }

    /// Drops what creators may not set (status, most often) and sets what the server sets. The registry has set
    /// `metadata.generation` to 1 where [`tracks_generation`](Self::tracks_generation).
    fn prepare_for_create(&self, context: &StrategyContext<'_>, object: &mut Value) {
        let _ = (context, object);
    }

    /// Restores what this request may not change (status, most often).
    fn prepare_for_update(&self, context: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        let _ = (context, object, old);
    }

    /// The rules for a new object, metadata aside.
    fn validate(&self, object: &Value) -> FieldErrors {
        let _ = object;
        FieldErrors::new()
    }

    /// The rules for a change, metadata aside: all of those that still apply, not only those for changes.
    fn validate_update(&self, object: &Value, old: &Value) -> FieldErrors {
        let _ = old;
        self.validate(object)
    }

    /// What to warn of.
    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let _ = (object, old);
        Vec::new()
    }

    /// The strategy of a subresource that reads and writes the whole object: `status`, `ephemeralcontainers`,
    /// `resize`, `approval`, `finalize`. Its `prepare_for_update` takes from `object` only what the subresource is for
    /// and everything else from `old`.
    fn subresource(&self, name: &str) -> Option<&dyn Strategy> {
        let _ = name;
        None
    }

    /// The rule for names.
    fn name_rule(&self) -> fn(&str) -> Vec<String> {
        names::dns1123_subdomain
    }

    /// Fields that field selectors may name, beyond `metadata.name` and `metadata.namespace`.
    fn selectable_fields(&self) -> &'static [SelectableField] {
        &[]
    }

    /// The paths of the fields that field selectors may name.
    fn selectable_paths(&self) -> Vec<&str> {
        self.selectable_fields().iter().map(|field| field.path).collect()
    }

    /// The value of the selectable field at that place of [`selectable_paths`](Self::selectable_paths), as text.
    fn selectable_value<'v>(&self, at: usize, object: &'v Value) -> Cow<'v, str> {
        self.selectable_fields().get(at).map_or(Cow::Borrowed(""), |field| (field.value)(object))
    }

    /// The definitions of the columns of tables.
    fn column_definitions(&self) -> Value {
        table::column_definitions(self.columns())
    }

    /// The cells of an object's row.
    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        table::cells(self.columns(), object, now)
    }

    /// The columns of tables; empty for name and age alone.
    fn columns(&self) -> &'static [Column] {
        &[]
    }

    /// Whether `metadata.generation` starts at 1 and grows when anything but metadata and status changes.
    fn tracks_generation(&self) -> bool {
        false
    }

    /// Whether `status` is none of the business of `metadata.generation`.
    fn generation_ignores_status(&self) -> bool {
        true
    }

    /// Whether an update or apply may create the object.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether an update without resourceVersion overwrites whatever is there.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// For kinds that are deleted gracefully: the seconds to wait, given those that were asked for. `None` for kinds
    /// that are not.
    fn grace_period(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        let _ = (object, requested);
        None
    }

    /// Marks an object whose deletion has begun but must wait (a namespace's phase).
    fn prepare_for_delete(&self, context: &StrategyContext<'_>, object: &mut Value) {
        let _ = (context, object);
    }

    /// Whether more than `metadata.finalizers` keeps the object (a namespace's `spec.finalizers`).
    fn has_own_finalizers(&self, object: &Value) -> bool {
        let _ = object;
        false
    }

    /// A finalizer that deleting an object gives it, for the server itself to remove.
    fn deletion_finalizer(&self) -> Option<&'static str> {
        None
    }

    /// What happens to dependents when a delete request doesn't say.
    fn garbage_collection(&self) -> GarbageCollection {
        GarbageCollection::Delete
    }

    /// Whether deleting an object at once answers the object, and not a `Status`.
    fn returns_deleted_object(&self) -> bool {
        false
    }

    /// How the `scale` subresource works, if there is one.
    fn scale(&self) -> Option<&dyn Scaling> {
        None
    }

    /// Seconds after which objects vanish by themselves (events).
    fn time_to_live(&self) -> Option<u32> {
        None
    }
}

/// What a [`CommitHook`] took. Dropped before [`begin`](Self::begin) it is given back.
pub trait Reservation: Send {
    /// The write is handed to the store. Dropped from now on without [`end`](Self::end), nobody knows how that ended:
    /// what was taken may be in use.
    fn begin(&mut self);

    /// The write was stored, or it was not.
    fn end(self: Box<Self>, stored: bool);
}

/// Takes part in the writes of a resource, such as by allocating addresses. May do IO.
#[async_trait]
pub trait CommitHook: Send + Sync + 'static {
    /// What who asks may not change so, although they may write there. Told with what else is wrong with the object, and
    /// asked before validation of an update.
    async fn unauthorized(&self, request: &Attributes, object: &Value, old: &Value) -> FieldErrors {
        let _ = (request, object, old);
        FieldErrors::new()
    }

    /// Before validation of a create (`old` is `None`) or an update. What is reserved in a dry run must not last: its
    /// reservation is dropped.
    async fn before(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Option<Box<dyn Reservation>>, Status>;

    /// After an object is gone.
    fn deleted(&self, object: &Value);
}
