//! The time of a cluster: tokio's clock, which a test can pause.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kubewright_apiserver::environment::{Environment, SystemEnvironment};
use tokio::time::Instant;

/// The time of day in a cluster. It goes as tokio's clock goes: with the world's in an ordinary test, and from timer to
/// timer in one with `start_paused`.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Timestamp,
    origin: Instant,
}

impl Clock {
    pub(super) fn starting_at(began: Timestamp) -> Self {
        Self { began, origin: Instant::now() }
    }

    /// What time it is in the cluster.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.origin.elapsed()).unwrap_or(SignedDuration::MAX);
        self.began.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// Lets so much time pass, and everything happen that is due meanwhile, in its order. In a test with
    /// `start_paused` that takes no time; in any other it is a sleep.
    pub async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }
}

impl Environment for Clock {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        SystemEnvironment.fill_random(bytes);
    }
}

#[cfg(feature = "scheduler")]
impl kubewright_scheduler::driver::Clock for Clock {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }
}

/// A time as objects carry it.
pub(super) fn seconds(at: Timestamp) -> String {
    kubewright_apiserver::environment::time(at)
}
