//! Where a replica keeps its part of the replicated log.
//!
//! Entries and votes are records of a [`Log`]. A checkpoint names the snapshot file that entries start
//! from; segments of the log that hold nothing newer can then be removed. An entry that is read twice is the
//! same entry; one with the index of another, but of another term, replaces that and all after it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use protobuf::Message;
use raft::eraftpb::{ConfState, Entry, HardState};

use super::ledger::Ledger;
use super::roster::Roster;
use crate::Error;
use crate::codec::{Decoder, Reason, put_bytes, put_number};
use crate::disk::files::Disk;
use crate::disk::log::{AppendError, Log, Tail, segment_first};
use crate::disk::record::{KIND_CHECKPOINT, KIND_ENTRY, KIND_HARD_STATE, KIND_SEAL, Record};
use crate::disk::recover::{clean_names, corrupt, read_segments};
use crate::disk::snapshot;
use crate::driver::Core;
use crate::state::{ImageSource, State};

/// A checkpoint of a replica's own log, and of one that came from another replica.
const CARRIED_ON: u8 = 2;
const STARTED_OVER: u8 = 3;
/// Below it checkpoints are of a version of this format that did not know members by more than their numbers.
const OLDEST: u8 = CARRIED_ON;
/// One huge step should not hold its memory for good.
const KEPT_MAX: usize = 4 << 20;
/// The file that says that a founder's directory was empty, and that it does not vote yet.
const NEWBORN: &str = "NEWBORN";
/// The version of the records in a replica's log.
const VERSION: u32 = 2;

/// Everything but the state at the place where a replica's log starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checkpoint {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) conf_state: ConfState,
    pub(crate) roster: Roster,
    pub(crate) ledger: Ledger,
}

impl Checkpoint {
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        put_number(to, self.index);
        put_number(to, self.term);
        put_bytes(to, &message_bytes(&self.conf_state));
        self.roster.encode(to);
        self.ledger.encode(to);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Self, Reason> {
        Ok(Self {
            index: from.number()?,
            term: from.number()?,
            conf_state: message(from.slice()?)?,
            roster: Roster::decode(from)?,
            ledger: Ledger::decode(from)?,
        })
    }
}

/// What was on the disk.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) state: State,
    pub(crate) hard_state: HardState,
    pub(crate) entries: Vec<Entry>,
    /// Different each time the disk is opened.
    pub(crate) incarnation: u64,
    /// There are records of an older version.
    old: bool,
}

/// The newest entry and the last record of one segment.
#[derive(Debug)]
struct Span {
    segment: u64,
    entry: u64,
    record: u64,
}

#[derive(Debug)]
pub(crate) struct RaftDisk {
    disk: Arc<dyn Disk>,
    log: Log,
    /// Oldest segment first.
    spans: VecDeque<Span>,
    snapshot_bytes: u64,
    /// Memory for what is encoded.
    encoded: Vec<u8>,
}

/// A snapshot to be written, by whoever has the time. It reads the state in steps, so that the replica can go
/// on meanwhile, as long as it prunes nothing from [`keep`](SnapshotJob::keep) on.
#[derive(Debug)]
pub(crate) struct SnapshotJob {
    disk: Arc<dyn Disk>,
    core: Arc<Core>,
    source: ImageSource,
    index: u64,
    stop: Arc<AtomicBool>,
}

impl SnapshotJob {
    /// Writes it; answers its length, or `None` if it was called off.
    pub(crate) fn run(self) -> Result<Option<u64>, Error> {
        snapshot::write(&*self.disk, &self.core, self.source, self.index, &self.stop)
    }

    /// The index of the log whose state it writes.
    pub(crate) const fn index(&self) -> u64 {
        self.index
    }

    pub(crate) const fn keep(&self) -> crate::Revision {
        self.source.keep()
    }

    /// What calls it off when it is set.
    pub(crate) fn stop(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }
}

