//! Changing who the members are: what the leader lets through, and how a member that was removed goes.

use std::collections::BTreeSet;

use raft::StateRole;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType};

use super::frame::Frame;
use super::replica::{Effect, Effects, REFUSED, Replica};
use super::roster::{ID_END, changes, conf_change, put_changes};
use crate::codec::{Decoder, Reason, put_bytes, put_number};
use crate::membership::refusal;
use crate::{Error, MemberChange, Members, Replication};

/// By how many entries a learner may be behind to be promoted.
const BEHIND_MAX: u64 = 1000;
/// Election timeouts after which a replica that was removed goes though not everybody knows.
const PATIENCE: u64 = 100;
/// What such a replica answers.
pub(super) const REMOVED: &str = "this replica was removed from its cluster";

impl Replica {
    /// The members as this replica knows them.
    pub(crate) fn members(&self) -> Members {
        let members = self.roster.members().cloned().collect();
        Members::new(self.roster.cluster_id, self.config.id, self.role().leader, members)
    }

    pub(super) fn propose_members(&mut self, changes: &[MemberChange], mut context: Vec<u8>) -> Result<(), Error> {
        let changes = self.roster.numbered(changes.to_vec());
        if self.leads() {
            self.vet(&changes)?;
        } else {
            self.roster.clone().apply(&changes)?;
        }
        let Some(change) = conf_change(&changes) else {
            let mut data = vec![super::replica::MEMBERS];
            put_changes(&mut data, &changes);
            return self.node.propose(context, data).map_err(|error| Error::unavailable(error.to_string()));
        };
        put_changes(&mut context, &changes);
        let proposed = self.node.propose_conf_change(context, change);
        proposed.map_err(|error| Error::unavailable(error.to_string()))
    }

    /// Judges a change of members that another replica proposes to this one, the leader. What is refused becomes
    /// an entry that says so, so that who proposed it is answered.
    pub(super) fn vet_entry(&mut self, entry: &mut Entry) -> Result<(), Reason> {
        let mut context = Decoder::new(&entry.context);
        let (session, number) = (context.number()?, context.number()?);
        let changes = changes(&mut context)?;
        if let Err(error) = self.vet(&changes) {
            let reason = match error {
                Error::Refused { reason } => reason,
                other => other.to_string(),
            };
            let (mut context, mut data) = (Vec::new(), vec![REFUSED]);
            put_number(&mut context, session);
            put_number(&mut context, number);
            put_bytes(&mut data, reason.as_bytes());
            entry.set_entry_type(EntryType::EntryNormal);
            (entry.context, entry.data) = (context.into(), data.into());
            return Ok(());
        }
        // What raft looks at is what all replicas will look at.
        let change = conf_change(&changes).ok_or("a change of members that changes nothing")?;
        entry.data = super::disk::message_bytes(&change).into();
        Ok(())
    }

    /// Whether the changes make sense and are safe now.
    fn vet(&self, changes: &[MemberChange]) -> Result<(), Error> {
        let refused = |reason: String| Err(Error::Refused { reason });
        let mut after = self.roster.clone();
        after.apply(changes)?;
        if conf_change(changes).is_none() {
            return Ok(());
        }
        if self.node.raft.has_pending_conf() || !self.conf_state().voters_outgoing.is_empty() {
            return refused("another change of members is under way".to_owned());
        }
        for change in changes {
            if let MemberChange::Promote(id) = change {
                let matched = self.node.raft.prs().get(*id).map_or(0, |progress| progress.matched);
                let behind = self.node.raft.raft_log.last_index().saturating_sub(matched);
                if behind > BEHIND_MAX || !self.is_up(*id) {
                    return refused(format!(
                        "{}: member {id} lacks {behind} entries, or was not heard lately",
                        refusal::NOT_IN_SYNC
                    ));
                }
            }
        }
        let voters: Vec<u64> = after.members().filter(|member| !member.is_learner).map(|member| member.id).collect();
        let up = voters.iter().filter(|id| self.is_up(**id)).count();
        let quorum = Replication::quorum_of(voters.len());
        // A second member cannot be up before it is a member, and one alone is no reason to refuse it.
        let is_second = voters.len() == 2 && self.conf_state().voters.len() == 1;
        if up < quorum && !is_second {
            return refused(format!(
                "{}: afterwards {quorum} of {} voters would have to be up, and {up} are: start or remove others first",
                refusal::NOT_ENOUGH_UP,
                voters.len()
            ));
        }
        Ok(())
    }

    /// Whether a member was heard within the last election timeout.
    fn is_up(&self, id: u64) -> bool {
        let recent = self.ticks.saturating_sub(self.config.election_ticks as u64);
        id == self.config.id || self.heard.get(&id).is_some_and(|tick| *tick >= recent)
    }

    /// Whether a majority was heard within the last election timeout.
    pub(super) fn hears_majority(&self) -> bool {
        let members = self.node.raft.prs();
        members.has_quorum(&members.iter().map(|(id, _)| *id).filter(|id| self.is_up(*id)).collect())
    }

