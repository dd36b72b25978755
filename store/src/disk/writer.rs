//! What owns the log: it takes whatever commands wait, makes them durable with one sync, applies them and answers.
//!
//! A thread does this, one batch after the other. A store that is told to
//! [commit in place](super::DiskConfig::commit_in_place) lets a caller that is alone do it instead.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::files::Disk;
use super::line::{Found, Line, Request};
use super::log::{AppendError, Log};
use super::record::{KIND_COMMAND, KIND_SEAL};
use super::snapshot;
use crate::driver::{Core, Deadlines};
use crate::state::{Applied, Command, ImageSource, Outcome};
use crate::{Error, Health, LeaseId, Revision};

/// Where the disk takes longer than this, switching between threads does not matter, but what else waits on the caller's
/// thread does: nobody writes in place then.
const QUICK: Duration = Duration::from_millis(1);

/// What whoever writes lets others see of it.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub(super) disk_bytes: AtomicU64,
    pub(super) health: Mutex<Health>,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) core: Arc<Core>,
    pub(super) deadlines: Arc<Deadlines>,
    pub(super) log: Mutex<Writing>,
    /// Held by whoever applies. It is taken before the log is let go, so that commands are applied in the log's order.
    pub(super) applying: Mutex<()>,
    /// Compacted history waits to be freed.
    pub(super) pruning: AtomicBool,
}

/// The log and what depends on how long it is.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) core: Arc<Core>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) log: Log,
    /// Bytes of log that a restart would have to replay.
    pub(super) replay_bytes: u64,
    pub(super) snapshot_bytes: u64,
    pub(super) snapshot_after: u64,
    pub(super) snapshot: Option<Snapshot>,
    /// The last commit shared its sync with others.
    pub(super) is_shared: bool,
    /// The disk took little time for the last one.
    pub(super) is_quick: bool,
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

/// Somebody panicked while they wrote or applied, so that nobody knows what the log or the state is.
struct Broken;

impl From<Broken> for Error {
    fn from(_: Broken) -> Self {
        Self::Failed { reason: "who wrote the log panicked".to_owned() }
    }
}

impl Writer {
    /// Works as the store's thread until the line is closed and everybody in it was answered.
    pub(super) fn run(&self, line: &Line) {
        if let Err(broken) = self.work(line).and_then(|()| self.end()) {
            self.core.close(broken.into());
        }
    }

    fn work(&self, line: &Line) -> Result<(), Broken> {
        let (mut batch, mut is_shared) = (Vec::new(), false);
        loop {
            let is_pruning = self.pruning.load(Ordering::Relaxed);
            let found = if is_pruning { line.look() } else { line.wait() };
            match found {
                Found::Requests => {
                    if is_shared {
                        // Several write at a time. Whoever can run now, but for this thread, may bring more to share the
                        // sync with: where processors are scarce that makes for far fewer syncs, and where they are not
                        // this returns at once.
                        std::thread::yield_now();
                    }
                    is_shared = self.commit(line, &mut batch)?;
                }
                Found::Nothing => self.maintain()?,
                Found::Over => return Ok(()),
            }
        }
    }

