//! A store replicated by raft.

mod disk;
mod driver;
mod ledger;
mod log;
mod questions;
mod replica;
#[cfg(test)]
mod sim;
mod store;
mod transport;

pub use store::{RaftConfig, RaftStore};
pub use transport::{Inbox, LocalNetwork, Transport};
