//! Reads without asking anybody: how long a leader may be sure that there is no other.
//!
//! Whoever answers a leader's heartbeat will, for as long as an election timeout, vote for nobody else
//! (check-quorum and pre-vote see to that; see also [`Replica::receive`](super::replica::Replica)). So when a
//! majority answered a heartbeat that was sent at some moment, there is no other leader until an election
//! timeout after that moment, less what clocks may differ by.

use std::collections::BTreeMap;
use std::time::Duration;

/// Questions whose time is remembered. Only a leader that waits for a majority has more than a few.
const ASKED_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct ReadLease {
    /// For how long after a heartbeat that was answered; zero if reads always ask.
    length: Duration,
    /// When questions were asked, and in which term.
    asked: BTreeMap<u64, (u64, Duration)>,
    /// Until when this replica leads for sure, in this term.
    held: Option<(u64, Duration)>,
    /// The term in which leadership was offered to another, who may take it at any later moment.
    barred: Option<u64>,
    /// Something was read by it since it was renewed.
    used: bool,
}

impl ReadLease {
    pub(crate) fn new(length: Duration) -> Self {
        Self { length, ..Self::default() }
    }

    pub(crate) const fn is_on(&self) -> bool {
        !self.length.is_zero()
    }

    /// A majority is being asked.
    pub(crate) fn ask(&mut self, token: u64, term: u64, now: Duration) {
        if !self.is_on() {
            return;
        }
        self.asked.insert(token, (term, now));
        if self.asked.len() > ASKED_MAX {
            self.asked.pop_first();
        }
    }

    /// A majority answered.
    pub(crate) fn confirm(&mut self, token: u64, term: u64) {
        let Some((asked_in, at)) = self.asked.remove(&token) else { return };
        if asked_in == term {
            let until = at + self.length;
            let longer = self.held.is_none_or(|(held, before)| held != term || before < until);
            if longer {
                self.held = Some((term, until));
            }
        }
    }

    /// Whether the leader of this term may answer at once.
    pub(crate) fn holds(&mut self, term: u64, now: Duration) -> bool {
        let holds = self.is_on()
            && self.barred != Some(term)
            && self.held.is_some_and(|(held, until)| held == term && now < until);
        self.used |= holds;
        holds
    }

    /// Whether it is time to ask a majority again, so that the lease does not run out.
    pub(crate) fn wants_renewal(&mut self, term: u64, now: Duration) -> bool {
        let halfway = self.held.is_some_and(|(held, until)| held == term && now + self.length / 2 >= until);
        self.used && halfway && std::mem::take(&mut self.used)
    }

    /// Leadership is about to be handed over. The offer may arrive late, so there is no lease any more in this
    /// term, even if nobody takes it now.
    pub(crate) fn bar(&mut self, term: u64) {
        self.barred = Some(term);
        self.give_up();
    }

    /// Leadership was lost.
    pub(crate) fn give_up(&mut self) {
        self.held = None;
        self.asked.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_lease_counts_from_when_the_question_was_asked() {
        let mut lease = ReadLease::new(ms(100));
        lease.ask(1, 5, ms(1000));
        assert!(!lease.holds(5, ms(1000)), "nobody has answered");
        lease.confirm(1, 5);
        assert!(lease.holds(5, ms(1099)) && !lease.holds(5, ms(1100)) && !lease.holds(6, ms(1050)));
        lease.ask(2, 5, ms(1050));
        lease.ask(3, 5, ms(1020));
        lease.confirm(2, 5);
        lease.confirm(3, 5);
        assert!(lease.holds(5, ms(1149)), "an older answer does not shorten it");
        lease.give_up();
        lease.confirm(3, 5);
        assert!(!lease.holds(5, ms(1050)));
    }

    #[test]
    fn who_offered_leadership_reads_alone_no_more() {
        let mut lease = ReadLease::new(ms(100));
        lease.bar(5);
        lease.ask(1, 5, ms(1000));
        lease.confirm(1, 5);
        assert!(!lease.holds(5, ms(1010)));
        lease.ask(2, 6, ms(1000));
        lease.confirm(2, 6);
        assert!(lease.holds(6, ms(1010)));
    }

    #[test]
    fn a_lease_that_nobody_uses_is_not_renewed() {
        let mut lease = ReadLease::new(ms(100));
        lease.ask(1, 5, ms(0));
        lease.confirm(1, 5);
        assert!(!lease.wants_renewal(5, ms(80)));
        assert!(lease.holds(5, ms(10)) && !lease.wants_renewal(5, ms(20)));
        assert!(lease.wants_renewal(5, ms(60)) && !lease.wants_renewal(5, ms(61)));
        assert!(!ReadLease::default().holds(0, ms(0)));
    }
}
