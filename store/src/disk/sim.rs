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
        (content.sync_fails, content.capacity) = (false, None);
        Self(Arc::new(Mutex::new(content)))
    }

    /// A disk of a file system that has no way to write straight to it.
    pub(crate) fn indirect() -> Self {
        let disk = Self::default();
        disk.content().indirect = true;
        disk
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

    fn find(&self, name: &str) -> io::Result<usize> {
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
        let file = &mut content.files[self.1];
        Change::Length(length).apply(&mut file.current);
        file.pending.push(Change::Length(length));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut content = self.0.content();
        content.syncs += 1;
        if content.sync_fails {
            // As Linux does: what could not be written is forgotten, and the next sync is content.
            let file = &mut content.files[self.1];
            file.pending.clear();
            file.current = file.durable.clone();
            content.sync_fails = false;
            return Err(io::Error::other("the disk broke"));
        }
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
        self.write_at(offset, blocks.whole())?;
        self.sync()
    }
}
