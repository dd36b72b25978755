//! Bugs that the simulation plants, to see that it finds them.

/// What a replica does wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, feature = "simulation")),
    expect(dead_code, unreachable_pub, reason = "nobody plants a bug outside of it")
)]
pub enum Bug {
    /// Nothing.
    #[default]
    None,
    /// Writes are acknowledged before they are on disk.
    AckBeforeSync,
    /// Who was the leader goes on answering reads.
    StaleRead,
    /// A watch that is behind compaction goes on after it, instead of ending.
    WatchGap,
    /// After a restart revisions go on from the newest entry, though later ones were taken by deletions.
    RevisionReuse,
    /// A proposal that comes twice is applied twice.
    DoubleApply,
}

impl Bug {
    /// All of them.
    #[cfg(any(test, feature = "simulation"))]
    pub const ALL: [Self; 5] =
        [Self::AckBeforeSync, Self::StaleRead, Self::WatchGap, Self::RevisionReuse, Self::DoubleApply];

    /// Whether this one is planted.
    pub(crate) fn is(self, bug: Self) -> bool {
        cfg!(any(test, feature = "simulation")) && self == bug
    }
}
