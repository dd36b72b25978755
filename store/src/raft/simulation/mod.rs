//! A cluster of replicas in one thread, from one seed.
//!
//! Virtual time; a network that delays, drops, doubles and reorders messages and parts in either direction;
//! disks that lose what was not synced, tear writes, rot and fill up; replicas that crash and pause, whose clocks
//! drift and jump; members that come and go. Faults first, then they heal, then everything that clients were
//! told must be true: what was acknowledged is there, what was read fits one order (a linearizability checker),
//! watches missed nothing, all replicas have the same, and the cluster goes on. The same seed replays the same
//! run.
//!
//! ```
//! use kubewright_store::simulation::{Options, run};
//!
//! let report = run(7, Options::replicas(3)).expect("the store keeps its promises");
//! assert_eq!(run(7, Options::replicas(3)).unwrap().trace, report.trace);
//! ```

mod clients;
mod cluster;
mod faults;
mod linear;
mod oracle;
mod random;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;

pub use super::bug::Bug;
use cluster::Cluster;

/// How a run is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How many replicas found the cluster.
    pub replicas: u64,
    /// Steps with faults. 700.
    pub faulty_steps: u64,
    /// Steps after which a healed cluster must have agreed. 6,000.
    pub healing_steps: u64,
    /// What the replicas do wrong on purpose.
    pub bug: Bug,
}

impl Options {
    /// So many replicas, with faults of all kinds.
    pub const fn replicas(replicas: u64) -> Self {
        Self { replicas, faulty_steps: 700, healing_steps: 6000, bug: Bug::None }
    }

    /// The same with a bug.
    #[must_use]
    pub const fn bug(mut self, bug: Bug) -> Self {
        self.bug = bug;
        self
    }
}

/// What happened in a run in which nothing went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Writes and reads that were answered, and those that were not.
    pub answered: usize,
    /// Those that were not.
    pub unanswered: usize,
    /// Revisions.
    pub revisions: u64,
    /// Events that watches delivered.
    pub delivered: usize,
    /// Crashes of replicas.
    pub crashes: usize,
    /// Disks that were found damaged, and replicas replaced for it.
    pub rotten: usize,
    /// Founders that were started again on an empty disk.
    pub lost: usize,
    /// Times a disk was full.
    pub full: usize,
    /// Times the power went while something was being written.
    pub torn: usize,
    /// Whole states that were taken over.
    pub images: usize,
    /// Changes of members.
    pub changes: usize,
    /// Keys whose history was too long for the checker.
    pub unjudged: usize,
    /// A hash of all that was sent and answered.
    pub trace: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.answered += other.answered;
        self.unanswered += other.unanswered;
        self.revisions += other.revisions;
        self.delivered += other.delivered;
        self.crashes += other.crashes;
        self.rotten += other.rotten;
        self.lost += other.lost;
        self.full += other.full;
        self.torn += other.torn;
        self.images += other.images;
        self.changes += other.changes;
        self.unjudged += other.unjudged;
        self.trace ^= other.trace;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            answered, unanswered, revisions, delivered, crashes, rotten, lost, full, torn, images, changes, ..
        } = self;
        write!(f, "{answered} requests answered and {unanswered} not, {revisions} revisions, {delivered} delivered ")?;
        write!(
            f,
            "to watches, {crashes} crashes, {rotten} rotten disks, {lost} lost and {full} full ones, {torn} torn writes, "
        )?;
        write!(f, "{images} whole states taken over, {changes} changes of members")
    }
}

/// What went wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The seed that shows it.
    pub seed: u64,
    /// How many replicas there were.
    pub replicas: u64,
    /// What it was.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, replicas, reason } = self;
        write!(f, "seed {seed} of {replicas} replicas: {reason}\nrun it again: cargo run --release ")?;
        write!(f, "-p kubewright-store --features simulation --example simulate -- ")?;
        write!(f, "--replicas {replicas} --seeds {seed}-{seed}")
    }
}

impl std::error::Error for Failure {}

/// Runs one seed.
///
/// # Errors
/// What went wrong, if anything did.
pub fn run(seed: u64, options: Options) -> Result<Report, Failure> {
    Cluster::new(seed, options).and_then(Cluster::run).map_err(|reason| Failure {
        seed,
        replicas: options.replicas,
        reason,
    })
}
