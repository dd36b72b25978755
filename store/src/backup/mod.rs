//! Backups: everything in a store as of one moment, in one file.
//!
//! A backup is what a snapshot file of a [`DiskStore`](crate::DiskStore) is: a header and blocks, each with
//! its length and a CRC-32C before it. Then zeros up to a multiple of 512 bytes, and the SHA-256 of all
//! before it, as the clients of etcd expect of a snapshot. What etcd itself gave them is another file, and taken over too.

mod bolt;
mod bolt_write;
mod etcd;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::disk::files::DiskFile;
use crate::disk::record::{HEADER, VERSION, check_header, header};
use crate::disk::{record, snapshot};
use crate::driver::PinnedImage;
use crate::state::State;
use crate::{Error, Revision};

const PAGE: u64 = 512;
const SHA: u64 = 32;
/// How much is gathered before it is handed out.
const PIECE: usize = 256 << 10;

/// A store of which a copy can be taken while it works.
pub trait Backup: Send + Sync + fmt::Debug + 'static {
    /// A copy of everything as it is now: keys, the history that is left, leases. Commits go on meanwhile;
    /// history is not freed before the copy is read to its end, or dropped.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Failed`].
    fn backup(&self) -> Result<BackupStream, Error>;
}

/// The bytes of a backup, piece by piece. After an error it is over, and what came before it is worth
/// nothing. A piece takes some milliseconds to make, and waits for nothing but the store's own lock.
#[derive(Debug)]
pub struct BackupStream {
    image: Option<PinnedImage>,
    revision: Revision,
    bytes_expected: u64,
    offset: u64,
    sha: Sha256,
}

impl BackupStream {
    pub(crate) fn new(image: PinnedImage, state: &State) -> Self {
        let history = state.history_len() as u64 * 16 + state.past_bytes();
        let bytes_expected = state.live_bytes() + state.len() as u64 * 16 + history;
        Self { image: Some(image), revision: state.revision(), bytes_expected, offset: 0, sha: Sha256::new() }
    }

    /// The newest revision in it.
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// About how many bytes are still to come, for those who show how far they are.
    pub const fn bytes_left(&self) -> u64 {
        self.bytes_expected.saturating_sub(self.offset)
    }

    fn piece(&mut self, image: &mut PinnedImage) -> Result<(Vec<u8>, bool), Error> {
        let mut piece = Vec::with_capacity(PIECE + PIECE / 4);
        if self.offset == 0 {
            piece.extend_from_slice(&header(snapshot::MAGIC, 0));
        }
        while piece.len() < PIECE {
            let Some(block) = image.next()? else { return Ok((piece, true)) };
            let place = self.offset + piece.len() as u64;
            snapshot::put_block(&mut piece, place, &block);
        }
        Ok((piece, false))
    }
}

impl Iterator for BackupStream {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut image = self.image.take()?;
        let (mut piece, is_last) = match self.piece(&mut image) {
            Ok(piece) => piece,
            Err(error) => return Some(Err(error)),
        };
        if is_last {
            let end = (self.offset + piece.len() as u64).next_multiple_of(PAGE);
            piece.resize((end - self.offset) as usize, 0);
        } else {
            self.image = Some(image);
        }
        self.sha.update(&piece);
        if is_last {
            piece.extend_from_slice(&self.sha.finalize_reset());
        }
        self.offset += piece.len() as u64;
        Some(Ok(piece.into()))
    }
}

/// What a backup, or a directory, holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupInfo {
    /// The newest revision.
    pub revision: Revision,
    /// History before this revision is gone.
    pub compacted: Revision,
    /// How many keys there are.
    pub keys: u64,
    /// Bytes of the newest keys and values.
    pub bytes: u64,
    /// How many leases there are.
    pub leases: u64,
    /// The checksum of all that; see [`State::digest`].
    pub digest: u32,
    /// Bytes read.
    pub file_bytes: u64,
}

impl BackupInfo {
    pub(crate) fn of(state: &State, file_bytes: u64) -> Self {
        Self {
            revision: state.revision(),
            compacted: state.compacted(),
            keys: state.len() as u64,
            bytes: state.live_bytes(),
            leases: state.leases().len() as u64,
            digest: state.digest(),
            file_bytes,
        }
    }
}

