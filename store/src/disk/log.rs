//! The log: a row of segments, to the last of which records are appended.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::blocks::{BLOCK, Blocks};
use super::files::{DirectFile, Disk, DiskFile, is_full};
use super::record::{HEADER, header, put_record, record_size};
use crate::Error;

pub(crate) const MAGIC: &[u8; 8] = b"kwstlog\n";
const PREFIX: &str = "log-";

/// How far ahead of its end a segment is filled with zeros, so that appending does not change where the
/// file lies, and to make it durable takes nothing but writing the data.
const ZEROS: u64 = 1 << 20;

pub(crate) fn segment_name(first: u64) -> String {
    format!("{PREFIX}{first:020}")
}

/// The first index of the segment with this name, if it is the name of one.
pub(crate) fn segment_first(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    /// First index and length of the segments before the current one.
    closed: VecDeque<(u64, u64)>,
    file: Box<dyn DiskFile>,
    /// The same file, if whole blocks can be written straight to the disk.
    direct: Option<Box<dyn DirectFile>>,
    first: u64,
    /// Where the next record goes.
    offset: u64,
    /// The file is zeros from `offset` to here, and ends here.
    zeroed: u64,
    next_index: u64,
    buffer: Blocks,
}

/// Why nothing was appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The disk is full. The log is as it was.
    NoSpace(Error),
    /// What is on disk is not known any more.
    Fatal(Error),
}

/// Where a log that was there goes on.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) closed: VecDeque<(u64, u64)>,
    pub(crate) first: u64,
    pub(crate) offset: u64,
    pub(crate) next_index: u64,
}

impl Log {
    /// A new log whose first record has index `first`.
    pub(crate) fn create(disk: Arc<dyn Disk>, first: u64, segment_bytes: u64) -> Result<Self, Error> {
        let file = create_segment(&*disk, first).map_err(|error| match error {
            AppendError::NoSpace(error) | AppendError::Fatal(error) => error,
        })?;
        let direct = disk.open_direct(&segment_name(first));
        let mut buffer = Blocks::default();
        buffer.restart(&header(MAGIC, first));
        Ok(Self {
            disk,
            segment_bytes,
            closed: VecDeque::new(),
            file,
            direct,
            first,
            offset: HEADER,
            zeroed: HEADER,
            next_index: first,
            buffer,
        })
    }

    /// Goes on after what was read; what lies behind that is wiped.
    pub(crate) fn resume(disk: Arc<dyn Disk>, tail: Tail, segment_bytes: u64) -> Result<Self, Error> {
        let name = segment_name(tail.first);
        let io = |action| {
            let file = disk.path(&name);
            move |error| Error::io(action, file, error)
        };
        let mut file = disk.open(&name).map_err(io("open"))?;
        // Remains of a torn write must never pass for records that come to lie before them.
        file.set_len(tail.offset).map_err(io("truncate"))?;
        file.sync().map_err(io("sync"))?;
        let mut last_block = vec![0; tail.offset as usize % BLOCK];
        file.read_at(tail.offset - last_block.len() as u64, &mut last_block).map_err(io("read"))?;
        let mut buffer = Blocks::default();
        buffer.restart(&last_block);
        Ok(Self {
            segment_bytes,
            closed: tail.closed,
            file,
            direct: disk.open_direct(&name),
            first: tail.first,
            offset: tail.offset,
            zeroed: tail.offset,
            next_index: tail.next_index,
            buffer,
            disk,
        })
    }

    /// The index of the newest record; 0 if there never was one.
    pub(crate) const fn last_index(&self) -> u64 {
        self.next_index - 1
    }

