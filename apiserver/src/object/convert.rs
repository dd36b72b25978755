//! Resources that share one storage: each version reads and writes the same objects.

mod autoscaling;
mod events;

use serde_json::Value;

/// Turns objects of a served version into the stored version and back.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// Into the stored version.
    pub to_storage: fn(Value) -> Value,
    /// Out of the stored version.
    pub from_storage: fn(Value) -> Value,
    /// The stored field that a field selector's path stands for.
    pub field: fn(&str) -> &str,
}

/// Where a served version is stored: group, version and plural name, and how it gets there.
#[must_use]
pub fn storage_of(group: &str, version: &str, resource: &str) -> Option<((&'static str, &'static str), Conversion)> {
    match (group, version, resource) {
        ("events.k8s.io", "v1", "events") => Some((("", "v1"), events::CONVERSION)),
        ("autoscaling", "v1", "horizontalpodautoscalers") => Some((("autoscaling", "v2"), autoscaling::CONVERSION)),
        _ => None,
    }
}
