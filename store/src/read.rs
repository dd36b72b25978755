//! What a read may ask for and what it answers.

use std::sync::Arc;

use crate::{Entry, Revision};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// The read sees every commit acknowledged, by any replica, before the read was asked for.
    #[default]
    Linearizable,
    /// The read sees a whole revision, though perhaps not the newest. Never waits for another replica.
    Serializable,
}

/// Options of [`Store::get`](crate::Store::get).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Read as of this revision; `None` for the newest.
    pub revision: Option<Revision>,
    /// How fresh the answer must be.
    pub consistency: Consistency,
}

impl ReadOptions {
    /// The newest state, linearizable.
    pub fn latest() -> Self {
        Self::default()
    }

    /// The state as of `revision`.
    pub fn at(revision: Revision) -> Self {
        Self { revision: Some(revision), ..Self::default() }
    }

    /// The same with another consistency.
    #[must_use]
    pub const fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }
}

/// Options of [`Store::range`](crate::Store::range).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RangeOptions {
    /// Read as of this revision; `None` for the newest.
    pub revision: Option<Revision>,
    /// How fresh the answer must be.
    pub consistency: Consistency,
    /// At most so many entries; `None` for all.
    pub limit: Option<usize>,
    /// Leave the values out of the entries.
    pub keys_only: bool,
    /// Also count every key in the range, beyond the limit. Costs a walk over them.
    pub count: bool,
    /// Count only: no entries.
    pub count_only: bool,
}

impl RangeOptions {
    /// Everything, newest, linearizable.
    pub fn latest() -> Self {
        Self::default()
    }

    /// Everything as of `revision`.
    pub fn at(revision: Revision) -> Self {
        Self { revision: Some(revision), ..Self::default() }
    }

    /// The same as of `revision`, or the newest for `None`.
    #[must_use]
    pub const fn revision(mut self, revision: Option<Revision>) -> Self {
        self.revision = revision;
        self
    }

    /// The same with another consistency.
    #[must_use]
    pub const fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// The same with at most `limit` entries.
    #[must_use]
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The same without values.
    #[must_use]
    pub const fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// The same with the count of all keys in the range.
    #[must_use]
    pub const fn with_count(mut self) -> Self {
        self.count = true;
        self
    }

    /// The count of all keys in the range and no entries.
    #[must_use]
    pub const fn count_only(mut self) -> Self {
        self.count_only = true;
        self
    }
}

/// What a range holds at one revision, in key order, up to the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The entries in key order.
    pub entries: Vec<Arc<Entry>>,
    /// The revision that the page shows: the one asked for, or the newest. Ask for the next page
    /// ([`KeyRange::after`](crate::KeyRange::after) the last key) at this revision.
    pub revision: Revision,
    /// The newest revision of the store when the page was read.
    pub latest: Revision,
    /// Whether the limit left out further entries.
    pub more: bool,
    /// How many keys the range holds, the limit aside; `Some` if asked for.
    pub count: Option<u64>,
}

impl Page {
    /// A page of a store at revision `latest`, as of `revision`.
    pub const fn new(entries: Vec<Arc<Entry>>, revision: Revision, latest: Revision) -> Self {
        Self { entries, revision, latest, more: false, count: None }
    }
}
