//! Checkpoints of the log, and whole states that are sent and taken over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft::SnapshotStatus;
use raft::eraftpb::Message;

use super::disk::Checkpoint;
use super::frame::Frame;
use super::image::{Sending, snapshot};
use super::replica::{Effect, Effects, Replica};
use crate::{Error, Revision};

/// Entries, and bytes of them, that stay in the log behind a checkpoint, for replicas that are a little behind.
const ENTRIES_KEPT: u64 = 1000;
const BYTES_KEPT: usize = 16 << 20;

/// A checkpoint whose snapshot is being written.
#[derive(Debug)]
pub(crate) struct Checkpointing {
    checkpoint: Checkpoint,
    keep: Revision,
    stop: Arc<AtomicBool>,
}

impl Replica {
    /// Checkpoints, and history to be freed, a little at a time.
    pub(super) fn maintain(&mut self, effects: Effects<'_>) -> Result<(), Error> {
        if self.pruning {
            let sending = self.sending.iter().map(Sending::keep);
            let keep = sending.chain(self.checkpointing.iter().map(|checkpointing| checkpointing.keep)).min();
            self.pruning = self.core.prune_step(keep) || keep.is_some();
        }
        let log = self.node.store();
        let is_due = self.applied.0 - self.checkpointed >= self.config.checkpoint_after
            || (log.bytes() as u64 >= self.config.checkpoint_after_bytes && self.applied.0 > self.checkpointed);
        if is_due && self.writing.is_none() && self.applied.0 > 0 {
            let checkpoint = self.checkpoint();
            self.writing = Some(checkpoint.index);
            let job = self.disk.job(&self.core, checkpoint.index);
            self.checkpointing = Some(Checkpointing { checkpoint, keep: job.keep(), stop: job.stop() });
            effects(Effect::Write(job));
        }
        Ok(())
    }

    /// Whether there is something to do although nobody asks for anything.
    pub(crate) const fn is_pruning(&self) -> bool {
        self.pruning && self.checkpointing.is_none() && self.sending.is_empty()
    }

    /// The job of [`Effect::Write`] that writes the snapshot of this index ended.
    ///
    /// # Errors
    /// The disk failed, and this replica can do nothing more.
    pub(crate) fn snapshot_written(&mut self, index: u64, result: Result<Option<u64>, Error>) -> Result<(), Error> {
        self.writing.take_if(|writing| *writing == index);
        // One that was called off may have ended before it heard of that.
        let ended = self.checkpointing.take_if(|checkpointing| checkpointing.checkpoint.index == index);
        let Some(Checkpointing { checkpoint, .. }) = ended else { return Ok(()) };
        let bytes = match result {
            Ok(Some(bytes)) if checkpoint.index > self.checkpointed => bytes,
            // Called off, for a whole state came in between.
            Ok(_) => return Ok(()),
            Err(error) => {
                let error = crate::disk::chain(&error);
                tracing::warn!(%error, "cannot write a snapshot; the log is kept");
                // Tried again after as many entries.
                self.checkpointed = self.applied.0;
                return Ok(());
            }
        };
        self.disk.checkpoint(&checkpoint, bytes, &self.node.store().hard_state)?;
        self.checkpointed = checkpoint.index;
        let kept = ENTRIES_KEPT.min(self.config.checkpoint_after);
        self.node.mut_store().drop_until(checkpoint.index.saturating_sub(kept), checkpoint.index, BYTES_KEPT);
        Ok(())
    }

    fn checkpoint(&self) -> Checkpoint {
        let (index, term) = self.applied;
        let (conf_state, roster, ledger) = (self.conf_state().clone(), self.roster.clone(), self.ledger.clone());
        Checkpoint { index, term, conf_state, roster, ledger }
    }

    pub(super) fn begin_image(&mut self, message: Message) {
        self.transfers += 1;
        // The session makes it differ from what was sent before a restart.
        let transfer = (self.session & 0xffff_ffff) << 32 | self.transfers;
        self.sending.retain(|sending| sending.to != message.to);
        let sending = Sending::new(transfer, message, &self.checkpoint(), &self.core);
        self.sending.push(sending);
    }

    pub(super) fn tick_images(&mut self) {
        let patience = self.config.election_ticks * 4;
        for sending in self.sending.extract_if(.., |sending| sending.tick() >= patience) {
            self.node.report_snapshot(sending.to, SnapshotStatus::Failure);
        }
    }

    pub(super) fn send_images(&mut self, effects: Effects<'_>) {
        if !self.leads() {
            self.sending.clear();
        }
        let mut sending = std::mem::take(&mut self.sending);
        sending.retain_mut(|sending| {
            let to = sending.to;
            sending.send(&self.core, &mut |frame: Frame| effects(Effect::Send(self.envelope(to, frame))));
            if sending.is_done() {
                self.node.report_snapshot(to, SnapshotStatus::Finish);
            }
            !sending.is_done()
        });
        self.sending = sending;
    }

    /// Takes over the state that came from another replica.
    pub(super) fn install(&mut self, effects: Effects<'_>) -> Result<(), Error> {
        let Some((checkpoint, state)) = self.received.take() else {
            return Err(Error::Failed { reason: "raft took over a state that never came".to_owned() });
        };
        if let Some(checkpointing) = self.checkpointing.take() {
            checkpointing.stop.store(true, Ordering::Release);
        }
        self.applied = (checkpoint.index, checkpoint.term);
        self.ledger = checkpoint.ledger.clone();
        self.roster = checkpoint.roster.clone();
        self.core.replace(state);
        let log = self.node.mut_store();
        log.restart(&snapshot(&checkpoint));
        let hard_state = log.hard_state.clone();
        self.disk.restart(&self.core, &checkpoint, &hard_state)?;
        self.checkpointed = checkpoint.index;
        self.pruning = true;
        effects(Effect::Replaced);
        Ok(())
    }
}
