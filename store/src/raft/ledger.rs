//! What replicas remember besides the state, to apply every proposal once.

use std::collections::BTreeMap;

use crate::LeaseId;
use crate::codec::{Decoder, Reason, put_number};

/// How many proposals behind its newest one a session may still bring.
const WINDOW: u64 = 4096;
const WORDS: usize = (WINDOW / 64) as usize;
/// Sessions that are remembered: each start of each replica is one.
const SESSIONS_MAX: usize = 256;

/// A network may deliver a proposal twice. Each carries its session, one for each time a replica was
/// started, and a number; the ledger knows which were applied. It is part of what is replicated, so that
/// all replicas agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    sessions: BTreeMap<u64, Session>,
    /// The index of the entry that last kept a lease alive.
    renewed: BTreeMap<LeaseId, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    newest: u64,
    /// Bit `n % WINDOW` stands for proposal `n` of the window that ends with the newest.
    seen: Vec<u64>,
    /// The index of the entry that last used it.
    used: u64,
}

impl Ledger {
    /// Whether this proposal is to be applied: it was not before, and is not too old to know.
    pub(crate) fn admit(&mut self, session: u64, number: u64, index: u64) -> bool {
        let entry = self.sessions.entry(session);
        let found = entry.or_insert_with(|| Session { newest: 0, seen: vec![0; WORDS], used: index });
        found.used = index;
        let admitted = found.admit(number);
        if self.sessions.len() > SESSIONS_MAX {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
            oldest.and_then(|id| self.sessions.remove(&id));
        }
        admitted
    }

    /// Notes that an entry granted a lease or kept it alive.
    pub(crate) fn renew(&mut self, lease: LeaseId, index: u64) {
        self.renewed.insert(lease, index);
    }

    pub(crate) fn forget(&mut self, lease: LeaseId) {
        self.renewed.remove(&lease);
    }

    /// When a lease was last kept alive, as an index. A lease expires only if that has not changed
    /// since it was found due.
    pub(crate) fn renewed(&self, lease: LeaseId) -> u64 {
        self.renewed.get(&lease).copied().unwrap_or_default()
    }

    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        put_number(to, self.sessions.len() as u64);
        for (id, session) in &self.sessions {
            for number in [*id, session.newest, session.used].iter().chain(&session.seen) {
                put_number(to, *number);
            }
        }
        put_number(to, self.renewed.len() as u64);
        for (lease, index) in &self.renewed {
            put_number(to, lease.0 as u64);
            put_number(to, *index);
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Self, Reason> {
        let mut ledger = Self::default();
        for _ in 0..from.count(3 + WORDS)? {
            let (id, newest, used) = (from.number()?, from.number()?, from.number()?);
            let seen = (0..WORDS).map(|_| from.number()).collect::<Result<_, _>>()?;
            ledger.sessions.insert(id, Session { newest, seen, used });
        }
        for _ in 0..from.count(2)? {
            ledger.renewed.insert(LeaseId(from.number()? as i64), from.number()?);
        }
        Ok(ledger)
    }
}

impl Session {
    fn admit(&mut self, number: u64) -> bool {
        if number + WINDOW <= self.newest {
            return false;
        }
        // What leaves the window makes room for what enters it.
        if number > self.newest {
            let entering = (self.newest + 1..=number).take(WINDOW as usize);
            entering.for_each(|n| *self.word(n) &= !bit(n));
            self.newest = number;
        }
        let is_new = *self.word(number) & bit(number) == 0;
        *self.word(number) |= bit(number);
        is_new
    }

    fn word(&mut self, number: u64) -> &mut u64 {
        &mut self.seen[(number % WINDOW / 64) as usize]
    }
}

const fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_proposal_is_admitted_once_in_any_order() {
        let mut ledger = Ledger::default();
        for number in [1, 3, 2, 70, 64, 65] {
            assert!(ledger.admit(1, number, number) && !ledger.admit(1, number, number));
            assert!(ledger.admit(2, number, number), "sessions do not mix");
        }
        assert!(ledger.admit(1, 10_000, 9));
        assert!(!ledger.admit(1, 70, 9) && !ledger.admit(1, 4, 9), "too old to know");
        assert!(ledger.admit(1, 10_000 - WINDOW + 1, 9) && !ledger.admit(1, 10_000 - WINDOW + 1, 9));
        ledger.renew(LeaseId(5), 8);
        let mut bytes = Vec::new();
        ledger.encode(&mut bytes);
        assert_eq!(Ledger::decode(&mut Decoder::new(&bytes)), Ok(ledger));
    }

    #[test]
    fn old_sessions_make_room() {
        let mut ledger = Ledger::default();
        for session in 0..1000 {
            ledger.admit(session, 1, session);
        }
        assert_eq!(ledger.sessions.len(), SESSIONS_MAX);
        assert!(!ledger.admit(999, 1, 1000));
    }
}
