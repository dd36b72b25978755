//! The body of a watch: events one after the other, until the time is up, the server stops or the watcher falls behind.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use jiff::Timestamp;
use kubewright_api::status::Status;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::negotiate::Form;
use super::represent::Representation;
use crate::body::{Body, BoxError};
use crate::custom::Converter;
use crate::environment::Environment;
use crate::layers::WatchMeter;
use crate::registry::Registry;
use crate::registry::cache::{Broken, Cached, Delivery, Lagged, Watcher};
use crate::registry::storage::Served;
use crate::table::IncludeObject;

/// A watch that is being answered.
pub(super) struct WatchStream {
    pub(super) registry: Arc<Registry>,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) served: Arc<Served>,
    pub(super) converter: Arc<Converter>,
    pub(super) form: Form,
    pub(super) include: IncludeObject,
    pub(super) watcher: Watcher,
    /// Objects there were at the start, yet to be sent.
    pub(super) initial: VecDeque<Arc<Cached>>,
    /// After them a bookmark of this revision says that they were all.
    pub(super) initial_end: Option<u64>,
    /// Whether and how often to send bookmarks.
    pub(super) bookmarks: Option<Duration>,
    pub(super) deadline: Instant,
    pub(super) wakers: Wakers,
    /// Every event is sent by itself.
    pub(super) one_by_one: bool,
    pub(super) pending: VecDeque<Delivery>,
    pub(super) next_bookmark: Instant,
    /// Tables name their columns in the first event alone.
    pub(super) first: bool,
    pub(super) over: bool,
    pub(super) meter: Option<WatchMeter>,
}

/// Events that are there at the same time are sent together, up to about so many bytes.
const TOGETHER: usize = 16 << 10;

/// What wakes a watch beside changes. They are waited for again and again, and so made once.
pub(super) struct Wakers {
    timer: Pin<Box<Sleep>>,
    tokens: [CancellationToken; 2],
    ended: [Pin<Box<WaitForCancellationFutureOwned>>; 2],
}

impl Wakers {
    /// The watch ends when one of these is cancelled.
    pub(super) fn new(ended: [CancellationToken; 2]) -> Self {
        let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        Self { timer, tokens: ended.clone(), ended: ended.map(|token| Box::pin(token.cancelled_owned())) }
    }

    fn is_over(&self) -> bool {
        self.tokens.iter().any(CancellationToken::is_cancelled)
    }
}

impl WatchStream {
    pub(super) fn into_body(self) -> Body {
        let lines = stream::unfold(self, |mut watch| async move {
            let line = watch.next().await?;
            Some((Ok::<_, BoxError>(Frame::data(line)), watch))
        });
        StreamBody::new(lines).boxed_unsync()
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.over || self.wakers.is_over() || Instant::now() >= self.deadline {
            return None;
        }
        if let Some(object) = self.initial.pop_front() {
            return Some(self.line(&Delivery::added(object)).await);
        }
        if let Some(revision) = self.initial_end.take() {
            return Some(self.bookmark(revision, true));
        }
        loop {
            if let Some(delivery) = self.pending.pop_front() {
                let line = self.line(&delivery).await;
                let alone = self.one_by_one || self.pending.is_empty();
                return Some(if alone { line } else { self.together(line).await });
            }
            // Read before looking for events: what is published is in the window.
            let published = self.registry.published();
            match self.watcher.poll(&mut self.pending) {
                Ok(()) => {}
                Err(Broken::Lagged(lagged)) => return Some(self.fail(&too_slow(lagged))),
                Err(Broken::Unreadable(status)) => return Some(self.fail(&status)),
            }
            if !self.pending.is_empty() {
                continue;
            }
            let now = Instant::now();
            if self.bookmarks.is_some() && now >= self.next_bookmark {
                self.schedule_bookmark(now);
                return Some(self.bookmark(published, false));
            }
            if now >= self.deadline {
                return None;
            }
            let wake = if self.bookmarks.is_some() { self.next_bookmark.min(self.deadline) } else { self.deadline };
            let Wakers { timer, ended: [stopped, gone], .. } = &mut self.wakers;
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
            tokio::select! {
                biased;
                () = stopped => return None,
                () = gone => return None,
                () = self.watcher.changed() => {}
                () = timer => {}
            }
        }
    }

    /// A line, and those that are pending behind it as far as they fit.
    async fn together(&mut self, first: Bytes) -> Bytes {
        let mut lines = BytesMut::from(first);
        while lines.len() < TOGETHER
            && !self.over
            && let Some(delivery) = self.pending.pop_front()
        {
            let line = self.line(&delivery).await;
            lines.extend_from_slice(&line);
        }
        lines.freeze()
    }

    /// The next bookmark comes after the interval, or two seconds before the end so that the client can resume.
    pub(super) fn schedule_bookmark(&mut self, now: Instant) {
        let interval = self.bookmarks.unwrap_or(Duration::MAX);
        let last = self.deadline.checked_sub(Duration::from_secs(2)).filter(|last| *last > now);
        let regular = now.checked_add(interval).unwrap_or(self.deadline);
        self.next_bookmark = match last {
            Some(last) => regular.min(last),
            None => self.deadline + Duration::from_secs(1),
        };
    }

    fn representation(&self, now: Timestamp) -> Representation<'_> {
        Representation { form: self.form, include: self.include, served: &self.served, now }
    }

    async fn line(&mut self, delivery: &Delivery) -> Bytes {
        let event = self.event(delivery).await;
        self.first = false;
        let line = event.unwrap_or_else(|status| self.fail(&status));
        if let Some(meter) = &self.meter {
            meter.sent(line.len());
        }
        line
    }

    async fn event(&self, delivery: &Delivery) -> Result<Bytes, Status> {
        let representation = self.representation(self.environment.now());
        let Some(webhook) = &self.served.webhook else { return representation.event(delivery, self.first) };
        let objects = vec![delivery.object.decode()?];
        let mut converted = self.converter.convert(webhook, objects, &self.served.api_version).await?;
        let object = converted.pop().ok_or_else(|| Status::internal("a conversion gave no object"))?;
        representation.event_showing(delivery, object, self.first)
    }

    fn bookmark(&mut self, revision: u64, initial_events_end: bool) -> Bytes {
        let representation = self.representation(Timestamp::UNIX_EPOCH);
        let object = representation.bookmark_object(revision, initial_events_end);
        let event = representation.event_of("BOOKMARK", &object);
        event.unwrap_or_else(|status| self.fail(&status))
    }

    fn fail(&mut self, status: &Status) -> Bytes {
        self.over = true;
        failure(&self.representation(Timestamp::UNIX_EPOCH), status)
    }
}

/// The event that says why a watch ends.
pub(super) fn failure(representation: &Representation<'_>, status: &Status) -> Bytes {
    let status = serde_json::to_value(status).unwrap_or_default();
    representation.event_of("ERROR", &status).unwrap_or_default()
}

/// 410: the watcher did not take what came before it was dropped.
fn too_slow(lagged: Lagged) -> Status {
    Status::expired(format!(
        "the watcher was too slow: changes up to resource version {} were dropped before it took them; list again and \
         watch from there",
        lagged.oldest
    ))
}

/// 410: start over.
pub(super) fn expired(lagged: Lagged) -> Status {
    Status::expired(format!("too old resource version: {} ({})", lagged.requested, lagged.oldest))
}
