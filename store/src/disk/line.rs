//! Commands in line for the log.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::Error;
use crate::state::{Command, Outcome};

const BATCH_REQUESTS: usize = 1024;
const BATCH_BYTES: usize = 4 << 20;
/// What waits takes a place, and one more for each so many bytes: so as many bytes wait as there are places for, at most.
const PLACE_BYTES: usize = 16 << 10;

/// How many of all places something of so many bytes takes. Even the largest gets in, when nothing else waits.
pub(crate) fn places(bytes: usize, all: usize) -> u32 {
    u32::try_from((1 + bytes / PLACE_BYTES).min(all)).unwrap_or(u32::MAX)
}

/// A command on its way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) encoded: Vec<u8>,
    pub(super) reply: oneshot::Sender<Result<Outcome, Error>>,
}

/// What there is to do for the thread that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Requests,
    Nothing,
    /// No requests are left, and none will come.
    Over,
}

/// Those who wait to be written. Whoever takes them holds the writer, so that they are written in their order.
#[derive(Debug)]
pub(super) struct Line {
    /// How many places there are, and how many are free.
    size: usize,
    room: Semaphore,
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Request>,
    is_closed: bool,
    /// The thread that writes has nothing to do, and was not woken yet.
    is_idle: bool,
    /// It is to look for work other than requests.
    is_nudged: bool,
}

impl Line {
    pub(super) fn new(size: usize) -> Self {
        Self { size, room: Semaphore::new(size), waiting: Mutex::default(), arrived: Condvar::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that holds this lock leaves it half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets in line, once there is room.
    ///
    /// # Errors
    /// The line is closed.
    pub(super) async fn join(&self, request: Request) -> Result<(), Error> {
        let places = places(request.encoded.len(), self.size);
        let place = self.room.acquire_many(places).await.map_err(|_| Error::Closed)?;
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return Err(Error::Closed);
        }
        // Given back when the request is taken.
        place.forget();
        waiting.requests.push_back(request);
        let is_idle = std::mem::take(&mut waiting.is_idle);
        drop(waiting);
        if is_idle {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Whether nobody is in line, and somebody may still get there.
    pub(super) fn is_free(&self) -> bool {
        let waiting = self.waiting();
        waiting.requests.is_empty() && !waiting.is_closed
    }

    /// Takes as many as may share a sync, into `batch`.
    pub(super) fn take(&self, batch: &mut Vec<Request>) {
        let (mut waiting, mut bytes, mut free) = (self.waiting(), 0, 0);
        while batch.len() < BATCH_REQUESTS && bytes < BATCH_BYTES {
            let Some(request) = waiting.requests.pop_front() else { break };
            bytes += request.encoded.len();
            free += places(request.encoded.len(), self.size) as usize;
            batch.push(request);
        }
        drop(waiting);
        self.room.add_permits(free);
    }

    /// What there is to do, without waiting for it.
    pub(super) fn look(&self) -> Found {
        self.waiting().found()
    }

    /// Waits for something to do: for [`Found::Nothing`] if it was nudged.
    pub(super) fn wait(&self) -> Found {
        let mut waiting = self.waiting();
        loop {
            match waiting.found() {
                Found::Nothing if !waiting.is_nudged => {}
                found => {
                    (waiting.is_idle, waiting.is_nudged) = (false, false);
                    return found;
                }
            }
            waiting.is_idle = true;
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Has the thread look for other work.
    pub(super) fn nudge(&self) {
        self.waiting().is_nudged = true;
        self.arrived.notify_one();
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.waiting().is_closed = true;
        self.room.close();
        self.arrived.notify_one();
    }
}

impl Waiting {
    fn found(&self) -> Found {
        match (self.requests.is_empty(), self.is_closed) {
            (false, _) => Found::Requests,
            (true, false) => Found::Nothing,
            (true, true) => Found::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;
    use crate::Revision;

    fn request(bytes: usize) -> Request {
        Request { command: Command::Compact(Revision(1)), encoded: vec![0; bytes], reply: oneshot::channel().0 }
    }

    #[tokio::test]
    async fn large_requests_leave_room_for_fewer() {
        let line = Line::new(8);
        line.join(request(4 * PLACE_BYTES)).await.expect("room");
        line.join(request(100)).await.expect("room");
        let mut third = pin!(line.join(request(2 * PLACE_BYTES)));
        assert!(poll!(third.as_mut()).is_pending(), "two places are left, and it takes three");
        let mut batch = Vec::new();
        line.take(&mut batch);
        assert_eq!(batch.len(), 2);
        third.await.expect("room again");
        batch.clear();
        line.take(&mut batch);
        assert_eq!(line.room.available_permits(), 8);
        // More than there is room for in all gets in alone.
        line.join(request(100 * PLACE_BYTES)).await.expect("room");
        let mut next = pin!(line.join(request(0)));
        assert!(poll!(next.as_mut()).is_pending());
        batch.clear();
        line.take(&mut batch);
        next.await.expect("room again");
    }
}
