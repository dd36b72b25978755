//! Which reads other replicas asked a leader for, so that none is taken twice.
//!
//! Raft confirms a read by heartbeats that carry its name, and with it all reads that were asked for earlier. If the
//! same question came again, after it was answered, then late answers to the first copy's heartbeats would confirm
//! the second, and with it reads that were asked for in between: nobody would have confirmed those.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Questions of one session that are remembered; older ones are never taken.
const KEPT: usize = 256;

/// Sessions of one replica that are remembered.
const SESSIONS: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Questions(BTreeMap<u64, VecDeque<(u64, Asked)>>);

#[derive(Debug, Default)]
struct Asked {
    /// Nothing up to here is new.
    until: u64,
    seen: BTreeSet<u64>,
}

impl Questions {
    /// Whether this is no question that a replica asked before. What is none at all is not new.
    pub(crate) fn is_new(&mut self, from: u64, context: &[u8]) -> bool {
        let Some((session, token)) = context.split_at_checked(8) else { return false };
        let (Ok(session), Ok(token)) = (session.try_into(), token.try_into()) else { return false };
        let (session, token) = (u64::from_le_bytes(session), u64::from_le_bytes(token));
        // Sessions have no order: a clock may have gone back between two starts.
        let sessions = self.0.entry(from).or_default();
        if !sessions.iter().any(|(known, _)| *known == session) {
            sessions.push_back((session, Asked::default()));
            if sessions.len() > SESSIONS {
                sessions.pop_front();
            }
        }
        let asked = sessions.iter_mut().rfind(|(known, _)| *known == session);
        asked.is_some_and(|(_, asked)| asked.is_new(token))
    }
}

impl Asked {
    fn is_new(&mut self, token: u64) -> bool {
        if token <= self.until || !self.seen.insert(token) {
            return false;
        }
        if self.seen.len() > KEPT
            && let Some(oldest) = self.seen.pop_first()
        {
            self.until = oldest;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_is_taken_once() {
        let context = |session: u64, token: u64| [session.to_le_bytes(), token.to_le_bytes()].concat();
        let mut questions = Questions::default();
        for token in [2, 1, 3] {
            assert!(questions.is_new(1, &context(5, token)) && !questions.is_new(1, &context(5, token)));
            assert!(questions.is_new(2, &context(6, token)), "replicas do not mix");
        }
        for token in 10..10 + KEPT as u64 {
            assert!(questions.is_new(1, &context(5, token)));
        }
        assert!(!questions.is_new(1, &context(5, 1)) && !questions.is_new(1, &context(5, 0)), "too old to know");
        assert!(questions.is_new(1, &context(7, 1)), "another start");
        assert!(questions.is_new(1, &context(3, 1)), "another one, whose clock was behind");
        assert!(!questions.is_new(1, &context(5, 12)) && !questions.is_new(1, &context(7, 1)), "they are known still");
        assert!(!questions.is_new(1, b"nonsense"));
    }
}
