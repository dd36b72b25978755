//! A store on disk.

mod blocks;
mod config;
#[cfg(test)]
mod fault_tests;
pub(crate) mod files;
mod line;
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

pub use config::DiskConfig;
#[cfg(feature = "raft")]
pub(crate) use line::places;
#[cfg(feature = "raft")]
pub(crate) use restore::total_bytes;
pub use store::DiskStore;
#[cfg(feature = "raft")]
pub(crate) use store::lock_directory;
#[cfg(feature = "raft")]
pub(crate) use writer::chain;
