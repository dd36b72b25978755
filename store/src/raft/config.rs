//! How a replica is set up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::driver::TICKS_BEHIND_MAX;
use super::replica::ReplicaConfig;
use super::roster::{ID_END, MEMBERS_MAX};
use crate::driver::Limits;
use crate::{Clock, Error, Member, TokioClock};

/// How a [`RaftStore`](crate::RaftStore) is set up. All replicas should have the same, but for `id` and
/// `directory`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RaftConfig {
    /// This replica: above 0 and below 65,536.
    pub id: u64,
    /// Who founds the cluster, this replica too; empty for one that joins a cluster. Counts only while there is
    /// nothing in the directory: after that members are what [`Membership`](crate::Membership) made them.
    ///
    /// A founder with an empty directory may have lost what it promised, so it neither votes nor stands for election
    /// before so many others that they make a majority with it have answered, and, if they have more than the founding,
    /// before it has that too. What this cannot see is a directory that was lost while all that knew what was in it are
    /// out of reach, and the others have nothing, as may be in a cluster's first moments; and one that founded alone knows
    /// nobody to ask, though others joined since. Do not start a founder on an empty directory again
    /// then, but remove it and add it anew.
    pub founders: Vec<Member>,
    /// Makes the cluster's number differ from that of another with the same founders. Empty.
    pub cluster_token: String,
    /// Where this replica keeps its part of the log; made if it is not there.
    pub directory: PathBuf,
    /// How long a tick takes. 50 ms.
    pub tick: Duration,
    /// Ticks for which a replica that heard a leader votes for nobody else, and for which a leader goes on without
    /// hearing a majority. The first replica stands for election two ticks after that, and each other one two more after
    /// the one before it. 10.
    pub election_ticks: usize,
    /// Ticks between the leader's heartbeats. 2.
    pub heartbeat_ticks: usize,
    /// Whether the leader may answer reads without asking a majority, for a while after it last did. That is
    /// as good as asking as long as the replicas' clocks run at the same pace: see `clock_drift_percent`. A clock that
    /// stands still does not, and outside of Linux it may do so while the machine sleeps: leave this off there. No.
    pub lease_reads: bool,
    /// By how much the clocks of two replicas may differ in pace for lease reads to be safe, in percent. 10.
    pub clock_drift_percent: u32,
    /// About how large a segment of the log grows, in bytes. 64 MiB.
    pub segment_bytes: u64,
    /// Entries of the log after which the state is written to a snapshot, in the background, and the log
    /// before it removed. 50,000.
    pub checkpoint_after: u64,
    /// Bytes of entries after which the same is done. 64 MiB.
    pub checkpoint_after_bytes: u64,
    /// Messages with entries that may be on their way to a replica before it has answered one. 256.
    pub inflight_messages_max: usize,
    /// How many bytes of entries are put together into one message. 1 MiB.
    pub message_bytes_max: u64,
    /// How many bytes of entries may wait at the leader for a majority to have them; further ones are refused
    /// for a moment. 64 MiB.
    pub uncommitted_bytes_max: u64,
    /// How long a request waits for an answer before it gets [`Error::Unavailable`]. 5 s.
    pub request_timeout: Duration,
    /// How many requests may be on their way at a time; further ones wait. One of more than 16 KiB counts as several: as
    /// one more for each 16 KiB. 4,096.
    pub requests_max: usize,
    /// The largest transaction, in bytes of keys and values. 8 MiB.
    pub request_bytes_max: usize,
    /// The most operations, or compares, in a transaction. 4,096.
    pub txn_ops_max: usize,
    /// What leases of keys go by. Tokio's clock.
    pub clock: Arc<dyn Clock>,
}

impl RaftConfig {
    /// Replica `id` of the founding `voters`, with its files in `directory`.
    pub fn new(id: u64, voters: impl Into<Vec<u64>>, directory: impl Into<PathBuf>) -> Self {
        let founders = voters.into().into_iter().map(Member::voter).collect();
        Self::founding(id, founders, directory)
    }

