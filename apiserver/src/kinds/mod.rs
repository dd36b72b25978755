//! What each built-in kind adds to the generic registry: defaults, rules, selectable fields, columns.

pub mod validate;

use crate::registry::Strategy;

/// A kind that needs nothing of its own.
struct Plain;

impl Strategy for Plain {}

/// The strategy of a built-in resource.
#[must_use]
pub fn strategy(group: &str, resource: &str) -> &'static dyn Strategy {
    let _ = (group, resource);
    &Plain
}
