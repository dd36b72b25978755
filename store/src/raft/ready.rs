//! What a replica proposes and asks for, and the step that brings all of it further.

use std::time::Duration;

use bytes::Bytes;
use raft::ReadState;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::bug::Bug;
use super::frame::{Envelope, Frame};
use super::replica::{EXPIRE, Effect, Effects, KEEP_ALIVE, OWN_READ, Proposal, Replica};
use crate::Error;
use crate::codec::put_number;

impl Replica {
    /// Proposes something at the next [`Replica::ready`]; answers its number, under which its answer will come, if
    /// it does not get lost.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a leader; [`Error::Failed`] on a replica that was removed; whatever is wrong
    /// with a change of members.
    pub(crate) fn propose(&mut self, proposal: &Proposal) -> Result<u64, Error> {
        self.check_member()?;
        let raft = &self.node.raft;
        if raft.leader_id == 0 || raft.lead_transferee.is_some() {
            return Err(Error::unavailable("no leader"));
        }
        let number = self.proposed + 1;
        let mut context = Vec::with_capacity(20);
        put_number(&mut context, self.session);
        put_number(&mut context, number);
        let data: Bytes = match proposal {
            Proposal::Command(encoded) => encoded.clone(),
            Proposal::KeepAlive(lease) => {
                let mut data = vec![KEEP_ALIVE];
                put_number(&mut data, lease.0 as u64);
                data.into()
            }
            Proposal::Expire(lease, renewed) => {
                let mut data = vec![EXPIRE];
                put_number(&mut data, lease.0 as u64);
                put_number(&mut data, *renewed);
                data.into()
            }
            Proposal::Members(changes) => {
                self.propose_members(changes, context)?;
                self.proposed = number;
                return Ok(number);
            }
        };
        self.proposed = number;
        self.proposals.push((number, Entry { context: context.into(), data, ..Entry::default() }));
        Ok(number)
    }

    /// Hands all proposals to raft, as many in a message as fit, so that they travel together.
    fn flush(&mut self, effects: Effects<'_>) {
        let mut proposals = std::mem::take(&mut self.proposals).into_iter().peekable();
        while proposals.peek().is_some() {
            let mut message = Message::default();
            message.set_msg_type(MessageType::MsgPropose);
            message.from = self.config.id;
            let (mut numbers, mut bytes) = (Vec::new(), 0);
            while let Some((number, entry)) = proposals.next_if(|_| bytes < self.config.message_bytes_max) {
                bytes += (entry.data.len() + entry.context.len()) as u64;
                numbers.push(number);
                message.mut_entries().push(entry);
            }
            if let Err(error) = self.node.step(message) {
                let error = match error {
                    raft::Error::ProposalDropped => Error::unavailable("no leader, or too much waits for a majority"),
                    error => Error::unavailable(error.to_string()),
                };
                for number in numbers {
                    effects(Effect::Done { number, answer: Err(error.clone()) });
                }
            }
        }
    }

    /// Asks for `token` to come as [`Effect::Read`] once this replica has applied everything that
    /// anyone had been told was committed. May get lost: ask again then. Whether the leader may read alone depends on the
    /// time at which it asks itself, as [`Replica::at`] wants it told.
    ///
    /// # Errors
    /// [`Error::Failed`] on a replica that was removed.
    pub(crate) fn read(&mut self, token: u64, now: Duration) -> Result<(), Error> {
        self.check_member()?;
        self.at(now);
        let raft = &self.node.raft;
        let alone = self.leads() && raft.lead_transferee.is_none() && raft.commit_to_current_term();
        let (term, leads) = (raft.term, self.leads());
        if (alone && self.lease.holds(term, self.now)) || (leads && self.bug.is(Bug::StaleRead)) {
            self.reads.push((self.committed(), token));
        } else {
            self.ask(token);
        }
        Ok(())
    }

    pub(super) fn ask(&mut self, token: u64) {
        if self.leads() {
            self.lease.ask(token, self.node.raft.term, self.now);
        }
        // The leader tells requests apart by their context, so it must differ from other replicas' too.
        let context = [self.session.to_le_bytes(), token.to_le_bytes()].concat();
        self.node.read_index(context);
    }

    /// Does what has become possible.
    ///
    /// # Errors
    /// The disk failed, and this replica can do nothing more.
    pub(crate) fn ready(&mut self, effects: Effects<'_>) -> Result<(), Error> {
        self.flush(effects);
        let unsaved = std::mem::take(&mut self.unsaved);
        self.disk.save(&unsaved, None)?;
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            // A leader's messages go out before its own disk has the entries: disks work at the same time.
            self.send(ready.take_messages(), effects);
            if ready.snapshot().get_metadata().index > 0 {
                self.install(effects)?;
            }
            let reads = ready.take_read_states();
            // What is committed is answered before the disk is waited for. Changes of members wait: raft wants to
            // find this replica among them when it is told what is durable.
            let mut committed = ready.take_committed_entries();
            let is_change = |entry: &Entry| entry.get_entry_type() != EntryType::EntryNormal;
            let later = committed.split_off(committed.iter().position(is_change).unwrap_or(committed.len()));
            self.apply(committed, effects)?;
            // Of a commit that is forgotten the leader tells again.
            let hard_state = ready.hs().filter(|_| ready.must_sync());
            if self.bug.is(Bug::AckBeforeSync) {
                self.unsaved.extend(ready.entries().iter().cloned());
            } else {
                self.disk.save(ready.entries(), hard_state)?;
            }
            let log = self.node.mut_store();
            log.append(ready.entries());
            if let Some(hard_state) = ready.hs() {
                log.hard_state = hard_state.clone();
            }
            let messages = ready.take_persisted_messages();
            self.send(messages, effects);
            let mut light = self.node.advance_append(ready);
            if let Some(commit) = light.commit_index() {
                self.node.mut_store().hard_state.commit = commit;
            }
            self.send(light.take_messages(), effects);
            self.apply(later, effects)?;
            self.apply(light.take_committed_entries(), effects)?;
            self.node.advance_apply_to(self.applied.0);
            self.take_reads(reads);
        }
        if !self.leads() {
            self.lease.give_up();
        }
        self.raise_newborn(effects)?;
        self.answer_reads(effects);
        self.send_images(effects);
        self.ask_for_removal(effects);
        self.maintain(effects)
    }

    /// The leader said how far reads must wait.
    fn take_reads(&mut self, reads: Vec<ReadState>) {
        let term = self.node.raft.term;
        for read in reads {
            let (session, token) = read.request_ctx.split_at(read.request_ctx.len().min(8));
            if let Ok(token) = <[u8; 8]>::try_from(token)
                && *session == self.session.to_le_bytes()
            {
                let token = u64::from_le_bytes(token);
                self.lease.confirm(token, term);
                if token & OWN_READ == 0 {
                    self.reads.push((read.index, token));
                }
            }
        }
    }

    fn answer_reads(&mut self, effects: Effects<'_>) {
        let applied = self.applied.0;
        self.reads.extract_if(.., |(index, _)| *index <= applied).for_each(|(_, token)| effects(Effect::Read(token)));
    }

    fn send(&mut self, messages: Vec<Message>, effects: Effects<'_>) {
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.begin_image(message);
            } else {
                effects(Effect::Send(self.envelope(message.to, Frame::Raft(Box::new(message)))));
            }
        }
    }

    pub(super) const fn envelope(&self, to: u64, frame: Frame) -> Envelope {
        Envelope { cluster: self.roster.cluster_id, from: self.config.id, to, frame }
    }
}
