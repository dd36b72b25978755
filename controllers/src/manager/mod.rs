//! Runs controllers: shared watches, a queue and workers for each, events, and an orderly end.

mod builder;
mod driver;
mod leader;
mod run;
mod setup;

pub use builder::{Builder, Config, all_controllers};
pub(crate) use builder::{Made, Make, Recipe};
pub(crate) use driver::{AsyncController, Driver, Environment};
pub use leader::LeaderElection;
pub use run::Manager;
pub use setup::{Context, Controller, Queue, Setup};

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::objects::Time;

/// Tells the time of day. Only drivers read it; reconcilers are told.
pub(crate) type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// The machine's clock.
fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    })
}
