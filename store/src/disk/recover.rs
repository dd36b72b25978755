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
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) log: Log,
    /// Bytes of log after the snapshot.
    pub(crate) replayed: u64,
    /// Bytes of the snapshot.
    pub(crate) snapshot: u64,
}

pub(crate) fn recover(disk: &Arc<dyn Disk>, segment_bytes: u64) -> Result<Recovered, Error> {
    let names = clean_names(&**disk)?;
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
    let log = match replay.segments(&segments, &mut |_| ())? {
        Some(tail) => Log::resume(disk.clone(), tail, segment_bytes)?,
        None => Log::create(disk.clone(), applied + 1, segment_bytes)?,
    };
    let mut recovered = Recovered { state: replay.state, log, replayed: replay.bytes, snapshot: snapshot_bytes };
    recovered.log.forget(applied)?;
    snapshot::remove_before(&**disk, applied)?;
    Ok(recovered)
}

/// Reads all that a start would read, changes nothing and answers the state and how much was read.
pub(crate) fn check(disk: &dyn Disk, progress: &mut dyn FnMut(u64)) -> Result<(State, u64), Error> {
    let mut names = disk.list().map_err(|e| Error::io("list", disk.path(""), e))?;
    names.sort_unstable();
    let (mut state, mut applied, mut read) = (State::new(), 0, 0);
    if let Some(index) = names.iter().filter_map(|n| snapshot::index(n)).next_back() {
        (state, read) = snapshot::read(disk, index)?;
        applied = index;
        progress(read);
    }
    let segments: Vec<u64> = names.iter().filter_map(|n| segment_first(n)).collect();
    let mut replay = Replay { disk, state, applied, bytes: 0 };
    // A log that a crash cut short goes on where it ends, at the next start.
    replay.segments(&segments, &mut |bytes| progress(read + bytes))?;
    Ok((replay.state, read + replay.bytes))
}

/// The names of all files, in order, once what a crash left half made is gone.
pub(crate) fn clean_names(disk: &dyn Disk) -> Result<Vec<String>, Error> {
    let mut names = disk.list().map_err(|e| Error::io("list", disk.path(""), e))?;
    names.sort_unstable();
    for name in names.extract_if(.., |name| name.ends_with(".tmp")) {
        let removed = disk.remove(&name);
        removed.map_err(|e| Error::io("remove", disk.path(&name), e))?;
    }
    Ok(names)
}

/// What is done with each record, told with the name of its segment and its offset there.
type Visit<'a> = &'a mut dyn FnMut(&str, u64, &Record<'_>) -> Result<(), Error>;

/// Reads all segments in order; says where the log goes on, if there is any.
pub(crate) fn read_segments(disk: &dyn Disk, segments: &[u64], visit: Visit<'_>) -> Result<Option<Tail>, Error> {
    let mut closed = VecDeque::new();
    let mut next = segments.first().copied().unwrap_or_default();
    for (n, first) in segments.iter().enumerate() {
        let name = segment_name(*first);
        if *first != next {
            let reason = format!("the log between index {next} and {first} is missing");
            return Err(corrupt(disk, &name, 0, reason));
        }
        let bytes = read_all(disk, &name)?;
        let is_last = n + 1 == segments.len();
        let (offset, after) = read_segment(disk, *first, &bytes, is_last, visit)?;
        next = after;
        if is_last {
            return Ok(Some(Tail { closed, first: *first, offset, next_index: next }));
        }
        closed.push_back((*first, bytes.len() as u64));
    }
    Ok(None)
}

/// Reads one segment; answers where its records end and which index comes next.
fn read_segment(
    disk: &dyn Disk,
    first: u64,
    bytes: &[u8],
    is_last: bool,
    visit: Visit<'_>,
) -> Result<(u64, u64), Error> {
    let name = &segment_name(first);
    match check_header(bytes, log::MAGIC) {
        Ok(index) if index == first => {}
        Ok(_) => return Err(corrupt(disk, name, 16, "the header and the name differ".to_owned())),
        Err(error) => return Err(bad_header(disk, name, &error)),
    }
    let (mut offset, mut index) = (HEADER, first);
    loop {
        let reason = match find_record(bytes, first, offset) {
            Found::Record(record) if record.index == index => {
                visit(name, offset, &record)?;
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
            return Err(corrupt(disk, name, offset, reason.to_owned()));
        }
        if let Some(proof) = find_proof(bytes, first, offset, index) {
            let reason = format!("{reason}, though a later one is there at offset {proof}");
            return Err(corrupt(disk, name, offset, reason));
        }
        // The padding of the last record may be cut off.
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        if rest.iter().any(|byte| *byte != 0) {
            tracing::warn!(file = name, offset, index, reason, "dropping a torn last write");
        }
        return Ok((offset, index));
    }
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
    fn segments(&mut self, segments: &[u64], progress: &mut dyn FnMut(u64)) -> Result<Option<Tail>, Error> {
        let Some(first) = segments.first() else { return Ok(None) };
        if *first > self.applied + 1 {
            let reason = format!("the log before index {first} is missing");
            return Err(corrupt(self.disk, &segment_name(*first), 0, reason));
        }
        let (disk, applied) = (self.disk, self.applied);
        let tail = read_segments(disk, segments, &mut |name, offset, record| {
            self.record(name, offset, record)?;
            progress(self.bytes);
            Ok(())
        })?;
        match tail {
            Some(tail) if tail.next_index <= applied => {
                let reason = format!("the log ends before index {applied}");
                Err(corrupt(disk, &segment_name(tail.first), tail.offset, reason))
            }
            tail => Ok(tail),
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

pub(crate) fn corrupt(disk: &dyn Disk, name: &str, offset: u64, reason: String) -> Error {
    let file = disk.path(name);
    Error::Corrupt { file, offset, reason }
}

pub(crate) fn bad_header(disk: &dyn Disk, name: &str, error: &BadHeader) -> Error {
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
