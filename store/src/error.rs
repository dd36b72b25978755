//! What can go wrong, named by what the caller should do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{LeaseId, Revision};

/// Why a store did not do what it was asked. Compares that do not hold are no error: see
/// [`Committed::succeeded`](crate::Committed::succeeded).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The revision asked for is gone. Read the newest state and go on from its revision.
    #[error("required revision {requested} has been compacted; the oldest is {compacted}")]
    Compacted {
        /// The revision asked for.
        requested: Revision,
        /// The oldest that is left.
        compacted: Revision,
    },
    /// The revision asked for is not there yet. Wait for it, or ask for the newest.
    #[error("required revision {requested} is a future revision; the newest is {current}")]
    FutureRevision {
        /// The revision asked for.
        requested: Revision,
        /// The newest there is.
        current: Revision,
    },
    /// A watch was too slow for this store. Watch again from `resume_from`; nothing is lost by it.
    #[error("watch fell behind; resume from revision {resume_from}")]
    Lagged {
        /// The first revision that was not delivered.
        resume_from: Revision,
    },
    /// The store cannot answer now (no leader, overload). Try again; a write may or may not have
    /// happened.
    #[error("store is unavailable: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
    /// The request makes no sense in itself. Do not repeat it.
    #[error("invalid request: {reason}")]
    InvalidRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// The request is larger than the store takes. Make it smaller; nothing was changed.
    #[error("request of {size} {unit} is too large; the limit is {limit}")]
    TooLarge {
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
        /// What was counted: `bytes` or `operations`.
        unit: &'static str,
    },
    /// A put that keeps the value or lease found no key. Nothing was changed.
    #[error("key {key} not found")]
    KeyNotFound {
        /// The key.
        key: crate::Key,
    },
    /// There is no such lease (any more). Grant one; nothing was changed.
    #[error("requested lease {lease} not found")]
    LeaseNotFound {
        /// The lease.
        lease: LeaseId,
    },
    /// There is such a lease already. Nothing was changed.
    #[error("lease {lease} already exists")]
    LeaseExists {
        /// The lease.
        lease: LeaseId,
    },
    /// There is no such member (any more), or not one of the kind that is needed. Nothing was changed.
    #[error("member {member} not found")]
    MemberNotFound {
        /// The member.
        member: u64,
    },
    /// What was asked for makes sense, but is not safe now. Mend what the reason names, then ask again;
    /// nothing was changed.
    #[error("refused: {reason}")]
    Refused {
        /// Why not.
        reason: String,
    },
    /// The disk is full. Nothing was changed; reads go on. Free some space and try again.
    #[error("no space left for the store's log: {reason}")]
    NoSpace {
        /// Which file could not grow.
        reason: String,
    },
    /// The store's files are damaged where damage cannot come from a crash. Restore from a snapshot or
    /// another replica.
    #[error("{} is corrupt at offset {offset}: {reason}", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Another store has the directory open. Close that one first.
    #[error("{} is in use by another store", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// The files were written by a version of this crate that this one does not know.
    #[error("{} has format version {found}; this build reads version {supported}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// The version found in it.
        found: u32,
        /// The version this build reads.
        supported: u32,
    },
    /// A file could not be opened, read or written.
    #[error("cannot {action} {}", file.display())]
    Io {
        /// What was tried: `open`, `read`, `write`, …
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// The store failed for good, since the disk no longer keeps its promises. Restart it: what was
    /// acknowledged is safe; whether the writes that failed are there is not known.
    #[error("store failed: {reason}")]
    Failed {
        /// What went wrong.
        reason: String,
    },
    /// The store was closed.
    #[error("store is closed")]
    Closed,
}

impl Error {
    /// An [`Error::InvalidRequest`].
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::InvalidRequest { reason: reason.into() }
    }

    /// An [`Error::Unavailable`].
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into() }
    }

    #[cfg(feature = "disk")]
    pub(crate) fn io(action: &'static str, file: PathBuf, source: io::Error) -> Self {
        Self::Io { action, file, source: Arc::new(source) }
    }

    /// Whether the same request may succeed later without anyone doing anything about it.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::FutureRevision { .. } | Self::NoSpace { .. })
    }
}
