//! Leases: keys that go away when nobody keeps them alive.

use std::fmt;
use std::time::Duration;

use crate::Key;

/// The name of a lease. Positive in leases that a store names itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A lease that was granted or kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// How long it lives from the last time it was granted or kept alive.
    pub ttl: Duration,
}

impl Lease {
    /// A lease.
    pub const fn new(id: LeaseId, ttl: Duration) -> Self {
        Self { id, ttl }
    }
}

/// A lease and what hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseStatus {
    /// The lease as granted.
    pub lease: Lease,
    /// How long it will live if nobody keeps it alive.
    pub remaining: Duration,
    /// The keys that will be deleted with it, in order.
    pub keys: Vec<Key>,
}

impl LeaseStatus {
    /// A lease's status.
    pub const fn new(lease: Lease, remaining: Duration, keys: Vec<Key>) -> Self {
        Self { lease, remaining, keys }
    }
}
