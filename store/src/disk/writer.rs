//! The thread that owns the log: it takes whatever commands wait, makes them durable with one sync,
//! applies them and answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::sync::oneshot;

use super::files::Disk;
use super::log::{AppendError, Log};
use super::record::{KIND_COMMAND, KIND_SEAL};
use super::snapshot;
use crate::driver::{Core, Deadlines};
use crate::state::{Command, ImageSource, Outcome};
use crate::{Error, Health, Revision};

const BATCH_REQUESTS: usize = 1024;
const BATCH_BYTES: usize = 4 << 20;

/// A command on its way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) encoded: Vec<u8>,
    pub(super) reply: oneshot::Sender<Result<Outcome, Error>>,
}

/// What the thread lets others see of it.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub(super) disk_bytes: AtomicU64,
    pub(super) health: Mutex<Health>,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) core: Arc<Core>,
    pub(super) deadlines: Arc<Deadlines>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) log: Log,
    pub(super) requests: mpsc::Receiver<Request>,
    /// Bytes of log that a restart would have to replay.
    pub(super) replay_bytes: u64,
    pub(super) snapshot_bytes: u64,
    pub(super) snapshot_after: u64,
    pub(super) snapshot: Option<Snapshot>,
    /// Compacted history waits to be freed.
    pub(super) pruning: bool,
}

/// A snapshot that is being written.
#[derive(Debug)]
pub(super) struct Snapshot {
    index: u64,
    /// `replay_bytes` when it was begun.
    replay_bytes: u64,
    keep: Revision,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Option<u64>, Error>>,
}

impl Writer {
    /// Works until nobody can send requests any more.
    pub(super) fn run(mut self) {
        self.seal();
        let (mut batch, mut is_shared) = (Vec::new(), false);
        while let Some(first) = self.next() {
            batch.push(first);
            if is_shared {
                // Several write at a time. Whoever can run now, but for this thread, may bring more to share the sync
                // with: where processors are scarce that makes for far fewer syncs, and where they are not this
                // returns at once.
                std::thread::yield_now();
            }
            self.fill(&mut batch);
            is_shared = batch.len() > 1;
            self.commit(&mut batch);
            self.maintain();
        }
        self.seal();
        self.stop_snapshot();
    }

    /// Waits for a request, or frees history while there is none.
    fn next(&mut self) -> Option<Request> {
        while self.pruning {
            match self.requests.try_recv() {
                Ok(request) => return Some(request),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => self.prune(),
            }
        }
        self.requests.blocking_recv()
    }

    fn prune(&mut self) {
        let keep = self.snapshot.as_ref().map(|snapshot| snapshot.keep);
        self.pruning = self.core.prune_step(keep);
    }

    /// Adds what else is waiting.
    fn fill(&mut self, batch: &mut Vec<Request>) {
        let mut bytes: usize = batch.iter().map(|request| request.encoded.len()).sum();
        while batch.len() < BATCH_REQUESTS && bytes < BATCH_BYTES {
            let Ok(request) = self.requests.try_recv() else {
                break;
            };
            bytes += request.encoded.len();
            batch.push(request);
        }
    }

    fn commit(&mut self, batch: &mut Vec<Request>) {
        let records = batch.iter().map(|r| (KIND_COMMAND, &*r.encoded));
        if let Err(error) = self.append(records) {
            for request in batch.drain(..) {
                // Who has stopped waiting needs no answer, here and below.
                let _ = request.reply.send(Err(error.clone()));
            }
            return;
        }
        let mut replies = Vec::with_capacity(batch.len());
        let mut revoked = Vec::with_capacity(batch.len());
        let commands = batch.drain(..).map(|request| {
            replies.push(request.reply);
            revoked.push(match request.command {
                Command::LeaseRevoke(id) => Some(id),
                _ => None,
            });
            request.command
        });
        let applied = self.core.apply(commands);
        for ((applied, reply), revoked) in applied.into_iter().zip(replies).zip(revoked) {
            match &applied.outcome {
                Ok(Outcome::LeaseGranted(lease)) => self.deadlines.start(*lease),
                Ok(Outcome::LeaseRevoked(_)) => {
                    revoked.into_iter().for_each(|id| self.deadlines.forget(id));
                }
                Ok(Outcome::Compacted) => self.pruning = true,
                _ => {}
            }
            let _ = reply.send(applied.outcome);
        }
    }

