//! A disk that forgets what was not synced, fills up and fails on demand.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::blocks::{BLOCK, Blocks};
use super::files::{DirectFile, Disk, DiskFile};

/// What a crash leaves of one write is decided by this many bytes at a time.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk(Arc<Mutex<Content>>);

#[derive(Clone, Debug, Default)]
struct Content {
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Bytes that fit on the disk.
    capacity: Option<u64>,
    sync_fails: bool,
    /// Names that change find no room.
    names_full: bool,
    /// So many blocks of the next direct write still find room.
    direct_room: Option<usize>,
    /// When the power goes: in the middle of this sync of those to come. At 0 it is gone.
    power: Option<u64>,
    syncs: u64,
    /// Has no way to write straight to the disk.
    indirect: bool,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync.
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let end = *offset as usize + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset as usize..end].copy_from_slice(bytes);
            }
            Self::Length(length) => to.resize(*length as usize, 0),
        }
    }
}

impl Inode {
    /// A direct write of these bytes came to its end: they are durable, and what was written in their place before never
    /// comes over them. Whatever else was written is as it was.
    fn settle(&mut self, start: u64, bytes: &[u8]) {
        let end = start + bytes.len() as u64;
        for change in std::mem::take(&mut self.pending) {
            let Change::Write(at, old) = change else { panic!("a file was cut and not synced before a direct write") };
            let before = (start.saturating_sub(at) as usize).min(old.len());
            let after = (end.saturating_sub(at) as usize).min(old.len());
            for (at, rest) in [(at, &old[..before]), (at + after as u64, &old[after..])] {
                if !rest.is_empty() {
                    self.pending.push(Change::Write(at, rest.to_vec()));
                }
            }
        }
        Change::Write(start, bytes.to_vec()).apply(&mut self.durable);
    }
}

impl SimDisk {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// The disk as a crash at this moment may leave it. `keep` decides for each sector that was not
    /// synced, and for the names, whether it made it.
    pub(crate) fn after_crash(&self, mut keep: impl FnMut() -> bool) -> Self {
        let mut content = self.content().clone();
        for file in &mut content.files {
            let mut left = file.durable.clone();
            for change in file.pending.drain(..) {
                match change {
                    Change::Write(offset, bytes) => {
                        for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                            if keep() {
                                let at = offset + (n * SECTOR) as u64;
                                Change::Write(at, sector.to_vec()).apply(&mut left);
                            }
                        }
                    }
                    length => {
                        if keep() {
                            length.apply(&mut left);
                        }
                    }
                }
            }
            file.durable.clone_from(&left);
            file.current = left;
        }
        if !keep() {
            content.names = content.durable_names.clone();
        }
        content.durable_names = content.names.clone();
        (content.sync_fails, content.capacity, content.power) = (false, None, None);
        (content.names_full, content.direct_room) = (false, None);
        Self(Arc::new(Mutex::new(content)))
    }

    /// A disk of a file system that has no way to write straight to it.
    pub(crate) fn indirect() -> Self {
        let disk = Self::default();
        disk.content().indirect = true;
        disk
    }

    /// An empty disk of the same kind.
    #[cfg(feature = "raft")]
    pub(crate) fn emptied(&self) -> Self {
        if self.content().indirect { Self::indirect() } else { Self::default() }
    }

    pub(crate) fn set_capacity(&self, capacity: Option<u64>) {
        self.content().capacity = capacity;
    }

    /// The names of all files, in order.
    #[cfg(feature = "raft")]
    pub(crate) fn names(&self) -> Vec<String> {
        self.content().names.keys().cloned().collect()
    }

    #[cfg(test)]
    pub(crate) fn fail_syncs(&self) {
        self.content().sync_fails = true;
    }

    /// From now on names that change find no room.
    #[cfg(test)]
    pub(crate) fn fill_names(&self) {
        self.content().names_full = true;
    }

    /// Of the next direct write only so many blocks find room.
    #[cfg(test)]
    pub(crate) fn fill_after(&self, blocks: usize) {
        self.content().direct_room = Some(blocks);
    }

    /// Has the power go in the middle of this sync, counted from the next one; with `None` it stays. What was being
    /// written is torn then, and nothing goes on before [a crash](SimDisk::after_crash).
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn cut_power(&self, sync: Option<u64>) {
        self.content().power = sync;
    }

    /// Whether the power is gone.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn is_dark(&self) -> bool {
        self.content().power == Some(0)
    }

    /// Lets nobody else use the disk.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Sized + '_ {
        self.content()
    }

    /// How often anything was synced.
    #[cfg(test)]
    pub(crate) fn syncs(&self) -> u64 {
        self.content().syncs
    }

    pub(crate) fn used(&self) -> u64 {
        self.content().used()
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let content = self.content();
        content.files[content.names[name]].current.clone()
    }

    /// Changes a file behind the store's back.
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut content = self.content();
        let id = content.names[name];
        let file = &mut content.files[id];
        change(&mut file.current);
        file.durable = file.current.clone();
        file.pending.clear();
    }
}

impl Content {
    fn used(&self) -> u64 {
        let lengths = self.names.values().map(|id| self.files[*id].current.len());
        lengths.sum::<usize>() as u64
    }

    fn check_power(&self) -> io::Result<()> {
        match self.power {
            Some(0) => Err(io::Error::other("the power is gone")),
            _ => Ok(()),
        }
    }

