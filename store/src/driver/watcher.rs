//! One watch: a place in the order of revisions, and how it moves on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;

use super::core::Core;
use super::hub::{Group, Next, Signal};
use crate::{Error, KeyRange, Revision, WatchEvents, WatchOptions, WatchStream};

/// How many revisions a watch that catches up looks at in one go.
const SCAN: usize = 1024;

pub(super) struct Watcher {
    core: Arc<Core>,
    group: Arc<Group>,
    id: u64,
    signal: Arc<Signal>,
    options: WatchOptions,
    /// Everything before this is delivered, or in `caught`.
    next: Revision,
    /// Read from history, not yet delivered.
    caught: VecDeque<WatchEvents>,
    timer: Option<BoxFuture<'static, ()>>,
    over: bool,
}

impl Watcher {
    pub(super) fn open(core: &Arc<Core>, range: KeyRange, from: Revision, options: WatchOptions) -> WatchStream {
        let signal = Arc::new(Signal::default());
        let (group, id) = core.hub.join(&range, &signal);
        let watcher = Self {
            core: core.clone(),
            group,
            id,
            signal: signal.clone(),
            options,
            next: from,
            caught: VecDeque::new(),
            timer: None,
            over: false,
        };
        let core = Arc::downgrade(core);
        WatchStream::new(watcher, move || {
            if let Some(core) = core.upgrade() {
                let wanted = core.state().revision();
                signal.progress.fetch_max(wanted.0, Ordering::AcqRel);
                signal.waker.wake();
            }
        })
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<WatchEvents, Error>> {
        // Before anything is looked at, so that no event between the look and the wait is missed.
        self.signal.waker.register(cx.waker());
        loop {
            if let Some(batch) = self.caught.pop_front() {
                return Poll::Ready(Ok(batch));
            }
            if let Some(why) = self.core.hub.closed() {
                return Poll::Ready(Err(why.clone()));
            }
            // Before the group is asked: when it has nothing, everything up to here was delivered.
            let published = self.core.hub.published();
            match self.group.next(self.next) {
                Next::Batch(batch) => {
                    self.next = batch.revision.next();
                    return Poll::Ready(Ok(batch));
                }
                Next::Nothing => {
                    // So that it does not look far behind when others' changes are compacted.
                    self.next = self.next.max(published.next());
                    return self.idle(published, cx);
                }
                Next::Behind(until) => {
                    let to = Revision(until.0 - 1);
                    let (batches, next) = self.core.changes(&self.group.range, self.next, to, SCAN)?;
                    self.caught.extend(batches);
                    self.next = next;
                    if self.caught.is_empty() && self.next < until {
                        // A long way through others' changes: let other tasks run.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// There is nothing to deliver but perhaps a progress mark.
    fn idle(&mut self, published: Revision, cx: &mut Context<'_>) -> Poll<Result<WatchEvents, Error>> {
        let wanted = self.signal.progress.load(Ordering::Acquire);
        if wanted != 0 && published.0 >= wanted {
            // A request for a later revision that came in since stays.
            let cleared = self.signal.progress.compare_exchange(wanted, 0, Ordering::AcqRel, Ordering::Acquire);
            if cleared.is_err() {
                self.signal.waker.wake();
            }
            return Poll::Ready(Ok(WatchEvents::progress(published)));
        }
        if wanted != 0 {
            // The revision can be read already and is being published right now.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(interval) = self.options.progress_interval {
            let clock = &self.core.clock;
            let timer = self.timer.get_or_insert_with(|| clock.sleep_until(clock.now() + interval));
            if timer.as_mut().poll(cx).is_ready() {
                self.timer = None;
                return Poll::Ready(Ok(WatchEvents::progress(published)));
            }
        }
        Poll::Pending
    }
}

impl Stream for Watcher {
    type Item = Result<WatchEvents, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let item = std::task::ready!(this.advance(cx));
        this.over = item.is_err();
        // The interval counts from the last delivery.
        this.timer = None;
        Poll::Ready(Some(item))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.core.hub.leave(&self.group, self.id);
    }
}
