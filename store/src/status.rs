//! What a store says of itself.

use crate::Revision;

/// Whether a store can do its job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Reads and writes work.
    #[default]
    Serving,
    /// Reads work; writes are answered with an error for this reason.
    ReadOnly(String),
    /// Nothing works any more, for this reason. Restart the store.
    Failed(String),
}

/// What [`Store::status`](crate::Store::status) answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// The newest revision.
    pub revision: Revision,
    /// History before this revision is gone; [`Revision::ZERO`] if the store was never compacted.
    pub compacted: Revision,
    /// How many keys there are.
    pub keys: u64,
    /// Bytes of the newest keys and values.
    pub bytes: u64,
    /// Bytes of older versions kept until they are compacted.
    pub history_bytes: u64,
    /// Bytes on disk; 0 for a store without one.
    pub disk_bytes: u64,
    /// How many leases are alive.
    pub leases: u64,
    /// How many watches are open.
    pub watches: u64,
    /// Whether the store can do its job.
    pub health: Health,
    /// The replica that answered and those it knows, for a replicated store.
    pub replication: Option<Replication>,
}

/// The place of a replica among others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replication {
    /// The replica that answered.
    pub id: u64,
    /// The leader, if there is one.
    pub leader: Option<u64>,
    /// The leader's term.
    pub term: u64,
    /// The last entry of the log that is known to be committed.
    pub committed_index: u64,
    /// The last entry of the log whose effects can be read here.
    pub applied_index: u64,
    /// Replicas that vote.
    pub voters: Vec<u64>,
    /// Replicas that only follow.
    pub learners: Vec<u64>,
}
