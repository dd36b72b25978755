//! Custom resources: kinds that objects define while the server runs.
//!
//! A CustomResourceDefinition adds to the registry what a built-in kind has from the start: names, a schema and a
//! [`Strategy`](crate::registry::Strategy). Everything else is the same code for both. An embedder's own kinds, defined
//! in Rust, come in the same way.
//!
//! A definition is served from the moment at which the store's feed delivers it with its names accepted: whoever saw the
//! `Established` condition can use it. Its schema is compiled once; objects that were stored under an older schema are
//! read in the form of the newest.

mod columns;
mod conditions;
mod controller;
mod conversion;
mod definition;
mod formats;
mod jsonpath;
mod metrics;
mod publish;
mod rules;
mod scale;
mod schema_rules;
mod shape;
mod strategy;
mod structural;
mod types;
mod validate;

pub(crate) use controller::Definitions;
pub(crate) use conversion::{ConversionWebhook, Converter};
pub(crate) use definition::{CacheUse, Definition};
pub(crate) use metrics::show_metrics;
pub(crate) use publish::{Openapi, publish};
pub(crate) use schema_rules::check_versions;
pub(crate) use strategy::with_schema;
pub(crate) use structural::ListType;
pub use structural::Structural;
pub(crate) use types::type_of_schema;

use serde_json::Value;

/// Notes in a definition that its deletion has begun.
pub(crate) fn mark_terminating(object: &mut Value, now: jiff::Timestamp) {
    let message = "CustomResourceDefinition marked for deletion";
    let now = crate::environment::time(now);
    conditions::set(object, conditions::TERMINATING, true, "InstanceDeletionPending", message, &now);
}

/// Brings an object that was read from the store into the form of its schema.
pub(crate) fn renew(object: &mut Value, schema: &Structural) {
    if schema.is_anything() {
        return;
    }
    shape::prune(object, schema, &mut Vec::new());
    shape::default(object, schema);
}

/// Brings an object of a request into the form of its schema: lists its unknown fields, and fills in defaults.
///
/// # Errors
/// Metadata of a wrong type, in the words of Go's decoder.
pub(crate) fn take_shape(object: &mut Value, schema: &Structural, unknown: &mut Vec<String>) -> Result<(), String> {
    if !schema.is_anything() {
        shape::prune(object, schema, unknown);
    }
    shape::coerce_metadata(object, schema, unknown)?;
    shape::default(object, schema);
    Ok(())
}