/// Told how many bytes are done, and of how many.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Reads a backup, checks every byte of it and says what it holds. A snapshot that was saved from an etcd is read too.
///
/// # Errors
/// [`Error::Corrupt`] with the place and the reason, [`Error::Format`], [`Error::Io`].
pub fn verify_backup(file: &Path, progress: Progress<'_>) -> Result<BackupInfo, Error> {
    let (state, _, length) = read(file, progress)?;
    Ok(BackupInfo::of(&state, length))
}

/// Makes of a backup a snapshot that etcd's own tools take (`etcdctl snapshot restore`, or `etcdutl`): the newest versions
/// of all keys, with their revisions, and the leases; older versions are not in it. Blocks while it works, and holds
/// all of it in memory.
///
/// # Errors
/// As [`verify_backup`]; [`Error::InvalidRequest`] if there is a file at `to` already.
pub fn export_to_etcd(backup: &Path, to: &Path, progress: Progress<'_>) -> Result<BackupInfo, Error> {
    let (state, _, length) = read(backup, &mut |done, total| progress(done, total * 2))?;
    let bytes = etcd::file(&state);
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).open(to).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::invalid(format!("{} is there already", to.display())),
        _ => Error::io("create", to.to_owned(), error),
    })?;
    let written = io::Write::write_all(&mut file, &bytes).and_then(|()| file.sync_all());
    written.map_err(|error| Error::io("write", to.to_owned(), error))?;
    progress(length, length);
    Ok(BackupInfo::of(&state, length))
}

/// Reads a backup, or a snapshot that etcd gave; answers the state, where the blocks end if there are any, and the length
/// of all.
pub(crate) fn read(path: &Path, progress: Progress<'_>) -> Result<(State, Option<u64>, u64), Error> {
    let io = |action| move |error| Error::io(action, path.to_owned(), error);
    let corrupt = |offset, reason: &str| Error::Corrupt { file: path.to_owned(), offset, reason: reason.to_owned() };
    let mut file = File::open(path).map_err(io("open"))?;
    let length = DiskFile::len(&file).map_err(io("read"))?;
    let mut first = vec![0; HEADER as usize];
    let got = file.read_at(0, &mut first).map_err(io("read"))?;
    if bolt::is_bolt(&first[..got]) {
        progress(0, length);
        let bytes = std::fs::read(path).map_err(io("read"))?;
        let state = etcd::state(&bytes).map_err(|(offset, reason)| corrupt(offset, reason))?;
        progress(length, length);
        return Ok((state, None, length));
    }
    match check_header(&first[..got], snapshot::MAGIC) {
        Ok(_) => {}
        Err(record::BadHeader::Damage(reason)) => return Err(corrupt(0, reason)),
        Err(record::BadHeader::Version(found)) => {
            return Err(Error::Format { file: path.to_owned(), found, supported: VERSION });
        }
    }
    if length < PAGE + SHA || length % PAGE != SHA {
        return Err(corrupt(length, "the checksum at the end is missing: the backup is cut short"));
    }
    let body = length - SHA;
    // Read once for the checksum and once for the blocks.
    check_sha(&mut file, body, &mut |done| progress(done, 2 * body))
        .map_err(io("read"))?
        .map_err(|r| corrupt(body, r))?;
    let end = blocks_end(&file, body).map_err(io("read"))?;
    let state = snapshot::read_blocks(&file, end, &mut |done| progress(body + done, 2 * body));
    let state = state.map_err(io("read"))?.map_err(|(offset, reason)| corrupt(offset, reason))?;
    Ok((state, Some(end), length))
}

fn check_sha(file: &mut File, body: u64, progress: &mut dyn FnMut(u64)) -> io::Result<Result<(), &'static str>> {
    file.seek(SeekFrom::Start(0))?;
    let (mut sha, mut buffer, mut done) = (Sha256::new(), vec![0; 1 << 20], 0);
    while done < body {
        let length = (body - done).min(buffer.len() as u64) as usize;
        file.read_exact(&mut buffer[..length])?;
        sha.update(&buffer[..length]);
        done += length as u64;
        progress(done);
    }
    let mut stored = [0; SHA as usize];
    file.read_exact(&mut stored)?;
    let is_same = *sha.finalize() == stored;
    Ok(if is_same { Ok(()) } else { Err("the checksum of the whole does not match") })
}

/// Where the zeros begin that fill the last page: at a block of no length.
fn blocks_end(file: &File, body: u64) -> io::Result<u64> {
    let mut offset = HEADER;
    while offset + 8 <= body {
        let mut prefix = [0; 4];
        file.read_at(offset, &mut prefix)?;
        let length = u64::from(u32::from_le_bytes(prefix));
        if length == 0 {
            return Ok(offset);
        }
        offset = offset.saturating_add(length + 8);
    }
    Ok(offset.min(body))
}

