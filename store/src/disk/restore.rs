//! A directory made from a backup, and one that is looked through.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::files::{Directory, Disk};
use super::store::{DiskStore, lock_directory};
use super::{recover, snapshot};
use crate::backup::{BackupInfo, Progress, copy_blocks, read};
use crate::driver::Core;
use crate::state::{ImageSource, State};
use crate::{Error, TokioClock};

impl DiskStore {
    /// Makes `directory`, which must be empty or not there yet, a store that holds what the backup holds.
    /// The backup is checked from end to end before anything is written. Blocks while it works.
    ///
    /// A snapshot that `etcdctl` saved from an etcd is taken as well: the newest versions of all keys, with their
    /// revisions, and the leases; no older versions, and neither users nor members.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] if something is in the directory, [`Error::Corrupt`] and [`Error::Format`]
    /// for a backup that cannot be read, [`Error::NoSpace`], [`Error::Locked`] and [`Error::Io`].
    pub fn restore(directory: &Path, backup: &Path, progress: Progress<'_>) -> Result<BackupInfo, Error> {
        let _lock = lock_directory(directory)?;
        let disk = Directory::new(directory);
        refuse_used(&disk)?;
        let (state, end, length) = read(backup, &mut |done, total| progress(done, total + total / 2))?;
        let info = BackupInfo::of(&state, length);
        match end {
            Some(end) => place(&disk, backup, end, &mut |done, _| progress(2 * end + done, end * 3))?,
            // It came from an etcd, and has other blocks.
            None => {
                let core = Core::new(state, Arc::new(TokioClock::new()));
                let source = ImageSource::new(&core.state());
                snapshot::write(&disk, &core, source, 0, &AtomicBool::new(false))?;
                progress(length, length);
            }
        }
        Ok(info)
    }

    /// Reads the whole directory of a store that is not running, checks every record and says what it
    /// holds. Changes nothing. Blocks while it works.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the file, place and reason; [`Error::Format`], [`Error::Locked`], [`Error::Io`].
    pub fn verify(directory: &Path, progress: Progress<'_>) -> Result<BackupInfo, Error> {
        if !directory.is_dir() {
            return Err(Error::invalid(format!("{} is no directory", directory.display())));
        }
        let _lock = lock_directory(directory)?;
        let disk = Directory::new(directory);
        let total = total_bytes(&disk)?;
        let (state, read): (State, u64) = recover::check(&disk, &mut |done| progress(done, total))?;
        Ok(BackupInfo::of(&state, read))
    }
}

fn refuse_used(disk: &Directory) -> Result<(), Error> {
    let names = disk.list().map_err(|e| Error::io("list", disk.path(""), e))?;
    if let Some(name) = names.iter().find(|name| *name != "LOCK") {
        let reason = format!("{} is in the way; restore into a directory without files", disk.path(name).display());
        return Err(Error::invalid(reason));
    }
    Ok(())
}

pub(crate) fn total_bytes(disk: &Directory) -> Result<u64, Error> {
    let names = disk.list().map_err(|e| Error::io("list", disk.path(""), e))?;
    let sizes = names.iter().map(|name| {
        let path = disk.path(name);
        std::fs::metadata(&path).map(|found| found.len()).map_err(|e| Error::io("read", path, e))
    });
    sizes.sum()
}

/// Puts the backup's blocks in the place of the first snapshot.
fn place(disk: &dyn Disk, backup: &Path, end: u64, progress: Progress<'_>) -> Result<(), Error> {
    const TEMPORARY: &str = "restore.tmp";
    let name = snapshot::name(0);
    let mut write = || {
        let mut file = disk.create(TEMPORARY)?;
        copy_blocks(backup, end, progress, |offset, bytes| file.write_at(offset, bytes))?;
        file.sync()?;
        disk.rename(TEMPORARY, &name)?;
        disk.sync_names()
    };
    write().map_err(|error| {
        // Left behind it would be removed at the next start.
        let _ = disk.remove(TEMPORARY);
        match super::files::is_full(&error) {
            true => Error::NoSpace { reason: format!("cannot write {}", disk.path(&name).display()) },
            false => Error::io("write", disk.path(&name), error),
        }
    })
}
