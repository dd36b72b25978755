//! The node as a whole: what its pods share, its object and lease, its pressures, and the house-keeping.

mod capacity;
mod context;
mod eviction;
mod housekeeping;
mod lease;
mod pods;
mod register;
mod runtime_events;
mod services;
mod status;

pub(crate) use context::Context;
pub(crate) use eviction::{Pressures, watch_pressures};
pub(crate) use housekeeping::{NODE_LABEL, keep_house, own_sandboxes, remove_orphans};
pub(crate) use lease::keep_lease;
pub(crate) use pods::{PodEntry, Pods};
pub(crate) use register::NodeKeeper;
pub(crate) use runtime_events::follow_runtime;
pub(crate) use services::follow_services;
#[cfg(feature = "server")]
pub(crate) use status::disk_of;
