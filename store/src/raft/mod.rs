//! A store replicated by raft.

mod apply;
mod bug;
mod checkpoint;
mod config;
mod disk;
mod driver;
mod frame;
mod home;
mod image;
mod lease;
mod ledger;
mod log;
mod members;
mod membership;
mod newborn;
mod questions;
mod ready;
mod receive;
mod replica;
mod roster;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod store;
mod transport;

#[cfg(feature = "network")]
pub(crate) use roster::{members, put_members};

pub use config::RaftConfig;
pub use store::RaftStore;
pub use transport::{Inbox, LocalNetwork, Transport};