    /// The index of the first record of the segment that is written to.
    #[cfg(feature = "raft")]
    pub(crate) const fn segment(&self) -> u64 {
        self.first
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|(_, length)| length).sum();
        closed + self.zeroed
    }

    /// Appends records and returns once they are durable.
    pub(crate) fn append<'a>(
        &mut self,
        records: impl Iterator<Item = (u8, &'a [u8])> + Clone,
    ) -> Result<u64, AppendError> {
        let size: u64 = records.clone().map(|(_, data)| record_size(data.len())).sum();
        if self.offset > HEADER && self.offset + size > self.segment_bytes {
            self.roll()?;
        }
        self.zero_ahead(size)?;
        self.buffer.begin(size as usize);
        let (mut offset, durable) = (self.offset, self.next_index);
        let mut index = durable;
        for (kind, data) in records {
            put_record(self.buffer.bytes(), (self.first, offset), (index, durable), kind, data);
            offset += record_size(data.len());
            index += 1;
        }
        self.write()?;
        self.buffer.keep(size as usize);
        self.offset = offset;
        self.next_index = index;
        Ok(size)
    }

    /// Writes what is in the buffer and returns once it is durable.
    fn write(&mut self) -> Result<(), AppendError> {
        let size = self.buffer.new_len() as u64;
        let start = self.offset / BLOCK as u64 * BLOCK as u64;
        let end = (self.offset + size).next_multiple_of(BLOCK as u64);
        if let Some(direct) = self.direct.as_mut().filter(|_| end <= self.zeroed) {
            self.buffer.fill_up();
            let written = direct.write_through(start, &self.buffer);
            match written {
                Ok(()) => return Ok(()),
                // Nothing was written: the file system wants larger blocks, or none at all.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.direct = None,
                Err(error) if is_full(&error) => return Err(self.undo(error)),
                // As with a sync that failed.
                Err(error) => return Err(self.fatal("write", error)),
            }
        }
        if let Err(error) = self.file.write_at(self.offset, &self.buffer.new_bytes()[..size as usize]) {
            return Err(self.undo(error));
        }
        self.sync()
    }

    /// Removes segments all of whose records have an index up to `index`.
    pub(crate) fn forget(&mut self, index: u64) -> Result<(), Error> {
        while let Some((first, _)) = self.closed.front().copied() {
            let next = self.closed.get(1).map_or(self.first, |(first, _)| *first);
            if next > index + 1 {
                break;
            }
            let name = segment_name(first);
            if let Err(error) = self.disk.remove(&name) {
                return Err(Error::io("remove", self.disk.path(&name), error));
            }
            self.closed.pop_front();
        }
        Ok(())
    }

    fn name(&self) -> String {
        segment_name(self.first)
    }

    /// Makes sure that so many bytes can be written without the file growing. A failure leaves zeros at
    /// worst.
    fn zero_ahead(&mut self, size: u64) -> Result<(), AppendError> {
        let needed = self.offset + size;
        if needed <= self.zeroed {
            return Ok(());
        }
        // Near the end of a segment, or of the disk, no more than needed.
        let ample = needed.next_multiple_of(ZEROS).min(self.segment_bytes);
        let mut result = Ok(());
        for target in [ample.max(needed), needed] {
            result = self.zero_until(target);
            if result.is_ok() {
                break;
            }
        }
        let name = self.name();
        result.map_err(|error| append_error(&*self.disk, "extend", &name, error))?;
        if self.direct.is_some() {
            // What is written straight to the disk finds its place there.
            self.sync()?;
        }
        Ok(())
    }

    fn zero_until(&mut self, target: u64) -> io::Result<()> {
        const CHUNK: &[u8] = &[0; 64 << 10];
        while self.zeroed < target {
            let length = (target - self.zeroed).min(CHUNK.len() as u64);
            self.file.write_at(self.zeroed, &CHUNK[..length as usize])?;
            self.zeroed += length;
        }
        Ok(())
    }

    /// After a write that failed: wipes what it may have left. What went straight to the disk is durable, so its end must
    /// be too: after a crash it would pass for records behind those that come to lie in its place.
    fn undo(&mut self, error: io::Error) -> AppendError {
        self.buffer.wipe();
        if self.file.write_at(self.offset, self.buffer.new_bytes()).is_err() {
            return self.fatal("write", error);
        }
        match self.sync() {
            Ok(()) => append_error(&*self.disk, "write", &self.name(), error),
            Err(fatal) => fatal,
        }
    }

    fn sync(&mut self) -> Result<(), AppendError> {
        // Pages that could not be written may be dropped from memory and then look clean, so a second
        // try could succeed without having written anything: no failure here is ever forgiven.
        let synced = self.file.sync();
        synced.map_err(|error| self.fatal("sync", error))
    }

    fn fatal(&self, action: &'static str, error: io::Error) -> AppendError {
        AppendError::Fatal(Error::io(action, self.disk.path(&self.name()), error))
    }

    /// Goes on in a new segment. The current one is durable as it is.
    fn roll(&mut self) -> Result<(), AppendError> {
        let file = create_segment(&*self.disk, self.next_index)?;
        self.closed.push_back((self.first, self.zeroed));
        self.file = file;
        self.first = self.next_index;
        self.direct = self.disk.open_direct(&self.name());
        self.offset = HEADER;
        self.zeroed = HEADER;
        self.buffer.restart(&header(MAGIC, self.first));
        Ok(())
    }
}

/// A segment gets its name when its header is durable: there is none without.
fn create_segment(disk: &dyn Disk, first: u64) -> Result<Box<dyn DiskFile>, AppendError> {
    let name = segment_name(first);
    let temporary = format!("{name}.tmp");
    let create = || {
        let mut file = disk.create(&temporary)?;
        file.write_at(0, &header(MAGIC, first))?;
        file.sync()?;
        disk.rename(&temporary, &name)?;
        Ok(file)
    };
    let file = create().map_err(|error| {
        // Left behind it would be removed at the next start.
        let _ = disk.remove(&temporary);
        append_error(disk, "create", &name, error)
    })?;
    // Without room for the name too: the segment may be there at the next start, or not, so no record may go on in the
    // one before.
    let named = disk.sync_names();
    named.map_err(|error| AppendError::Fatal(Error::io("name", disk.path(&name), error)))?;
    Ok(file)
}

fn append_error(disk: &dyn Disk, action: &'static str, name: &str, error: io::Error) -> AppendError {
    let file = disk.path(name);
    if is_full(&error) {
        let reason = format!("cannot {action} {}", file.display());
        return AppendError::NoSpace(Error::NoSpace { reason });
    }
    AppendError::Fatal(Error::io(action, file, error))
}
