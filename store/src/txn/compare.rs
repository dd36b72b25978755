//! Conditions.

use bytes::Bytes;

use crate::{Key, KeyRange, LeaseId, Revision};

/// What a compare looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompareTarget {
    /// [`Entry::version`](crate::Entry::version); 0 for a key that is not there.
    Version(u64),
    /// [`Entry::create_revision`](crate::Entry::create_revision); 0 for a key that is not there.
    CreateRevision(Revision),
    /// [`Entry::mod_revision`](crate::Entry::mod_revision); 0 for a key that is not there.
    ModRevision(Revision),
    /// [`Entry::value`](crate::Entry::value); a key that is not there never holds.
    Value(Bytes),
    /// [`Entry::lease`](crate::Entry::lease); `None` for a key that is not there.
    Lease(Option<LeaseId>),
}

/// How a compare relates what is there (left) to what it gives (right).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// Both are the same.
    Equal,
    /// They differ.
    NotEqual,
    /// What is there is greater.
    Greater,
    /// What is there is less.
    Less,
}

/// A condition on a key, or on every key of a range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Compare {
    /// Which keys. An empty range is judged as one key that is not there.
    pub range: KeyRange,
    /// What of them, and against what.
    pub target: CompareTarget,
    /// How.
    pub op: CompareOp,
}

impl Compare {
    /// Any compare.
    pub const fn new(range: KeyRange, op: CompareOp, target: CompareTarget) -> Self {
        Self { range, target, op }
    }

    /// The key's newest version was written at `revision`; with [`Revision::ZERO`]: it is not there.
    pub fn mod_revision(key: impl Into<Key>, revision: Revision) -> Self {
        let target = CompareTarget::ModRevision(revision);
        Self::new(KeyRange::key(key), CompareOp::Equal, target)
    }

    /// The key has had exactly `version` puts since it came into being.
    pub fn version(key: impl Into<Key>, version: u64) -> Self {
        let target = CompareTarget::Version(version);
        Self::new(KeyRange::key(key), CompareOp::Equal, target)
    }

    /// The key has exactly this value.
    pub fn value(key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        let target = CompareTarget::Value(value.into());
        Self::new(KeyRange::key(key), CompareOp::Equal, target)
    }

    /// The key is there.
    pub fn exists(key: impl Into<Key>) -> Self {
        let target = CompareTarget::Version(0);
        Self::new(KeyRange::key(key), CompareOp::Greater, target)
    }

    /// The key is not there.
    pub fn absent(key: impl Into<Key>) -> Self {
        Self::mod_revision(key, Revision::ZERO)
    }

    pub(super) fn size(&self) -> usize {
        let value = match &self.target {
            CompareTarget::Value(value) => value.len(),
            _ => 8,
        };
        self.range.start().len() + value
    }
}