/// The bytes before the filling: a snapshot file as it lies in a directory.
pub(crate) fn copy_blocks(
    from: &Path,
    end: u64,
    progress: Progress<'_>,
    mut write: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (file, mut buffer, mut done) = (File::open(from)?, vec![0; 1 << 20], 0);
    while done < end {
        let length = (end - done).min(buffer.len() as u64) as usize;
        if DiskFile::read_at(&file, done, &mut buffer[..length])? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        write(done, &buffer[..length])?;
        done += length as u64;
        progress(done, end);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, Op, Store, StoreExt, Txn};

    async fn sample() -> MemoryStore {
        let store = MemoryStore::new();
        for n in 0..3000 {
            store.put(format!("key/{:03}", n % 700), vec![b'v'; 30]).await.expect("put");
        }
        store.compact(Revision(1000)).await.expect("compact");
        store
    }

    fn write(store: &dyn Backup, to: &Path) {
        let mut bytes = Vec::new();
        for piece in store.backup().expect("a backup") {
            bytes.extend_from_slice(&piece.expect("a piece"));
        }
        assert_eq!(bytes.len() % 512, 32);
        std::fs::write(to, bytes).expect("write");
    }

    #[tokio::test]
    async fn a_backup_comes_back_as_it_was() {
        let (store, home) = (sample().await, tempfile::tempdir().expect("a directory"));
        let file = home.path().join("backup");
        write(&store, &file);
        let mut told = 0;
        let info = verify_backup(&file, &mut |done, total| told = done * 100 / total).expect("sound");
        assert_eq!((info.digest, info.keys, info.revision), (store.digest(), 700, Revision(3001)));
        assert!(told > 90);
        let directory = home.path().join("store");
        let restored = crate::DiskStore::restore(&directory, &file, &mut |_, _| ()).expect("restore");
        assert_eq!(restored, info);
        let again = crate::DiskStore::restore(&directory, &file, &mut |_, _| ());
        assert!(matches!(again, Err(Error::InvalidRequest { .. })), "{again:?}");
        let opened = crate::DiskStore::open(crate::DiskConfig::new(&directory)).await.expect("open");
        assert_eq!(opened.digest(), store.digest());
        let next = opened.put("after", "1").await.expect("put");
        assert_eq!(next.mod_revision, Revision(3002));
        opened.close().await;
        let verified = crate::DiskStore::verify(&directory, &mut |_, _| ()).expect("sound");
        assert_eq!((verified.keys, verified.revision), (701, Revision(3002)));
    }

    #[tokio::test]
    async fn a_backup_shows_its_moment_while_the_store_moves_on_and_forgets() {
        let (store, home) = (sample().await, tempfile::tempdir().expect("a directory"));
        let (file, then) = (home.path().join("backup"), store.digest());
        let mut bytes = Vec::new();
        for (n, piece) in store.backup().expect("a backup").enumerate() {
            bytes.extend_from_slice(&piece.expect("a piece"));
            let txn = Txn::new().then(Op::put(format!("later/{n}"), "1")).then(Op::delete("key/001"));
            let committed = store.commit(txn).await.expect("commit");
            store.compact(committed.revision).await.expect("compact");
        }
        std::fs::write(&file, bytes).expect("write");
        assert_eq!(verify_backup(&file, &mut |_, _| ()).expect("sound").digest, then);
    }

    #[tokio::test]
    async fn a_damaged_backup_is_refused() {
        let (store, home) = (sample().await, tempfile::tempdir().expect("a directory"));
        let file = home.path().join("backup");
        write(&store, &file);
        let good = std::fs::read(&file).expect("read");
        for at in (0..good.len()).step_by(1499) {
            let mut damaged = good.clone();
            damaged[at] ^= 4;
            std::fs::write(&file, &damaged).expect("write");
            let refused = verify_backup(&file, &mut |_, _| ());
            assert!(matches!(refused, Err(Error::Corrupt { .. } | Error::Format { .. })), "at {at}: {refused:?}");
            std::fs::write(&file, &good[..at]).expect("write");
            assert!(matches!(verify_backup(&file, &mut |_, _| ()), Err(Error::Corrupt { .. })), "cut at {at}");
        }
    }
}
