//! The clock that leases and progress marks go by.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;

/// Monotonic time since some fixed moment.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The time now.
    fn now(&self) -> Duration;

    /// Completes once [`now`](Clock::now) is at least `deadline`.
    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()>;
}

/// The tokio runtime's clock: real time, or virtual time while that is paused.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that starts at 0 now.
    pub fn new() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        // A deadline beyond what the platform can count is never reached.
        match self.origin.checked_add(deadline) {
            Some(at) => Box::pin(tokio::time::sleep_until(at)),
            None => Box::pin(futures::future::pending()),
        }
    }
}

/// A clock that stands still until it is moved by hand, for tests and simulations.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<Mutex<watch::Sender<Duration>>>,
}

impl ManualClock {
    /// A clock that stands at 0.
    pub fn new() -> Self {
        Self { now: Arc::new(Mutex::new(watch::Sender::new(Duration::ZERO))) }
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.send_modify(|now| *now += by);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now.borrow()
    }

    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let sender = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = sender.subscribe();
        drop(sender);
        Box::pin(async move {
            if now.wait_for(|now| *now >= deadline).await.is_err() {
                // The clock is gone, so it will never get there.
                futures::future::pending::<()>().await;
            }
        })
    }
}
