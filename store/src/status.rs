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
    /// The cluster that this replica belongs to.
    pub cluster_id: u64,
    /// Replicas that vote.
    pub voters: Vec<u64>,
    /// Replicas that voted before a change of members that is under way; empty otherwise. Until it is through,
    /// a majority of these is needed as well.
    pub voters_outgoing: Vec<u64>,
    /// Replicas that only follow.
    pub learners: Vec<u64>,
}

impl Replication {
    /// How many of so many voters must be up and hear one another for anything to be written.
    pub const fn quorum_of(voters: usize) -> usize {
        voters / 2 + 1
    }

    /// How many voters must be up and hear one another for anything to be written.
    pub const fn quorum(&self) -> usize {
        Self::quorum_of(self.voters.len())
    }

    /// How many voters may fail without the store noticing.
    pub const fn tolerates(&self) -> usize {
        self.voters.len().saturating_sub(self.quorum())
    }

    /// The rule of the majority, for the voters there are, in a sentence for people.
    pub fn explain(&self) -> String {
        let (voters, quorum, tolerates) = (self.voters.len(), self.quorum(), self.tolerates());
        let mut text = match voters {
            0 => return "no voters are known: this replica has not been told of its cluster yet".to_owned(),
            1 => "1 voter: it must be up; no failure is tolerated".to_owned(),
            _ => format!("{voters} voters: {quorum} must be up and hear one another; {tolerates} may fail"),
        };
        if voters.is_multiple_of(2) {
            text.push_str(&format!(
                " (an even number tolerates no more failures than {} would, and needs one replica more for a majority)",
                voters - 1
            ));
        }
        if !self.voters_outgoing.is_empty() {
            text.push_str(&format!(
                "; a change of members is under way: until it is through, {} of the {} before it are needed as well",
                Self::quorum_of(self.voters_outgoing.len()),
                self.voters_outgoing.len()
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_is_explained_for_odd_and_even_sizes() {
        let explain = |voters: u64| Replication { voters: (1..=voters).collect(), ..Replication::default() }.explain();
        assert_eq!(explain(1), "1 voter: it must be up; no failure is tolerated");
        assert_eq!(explain(3), "3 voters: 2 must be up and hear one another; 1 may fail");
        assert_eq!(
            explain(4),
            "4 voters: 3 must be up and hear one another; 1 may fail (an even number tolerates no more failures \
             than 3 would, and needs one replica more for a majority)"
        );
        let joint = Replication { voters: vec![1, 2, 3], voters_outgoing: vec![1, 2], ..Replication::default() };
        assert!(joint.explain().ends_with("2 of the 2 before it are needed as well"));
    }
}
