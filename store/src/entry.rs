//! Revisions and entries.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use bytes::Bytes;

use crate::{Key, LeaseId};

/// A point in the store's history. Every commit that changes something takes the next one, whatever
/// the number of keys it changes.
///
/// As in etcd an empty store is at revision 1, so the first commit takes revision 2, and 0 is never
/// a revision: as a `mod_revision` in a compare it means "the key does not exist".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// No revision: before everything, "not there" in compares, "from now on" in watches.
    pub const ZERO: Self = Self(0);
    /// The revision of a store that has never been written to.
    pub const INITIAL: Self = Self(1);

    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this is [`Revision::ZERO`].
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Revision {
    type Err = ParseIntError;
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl From<u64> for Revision {
    fn from(revision: u64) -> Self {
        Self(revision)
    }
}

impl From<Revision> for u64 {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

/// One version of a key. Stores hand entries out as `Arc<Entry>`: everyone shares the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value; empty where only keys were asked for, and in the entry of a delete event.
    pub value: Bytes,
    /// The revision at which the key came into being; a delete and a new put start afresh. 0 in the
    /// entry of a delete event.
    pub create_revision: Revision,
    /// The revision of this version, and in the entry of a delete event the revision of the deletion.
    pub mod_revision: Revision,
    /// How many puts the key has had since it came into being: 1 for the first. 0 in the entry of a
    /// delete event.
    pub version: u64,
    /// The lease with which the key will be deleted.
    pub lease: Option<LeaseId>,
}

impl Entry {
    /// The bytes of key and value together.
    pub fn size(&self) -> usize {
        self.key.len() + self.value.len()
    }
}
