//! A place among the running requests of a level.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::{Levels, Waiting, lock};
use crate::fairness::metrics::{Counted, Meter};

/// Given back when it is dropped.
pub(in crate::fairness) struct Seat {
    pub(super) levels: Arc<Levels>,
    pub(super) state: Arc<Mutex<Waiting>>,
    pub(super) id: u64,
    pub(super) meter: Meter,
    pub(super) seats: usize,
    /// Whether it begins a watch, and ends with that.
    pub(super) is_watch: bool,
    /// Since when it runs, and its count among those that do.
    pub(super) runs: Option<(Instant, Counted)>,
}

impl Seat {
    /// The same, for a request that begins a watch or doesn't.
    pub(in crate::fairness) fn of_watch(mut self, is_watch: bool) -> Self {
        self.is_watch = is_watch;
        self
    }

    pub(super) fn taken(mut self, waited: Duration) -> Self {
        self.meter.dispatched(waited);
        self.runs = Some((Instant::now(), self.meter.runs(self.seats)));
        self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((since, _)) = &self.runs {
            self.meter.ran(self.is_watch, since.elapsed());
        }
        let now = self.levels.now();
        let mut locked = lock(&self.state);
        locked.waiters.remove(&self.id);
        // Whoever went away while waiting has no seat to give back.
        let (waited, mut started) = locked.queues.give_up(self.id, now);
        if !waited {
            started.extend(locked.queues.finish(self.id, now));
        }
        locked.wake(started);
    }
}