    /// Something is about to become durable.
    fn begin_sync(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.power {
            *left = left.saturating_sub(1);
        }
        self.check_power()
    }

    /// The same for what was written to a file.
    fn begin_file_sync(&mut self, id: usize) -> io::Result<()> {
        self.begin_sync()?;
        self.syncs += 1;
        if !std::mem::take(&mut self.sync_fails) {
            return Ok(());
        }
        // As Linux does: what could not be written is forgotten, and the next sync is content.
        let file = &mut self.files[id];
        file.pending.clear();
        file.current = file.durable.clone();
        Err(io::Error::other("the disk broke"))
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.check_power()?;
        let id = self.names.get(name).copied();
        id.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Disk for SimDisk {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/sim").join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.content().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut content = self.content();
        content.check_power()?;
        content.files.push(Inode::default());
        let id = content.files.len() - 1;
        content.names.insert(name.to_owned(), id);
        Ok(Box::new(SimFile(self.clone(), id)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let id = self.content().find(name)?;
        Ok(Box::new(SimFile(self.clone(), id)))
    }

    fn open_direct(&self, name: &str) -> Option<Box<dyn DirectFile>> {
        let content = self.content();
        let id = content.find(name).ok().filter(|_| !content.indirect)?;
        Some(Box::new(SimFile(self.clone(), id)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut content = self.content();
        let id = content.find(from)?;
        content.names.remove(from);
        content.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut content = self.content();
        content.find(name)?;
        content.names.remove(name);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut content = self.content();
        content.begin_sync()?;
        if content.names_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.durable_names = content.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile(SimDisk, usize);

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.content().files[self.1].current.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = self.0.content();
        let bytes = &content.files[self.1].current;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.0.content();
        content.check_power()?;
        let length = content.files[self.1].current.len() as u64;
        let growth = (offset + bytes.len() as u64).saturating_sub(length);
        if content.capacity.is_some_and(|c| content.used() + growth > c) && growth > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let change = Change::Write(offset, bytes.to_vec());
        let file = &mut content.files[self.1];
        change.apply(&mut file.current);
        file.pending.push(change);
        Ok(())
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let mut content = self.0.content();
        content.check_power()?;
        let file = &mut content.files[self.1];
        Change::Length(length).apply(&mut file.current);
        file.pending.push(Change::Length(length));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut content = self.0.content();
        content.begin_file_sync(self.1)?;
        let file = &mut content.files[self.1];
        for change in std::mem::take(&mut file.pending) {
            change.apply(&mut file.durable);
        }
        Ok(())
    }
}

impl DirectFile for SimFile {
    fn write_through(&mut self, offset: u64, blocks: &Blocks) -> io::Result<()> {
        assert!(offset.is_multiple_of(BLOCK as u64) && blocks.whole().len().is_multiple_of(BLOCK), "whole blocks");
        let room = self.0.content().direct_room.take();
        let bytes = blocks.whole();
        let fits = room.map_or(bytes.len(), |blocks| bytes.len().min(blocks * BLOCK));
        // A crash between this and the end tears it.
        self.write_at(offset, &bytes[..fits])?;
        let mut content = self.0.content();
        content.begin_file_sync(self.1)?;
        content.files[self.1].settle(offset, &bytes[..fits]);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(length: usize, byte: u8) -> Blocks {
        let mut blocks = Blocks::default();
        blocks.begin(length);
        blocks.bytes().extend(std::iter::repeat_n(byte, length));
        blocks.fill_up();
        blocks
    }

    #[test]
    fn a_direct_write_makes_nothing_but_itself_durable() {
        let disk = SimDisk::default();
        let mut file = disk.create("file").expect("room");
        disk.sync_names().expect("works");
        file.write_at(0, &[1; 3 * BLOCK]).expect("room");
        file.write_at(0, &[2; 100]).expect("room");
        let mut direct = disk.open_direct("file").expect("a way");
        direct.write_through(BLOCK as u64, &blocks(BLOCK, 3)).expect("room");
        let lost = disk.after_crash(|| false).bytes("file");
        assert_eq!(lost, [vec![0; BLOCK], vec![3; BLOCK]].concat());
        let kept = disk.after_crash(|| true).bytes("file");
        assert_eq!(kept, [vec![2; 100], vec![1; BLOCK - 100], vec![3; BLOCK], vec![1; BLOCK]].concat());
        assert_eq!(kept, disk.bytes("file"));
    }

    #[test]
    fn the_power_goes_in_the_middle_of_a_write() {
        let disk = SimDisk::default();
        let mut file = disk.create("file").expect("room");
        disk.sync_names().expect("works");
        let mut direct = disk.open_direct("file").expect("a way");
        disk.cut_power(Some(2));
        direct.write_through(0, &blocks(BLOCK, 1)).expect("power");
        direct.write_through(0, &blocks(2 * BLOCK, 2)).expect_err("no power");
        assert!(disk.is_dark() && file.write_at(0, b"more").is_err() && disk.create("other").is_err());
        let mut sectors = 0;
        let torn = disk.after_crash(|| {
            sectors += 1;
            sectors % 2 == 0
        });
        let bytes = torn.bytes("file");
        assert_eq!((bytes[0], bytes[SECTOR], bytes[2 * SECTOR], bytes.len()), (1, 2, 1, 2 * BLOCK));
        assert!(!torn.is_dark());
    }
}
