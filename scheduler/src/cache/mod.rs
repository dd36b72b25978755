//! The cluster as the scheduler believes it to be: nodes, the pods on them, and pods it has placed that the API server
//! has not yet confirmed.

mod assumed;
mod device_use;
mod devices;
mod groups;
mod node_info;
mod node_tree;
mod objects;
mod snapshot;
mod specs;
mod storage;

pub use assumed::{Cache, CacheError};
pub(crate) use device_use::PoolUse;
pub use devices::Devices;
pub(crate) use devices::extended_uid;
pub(crate) use node_info::ports_conflict;
pub use node_info::{NodeInfo, NodeSlot};
pub use objects::Objects;
pub use snapshot::Snapshot;
pub(crate) use specs::{SpecKey, Specs};
pub use storage::Storage;
