//! Delays that double up to a limit, with a little randomness so that many clients don't come back together.

use std::time::Duration;

/// Delays that double up to a limit.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    step: u32,
}

impl Backoff {
    /// Delays from `first` to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, step: 0 }
    }

    /// The next delay: up to half longer than the doubled one before.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.step).unwrap_or(u32::MAX);
        self.step = self.step.saturating_add(1).min(31);
        let delay = self.first.saturating_mul(factor).min(self.longest);
        delay.mul_f64(rand::random_range(1.0..1.5))
    }

    /// Begins with the first delay again.
    pub const fn reset(&mut self) {
        self.step = 0;
    }
}
