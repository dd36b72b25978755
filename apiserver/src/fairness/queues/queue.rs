//! One queue, and where it stands in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use super::{EXPECTED_SECONDS, Width};

/// Requests that wait, and what is known of those that run.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<u64>,
    pub(super) waiting_work: f64,
    executing: usize,
    pub(super) seats_in_use: usize,
    pub(super) next_start: f64,
    /// The seats that its requests began with which run now, and the sum of when they began, a time for each seat.
    running: f64,
    running_since: f64,
}

impl Queue {
    pub(super) fn is_active(&self) -> bool {
        !self.waiting.is_empty() || self.executing > 0
    }

    /// Where it stands in virtual time. Upstream charges what a request took when it is over; what runs longer than
    /// expected counts here while it runs, so that a flow of slow requests can't keep its place before the others.
    pub(super) fn start(&self, now: Duration) -> f64 {
        let ran = self.running * (now.as_secs_f64() - EXPECTED_SECONDS) - self.running_since;
        self.next_start + ran.max(0.0)
    }

    /// The same, less what is expected of the seats that it has now.
    #[allow(clippy::cast_precision_loss, reason = "seats are few")]
    pub(super) fn discounted(&self, now: Duration) -> f64 {
        self.start(now) - EXPECTED_SECONDS * self.seats_in_use as f64
    }

    /// Nobody saves up time from before the oldest that waits came.
    pub(super) fn not_before(&mut self, arrived: f64, now: Duration) {
        self.next_start += (arrived - self.start(now)).max(0.0);
    }

    #[allow(clippy::cast_precision_loss, reason = "seats are few")]
    pub(super) fn begin(&mut self, width: Width, now: Duration) {
        self.executing += 1;
        self.seats_in_use += width.seats();
        self.next_start += width.work();
        self.running += width.initial as f64;
        self.running_since += width.initial as f64 * now.as_secs_f64();
    }

    /// It was charged for what was expected; now it is known.
    #[allow(clippy::cast_precision_loss, reason = "seats are few")]
    pub(super) fn end(&mut self, width: Width, since: Duration, now: Duration) {
        let seats = width.initial as f64;
        self.executing -= 1;
        self.next_start -= seats * (EXPECTED_SECONDS - now.saturating_sub(since).as_secs_f64());
        if self.executing == 0 {
            (self.running, self.running_since) = (0.0, 0.0);
        } else {
            self.running -= seats;
            self.running_since -= seats * since.as_secs_f64();
        }
    }
}