    /// Replica `id` of those that found a cluster.
    pub fn founding(id: u64, founders: Vec<Member>, directory: impl Into<PathBuf>) -> Self {
        let limits = Limits::default();
        Self {
            id,
            founders,
            cluster_token: String::new(),
            directory: directory.into(),
            tick: Duration::from_millis(50),
            election_ticks: 10,
            heartbeat_ticks: 2,
            lease_reads: false,
            clock_drift_percent: 10,
            segment_bytes: 64 << 20,
            checkpoint_after: 50_000,
            checkpoint_after_bytes: 64 << 20,
            inflight_messages_max: 256,
            message_bytes_max: 1 << 20,
            uncommitted_bytes_max: 64 << 20,
            request_timeout: Duration::from_secs(5),
            requests_max: 4096,
            request_bytes_max: limits.request_bytes_max,
            txn_ops_max: limits.txn_ops_max,
            clock: Arc::new(TokioClock::new()),
        }
    }

    /// A replica that joins a cluster in which it was [added](crate::MemberChange::Add) as member `id`. It gets
    /// everything from the others.
    pub fn joining(id: u64, directory: impl Into<PathBuf>) -> Self {
        Self::founding(id, Vec::new(), directory)
    }

    /// Checks that the numbers make sense together.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] with everything that is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        let mut ids: Vec<u64> = self.founders.iter().map(|founder| founder.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let rules = [
            (self.founders.is_empty() || ids.contains(&self.id), "id must be one of founders"),
            (
                ids.iter().chain([&self.id]).all(|id| (1..ID_END).contains(id)),
                "each id must be above 0 and below 65536",
            ),
            (ids.len() == self.founders.len(), "founders must differ"),
            (ids.len() <= MEMBERS_MAX, "founders must be at most 64"),
            (
                self.founders.is_empty() || self.founders.iter().any(|founder| !founder.is_learner),
                "one of founders must vote",
            ),
            (
                self.heartbeat_ticks > 0 && self.election_ticks > self.heartbeat_ticks * 2,
                "election_ticks must be more than twice heartbeat_ticks, and that above 0",
            ),
            (!self.tick.is_zero(), "tick must be above 0"),
            (
                !self.lease_reads || (self.clock_drift_percent < 100 && !self.read_lease().is_zero()),
                "lease_reads need at least 6 election_ticks and a clock_drift_percent below 100",
            ),
            (self.segment_bytes >= 4096, "segment_bytes must be at least 4096"),
            (
                self.checkpoint_after > 0 && self.checkpoint_after_bytes > 0 && self.requests_max > 0,
                "checkpoint_after, checkpoint_after_bytes and requests_max must be above 0",
            ),
            (self.inflight_messages_max > 0, "inflight_messages_max must be above 0"),
            (
                self.uncommitted_bytes_max >= self.message_bytes_max,
                "uncommitted_bytes_max must be at least message_bytes_max",
            ),
        ];
        let wrong: Vec<&str> = rules.iter().filter(|(holds, _)| !holds).map(|(_, rule)| *rule).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(wrong.join("; ")))
    }

    /// How long a leader may read alone after a heartbeat that was answered: as long as no other votes for
    /// somebody else, by its own clock. A replica's first tick may come right after the heartbeat, and so may
    /// those that it has to make up for.
    pub(super) fn read_lease(&self) -> Duration {
        if !self.lease_reads {
            return Duration::ZERO;
        }
        let sure = (self.election_ticks as u32).saturating_sub(TICKS_BEHIND_MAX + 2);
        self.tick * sure * 100_u32.saturating_sub(self.clock_drift_percent) / 100
    }

    pub(super) fn replica(&self) -> ReplicaConfig {
        ReplicaConfig {
            id: self.id,
            founders: self.founders.clone(),
            cluster_token: self.cluster_token.clone(),
            election_ticks: self.election_ticks,
            heartbeat_ticks: self.heartbeat_ticks,
            checkpoint_after: self.checkpoint_after,
            checkpoint_after_bytes: self.checkpoint_after_bytes,
            inflight_messages_max: self.inflight_messages_max,
            message_bytes_max: self.message_bytes_max,
            uncommitted_bytes_max: self.uncommitted_bytes_max,
            read_lease: self.read_lease(),
            started: since_1970(),
        }
    }
}

/// Microseconds.
fn since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let mut config = RaftConfig::new(4, [1, 2, 2], "nowhere");
        config.election_ticks = 2;
        let Err(Error::InvalidRequest { reason }) = config.validate() else { panic!("valid") };
        for part in ["id must be one of", "founders must differ", "election_ticks"] {
            assert!(reason.contains(part), "{reason}");
        }
        let mut config = RaftConfig::joining(4, "nowhere");
        assert!(config.validate().is_ok());
        config.lease_reads = true;
        assert_eq!(config.read_lease(), Duration::from_millis(225));
    }
}
