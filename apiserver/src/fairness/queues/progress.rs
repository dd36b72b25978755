//! Where a level stands in virtual time: what its metrics show.

use std::time::Duration;

use super::QueueSet;
use super::queue::Queue;

/// Where a level stands in virtual time, in seconds times seats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::fairness) struct Progress {
    /// Virtual time.
    pub(in crate::fairness) r: f64,
    /// Virtual time when a request was last let run that came through a queue, and where that stood.
    pub(in crate::fairness) dispatched: (f64, f64),
    /// The least and the greatest place of what is next in a queue.
    pub(in crate::fairness) next: [f64; 2],
    /// The same, less what is expected of what runs now.
    pub(in crate::fairness) discounted: [f64; 2],
    /// How often virtual time has begun anew since the last time.
    pub(in crate::fairness) epochs: u64,
}

impl QueueSet {
    /// Where virtual time and the queues stand.
    pub(in crate::fairness) fn progress(&mut self, now: Duration) -> Progress {
        self.advance(now);
        let waiting = || self.queues.iter().filter(|queue| !queue.waiting.is_empty());
        let bounds = |of: &dyn Fn(&Queue) -> f64| {
            let all = || waiting().map(of);
            [all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max)].map(|bound| {
                // Nothing waits.
                if bound.is_finite() { bound } else { 0.0 }
            })
        };
        let epochs = std::mem::take(&mut self.epochs);
        let next = bounds(&|queue| queue.start(now));
        let discounted = bounds(&|queue| queue.discounted(now));
        Progress { r: self.r, dispatched: self.dispatched, next, discounted, epochs }
    }
}