    fn log(&self) -> Result<MutexGuard<'_, Writing>, Broken> {
        self.log.lock().map_err(|_| Broken)
    }

    fn applying(&self) -> Result<MutexGuard<'_, ()>, Broken> {
        self.applying.lock().map_err(|_| Broken)
    }

    /// Writes those who are in line; says whether they were several.
    fn commit(&self, line: &Line, batch: &mut Vec<Request>) -> Result<bool, Broken> {
        let mut log = self.log()?;
        line.take(batch);
        let is_shared = batch.len() > 1;
        log.is_shared = is_shared;
        let records = batch.iter().map(|r| (KIND_COMMAND, &*r.encoded));
        if let Err(error) = log.append(records) {
            for request in batch.drain(..) {
                // Who has stopped waiting needs no answer, here and below.
                let _ = request.reply.send(Err(error.clone()));
            }
            return Ok(is_shared);
        }
        let order = self.applying()?;
        let is_due = log.wants_maintenance();
        drop(log);
        let mut replies = Vec::with_capacity(batch.len());
        let commands = batch.drain(..).map(|request| {
            replies.push((request.reply, revoked(&request.command)));
            request.command
        });
        let applied = self.core.apply(commands);
        for (applied, (reply, revoked)) in applied.into_iter().zip(replies) {
            self.note(&applied, revoked);
            let _ = reply.send(applied.outcome);
        }
        drop(order);
        if is_due || self.pruning.load(Ordering::Relaxed) {
            self.maintain()?;
        }
        Ok(is_shared)
    }

    /// Whether it looks as if [`Writer::commit_in_place`] would write.
    pub(super) fn may_write_in_place(&self) -> bool {
        self.log.try_lock().is_ok_and(|log| !log.is_shared && log.is_quick)
    }

    /// Writes one command on the caller's thread, by `block`, unless somebody else writes or others do so often; gives it
    /// back then.
    pub(super) fn commit_in_place(
        &self,
        line: &Line,
        command: Command,
        encoded: &[u8],
        block: impl FnOnce(&mut dyn FnMut()),
    ) -> Result<Result<Outcome, Error>, Command> {
        // A lock that is poisoned is the thread's to deal with.
        let Ok(mut log) = self.log.try_lock() else { return Err(command) };
        // With the lock nobody is taken out of the line, and the thread cannot end.
        if log.is_shared || !log.is_quick || self.pruning.load(Ordering::Relaxed) || !line.is_free() {
            return Err(command);
        }
        let mut appended = Ok(());
        block(&mut || appended = log.append(std::iter::once((KIND_COMMAND, encoded))));
        if let Err(error) = appended {
            return Ok(Err(error));
        }
        let Ok(order) = self.applying() else { return Ok(Err(Broken.into())) };
        if log.wants_maintenance() {
            line.nudge();
        }
        drop(log);
        let revoked = revoked(&command);
        let applied = self.core.apply_one(command);
        self.note(&applied, revoked);
        drop(order);
        Ok(applied.outcome)
    }

    /// What an answer means for leases and history.
    fn note(&self, applied: &Applied, revoked: Option<LeaseId>) {
        match &applied.outcome {
            Ok(Outcome::LeaseGranted(lease)) => self.deadlines.start(*lease),
            Ok(Outcome::LeaseRevoked(_)) => revoked.into_iter().for_each(|id| self.deadlines.forget(id)),
            Ok(Outcome::Compacted) => self.pruning.store(true, Ordering::Relaxed),
            _ => {}
        }
    }

    /// What is done now and then, between batches.
    fn maintain(&self) -> Result<(), Broken> {
        let mut log = self.log()?;
        if self.pruning.load(Ordering::Relaxed) {
            // Under this lock no snapshot is begun. What is compacted meanwhile is seen to next time.
            self.pruning.store(false, Ordering::Relaxed);
            let keep = log.snapshot.as_ref().map(|snapshot| snapshot.keep);
            if self.core.prune_step(keep) {
                self.pruning.store(true, Ordering::Relaxed);
            }
        }
        if log.snapshot.as_ref().is_some_and(|s| s.thread.is_finished()) {
            log.finish_snapshot();
        }
        if log.snapshot.is_none() && log.replay_bytes >= log.snapshot_after {
            // The state is that of the log's end once nobody applies.
            let _order = self.applying()?;
            log.begin_snapshot();
        }
        Ok(())
    }

    /// Notes that all is durable, and calls off what is unfinished.
    fn end(&self) -> Result<(), Broken> {
        let mut log = self.log()?;
        log.seal();
        log.stop_snapshot();
        Ok(())
    }
}

impl Writing {
    fn append<'a>(&mut self, records: impl Iterator<Item = (u8, &'a [u8])> + Clone) -> Result<(), Error> {
        self.core.check_not_failed()?;
        let begun = Instant::now();
        let appended = self.log.append(records);
        self.is_quick = begun.elapsed() < QUICK;
        let (result, health) = match appended {
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
    pub(super) fn seal(&mut self) {
        if let Err(error) = self.append(std::iter::once((KIND_SEAL, &[][..])))
            && !matches!(error, Error::NoSpace { .. })
        {
            tracing::warn!(%error, "cannot seal the log");
        }
    }

    /// Whether [`Writer::maintain`] has something to do for a snapshot.
    fn wants_maintenance(&self) -> bool {
        match &self.snapshot {
            Some(snapshot) => snapshot.thread.is_finished(),
            None => self.replay_bytes >= self.snapshot_after,
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

/// The lease that a command revokes.
const fn revoked(command: &Command) -> Option<LeaseId> {
    match command {
        Command::LeaseRevoke(id) => Some(*id),
        _ => None,
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