impl RaftDisk {
    pub(crate) fn open(disk: Arc<dyn Disk>, segment_bytes: u64) -> Result<(Self, Found), Error> {
        let names = clean_names(&*disk)?;
        let mut spans = VecDeque::new();
        let (mut found, tail, snapshot_bytes) = Found::read(&*disk, &names, &mut |segment, entry, record| {
            note(&mut spans, segment, entry, record);
        })?;
        let index = found.checkpoint.index;
        let log = match tail {
            Some(tail) => Log::resume(disk.clone(), tail, segment_bytes)?,
            None => Log::create(disk.clone(), 1, segment_bytes)?,
        };
        snapshot::remove_all_but(&*disk, index)?;
        let mut this = Self { disk, log, spans, snapshot_bytes, encoded: Vec::new() };
        this.append(&[(KIND_SEAL, Vec::new())], 0)?;
        found.incarnation = this.log.last_index();
        Ok((this, found))
    }

    /// Makes entries and votes durable.
    pub(crate) fn save(&mut self, entries: &[Entry], hard_state: Option<&HardState>) -> Result<(), Error> {
        if entries.is_empty() && hard_state.is_none() {
            return Ok(());
        }
        // One after the other in one piece of memory; where each ends.
        let (mut bytes, mut ends) = (std::mem::take(&mut self.encoded), Vec::with_capacity(entries.len() + 1));
        bytes.clear();
        for entry in entries {
            put_message(&mut bytes, entry);
            ends.push((KIND_ENTRY, bytes.len()));
        }
        if let Some(hard_state) = hard_state {
            put_message(&mut bytes, hard_state);
            ends.push((KIND_HARD_STATE, bytes.len()));
        }
        let starts = std::iter::once(0).chain(ends.iter().map(|(_, end)| *end));
        let records = starts.zip(&ends).map(|(start, (kind, end))| (*kind, &bytes[start..*end]));
        let appended = self.append_all(records, entries.last().map_or(0, |last| last.index));
        bytes.shrink_to(KEPT_MAX);
        self.encoded = bytes;
        appended
    }

    /// The job of writing a snapshot of the state as it is now, which is that of the log's `index`.
    pub(crate) fn job(&self, core: &Arc<Core>, index: u64) -> SnapshotJob {
        let source = ImageSource::new(&core.state());
        SnapshotJob { disk: self.disk.clone(), core: core.clone(), source, index, stop: Arc::default() }
    }

    /// Notes that the log starts from this checkpoint, whose snapshot of so many bytes is durable, and removes
    /// what that makes needless.
    pub(crate) fn checkpoint(&mut self, checkpoint: &Checkpoint, bytes: u64, hard: &HardState) -> Result<(), Error> {
        self.start_from(checkpoint, bytes, CARRIED_ON, hard)?;
        // A span may have newer entries than the one after it, which replaced them.
        let needless = self.spans.iter().take_while(|span| span.entry <= checkpoint.index).count();
        // Never the one that is written to: it is always the last.
        let needless = needless.min(self.spans.len() - 1);
        if let Some(last) = self.spans.drain(..needless).next_back() {
            self.log.forget(last.record)?;
        }
        snapshot::remove_before(&*self.disk, checkpoint.index)
    }

    /// As a checkpoint, of a state that came from elsewhere: no entry counts that was there before.
    pub(crate) fn restart(&mut self, core: &Core, checkpoint: &Checkpoint, hard: &HardState) -> Result<(), Error> {
        let source = ImageSource::new(&core.state());
        let written = snapshot::write(&*self.disk, core, source, checkpoint.index, &AtomicBool::new(false))?;
        let before = self.log.last_index();
        self.start_from(checkpoint, written.unwrap_or_default(), STARTED_OVER, hard)?;
        self.log.forget(before)?;
        let current = self.log.segment();
        self.spans.retain(|span| span.segment == current);
        snapshot::remove_all_but(&*self.disk, checkpoint.index)
    }

