//! Deletes what has lost its owners, and deletes or lets go of dependents when owners are deleted.

mod collector;
mod decide;
mod graph;
mod monitor;

pub use decide::{Owner, Verdict, decide};
pub use graph::{Graph, Identity, Item, Work};

use crate::Error;
use crate::manager::{Config, Made, Setup};

/// The finalizer of an object whose dependents must go before it.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object whose dependents must be let go before it.
pub(crate) const ORPHAN: &str = "orphan";

pub(crate) fn make(_: &Setup<'_>, config: &Config) -> Result<Option<Made>, Error> {
    Ok(Some(Made::driver(collector::Collector::new(config.garbage_collector_ignores.clone()))))
}
