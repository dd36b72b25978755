use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The first wait.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// The longest wait.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

/// Waits that double with every failure, and are forgotten after a while without one.
///
/// ```
/// use jiff::{SignedDuration, Timestamp};
/// use kubewright_kubelet::decide::Backoff;
///
/// let (mut backoff, start) = (Backoff::default(), Timestamp::UNIX_EPOCH);
/// assert_eq!(backoff.retry_at("web", start, start), None); // the first time there is no wait
/// backoff.next("web", start, start);
/// let wait = backoff.retry_at("web", start, start).unwrap() - start;
/// assert_eq!(SignedDuration::try_from(wait)?, SignedDuration::from_secs(10));
/// # Ok::<(), jiff::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    entries: BTreeMap<String, Entry>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(BACKOFF_FIRST, BACKOFF_MAX)
    }
}

impl Backoff {
    /// Waits from `first` to `max`, forgotten after twice `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, entries: BTreeMap::new() }
    }

    /// The current wait of that key; zero when there is none.
    #[must_use]
    pub fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(Duration::ZERO, |entry| entry.delay)
    }

    /// When what failed at `failed_at` may be tried again, if that is later than `now`.
    #[must_use]
    pub fn retry_at(&self, key: &str, failed_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key).filter(|entry| !self.is_forgotten(failed_at, entry.updated))?;
        let at = failed_at + SignedDuration::try_from(entry.delay).unwrap_or(SignedDuration::MAX);
        (at > now).then_some(at)
    }

    /// Notes that what failed at `failed_at` is tried again now: doubles the wait.
    pub fn next(&mut self, key: &str, failed_at: Timestamp, now: Timestamp) {
        let before = self.entries.get(key).filter(|entry| !self.is_forgotten(failed_at, entry.updated));
        let delay = before.map_or(self.first, |entry| (entry.delay * 2).min(self.max));
        self.entries.insert(key.to_owned(), Entry { delay, updated: now });
    }

    /// Forgets a key.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn is_forgotten(&self, event: Timestamp, updated: Timestamp) -> bool {
        event.duration_since(updated) > SignedDuration::try_from(self.max * 2).unwrap_or(SignedDuration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn doubles_to_five_minutes() {
        let mut backoff = Backoff::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let until = backoff.retry_at("k", at(now), at(now)).map_or(now, |until| until.as_second());
            waits.push(until - now);
            now = until;
            backoff.next("k", at(now), at(now));
            now += 1; // it runs a second, and fails again
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_minutes_of_running_forget_everything() {
        let mut backoff = Backoff::default();
        backoff.next("k", at(0), at(0));
        backoff.next("k", at(1), at(11));
        assert_eq!(backoff.delay("k"), Duration::from_secs(20));
        assert_eq!(backoff.retry_at("k", at(612), at(612)), None);
        backoff.next("k", at(612), at(612));
        assert_eq!(backoff.delay("k"), Duration::from_secs(10));
    }

    #[test]
    fn keys_do_not_know_of_each_other() {
        let mut backoff = Backoff::default();
        backoff.next("a", at(0), at(0));
        assert!(backoff.retry_at("a", at(0), at(5)).is_some());
        assert!(backoff.retry_at("b", at(0), at(5)).is_none());
        backoff.reset("a");
        assert!(backoff.retry_at("a", at(0), at(5)).is_none());
    }
}