    fn start_from(&mut self, checkpoint: &Checkpoint, bytes: u64, how: u8, hard: &HardState) -> Result<(), Error> {
        let mut encoded = vec![how];
        checkpoint.encode(&mut encoded);
        self.snapshot_bytes = bytes;
        self.append(&[(KIND_CHECKPOINT, encoded), (KIND_HARD_STATE, message_bytes(hard))], 0)
    }

    /// Notes that this directory was empty, before anything else is in it.
    pub(super) fn note_newborn(&self) -> Result<(), Error> {
        let note = || {
            self.disk.create(NEWBORN)?.sync()?;
            self.disk.sync_names()
        };
        note().map_err(|error| Error::io("write", self.disk.path(NEWBORN), error))
    }

    /// Whether that was noted, and not taken back.
    pub(super) fn is_newborn(&self) -> bool {
        self.disk.open(NEWBORN).is_ok()
    }

    pub(super) fn note_grown_up(&self) -> Result<(), Error> {
        let removed = self.disk.remove(NEWBORN).and_then(|()| self.disk.sync_names());
        removed.map_err(|error| Error::io("remove", self.disk.path(NEWBORN), error))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.disk.path("")
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.log.bytes() + self.snapshot_bytes
    }

    /// Appends records, the newest entry among which has index `entry`.
    fn append(&mut self, records: &[(u8, Vec<u8>)], entry: u64) -> Result<(), Error> {
        self.append_all(records.iter().map(|(kind, data)| (*kind, &**data)), entry)
    }

    fn append_all<'a>(
        &mut self,
        records: impl Iterator<Item = (u8, &'a [u8])> + Clone,
        entry: u64,
    ) -> Result<(), Error> {
        let appended = self.log.append(records);
        // A replica that cannot write can neither vote nor follow, so a full disk is as bad for it as a
        // broken one; the others go on without it.
        appended.map_err(|error| match error {
            AppendError::NoSpace(error) | AppendError::Fatal(error) => error,
        })?;
        note(&mut self.spans, self.log.segment(), entry, self.log.last_index());
        Ok(())
    }
}

/// The directory was written by a version of this crate that this one does not read.
pub(crate) const fn other_format(directory: PathBuf) -> Error {
    Error::Format { file: directory, found: VERSION - 1, supported: VERSION }
}

fn note(spans: &mut VecDeque<Span>, segment: u64, entry: u64, record: u64) {
    match spans.back_mut().filter(|last| last.segment == segment) {
        Some(last) => (last.entry, last.record) = (last.entry.max(entry), record),
        None => spans.push_back(Span { segment, entry, record }),
    }
}

impl Found {
    /// Reads everything and changes nothing; answers where the log goes on, and how long the snapshot is. Told of
    /// each record: its segment, the index of the entry in it, and its own.
    pub(crate) fn read(
        disk: &dyn Disk,
        names: &[String],
        visit: &mut dyn FnMut(u64, u64, u64),
    ) -> Result<(Self, Option<Tail>, u64), Error> {
        let segments: Vec<u64> = names.iter().filter_map(|name| segment_first(name)).collect();
        let mut found = Self::default();
        let tail = read_segments(disk, &segments, &mut |name, offset, record| {
            let taken = found.take(record);
            let entry = taken.map_err(|reason| corrupt(disk, name, offset, reason.to_owned()))?;
            visit(segment_first(name).unwrap_or_default(), entry, record.index);
            Ok(())
        })?;
        let index = found.checkpoint.index;
        if found.old || (index == 0 && !found.entries.is_empty()) {
            return Err(other_format(disk.path("")));
        }
        found.entries.retain(|entry| entry.index > index);
        if let Some(first) = found.entries.first().filter(|first| first.index > index + 1) {
            let reason = format!("entries between {index} and {} are missing", first.index);
            return Err(corrupt(disk, "log", 0, reason));
        }
        let mut snapshot_bytes = 0;
        if index > 0 {
            (found.state, snapshot_bytes) = snapshot::read(disk, index)?;
        }
        Ok((found, tail, snapshot_bytes))
    }

