//! The newest entry of every key, in key order.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, btree_set};
use std::sync::Arc;

use crate::{Entry, Key, KeyRange};

/// A map from key to entry that keeps no keys but those in the entries: with many small entries that is a fifth
/// of the memory.
#[derive(Clone, Debug)]
pub(super) struct Live(BTreeSet<ByKey>);

#[derive(Clone, Debug)]
struct ByKey(Arc<Entry>);

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        &self.0.key
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl Live {
    pub(super) const fn new() -> Self {
        Self(BTreeSet::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.0.get::<[u8]>(key).map(|ByKey(entry)| entry)
    }

    /// Puts an entry in the place of the one with its key; answers that.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        self.0.replace(ByKey(entry)).map(|ByKey(entry)| entry)
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Entry>> {
        self.0.take::<[u8]>(key).map(|ByKey(entry)| entry)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.0.iter().map(|ByKey(entry)| entry)
    }

    pub(super) fn range(&self, range: &KeyRange) -> LiveRange<'_> {
        LiveRange(range.bounds().map(|bounds| self.0.range::<[u8], _>(bounds)))
    }
}

/// The entries of a range. It has none if the range is empty.
#[derive(Debug)]
pub(super) struct LiveRange<'a>(Option<btree_set::Range<'a, ByKey>>);

impl<'a> Iterator for LiveRange<'a> {
    type Item = &'a Arc<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next().map(|ByKey(entry)| entry)
    }
}
