//! When who is turned away shall come again: the later, the more are turned away.

use std::collections::VecDeque;
use std::time::Duration;

const SECONDS_MAX: u64 = 32;

/// The answer to those that one level turns away, in seconds.
#[derive(Debug)]
pub(super) struct RetryAfter {
    seconds: u64,
    /// The second in which it was raised last.
    raised: Option<u64>,
    /// How many were turned away in which second, oldest first.
    history: VecDeque<(u64, u64)>,
}

impl Default for RetryAfter {
    fn default() -> Self {
        Self { seconds: 1, raised: None, history: VecDeque::new() }
    }
}

impl RetryAfter {
    /// Someone is turned away: tells after how many seconds to come again.
    pub(super) fn refused(&mut self, now: Duration) -> u64 {
        let second = now.as_secs();
        match self.history.back_mut() {
            Some((at, count)) if *at == second => *count += 1,
            _ => {
                self.adjust(second);
                self.history.push_back((second, 1));
            }
        }
        self.seconds
    }

    /// Doubles it when there were three refusals for each second of it, and lowers it by one when there were few.
    fn adjust(&mut self, second: u64) {
        let kept = (2 * self.seconds).min(SECONDS_MAX);
        while self.history.front().is_some_and(|(at, _)| second - at > kept) {
            self.history.pop_front();
        }
        let recent = self.history.iter().filter(|(at, _)| second - at <= self.seconds);
        let refused: u64 = recent.map(|(_, count)| count).sum();
        let may_rise = self.raised.is_none_or(|at| second - at >= self.seconds);
        if may_rise && refused >= 3 * self.seconds {
            self.seconds = (2 * self.seconds).min(SECONDS_MAX);
            self.raised = Some(second);
        } else if refused < self.seconds && self.seconds > 1 {
            self.seconds -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_under_pressure_and_falls_after() {
        let mut retry = RetryAfter::default();
        let mut second = 0;
        let mut refuse = |retry: &mut RetryAfter, after: u64, count: u64| {
            second += after;
            (0..count).map(|_| retry.refused(Duration::from_secs(second))).last()
        };
        assert_eq!(refuse(&mut retry, 0, 2), Some(1));
        assert_eq!(refuse(&mut retry, 1, 100), Some(1));
        assert_eq!(refuse(&mut retry, 1, 100), Some(2));
        for _ in 0..100 {
            refuse(&mut retry, 1, 200);
        }
        assert_eq!(refuse(&mut retry, 1, 1), Some(SECONDS_MAX));
        assert!(retry.history.len() <= 2 * SECONDS_MAX as usize);
        for _ in 0..40 {
            refuse(&mut retry, 100, 1);
        }
        assert_eq!(refuse(&mut retry, 100, 1), Some(1));
    }
}
