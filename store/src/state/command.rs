//! What can be done to the state, and what comes of it.

use std::time::Duration;

use crate::{Committed, Error, Lease, LeaseId, Revision, Txn, WatchEvents};

/// A change of the state. This is what logs keep and replicas agree on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command {
    /// Carry out a transaction.
    Txn(Txn),
    /// Forget what is before a revision.
    Compact(Revision),
    /// Grant a lease.
    LeaseGrant {
        /// Its name; the state picks one if there is none.
        id: Option<LeaseId>,
        /// How long it lives when nobody keeps it alive.
        ttl: Duration,
    },
    /// End a lease, whether someone asked for it or it expired, and delete its keys.
    LeaseRevoke(LeaseId),
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Of [`Command::Txn`].
    Committed(Committed),
    /// Of [`Command::Compact`].
    Compacted,
    /// Of [`Command::LeaseGrant`].
    LeaseGranted(Lease),
    /// Of [`Command::LeaseRevoke`]: the revision after it.
    LeaseRevoked(Revision),
}

/// What came of a command.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Applied {
    /// Its answer. After an error the state is as it was.
    pub outcome: Result<Outcome, Error>,
    /// The events of the revision that it made; `None` if it made none.
    pub events: Option<WatchEvents>,
}
