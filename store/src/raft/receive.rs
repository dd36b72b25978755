//! What a replica takes from others.

use raft::Storage;
use raft::eraftpb::{EntryType, Message, MessageType};

use super::frame::{Envelope, Frame};
use super::image::{Received, Receiving};
use super::replica::{Effect, Effects, Replica};

impl Replica {
    /// Takes a frame from another replica. One that makes no sense is dropped.
    pub(crate) fn receive(&mut self, envelope: Envelope, effects: Effects<'_>) {
        let Envelope { cluster, from, to, frame } = envelope;
        let ours = self.roster.cluster_id;
        if to != self.config.id || (cluster != ours && cluster != 0 && ours != 0) {
            tracing::debug!(from, to, cluster, "a message from another cluster, or for another member, was dropped");
            return;
        }
        if self.is_gone(from) && !self.hands_over(&frame) {
            effects(Effect::Send(self.envelope(from, self.removal())));
            return;
        }
        self.heard.insert(from, self.ticks);
        match frame {
            Frame::Raft(message) => self.receive_message(*message),
            Frame::Piece { transfer, number, data } => self.receive_piece(from, transfer, number, &data, effects),
            Frame::Arrived { transfer, next } => {
                let sending = self.sending.iter_mut().find(|sending| sending.to == from);
                sending.into_iter().for_each(|sending| sending.arrived(transfer, next));
            }
            Frame::Removed { index, voters } => self.was_removed(from, index, voters),
            // It is a member as far as this replica knows.
            Frame::AmIMember => {}
            Frame::NewHere { session, last } => self.newborn_asks(from, session, last, effects),
            Frame::Have { session, last } => self.newborn_answered(from, session, last),
        }
    }

    /// Whether this is what a leader that was removed says last.
    fn hands_over(&self, frame: &Frame) -> bool {
        let Frame::Raft(message) = frame else { return false };
        message.get_msg_type() == MessageType::MsgTimeoutNow && message.term == self.node.raft.term
    }

    fn receive_message(&mut self, mut message: Message) {
        if !self.makes_sense(&message) {
            return;
        }
        let kind = message.get_msg_type();
        let asks_for_vote = matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        if self.newborn.is_some() && (asks_for_vote || kind == MessageType::MsgTimeoutNow) {
            return;
        }
        if asks_for_vote && self.lease.is_on() && self.ticks <= self.config.election_ticks as u64 {
            // Before it was restarted, this replica may have answered a leader who reads alone because of that.
            return;
        }
        let is_request = matches!(kind, MessageType::MsgPropose | MessageType::MsgReadIndex);
        if is_request && self.leaving.is_some() {
            // Who is no member any more decides nothing, and does not know what others decide.
            return;
        }
        if kind == MessageType::MsgReadIndex && !self.questions.is_new(message.from, &message.entries[0].data) {
            return;
        }
        if kind == MessageType::MsgPropose && self.leads() {
            let entries = message.mut_entries().iter_mut();
            let changes = entries.filter(|entry| entry.get_entry_type() == EntryType::EntryConfChangeV2);
            for entry in changes {
                if self.vet_entry(entry).is_err() {
                    return;
                }
            }
        }
        if kind == MessageType::MsgTransferLeader {
            self.lease.bar(self.node.raft.term);
        }
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "a message of another replica was dropped");
        }
    }

    /// Whether raft can take this message in its place. It would end the process for some that it cannot.
    fn makes_sense(&self, message: &Message) -> bool {
        if message.term < self.node.raft.term {
            // Raft does not listen to it.
            return true;
        }
        let last = self.node.raft.raft_log.last_index();
        let senseless = match message.get_msg_type() {
            // The leader believes that this replica has what it has not: it lost what was durable.
            MessageType::MsgHeartbeat => message.commit > last,
            MessageType::MsgAppendResponse => message.index > last && !message.reject,
            MessageType::MsgAppend => {
                let conflict = message.get_entries().iter().find(|entry| {
                    let known = self.node.store().term(entry.index);
                    entry.index <= self.committed() && known.is_ok_and(|term| term != entry.term)
                });
                conflict.is_some()
            }
            _ => false,
        };
        if senseless {
            tracing::error!(from = message.from, kind = ?message.get_msg_type(),
                "a message contradicts what was agreed on: this replica, or that one, lost part of its log");
        }
        !senseless
    }

    fn receive_piece(&mut self, from: u64, transfer: u64, number: u64, data: &[u8], effects: Effects<'_>) {
        if number == 0 && !self.receiving.as_ref().is_some_and(|receiving| receiving.is(from, transfer)) {
            match Receiving::new(from, transfer, data) {
                Ok(receiving) => self.receiving = Some(receiving),
                Err(reason) => tracing::warn!(from, reason, "the state that another replica sends was refused"),
            }
        }
        let Some(mut receiving) = self.receiving.take_if(|receiving| receiving.is(from, transfer)) else { return };
        if let Err(reason) = receiving.piece(number, data) {
            tracing::warn!(from, number, reason, "the state that another replica sends was refused");
            return;
        }
        effects(Effect::Send(self.envelope(from, Frame::Arrived { transfer, next: receiving.next() })));
        match receiving.finish() {
            Ok(Received { message, checkpoint, state }) => {
                if let Err(error) = self.node.step(message) {
                    tracing::debug!(%error, "the state that another replica sent was dropped");
                }
                // Raft may have found that it needs none after all.
                let place = (checkpoint.index, checkpoint.term);
                let meta = self.node.snap().map(|snapshot| snapshot.get_metadata());
                if meta.is_some_and(|meta| (meta.index, meta.term) == place) {
                    self.received = Some((checkpoint, state));
                }
            }
            Err(receiving) => self.receiving = Some(*receiving),
        }
    }
}