    fn append<'a>(&mut self, records: impl Iterator<Item = (u8, &'a [u8])> + Clone) -> Result<(), Error> {
        self.core.check_not_failed()?;
        let (result, health) = match self.log.append(records) {
            Ok(size) => {
                self.replay_bytes += size;
                (Ok(()), Health::Serving)
            }
            Err(AppendError::NoSpace(error)) => {
                let health = Health::ReadOnly(error.to_string());
                (Err(error), health)
            }
            Err(AppendError::Fatal(error)) => {
                let reason = chain(&error);
                tracing::error!(%reason, "the store failed");
                let error = Error::Failed { reason: reason.clone() };
                self.core.close(error.clone());
                (Err(error), Health::Failed(reason))
            }
        };
        let gauges = &self.gauges;
        let mut current = gauges.health.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != health {
            *current = health;
        }
        drop(current);
        self.measure();
        result
    }

    fn measure(&self) {
        let bytes = self.log.bytes() + self.snapshot_bytes;
        self.gauges.disk_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Notes in the log that all before is durable. Without room for it the log is as good.
    fn seal(&mut self) {
        if let Err(error) = self.append(std::iter::once((KIND_SEAL, &[][..])))
            && !matches!(error, Error::NoSpace { .. })
        {
            tracing::warn!(%error, "cannot seal the log");
        }
    }

    /// What is done now and then, between batches.
    fn maintain(&mut self) {
        if self.pruning {
            self.prune();
        }
        if self.snapshot.as_ref().is_some_and(|s| s.thread.is_finished()) {
            self.finish_snapshot();
        }
        if self.snapshot.is_none() && self.replay_bytes >= self.snapshot_after {
            self.begin_snapshot();
        }
    }

    fn begin_snapshot(&mut self) {
        let source = ImageSource::new(&self.core.state());
        let (keep, index) = (source.keep(), self.log.last_index());
        let stop = Arc::new(AtomicBool::new(false));
        let (disk, core, told) = (self.disk.clone(), self.core.clone(), stop.clone());
        let work = move || snapshot::write(&*disk, &core, source, index, &told);
        let thread = std::thread::Builder::new().name("store-snapshot".to_owned());
        match thread.spawn(work) {
            Ok(thread) => {
                self.snapshot = Some(Snapshot { index, replay_bytes: self.replay_bytes, keep, stop, thread });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot start a thread for the snapshot");
                self.snapshot_after += self.replay_bytes;
            }
        }
    }

    fn finish_snapshot(&mut self) {
        let Some(snapshot) = self.snapshot.take() else {
            return;
        };
        match snapshot.thread.join() {
            Ok(Ok(Some(bytes))) => {
                tracing::debug!(index = snapshot.index, bytes, "wrote a snapshot");
                self.snapshot_bytes = bytes;
                self.replay_bytes -= snapshot.replay_bytes;
                let log = self.log.forget(snapshot.index);
                let old = log.and_then(|()| snapshot::remove_before(&*self.disk, snapshot.index));
                if let Err(error) = old {
                    tracing::warn!(%error, "cannot remove what the snapshot replaced");
                }
                self.measure();
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "cannot write a snapshot; the log is kept");
                self.try_later();
            }
            Err(_) => {
                tracing::error!("the thread that writes the snapshot panicked");
                self.try_later();
            }
        }
    }

    /// A snapshot that could not be written is tried again after as much log.
    fn try_later(&mut self) {
        self.snapshot_after = self.snapshot_after.saturating_add(self.replay_bytes);
    }

    fn stop_snapshot(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            snapshot.stop.store(true, Ordering::Relaxed);
            if !matches!(snapshot.thread.join(), Ok(Ok(_))) {
                tracing::warn!("the last snapshot was not written; the log is kept");
            }
        }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
