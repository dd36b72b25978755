//! Where a replica keeps its part of the replicated log.
//!
//! Entries and votes are records of a [`Log`]. A checkpoint names the snapshot file that entries start
//! from; it carries along what is still needed of the records before it, which can then be removed. An
//! entry that is read twice is the same entry; one with the index of another, but of another term,
//! replaces that and all after it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use protobuf::Message;
use raft::eraftpb::{ConfState, Entry, HardState};

use super::ledger::Ledger;
use crate::Error;
use crate::codec::{Decoder, Reason, put_bytes, put_number};
use crate::disk::files::Disk;
use crate::disk::log::{AppendError, Log, segment_first};
use crate::disk::record::{KIND_CHECKPOINT, KIND_ENTRY, KIND_HARD_STATE, KIND_SEAL, Record};
use crate::disk::recover::{clean_names, corrupt, read_segments};
use crate::disk::snapshot;
use crate::driver::Core;
use crate::state::{ImageSource, State};

/// A checkpoint of a replica's own log, and of one that came from another replica.
const CARRIED_ON: u8 = 0;
const STARTED_OVER: u8 = 1;

/// Everything but the state at the place where a replica's log starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checkpoint {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) conf_state: ConfState,
    pub(crate) ledger: Ledger,
}

impl Checkpoint {
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        put_number(to, self.index);
        put_number(to, self.term);
        put_bytes(to, &message_bytes(&self.conf_state));
        self.ledger.encode(to);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Self, Reason> {
        Ok(Self {
            index: from.number()?,
            term: from.number()?,
            conf_state: message(from.slice()?)?,
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
}

#[derive(Debug)]
pub(crate) struct RaftDisk {
    disk: Arc<dyn Disk>,
    log: Log,
}

impl RaftDisk {
    pub(crate) fn open(disk: Arc<dyn Disk>, segment_bytes: u64) -> Result<(Self, Found), Error> {
        let names = clean_names(&*disk)?;
        let segments: Vec<u64> = names.iter().filter_map(|name| segment_first(name)).collect();
        let mut found = Found::default();
        let tail = read_segments(&*disk, &segments, &mut |name, offset, record| {
            let taken = found.take(record);
            taken.map_err(|reason| corrupt(&*disk, name, offset, reason.to_owned()))
        })?;
        let index = found.checkpoint.index;
        found.entries.retain(|entry| entry.index > index);
        if let Some(first) = found.entries.first().filter(|first| first.index > index + 1) {
            let reason = format!("entries between {index} and {} are missing", first.index);
            return Err(corrupt(&*disk, "log", 0, reason));
        }
        if index > 0 {
            found.state = snapshot::read(&*disk, index)?.0;
        }
        let log = match tail {
            Some(tail) => Log::resume(disk.clone(), tail, segment_bytes)?,
            None => Log::create(disk.clone(), 1, segment_bytes)?,
        };
        snapshot::remove_before(&*disk, index)?;
        let mut this = Self { disk, log };
        this.append(&[(KIND_SEAL, Vec::new())])?;
        found.incarnation = this.log.last_index();
        Ok((this, found))
    }

    /// Makes entries and votes durable.
    pub(crate) fn save(&mut self, entries: &[Entry], hard_state: Option<&HardState>) -> Result<(), Error> {
        let mut records: Vec<(u8, Vec<u8>)> = entries.iter().map(|entry| (KIND_ENTRY, message_bytes(entry))).collect();
        records.extend(hard_state.map(|hard_state| (KIND_HARD_STATE, message_bytes(hard_state))));
        if records.is_empty() {
            return Ok(());
        }
        self.append(&records)
    }

    /// Writes the state as of the checkpoint, notes that the log starts there, with these entries, and
    /// removes what that makes needless.
    pub(crate) fn checkpoint<'a>(
        &mut self,
        core: &Core,
        checkpoint: &Checkpoint,
        entries: impl Iterator<Item = &'a Entry>,
        hard_state: &HardState,
    ) -> Result<(), Error> {
        let entries = entries.map(|entry| (KIND_ENTRY, message_bytes(entry))).collect();
        self.start_from(core, checkpoint, CARRIED_ON, hard_state, entries)
    }

    /// As a checkpoint, of a state that came from another replica: no entry counts that was there before.
    pub(crate) fn restart(
        &mut self,
        core: &Core,
        checkpoint: &Checkpoint,
        hard_state: &HardState,
    ) -> Result<(), Error> {
        self.start_from(core, checkpoint, STARTED_OVER, hard_state, Vec::new())
    }

    fn start_from(
        &mut self,
        core: &Core,
        checkpoint: &Checkpoint,
        how: u8,
        hard_state: &HardState,
        entries: Vec<(u8, Vec<u8>)>,
    ) -> Result<(), Error> {
        let source = ImageSource::new(&core.state());
        snapshot::write(&*self.disk, core, source, checkpoint.index, &AtomicBool::new(false))?;
        let before = self.log.last_index();
        let mut encoded = vec![how];
        checkpoint.encode(&mut encoded);
        let mut records = vec![(KIND_CHECKPOINT, encoded), (KIND_HARD_STATE, message_bytes(hard_state))];
        records.extend(entries);
        self.append(&records)?;
        self.log.forget(before)?;
        snapshot::remove_before(&*self.disk, checkpoint.index)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    fn append(&mut self, records: &[(u8, Vec<u8>)]) -> Result<(), Error> {
        let appended = self.log.append(records.iter().map(|(kind, data)| (*kind, &**data)));
        // A replica that cannot write can neither vote nor follow, so a full disk is as bad for it as a
        // broken one; the others go on without it.
        appended.map(drop).map_err(|error| match error {
            AppendError::NoSpace(error) | AppendError::Fatal(error) => error,
        })
    }
}

impl Found {
    fn take(&mut self, record: &Record<'_>) -> Result<(), Reason> {
        match record.kind {
            KIND_ENTRY => self.entry(message(record.data)?),
            KIND_HARD_STATE => self.hard_state = message(record.data)?,
            KIND_CHECKPOINT => {
                let mut from = Decoder::new(record.data);
                if from.byte()? == STARTED_OVER {
                    self.entries.clear();
                }
                self.checkpoint = Checkpoint::decode(&mut from)?;
                from.finish()?;
            }
            KIND_SEAL => {}
            _ => return Err("unknown kind of record"),
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry) {
        let place = self.entries.partition_point(|known| known.index < entry.index);
        match self.entries.get(place) {
            Some(known) if (known.index, known.term) == (entry.index, entry.term) => {}
            // Either it replaces those, or they were read before those that a checkpoint carried along.
            _ => {
                self.entries.truncate(place);
                self.entries.push(entry);
            }
        }
    }
}

/// A message of raft as bytes. Encoding fails only if a required field is missing, and none is required.
pub(crate) fn message_bytes(message: &impl Message) -> Vec<u8> {
    message.write_to_bytes().unwrap_or_default()
}

pub(crate) fn message<M: Message>(bytes: &[u8]) -> Result<M, Reason> {
    M::parse_from_bytes(bytes).map_err(|_| "a message of raft does not decode")
}
