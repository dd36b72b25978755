//! A store replicated by raft.

mod apply;
mod bug;
mod checkpoint;
mod config;
mod disk;
mod driver;
mod frame;
mod image;
mod lease;
mod ledger;
mod log;
mod members;
mod questions;
mod ready;
mod receive;
mod replica;
mod roster;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod store;
mod transport;

pub use config::RaftConfig;
pub use store::RaftStore;
pub use transport::{Inbox, LocalNetwork, Transport};
