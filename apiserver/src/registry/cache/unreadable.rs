//! Stored objects that can't be read: their key was taken away, or their bytes are broken.
//!
//! They are remembered, so that nobody is told they were not there: lists and watches that would have to show one fail.
//! The [feed](super::feed) tries them again, for a key may be given back.

use std::ops::Bound;
use std::sync::Arc;

use kubewright_api::status::Status;

use super::resource::{Incoming, Inner, ResourceCache, State};
use super::{Cached, Selection};

/// A stored object that can't be read.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    /// Of which revision it is.
    pub(super) revision: u64,
    /// What is said to those who ask for it.
    pub(super) why: Box<Status>,
}

impl ResourceCache {
    /// All selected objects that can be read, in the order of their paths.
    pub(crate) fn readable(&self, selection: &Selection) -> Vec<Arc<Cached>> {
        self.read().select(selection).cloned().collect()
    }

    /// Fails with what is to be said if something in the namespace, or anywhere, can't be read.
    pub(crate) fn check_readable(&self, namespace: Option<&str>) -> Result<(), Status> {
        let inner = self.read();
        // Almost always there is nothing, and every write asks.
        if inner.unreadable.is_empty() {
            return Ok(());
        }
        let path_prefix = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
        inner.check_readable(&Selection { path_prefix, ..Selection::default() })
    }

    /// The paths of up to so many that can't be read, after one of them, and from the start again.
    pub(super) fn unreadable_after(&self, after: Option<&str>, max: usize) -> Vec<Arc<str>> {
        let inner = self.read();
        let rest =
            inner.unreadable.range::<str, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let paths: Vec<_> = rest.take(max).map(|(path, _)| Arc::clone(path)).collect();
        match paths.is_empty() && after.is_some() {
            true => inner.unreadable.keys().take(max).cloned().collect(),
            false => paths,
        }
    }

    /// What could not be read can be now, in the same state: observers hear of it, lists show it. Watchers who would have
    /// to be told were turned away.
    /// Tells whether it was so.
    pub(super) fn recover(&self, incoming: Incoming) -> bool {
        let State::Is(cached, object) = incoming.state else { return false };
        let mut inner = self.write();
        if inner.unreadable.get(&incoming.path).is_none_or(|known| known.revision != cached.revision) {
            return false;
        }
        inner.unreadable.remove(&incoming.path);
        inner.tell(&cached, object);
        inner.objects.insert(incoming.path, Arc::new(cached));
        true
    }
}

impl Inner {
    /// Fails if the selection would have to show an object that can't be read. What labels it has, nobody knows.
    pub(super) fn check_readable(&self, selection: &Selection) -> Result<(), Status> {
        let start = Bound::Included(selection.path_prefix.as_str());
        let mut within = self
            .unreadable
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(selection.path_prefix.as_str()));
        match within.find(|(path, _)| selection.may_hold(path)) {
            Some((_, unreadable)) => Err((*unreadable.why).clone()),
            None => Ok(()),
        }
    }

    /// Whether what a change left can't be read still; what is to be said then.
    pub(super) fn still_unreadable(&self, path: &str, revision: u64) -> Option<Status> {
        let known = self.unreadable.get(path).filter(|known| known.revision == revision)?;
        Some((*known.why).clone())
    }
}
