//! Applying what the replicas agreed on.

use raft::eraftpb::{ConfChangeV2, Entry, EntryType};

use super::bug::Bug;
use super::replica::{Answer, COMMAND, EXPIRE, Effect, Effects, KEEP_ALIVE, MEMBERS, REFUSED, Replica, broken};
use super::roster::{changes, text};
use crate::codec::{Decoder, Reason, decode_command};
use crate::state::{Command, Outcome};
use crate::{Error, LeaseId};

impl Replica {
    pub(super) fn apply(&mut self, entries: Vec<Entry>, effects: Effects<'_>) -> Result<(), Error> {
        for entry in entries {
            self.applied = (entry.index, entry.term);
            let applied = match entry.get_entry_type() {
                EntryType::EntryNormal if entry.data.is_empty() => Ok(()),
                EntryType::EntryNormal => self.apply_entry(&entry, effects),
                // Raft's own, which ends a change of members.
                EntryType::EntryConfChangeV2 if entry.context.is_empty() => {
                    self.apply_conf_change(&ConfChangeV2::default())?;
                    self.finish_change(effects);
                    Ok(())
                }
                EntryType::EntryConfChangeV2 => self.apply_change(&entry, effects)?,
                EntryType::EntryConfChange => Err("a kind of entry that nobody proposes"),
            };
            applied.map_err(|reason| Error::Failed {
                reason: format!("entry {} of the replicated log: {reason}", entry.index),
            })?;
            let (index, term) = self.applied;
            let log = self.node.mut_store();
            log.applied = (index, term);
        }
        Ok(())
    }

    fn apply_entry(&mut self, entry: &Entry, effects: Effects<'_>) -> Result<(), Reason> {
        let mut context = Decoder::new(&entry.context);
        let (session, number) = (context.number()?, context.number()?);
        if !self.ledger.admit(session, number, entry.index) && !self.bug.is(Bug::DoubleApply) {
            return Ok(());
        }
        let (kind, data) = entry.data.split_first().ok_or("nothing in it")?;
        let mut from = Decoder::new(data);
        let answer = match *kind {
            COMMAND => self.apply_command(decode_command(data)?, entry.index, effects),
            KEEP_ALIVE => self.keep_alive(LeaseId(from.number()? as i64), entry.index, effects),
            EXPIRE => {
                let (lease, renewed) = (LeaseId(from.number()? as i64), from.number()?);
                if self.ledger.renewed(lease) == renewed {
                    self.apply_command(Command::LeaseRevoke(lease), entry.index, effects)
                } else {
                    Ok(Answer::NotDue)
                }
            }
            MEMBERS => self.roster.apply(&changes(&mut from)?).map(|()| Answer::Members(self.members())),
            REFUSED => Err(Error::Refused { reason: text(&mut from)? }),
            _ => return Err("unknown kind of proposal"),
        };
        self.done(session, number, answer, effects);
        Ok(())
    }

    fn done(&self, session: u64, number: u64, answer: Result<Answer, Error>, effects: Effects<'_>) {
        if session == self.session {
            effects(Effect::Done { number, answer });
        }
    }

    fn apply_command(&mut self, command: Command, index: u64, effects: Effects<'_>) -> Result<Answer, Error> {
        let revoked = match command {
            Command::LeaseRevoke(lease) => Some(lease),
            _ => None,
        };
        let applied = self.core.apply_one(command);
        let outcome = applied.outcome?;
        match (&outcome, revoked) {
            (Outcome::LeaseGranted(lease), _) => {
                self.ledger.renew(lease.id, index);
                effects(Effect::LeaseStarted(*lease));
            }
            (Outcome::LeaseRevoked(_), Some(lease)) => {
                self.ledger.forget(lease);
                effects(Effect::LeaseEnded(lease));
            }
            (Outcome::Compacted, _) => self.pruning = true,
            _ => {}
        }
        Ok(Answer::Outcome(outcome))
    }

    fn keep_alive(&mut self, lease: LeaseId, index: u64, effects: Effects<'_>) -> Result<Answer, Error> {
        let (lease, _) = self.core.state().lease(lease)?;
        self.ledger.renew(lease.id, index);
        effects(Effect::LeaseStarted(lease));
        Ok(Answer::KeptAlive(lease))
    }

    /// Begins a change of members, if it still makes sense: all replicas decide this alike.
    fn apply_change(&mut self, entry: &Entry, effects: Effects<'_>) -> Result<Result<(), Reason>, Error> {
        let mut context = Decoder::new(&entry.context);
        let mut read = || Ok((context.number()?, context.number()?, changes(&mut context)?));
        let (session, number, changes) = match read() {
            Ok(read) => read,
            Err(reason) => return Ok(Err(reason)),
        };
        if !self.ledger.admit(session, number, entry.index) {
            return Ok(Ok(()));
        }
        let Some(change) = super::roster::conf_change(&changes) else {
            return Ok(Err("a change of members that changes nothing"));
        };
        if !self.conf_state().voters_outgoing.is_empty() {
            let reason = "another change of members is under way".to_owned();
            self.done(session, number, Err(Error::Refused { reason }), effects);
            return Ok(Ok(()));
        }
        match self.roster.apply(&changes) {
            Ok(()) => {
                self.apply_conf_change(&change)?;
                self.changing = Some((session, number));
            }
            Err(error) => self.done(session, number, Err(error), effects),
        }
        Ok(Ok(()))
    }

    fn apply_conf_change(&mut self, change: &ConfChangeV2) -> Result<(), Error> {
        if change.leave_joint() && self.conf_state().voters_outgoing.is_empty() {
            // It was left already: the change was asked to end twice.
            return Ok(());
        }
        let mut conf_state = self.node.apply_conf_change(change).map_err(|error| broken(&error))?;
        // Raft's order is that of its hash tables.
        conf_state.voters.sort_unstable();
        conf_state.voters_outgoing.sort_unstable();
        conf_state.learners.sort_unstable();
        conf_state.learners_next.sort_unstable();
        let log = self.node.mut_store();
        log.conf_state = conf_state;
        // Others go once they know that this replica knows, so it must still know after a restart.
        log.hard_state.commit = log.hard_state.commit.max(self.applied.0);
        let hard_state = log.hard_state.clone();
        self.disk.save(&[], Some(&hard_state))
    }

    /// The change of members is through.
    fn finish_change(&mut self, effects: Effects<'_>) {
        if let Some((session, number)) = self.changing.take() {
            self.done(session, number, Ok(Answer::Members(self.members())), effects);
        }
        self.note_removal();
    }
}
