//! Whose directory it is, and a directory made from a backup.
//!
//! A replica that is started on another's files would vote twice and forget what it promised, so the first start
//! notes the replica's number in the directory, and every later one is held to it.

use std::path::{Path, PathBuf};

use raft::eraftpb::HardState;

use super::config::RaftConfig;
use super::disk::{Checkpoint, Found, RaftDisk};
use super::ledger::Ledger;
use super::roster::Roster;
use super::store::RaftStore;
use crate::backup::{BackupInfo, Progress, read};
use crate::disk::files::{Directory, Disk};
use crate::disk::log::segment_name;
use crate::disk::{lock_directory, total_bytes};
use crate::driver::Core;
use crate::{Error, Member};

const NAME: &str = "MEMBER";
/// What stands before the number.
const WORD: &str = "member ";

impl RaftStore {
    /// The member whose directory this is; `None` for one that no replica has used yet. Reads a file of a line, so
    /// it may be asked while a replica has the directory open.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`].
    pub fn member_of(directory: &Path) -> Result<Option<u64>, Error> {
        owner(&Directory::new(directory))
    }

    /// Reads the whole directory of a replica that is not running, checks every record and says what its newest
    /// checkpoint holds; what came after that is in the log's entries, which are checked, but not carried out. Changes
    /// nothing. Blocks while it works.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the file, place and reason; [`Error::Format`], [`Error::Locked`], [`Error::Io`].
    pub fn verify(directory: &Path, progress: Progress<'_>) -> Result<BackupInfo, Error> {
        if !directory.is_dir() {
            return Err(Error::invalid(format!("{} is no directory", directory.display())));
        }
        let _lock = lock_directory(directory)?;
        let disk = Directory::new(directory);
        let mut names = disk.list().map_err(|e| Error::io("list", disk.path(""), e))?;
        names.sort_unstable();
        let (total, mut done, mut reading) = (total_bytes(&disk)?, 0, 0);
        owner(&disk)?;
        let (found, ..) = Found::read(&disk, &names, &mut |segment, _, _| {
            if segment != reading {
                let before = std::fs::metadata(disk.path(&segment_name(reading)));
                done += before.map_or(0, |file| file.len());
                reading = segment;
                progress(done.min(total), total);
            }
        })?;
        progress(total, total);
        Ok(BackupInfo::of(&found.state, total))
    }

    /// Makes the directory of one founding member, which must be empty or not there yet, hold what the backup holds.
    /// Do it at every founder, from the same backup and with the same founders: they found a new cluster, which has
    /// nothing to do with the one that was backed up, and go on at its revision. Blocks while it works.
    ///
    /// The directory gets its name when all of it is there, so that one that was left half done is not taken for
    /// one to start with.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] if something is in the directory or nobody founds anything, [`Error::Corrupt`] and
    /// [`Error::Format`] for a backup that cannot be read, [`Error::NoSpace`], [`Error::Locked`] and [`Error::Io`].
    pub fn restore(config: &RaftConfig, backup: &Path, progress: Progress<'_>) -> Result<BackupInfo, Error> {
        config.validate()?;
        if config.founders.is_empty() {
            return Err(Error::invalid("a backup is restored into founding members: founders must not be empty"));
        }
        let directory = &config.directory;
        refuse_used(directory)?;
        let making = with_suffix(directory, ".restoring");
        let made = make(config, &making, backup, progress);
        if made.is_err() {
            // Half of it is of no use, and in the way of the next try.
            let _ = std::fs::remove_dir_all(&making);
        }
        let info = made?;
        std::fs::rename(&making, directory).map_err(|e| Error::io("name", directory.clone(), e))?;
        let parent =
            directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        Directory::new(parent).sync_names().map_err(|e| Error::io("sync", parent.to_owned(), e))?;
        Ok(info)
    }
}

