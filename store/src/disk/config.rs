//! How a store on disk is set up.

use std::path::PathBuf;
use std::sync::Arc;

use crate::driver::Limits;
use crate::{Clock, Error, TokioClock};

/// How a [`DiskStore`](crate::DiskStore) is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiskConfig {
    /// Where the store's files are; made if it is not there. One store at a time.
    pub directory: PathBuf,
    /// About how large a segment of the log grows, in bytes. 64 MiB.
    pub segment_bytes: u64,
    /// After so many bytes of log, a snapshot is written and the log before it removed; this bounds how
    /// long a start takes. 64 MiB.
    pub snapshot_after_bytes: u64,
    /// How many commands may wait for the log before commits wait to get in line. One of more than 16 KiB counts as
    /// several: as one more for each 16 KiB. 1,024.
    pub queue_max: usize,
    /// The largest transaction, in bytes of keys and values. 8 MiB.
    pub request_bytes_max: usize,
    /// The most operations, or compares, in a transaction. 4,096.
    pub txn_ops_max: usize,
    /// Let whoever commits while nobody else does write to the disk by itself, in place of the store's thread. This saves
    /// two switches between threads, which may be a third of the time that a commit takes; where the disk takes longer
    /// than a millisecond it is not done, for it would save little. The caller's thread does nothing else for as long as
    /// the disk needs. On a runtime of several threads it is taken out of it meanwhile, by
    /// [`tokio::task::block_in_place`], which never works within a [`LocalSet`](tokio::task::LocalSet): do not use the
    /// store from there then. On a runtime of one thread all its tasks wait: the threads of a
    /// `Face` are made for that. Off.
    pub commit_in_place: bool,
    /// What leases go by. Tokio's clock.
    pub clock: Arc<dyn Clock>,
}

impl DiskConfig {
    /// A store in `directory`, set up for a control plane.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let limits = Limits::default();
        Self {
            directory: directory.into(),
            segment_bytes: 64 << 20,
            snapshot_after_bytes: 64 << 20,
            queue_max: 1024,
            request_bytes_max: limits.request_bytes_max,
            txn_ops_max: limits.txn_ops_max,
            commit_in_place: false,
            clock: Arc::new(TokioClock::new()),
        }
    }

    /// The same with leases that go by `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks that the numbers make sense together.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] with everything that is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        let mut wrong = Vec::new();
        if self.segment_bytes < 4096 {
            wrong.push("segment_bytes must be at least 4096");
        }
        if self.queue_max == 0 {
            wrong.push("queue_max must be above 0");
        }
        if self.request_bytes_max == 0 || self.request_bytes_max > 512 << 20 {
            wrong.push("request_bytes_max must be between 1 and 512 MiB");
        }
        if self.txn_ops_max == 0 {
            wrong.push("txn_ops_max must be above 0");
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(wrong.join("; ")))
    }
}
