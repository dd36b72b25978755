//! Snapshots: the whole state as of one index of the log, in one file.
//!
//! A snapshot is a header and blocks, each with its length and a CRC-32C before it. It gets its name
//! when all of it is durable.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::files::{Disk, DiskFile, is_full};
use super::record::{HEADER, check_header, header};
use super::recover::{bad_header, corrupt};
use crate::Error;
use crate::driver::Core;
use crate::state::{ImageSink, ImageSource, State};

pub(crate) const MAGIC: &[u8; 8] = b"kwstsnap";
const PREFIX: &str = "snapshot-";
/// A block is at most about one request and a bit.
const BLOCK_MAX: u32 = 1 << 30;
/// How much is gathered before it is written.
const BUFFER: usize = 1 << 20;

pub(crate) fn name(index: u64) -> String {
    format!("{PREFIX}{index:020}")
}

fn temporary(index: u64) -> String {
    format!("{}.tmp", name(index))
}

/// The index of the snapshot with this name, if it is the name of one.
pub(crate) fn index(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// Writes the image as the snapshot of `index`; answers its length, or `None` if told to stop.
pub(crate) fn write(
    disk: &dyn Disk,
    core: &Core,
    source: ImageSource,
    index: u64,
    stop: &AtomicBool,
) -> Result<Option<u64>, Error> {
    let written = write_file(disk, core, source, index, stop);
    if !matches!(written, Ok(Some(_))) {
        // Left behind it would be removed at the next start.
        let _ = disk.remove(&temporary(index));
    }
    written.map_err(|error| {
        let file = disk.path(&name(index));
        if is_full(&error) {
            let reason = format!("cannot write {}", file.display());
            return Error::NoSpace { reason };
        }
        Error::io("write", file, error)
    })
}

fn write_file(
    disk: &dyn Disk,
    core: &Core,
    mut source: ImageSource,
    index: u64,
    stop: &AtomicBool,
) -> io::Result<Option<u64>> {
    let temporary = temporary(index);
    let mut file = disk.create(&temporary)?;
    let mut buffer = header(MAGIC, index).to_vec();
    let mut offset = 0;
    loop {
        let block = source.next(&core.state());
        // After the state was looked at: it may have been replaced as a whole, and whoever did told us before.
        if stop.load(Ordering::Acquire) {
            return Ok(None);
        }
        let Some(block) = block else { break };
        let place = offset + buffer.len() as u64;
        put_block(&mut buffer, place, &block);
        if buffer.len() >= BUFFER {
            file.write_at(offset, &buffer)?;
            offset += buffer.len() as u64;
            buffer.clear();
        }
    }
    file.write_at(offset, &buffer)?;
    offset += buffer.len() as u64;
    file.sync()?;
    disk.rename(&temporary, &name(index))?;
    disk.sync_names()?;
    Ok(Some(offset))
}

/// Appends a block that will lie at `place` of the file.
pub(crate) fn put_block(to: &mut Vec<u8>, place: u64, block: &[u8]) {
    to.extend_from_slice(&(block.len() as u32).to_le_bytes());
    to.extend_from_slice(&checksum(place, block).to_le_bytes());
    to.extend_from_slice(block);
}

/// Reads the snapshot of `index`; answers the state and the snapshot's length.
pub(crate) fn read(disk: &dyn Disk, index: u64) -> Result<(State, u64), Error> {
    let name = name(index);
    let io = |error| Error::io("read", disk.path(&name), error);
    let file = disk.open(&name).map_err(io)?;
    let length = file.len().map_err(io)?;
    let mut first = vec![0; HEADER as usize];
    let read = file.read_at(0, &mut first).map_err(io)?;
    match check_header(&first[..read], MAGIC) {
        Ok(found) if found == index => {}
        Ok(_) => {
            let reason = "the header and the name differ".to_owned();
            return Err(corrupt(disk, &name, 16, reason));
        }
        Err(error) => return Err(bad_header(disk, &name, &error)),
    }
    let state = read_blocks(&*file, length, &mut |_| ());
    let state = state.map_err(io)?.map_err(|(offset, reason)| corrupt(disk, &name, offset, reason.to_owned()))?;
    Ok((state, length))
}

/// What is wrong, and where.
type Damage = (u64, &'static str);

/// Reads the blocks between the header and `length`, telling how far it is.
pub(crate) fn read_blocks(
    file: &dyn DiskFile,
    length: u64,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Result<State, Damage>> {
    let mut sink = ImageSink::default();
    let mut offset = HEADER;
    while offset < length {
        let taken = read_block(file, offset, length - offset)?.and_then(|block| {
            sink.block(&block)?;
            Ok(block.len() as u64 + 8)
        });
        match taken {
            Ok(size) => offset += size,
            Err(reason) => return Ok(Err((offset, reason))),
        }
        progress(offset);
    }
    Ok(sink.finish().map_err(|reason| (offset, reason)))
}

fn read_block(file: &dyn DiskFile, offset: u64, rest: u64) -> io::Result<Result<Vec<u8>, &'static str>> {
    let mut prefix = [0; 8];
    if file.read_at(offset, &mut prefix)? < prefix.len() {
        return Ok(Err("a block is cut short"));
    }
    let [a, b, c, d, sum @ ..] = prefix;
    let length = u32::from_le_bytes([a, b, c, d]);
    if length > BLOCK_MAX || u64::from(length) > rest - 8 {
        return Ok(Err("a block is cut short"));
    }
    let mut block = vec![0; length as usize];
    if file.read_at(offset + 8, &mut block)? < block.len() {
        return Ok(Err("a block is cut short"));
    }
    if checksum(offset, &block) != u32::from_le_bytes(sum) {
        return Ok(Err("a block's checksum does not match"));
    }
    Ok(Ok(block))
}

fn checksum(offset: u64, block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), block)
}

/// Removes snapshots older than that of `newest`.
pub(crate) fn remove_before(disk: &dyn Disk, newest: u64) -> Result<(), Error> {
    remove(disk, |index| index < newest)
}

/// Removes all snapshots but that of `only`.
#[cfg(feature = "raft")]
pub(crate) fn remove_all_but(disk: &dyn Disk, only: u64) -> Result<(), Error> {
    remove(disk, |index| index != only)
}

fn remove(disk: &dyn Disk, needless: impl Fn(u64) -> bool) -> Result<(), Error> {
    let here = disk.path("");
    let names = disk.list().map_err(|e| Error::io("list", here, e))?;
    for name in names {
        if index(&name).is_some_and(&needless) {
            let removed = disk.remove(&name);
            removed.map_err(|e| Error::io("remove", disk.path(&name), e))?;
        }
    }
    Ok(())
}
