//! Founders with an empty directory.
//!
//! Nobody can tell a founder that starts for the first time from one that lost its directory, and with it what it
//! promised: a vote of the latter may bring one to lead who lacks what was acknowledged. So neither votes before others
//! have told what they have. If those that make a majority with it have nothing but the founding, there is nothing to lose.
//! Otherwise it follows first, until it has all that they had: whoever leads meanwhile was elected without it, so by a
//! majority of which one knows everything that was ever acknowledged.
//!
//! What is left is a directory lost while all that knew what it promised are out of reach, and the others have nothing, as
//! may be in a cluster's first moments; and a founder that founded alone, which knows nobody to ask.

use std::collections::BTreeMap;

use raft::INVALID_ID;

use super::frame::Frame;
use super::replica::{Effect, Effects, Replica};
use crate::{Error, Replication};

/// Ticks between questions to those that have not answered.
const ASK_AGAIN: u64 = 2;

/// What a founder with an empty directory was told.
#[derive(Debug, Default)]
pub(crate) struct Newborn {
    /// The newest entry of each that answered.
    answers: BTreeMap<u64, u64>,
    asks: bool,
}

impl Replica {
    /// Has a newborn wait instead of standing for election, and ask the others.
    pub(super) fn tick_newborn(&mut self) {
        let needed = self.answers_needed();
        let Some(newborn) = &mut self.newborn else { return };
        self.node.raft.election_elapsed = 0;
        // A leader that takes it for what it was before must hear of it in any case.
        let pause = if newborn.answers.len() < needed { ASK_AGAIN } else { self.config.election_ticks as u64 };
        newborn.asks |= self.ticks.is_multiple_of(pause);
    }

    /// Others that make a majority with this one.
    fn answers_needed(&self) -> usize {
        Replication::quorum_of(self.conf_state().voters.len()) - 1
    }

    /// Another founder has an empty directory, or had one a moment ago.
    pub(super) fn newborn_asks(&mut self, from: u64, session: u64, last: u64, effects: Effects<'_>) {
        if self.leads()
            && let Some(progress) = self.node.raft.mut_prs().get_mut(from)
            && progress.matched > last
        {
            // It had more before it lost that, and is to get it again.
            progress.matched = last;
            progress.become_probe();
        }
        let newest = self.node.raft.raft_log.last_index();
        effects(Effect::Send(self.envelope(from, Frame::Have { session, last: newest })));
    }

    pub(super) fn newborn_answered(&mut self, from: u64, session: u64, last: u64) {
        let (needed, is_voter) = (self.answers_needed(), self.conf_state().voters.contains(&from));
        // Answers to whoever was here before say nothing of now.
        if session == self.session
            && is_voter
            && let Some(newborn) = self.newborn.as_mut().filter(|newborn| newborn.answers.len() < needed)
        {
            newborn.answers.entry(from).or_insert(last);
        }
    }

    /// Lets a newborn ask, and take part when it may.
    ///
    /// # Errors
    /// The disk failed.
    pub(super) fn raise_newborn(&mut self, effects: Effects<'_>) -> Result<(), Error> {
        let needed = self.answers_needed();
        let Some(newborn) = &mut self.newborn else { return Ok(()) };
        let newest = newborn.answers.values().copied().max().unwrap_or_default();
        let raft = &self.node.raft;
        let is_told = newborn.answers.len() >= needed;
        let has_all = newest <= 1 || (raft.leader_id != INVALID_ID && raft.raft_log.committed >= newest);
        if is_told && has_all {
            self.disk.note_grown_up()?;
            self.newborn = None;
        } else if std::mem::take(&mut newborn.asks) {
            let frame = Frame::NewHere { session: self.session, last: raft.raft_log.last_index() };
            let others = self.conf_state().voters.iter().filter(|id| **id != self.config.id);
            others.for_each(|id| effects(Effect::Send(self.envelope(*id, frame.clone()))));
        }
        Ok(())
    }
}
