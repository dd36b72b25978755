//! Reading a directory back: the newest snapshot, then the log after it.
//!
//! A crash may leave the last batch of the log half written. That batch was never acknowledged, so it
//! is dropped. Whatever else does not read well was durable once and is damaged: it is refused.

use std::collections::VecDeque;
use std::sync::Arc;

use super::files::Disk;
use super::log::{self, Log, Tail, segment_first, segment_name};
use super::record::{
    BadHeader, Found, HEADER, KIND_COMMAND, KIND_SEAL, Record, VERSION, check_header, find_proof, find_record,
};
use super::snapshot;
use crate::Error;
use crate::codec::decode_command;
use crate::state::State;

/// What was in a directory.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) state: State,
    pub(super) log: Log,
    /// Bytes of log after the snapshot.
    pub(super) replayed: u64,
    /// Bytes of the snapshot.
    pub(super) snapshot: u64,
}

pub(super) fn recover(disk: &Arc<dyn Disk>, segment_bytes: u64) -> Result<Recovered, Error> {
    let here = disk.path("");
    let mut names = disk.list().map_err(|e| Error::io("list", here, e))?;
    names.sort_unstable();
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        let removed = disk.remove(name);
        removed.map_err(|e| Error::io("remove", disk.path(name), e))?;
    }
    let snapshots: Vec<u64> = names.iter().filter_map(|n| snapshot::index(n)).collect();
    let (state, applied, snapshot_bytes) = match snapshots.last() {
        None => (State::new(), 0, 0),
        Some(index) => {
            let (state, bytes) = snapshot::read(&**disk, *index)?;
            (state, *index, bytes)
        }
    };
    let segments: Vec<u64> = names.iter().filter_map(|n| segment_first(n)).collect();
    let mut replay = Replay { disk: &**disk, state, applied, bytes: 0 };
    let log = match replay.segments(&segments)? {
        Some(tail) => Log::resume(disk.clone(), tail, segment_bytes)?,
        None => Log::create(disk.clone(), applied + 1, segment_bytes)?,
    };
    let mut recovered = Recovered { state: replay.state, log, replayed: replay.bytes, snapshot: snapshot_bytes };
    recovered.log.forget(applied)?;
    snapshot::remove_before(&**disk, applied)?;
    Ok(recovered)
}

struct Replay<'a> {
    disk: &'a dyn Disk,
    state: State,
    /// The last index that is in the state.
    applied: u64,
    bytes: u64,
}

impl Replay<'_> {
    /// Applies all segments; says where the log goes on, if there is any.
    fn segments(&mut self, segments: &[u64]) -> Result<Option<Tail>, Error> {
        let Some(first) = segments.first() else {
            return Ok(None);
        };
        if *first > self.applied + 1 {
            let reason = format!("the log before index {first} is missing");
            return Err(corrupt(self.disk, &segment_name(*first), 0, reason));
        }
        let mut closed = VecDeque::new();
        let mut next = *first;
        for (n, first) in segments.iter().enumerate() {
            let name = segment_name(*first);
            if *first != next {
                let reason = format!("the log between index {next} and {first} is missing");
                return Err(corrupt(self.disk, &name, 0, reason));
            }
            let bytes = read_all(self.disk, &name)?;
            let is_last = n + 1 == segments.len();
            let (offset, after) = self.segment(&name, *first, &bytes, is_last)?;
            next = after;
            if is_last {
                if next <= self.applied {
                    let reason = format!("the log ends before index {}", self.applied);
                    return Err(corrupt(self.disk, &name, offset, reason));
                }
                return Ok(Some(Tail { closed, first: *first, offset, next_index: next }));
            }
            closed.push_back((*first, bytes.len() as u64));
        }
        Ok(None)
    }

    /// Applies one segment; answers where its records end and which index comes next.
    fn segment(&mut self, name: &str, first: u64, bytes: &[u8], is_last: bool) -> Result<(u64, u64), Error> {
        let damage = |offset, reason: &str| corrupt(self.disk, name, offset, reason.to_owned());
        match check_header(bytes, log::MAGIC) {
            Ok(index) if index == first => {}
            Ok(_) => return Err(damage(16, "the header and the name differ")),
            Err(error) => return Err(bad_header(self.disk, name, &error)),
        }
        let (mut offset, mut index) = (HEADER, first);
        loop {
            let reason = match find_record(bytes, first, offset) {
                Found::Record(record) if record.index == index => {
                    self.record(name, offset, &record)?;
                    offset = record.end;
                    index += 1;
                    continue;
                }
                Found::Record(_) => "a record has the wrong index",
                Found::Damage(reason) => reason,
                Found::Nothing if is_last => "records are missing",
                Found::Nothing => return Ok((offset, index)),
            };
            if !is_last {
                return Err(corrupt(self.disk, name, offset, reason.to_owned()));
            }
            if let Some(proof) = find_proof(bytes, first, offset, index) {
                let reason = format!("{reason}, though a later one is there at offset {proof}");
                return Err(corrupt(self.disk, name, offset, reason));
            }
            // The padding of the last record may be cut off.
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            if rest.iter().any(|byte| *byte != 0) {
                tracing::warn!(file = name, offset, index, reason, "dropping a torn last write");
            }
            return Ok((offset, index));
        }
    }

    fn record(&mut self, name: &str, offset: u64, record: &Record<'_>) -> Result<(), Error> {
        let bad = |reason: &str| corrupt(self.disk, name, offset, reason.to_owned());
        if record.index <= self.applied {
            return Ok(());
        }
        match record.kind {
            KIND_COMMAND => {
                let command = decode_command(record.data).map_err(bad)?;
                // A command that answered an error then answers it again now, and changes as little.
                let _ = self.state.apply(command);
                self.state.prune(64, None);
            }
            KIND_SEAL => {}
            _ => return Err(bad("unknown kind of record")),
        }
        self.applied = record.index;
        self.bytes += record.end - offset;
        Ok(())
    }
}

pub(super) fn corrupt(disk: &dyn Disk, name: &str, offset: u64, reason: String) -> Error {
    let file = disk.path(name);
    Error::Corrupt { file, offset, reason }
}

pub(super) fn bad_header(disk: &dyn Disk, name: &str, error: &BadHeader) -> Error {
    match error {
        BadHeader::Damage(reason) => corrupt(disk, name, 0, (*reason).to_owned()),
        BadHeader::Version(found) => Error::Format { file: disk.path(name), found: *found, supported: VERSION },
    }
}

fn read_all(disk: &dyn Disk, name: &str) -> Result<Vec<u8>, Error> {
    let read = || {
        let file = disk.open(name)?;
        let mut bytes = vec![0; file.len()? as usize];
        let length = file.read_at(0, &mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    };
    read().map_err(|error| Error::io("read", disk.path(name), error))
}
