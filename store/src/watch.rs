//! Watches: every change of a range, in order.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;

use crate::{Entry, Error, Revision};

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted, by a transaction or with its lease.
    Delete,
}

/// A change of one key. Cloning shares the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The version written. Of a deletion: the key and, as `mod_revision`, when it was deleted.
    pub entry: Arc<Entry>,
    /// The version before it; `None` if there was none. Only promised if
    /// [`WatchOptions::prev_value`] was asked for.
    pub prev: Option<Arc<Entry>>,
}

impl Event {
    /// A change.
    pub const fn new(kind: EventKind, entry: Arc<Entry>, prev: Option<Arc<Entry>>) -> Self {
        Self { kind, entry, prev }
    }

    /// Whether the key came into being with this event.
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && self.entry.create_revision == self.entry.mod_revision
    }
}

/// Every change that one revision made in the watched range, or a progress mark. Cloning shares the
/// events; so do all watches of the same range.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchEvents {
    /// The revision of the events. Everything up to and with it has now been delivered.
    pub revision: Revision,
    /// The changes, in the order in which the transaction made them. None in a progress mark.
    pub events: Arc<[Event]>,
}

impl WatchEvents {
    /// The changes of one revision.
    pub const fn new(revision: Revision, events: Arc<[Event]>) -> Self {
        Self { revision, events }
    }

    /// A mark that says: everything up to `revision` was delivered.
    pub fn progress(revision: Revision) -> Self {
        Self::new(revision, Arc::default())
    }

    /// Whether this is a progress mark.
    pub fn is_progress(&self) -> bool {
        self.events.is_empty()
    }
}

/// Options of [`Store::watch`](crate::Store::watch).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct WatchOptions {
    /// Fill [`Event::prev`].
    pub prev_value: bool,
    /// Give a progress mark whenever nothing was delivered for so long. Marks can also be asked for
    /// one by one: [`WatchStream::progress`].
    pub progress_interval: Option<Duration>,
}

impl WatchOptions {
    /// The same, with the versions before the changes.
    #[must_use]
    pub const fn prev_value(mut self) -> Self {
        self.prev_value = true;
        self
    }

    /// The same, with a progress mark whenever nothing was delivered for `interval`.
    #[must_use]
    pub const fn progress_every(mut self, interval: Duration) -> Self {
        self.progress_interval = Some(interval);
        self
    }
}

/// A watch: a stream of [`WatchEvents`]. Dropping it ends the watch.
///
/// After an error the stream is over. What to do is in the error: [`Error::Compacted`] means to read
/// the range anew, [`Error::Lagged`] and [`Error::Unavailable`] to watch again from the revision after
/// the last one delivered.
#[must_use = "a watch delivers only while it is polled"]
pub struct WatchStream {
    events: Pin<Box<dyn Stream<Item = Result<WatchEvents, Error>> + Send>>,
    progress: ProgressRequest,
}

impl WatchStream {
    /// For those who write a store: a watch over `events`, which sends a progress mark after `ask` was
    /// called.
    pub fn new(
        events: impl Stream<Item = Result<WatchEvents, Error>> + Send + 'static,
        ask: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self { events: Box::pin(events), progress: ProgressRequest(Arc::new(ask)) }
    }

    /// A handle with which to ask for a progress mark, from wherever.
    pub fn progress(&self) -> ProgressRequest {
        self.progress.clone()
    }
}

impl Stream for WatchStream {
    type Item = Result<WatchEvents, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream").finish_non_exhaustive()
    }
}

/// Asks a watch for a progress mark.
#[derive(Clone)]
pub struct ProgressRequest(Arc<dyn Fn() + Send + Sync>);

impl ProgressRequest {
    /// Asks for a mark. The watch then delivers one, after all events it still owes, whose revision is
    /// at least the newest that anyone could read when this was called. Requests that are close
    /// together may share a mark.
    pub fn ask(&self) {
        (self.0)();
    }
}

impl fmt::Debug for ProgressRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressRequest")
    }
}