    /// Takes a record; answers the index of the entry in it, if there is one.
    fn take(&mut self, record: &Record<'_>) -> Result<u64, Reason> {
        match record.kind {
            KIND_ENTRY => return Ok(self.entry(message(record.data)?)),
            KIND_HARD_STATE => self.hard_state = message(record.data)?,
            KIND_CHECKPOINT => {
                let mut from = Decoder::new(record.data);
                let how = from.byte()?;
                if how < OLDEST {
                    self.old = true;
                    return Ok(0);
                }
                if how == STARTED_OVER {
                    self.entries.clear();
                }
                self.checkpoint = Checkpoint::decode(&mut from)?;
                from.finish()?;
            }
            KIND_SEAL => {}
            _ => return Err("unknown kind of record"),
        }
        Ok(0)
    }

    fn entry(&mut self, entry: Entry) -> u64 {
        let index = entry.index;
        let place = self.entries.partition_point(|known| known.index < index);
        match self.entries.get(place) {
            Some(known) if (known.index, known.term) == (entry.index, entry.term) => {}
            _ => {
                self.entries.truncate(place);
                self.entries.push(entry);
            }
        }
        index
    }
}

pub(crate) fn put_message(to: &mut Vec<u8>, message: &impl Message) {
    // As below.
    let _ = message.write_to_vec(to);
}

/// A message of raft as bytes. Encoding fails only if a required field is missing, and none is required.
pub(crate) fn message_bytes(message: &impl Message) -> Vec<u8> {
    message.write_to_bytes().unwrap_or_default()
}

pub(crate) fn message<M: Message>(bytes: &[u8]) -> Result<M, Reason> {
    M::parse_from_bytes(bytes).map_err(|_| "a message of raft does not decode")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    fn reopened(disk: &SimDisk, records: &[(u8, Vec<u8>)]) -> Result<(RaftDisk, Found), Error> {
        let (mut opened, _) = RaftDisk::open(Arc::new(disk.clone()), 4096).expect("an empty disk");
        opened.append(records, 0).expect("room");
        drop(opened);
        RaftDisk::open(Arc::new(disk.clone()), 4096)
    }

    #[test]
    fn directories_of_older_versions_are_refused() {
        let checkpoint = (KIND_CHECKPOINT, vec![0, 1, 1, 0, 0, 0]);
        let entry = (KIND_ENTRY, message_bytes(&Entry { index: 1, term: 1, ..Entry::default() }));
        for record in [checkpoint, entry] {
            let refused = reopened(&SimDisk::default(), &[record]).expect_err("refused");
            assert!(matches!(refused, Error::Format { found: 1, supported: 2, .. }), "{refused}");
        }
    }

    #[test]
    fn a_segment_goes_only_after_all_before_it() {
        let disk = SimDisk::default();
        let (mut opened, _) = RaftDisk::open(Arc::new(disk.clone()), 2048).expect("an empty disk");
        let entry = |index, term| Entry { index, term, data: vec![7; 500].into(), ..Entry::default() };
        let core = Core::new(State::new(), Arc::new(crate::ManualClock::new()));
        let start = Checkpoint { index: 1, term: 1, ..Checkpoint::default() };
        opened.restart(&core, &start, &HardState::default()).expect("room");
        // Entries that are replaced later, in other segments.
        (2..=12).for_each(|index| opened.save(&[entry(index, 1)], None).expect("room"));
        (4..=20).for_each(|index| opened.save(&[entry(index, 2)], None).expect("room"));
        let checkpoint = Checkpoint { index: 6, term: 2, ..Checkpoint::default() };
        let job = opened.job(&Arc::new(core), 6);
        let bytes = job.run().expect("room").expect("not called off");
        opened.checkpoint(&checkpoint, bytes, &HardState::default()).expect("room");
        drop(opened);
        let (_, found) = RaftDisk::open(Arc::new(disk), 2048).expect("nothing is missing");
        let entries: Vec<(u64, u64)> = found.entries.iter().map(|entry| (entry.index, entry.term)).collect();
        assert_eq!(entries, (7..=20).map(|index| (index, 2)).collect::<Vec<_>>());
    }
}