    pub(super) fn tick_members(&mut self) {
        self.heard.retain(|id, _| *id < ID_END);
        let joint = !self.conf_state().voters_outgoing.is_empty();
        if joint
            && self.leads()
            && !self.node.raft.has_pending_conf()
            && self.ticks.is_multiple_of(self.config.election_ticks as u64)
        {
            // Raft ends a change by itself, unless the leader changed at a bad moment.
            let end = raft::eraftpb::ConfChangeV2::default();
            if let Err(error) = self.node.propose_conf_change(Vec::new(), end) {
                tracing::debug!(%error, "the change of members is ended later");
            }
        }
        let raft = &self.node.raft;
        let election_ticks = self.config.election_ticks;
        // One that votes asks for votes, and hears what became of it.
        self.wonders = self.leaving.is_none()
            && !raft.promotable()
            && raft.election_elapsed > election_ticks
            && self.ticks.is_multiple_of(election_ticks as u64);
        self.tick_leaving();
    }

    /// Refuses what only members may ask for.
    pub(super) fn check_member(&self) -> Result<(), Error> {
        match &self.leaving {
            None => Ok(()),
            Some(_) => Err(Error::Failed { reason: REMOVED.to_owned() }),
        }
    }

    /// Whether this was a member and is none any more, nor needed to end a change.
    pub(super) fn is_gone(&self, id: u64) -> bool {
        self.roster.was_removed(id) && self.node.raft.prs().get(id).is_none()
    }

    /// What to tell one that is gone.
    pub(super) fn removal(&self) -> Frame {
        let ConfState { voters, voters_outgoing, .. } = self.conf_state();
        Frame::Removed { index: self.applied.0, voters: voters.iter().chain(voters_outgoing).copied().collect() }
    }

    /// Looks whether this replica is a member still. Raft cannot have a leader or candidate that is none, so it
    /// stops being one at once; whoever is furthest is to take over.
    pub(super) fn note_removal(&mut self) {
        if self.leaving.is_some() || !self.is_gone(self.config.id) {
            return;
        }
        let voters = self.conf_state().voters.clone();
        let mut leaving = Leaving { since: self.ticks, index: self.applied.0, voters, ..Leaving::default() };
        let raft = &self.node.raft;
        if self.leads() {
            let matched = |id: &u64| raft.prs().get(*id).map_or(0, |progress| progress.matched);
            leaving.heir = leaving.voters.iter().copied().max_by_key(matched).map(|heir| (heir, raft.term));
            // This tells them how much is committed.
            self.node.ping();
        }
        self.leaving = Some(leaving);
        self.step_down();
    }

    /// Another replica said that this one is no member any more, as of a later index than it knows itself.
    pub(super) fn was_removed(&mut self, by: u64, index: u64, voters: Vec<u64>) {
        if self.leaving.is_none() {
            self.leaving = Some(Leaving { since: self.ticks, ..Leaving::default() });
            self.step_down();
        }
        let Some(leaving) = &mut self.leaving else { return };
        if index > leaving.index {
            (leaving.index, leaving.voters) = (index, voters);
        }
        leaving.told.insert(by);
        self.removed |= leaving.is_done();
    }

    fn step_down(&mut self) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Follower {
            self.lease.bar(raft.term);
            raft.become_follower(raft.term, 0);
        }
    }

    /// Has another take over if this replica led when it was removed, and has it go when it may.
    fn tick_leaving(&mut self) {
        let Some(leaving) = self.leaving.as_mut().filter(|_| !self.removed) else { return };
        let waited = self.ticks - leaving.since;
        let election_ticks = self.config.election_ticks as u64;
        leaving.asks = waited.is_multiple_of(election_ticks);
        let (told, voters) = (leaving.told_voters(), leaving.voters.len());
        self.removed = waited >= PATIENCE * election_ticks && told >= Replication::quorum_of(voters);
        // Not at once: the heir must have applied that this replica is gone.
        if let Some((heir, term)) = leaving.heir.take_if(|_| waited >= 2)
            && term == self.node.raft.term
        {
            let mut message = Message::default();
            message.set_msg_type(MessageType::MsgTimeoutNow);
            (message.from, message.to, message.term) = (self.config.id, heir, term);
            self.node.raft.msgs.push(message);
        }
    }

    /// Asks the others whether this replica is a member, and so whether it may go.
    pub(super) fn ask_for_removal(&mut self, effects: Effects<'_>) {
        let leaving = self.leaving.as_mut().and_then(|leaving| std::mem::take(&mut leaving.asks).then_some(leaving));
        // Those that told already may know by now that others went too.
        let voters = match leaving {
            Some(leaving) => leaving.voters.clone(),
            None if std::mem::take(&mut self.wonders) => self.conf_state().voters.clone(),
            None => return,
        };
        let others = voters.into_iter().filter(|id| *id != self.config.id);
        others.for_each(|id| effects(Effect::Send(self.envelope(id, Frame::AmIMember))));
    }
}

/// A replica that is no member any more.
///
/// Others may not know that yet, and may need its vote to find out: so it goes only when all who vote now have told
/// it that they know, and will know after a restart; or when most have, and it was asked for nothing for long.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// The tick at which it found out.
    since: u64,
    /// The newest index of the log of which it knows who votes, and who that is.
    index: u64,
    voters: Vec<u64>,
    /// Who told it.
    told: BTreeSet<u64>,
    /// It is to ask now.
    asks: bool,
    /// Who is to lead instead of it, in which term.
    heir: Option<(u64, u64)>,
}

impl Leaving {
    fn told_voters(&self) -> usize {
        self.voters.iter().filter(|id| self.told.contains(id)).count()
    }

    fn is_done(&self) -> bool {
        !self.voters.is_empty() && self.told_voters() == self.voters.len()
    }
}
