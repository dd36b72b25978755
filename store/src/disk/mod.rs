//! A store on disk.

pub(crate) mod files;
pub(crate) mod log;
pub(crate) mod record;
pub(crate) mod recover;
mod restore;
#[cfg(any(test, feature = "simulation"))]
pub(crate) mod sim;
pub(crate) mod snapshot;
mod store;
#[cfg(test)]
mod tests;
mod writer;

#[cfg(feature = "raft")]
pub(crate) use restore::total_bytes;
#[cfg(feature = "raft")]
pub(crate) use store::lock_directory;
pub use store::{DiskConfig, DiskStore};
#[cfg(feature = "raft")]
pub(crate) use writer::chain;
