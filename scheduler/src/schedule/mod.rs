//! The scheduler: nodes and pods in, placements out.

mod class;
mod cluster;
mod consult;
mod decide;
mod devices;
mod gang;
mod gang_preemption;
#[cfg(test)]
mod gang_tests;
mod outcome;
mod permit;
mod refuse;
mod scheduler;
mod storage;
mod what_if;

#[cfg(test)]
mod observer_tests;
#[cfg(test)]
mod panic_tests;
#[cfg(test)]
mod preemption_properties;
#[cfg(test)]
mod promise_properties;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub(crate) use class::Classes;
pub use consult::Consultation;
pub use decide::{Decision, nodes_to_find};
pub use devices::DeviceChange;
pub use outcome::{Failure, GroupResult, GroupTried, Outcome, Placement};
pub use scheduler::{Scheduler, SchedulerConfig, SchedulerError};
pub use storage::StorageChange;
pub use what_if::{Room, Trial, WhatIf};
