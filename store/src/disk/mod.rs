//! A store on disk.

mod files;
mod log;
mod record;
mod recover;
#[cfg(test)]
mod sim;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use store::{DiskConfig, DiskStore};