fn make(config: &RaftConfig, making: &Path, backup: &Path, progress: Progress<'_>) -> Result<BackupInfo, Error> {
    refuse_used(making)?;
    let _lock = lock_directory(making)?;
    // The last part is the writing.
    let (state, _, length) = read(backup, &mut |done, total| progress(done, total + total / 2))?;
    let info = BackupInfo::of(&state, length);
    // Members of the cluster that was backed up must not be taken for members of this one.
    let token = format!("{}/restored/{}/{:08x}", config.cluster_token, info.revision, info.digest);
    let disk = std::sync::Arc::new(Directory::new(making));
    claim(&*disk, config.id)?;
    let (mut raft_disk, _) = RaftDisk::open(disk, config.segment_bytes)?;
    let core = Core::new(state, config.clock.clone());
    found(&mut raft_disk, &core, &config.founders, &token)?;
    progress(length, length);
    Ok(info)
}

/// Writes the first entry of a cluster's log, which all founders write by themselves: a checkpoint with the members and
/// what the store begins with.
pub(super) fn found(
    disk: &mut RaftDisk,
    core: &Core,
    founders: &[Member],
    token: &str,
) -> Result<(Checkpoint, HardState), Error> {
    let roster = Roster::founded(founders, token);
    let conf_state = roster.conf_state();
    if conf_state.voters.len() > 1 {
        // One that is alone has nobody to ask, now or later.
        disk.note_newborn()?;
    }
    let checkpoint = Checkpoint { index: 1, term: 1, conf_state, roster, ledger: Ledger::default() };
    let hard_state = HardState { term: 1, commit: 1, ..HardState::default() };
    disk.restart(core, &checkpoint, &hard_state)?;
    Ok((checkpoint, hard_state))
}

/// Notes that the directory is this member's; refuses if it is another's.
pub(super) fn claim(disk: &dyn Disk, id: u64) -> Result<(), Error> {
    match owner(disk)? {
        Some(owner) if owner == id => return Ok(()),
        Some(owner) => {
            let place = disk.path("");
            let reason = format!("{} is the directory of member {owner}, not of member {id}", place.display());
            return Err(Error::invalid(reason));
        }
        None => {}
    }
    const TEMPORARY: &str = "MEMBER.tmp";
    let write = || {
        let mut file = disk.create(TEMPORARY)?;
        file.write_at(0, format!("{WORD}{id}\n").as_bytes())?;
        file.sync()?;
        disk.rename(TEMPORARY, NAME)?;
        disk.sync_names()
    };
    write().map_err(|error| Error::io("write", disk.path(NAME), error))
}

fn owner(disk: &dyn Disk) -> Result<Option<u64>, Error> {
    let file = match disk.open(NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", disk.path(NAME), error)),
    };
    let mut bytes = [0; 64];
    let read = file.read_at(0, &mut bytes).map_err(|e| Error::io("read", disk.path(NAME), e))?;
    let id = std::str::from_utf8(&bytes[..read]).ok().and_then(|text| {
        let number = text.strip_prefix(WORD)?.strip_suffix('\n')?;
        number.parse().ok()
    });
    let damaged = || Error::Corrupt { file: disk.path(NAME), offset: 0, reason: "it names no member".to_owned() };
    id.map(Some).ok_or_else(damaged)
}

fn refuse_used(directory: &Path) -> Result<(), Error> {
    match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("list", directory.to_owned(), error)),
        Ok(mut names) => match names.next() {
            None => Ok(()),
            Some(_) => {
                let place = directory.display();
                Err(Error::invalid(format!("{place} is in the way; restore into a directory without files")))
            }
        },
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    // A path that ends in a slash would otherwise get it as a file in it.
    let mut name = path.components().as_path().as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    #[test]
    fn a_directory_is_one_members() {
        let disk = SimDisk::default();
        assert_eq!(owner(&disk).expect("readable"), None);
        claim(&disk, 3).expect("nobody's yet");
        claim(&disk, 3).expect("its own");
        let Err(Error::InvalidRequest { reason }) = claim(&disk, 2) else { panic!("another's") };
        assert!(reason.contains("of member 3, not of member 2"), "{reason}");
        assert_eq!(owner(&disk).expect("readable"), Some(3));
        for damage in ["", "member \n", "member 3", "3\n", "member -3\n"] {
            disk.create(NAME).expect("room").write_at(0, damage.as_bytes()).expect("room");
            assert!(matches!(claim(&disk, 3), Err(Error::Corrupt { .. })), "{damage:?}");
        }
    }
}
