//! One watch: a place in the window of changes, and what of it is delivered.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kubewright_api::status::Status;
use tokio::sync::watch;

use super::{Cached, Change, ChangeKind, Selection};
use crate::object::protobuf;
use crate::registry::storage::Storage;

/// The window has moved past the watcher, or past the revision it wanted to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lagged {
    pub(crate) requested: u64,
    pub(crate) oldest: u64,
}

/// Why a watch can't go on, or begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Lagged(Lagged),
    /// It would have to show an object that can't be read.
    Unreadable(Box<Status>),
}

impl From<Lagged> for Broken {
    fn from(lagged: Lagged) -> Self {
        Self::Lagged(lagged)
    }
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Unreadable(Box::new(status))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryKind {
    Added,
    Modified,
    Deleted,
}

impl DeliveryKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) kind: DeliveryKind,
    pub(crate) object: Arc<Cached>,
    /// The change, if the event is the same for everyone who sees it.
    change: Option<Arc<Change>>,
}

impl Delivery {
    pub(crate) const fn added(object: Arc<Cached>) -> Self {
        Self { kind: DeliveryKind::Added, object, change: None }
    }

    /// What a change means to someone who sees only selected objects.
    fn of(change: &Arc<Change>, selection: &Selection) -> Option<Self> {
        let before = change.prev.as_ref().is_some_and(|prev| selection.matches(prev));
        let deleted = change.kind == ChangeKind::Deleted;
        let after = !deleted && selection.matches(&change.object);
        let kind = match (before, after) {
            (false, false) => return None,
            (false, true) => DeliveryKind::Added,
            (true, true) => DeliveryKind::Modified,
            (true, false) => DeliveryKind::Deleted,
        };
        let leaves = kind == DeliveryKind::Deleted && !deleted;
        let natural = deleted || (kind == DeliveryKind::Added) == change.prev.is_none();
        let object = match &change.prev {
            Some(prev) if leaves => Arc::new(prev.at(change.revision)),
            _ => Arc::clone(&change.object),
        };
        let change = (natural && !leaves).then(|| Arc::clone(change));
        Some(Self { kind, object, change })
    }

    /// The event as a line, in the stored version.
    pub(crate) fn line(&self) -> Bytes {
        let encode = || {
            let object = &self.object.bytes;
            let mut line = Vec::with_capacity(object.len() + 40);
            line.extend_from_slice(format!("{{\"type\":\"{}\",\"object\":", self.kind.as_str()).as_bytes());
            line.extend_from_slice(object);
            line.extend_from_slice(b"}\n");
            Bytes::from(line)
        };
        match &self.change {
            Some(change) => change.line.get_or_init(encode).clone(),
            None => encode(),
        }
    }

    /// The event in protobuf, in the stored version.
    pub(crate) fn frame(&self, storage: &Storage) -> Result<Bytes, Status> {
        if let Some(frame) = self.change.as_ref().and_then(|change| change.frame.get()) {
            return Ok(frame.clone());
        }
        let object = protobuf::envelope(&storage.api_version, &storage.info.kind, &self.object.protobuf(storage)?);
        let frame = Bytes::from(protobuf::watch_frame(self.kind.as_str(), &object));
        Ok(match &self.change {
            Some(change) => change.frame.get_or_init(|| frame).clone(),
            None => frame,
        })
    }
}

/// A watcher of one resource.
pub(crate) struct Watcher {
    storage: Arc<Storage>,
    selection: Selection,
    /// The sequence number of the next change to look at.
    next: u64,
    /// Changes up to this revision are not delivered.
    after: u64,
    head: watch::Receiver<u64>,
}

/// So many changes are looked at under one lock.
const BATCH: usize = 256;

impl Watcher {
    /// A watcher of what changes after a revision.
    pub(crate) fn from_revision(storage: &Arc<Storage>, selection: Selection, after: u64) -> Result<Self, Broken> {
        let head = storage.cache.head.subscribe();
        let inner = storage.cache.read();
        if after < inner.complete_since {
            return Err(Lagged { requested: after, oldest: inner.complete_since }.into());
        }
        inner.check_readable(&selection)?;
        let skip = inner.changes.partition_point(|change| change.revision <= after);
        let next = inner.first + skip as u64;
        drop(inner);
        Ok(Self { storage: Arc::clone(storage), selection, next, after, head })
    }

    /// All selected objects there are with the revision they are of, and a watcher of what changes after.
    pub(crate) fn with_state(
        storage: &Arc<Storage>,
        selection: Selection,
        published: u64,
    ) -> Result<(VecDeque<Arc<Cached>>, u64, Self), Status> {
        let head = storage.cache.head.subscribe();
        let inner = storage.cache.read();
        inner.check_readable(&selection)?;
        let objects = inner.select(&selection).cloned().collect();
        let next = inner.first + inner.changes.len() as u64;
        let revision = inner.revision.max(published);
        drop(inner);
        Ok((objects, revision, Self { storage: Arc::clone(storage), selection, next, after: 0, head }))
    }

    /// Adds the events that are there already; none means that there are none now.
    pub(crate) fn poll(&mut self, out: &mut VecDeque<Delivery>) -> Result<(), Broken> {
        self.head.mark_unchanged();
        let inner = self.storage.cache.read();
        if self.next < inner.first {
            return Err(Lagged { requested: self.after, oldest: inner.complete_since }.into());
        }
        // The distance is at most the window's length, which fits.
        let skip = usize::try_from(self.next - inner.first).unwrap_or(usize::MAX);
        for (looked, change) in inner.changes.iter().skip(skip).enumerate() {
            if looked >= BATCH && !out.is_empty() {
                break;
            }
            if change.kind == ChangeKind::Unreadable
                && change.revision > self.after
                && self.selection.may_hold(&change.object.path)
            {
                if !out.is_empty() {
                    break;
                }
                // Once it can be read again, or something came after it, a new list shows what is there.
                let status = inner.still_unreadable(&change.object.path, change.revision);
                let gap = Lagged { requested: self.after, oldest: change.revision };
                return Err(status.map_or(Broken::Lagged(gap), Broken::from));
            }
            self.next += 1;
            if change.revision > self.after && change.kind != ChangeKind::Unreadable {
                out.extend(Delivery::of(change, &self.selection));
            }
        }
        Ok(())
    }

    /// Waits until there may be more.
    pub(crate) async fn changed(&mut self) {
        // The sender lives as long as the storage that this watcher holds.
        let _ = self.head.changed().await;
    }
}
