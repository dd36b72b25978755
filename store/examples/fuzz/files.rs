//! Damaged files of a store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubewright_store::state::{Command, State};
use kubewright_store::{Backup, DiskConfig, DiskStore, Error, LeaseId, Op, Put, Revision, Store, Txn, verify_backup};

use crate::mutate::{Random, mutate};

/// A store's files, and everything that the store ever was.
pub(crate) struct Sample {
    directory: PathBuf,
    backup: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
    digests: BTreeSet<u32>,
}

/// What came of damage.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) refused: u64,
    /// It hit nothing that counts, or only what was never acknowledged.
    pub(crate) unharmed: u64,
}

impl Sample {
    /// Fills a store in `home` with some of everything.
    pub(crate) async fn new(home: &Path, random: &mut Random) -> Result<Self, Error> {
        let (directory, backup) = (home.join("data"), home.join("backup"));
        let mut config = DiskConfig::new(&directory);
        config.segment_bytes = 8 << 10;
        config.snapshot_after_bytes = 24 << 10;
        let store = DiskStore::open(config).await?;
        let (mut state, ttl) = (State::new(), Duration::from_secs(1_000_000));
        let mut digests = BTreeSet::from([state.digest()]);
        for n in 0..300_u64 {
            let command = match n % 50 {
                7 => {
                    store.lease_grant(None, ttl).await?;
                    Command::LeaseGrant { id: None, ttl }
                }
                31 => {
                    let through = Revision(state.revision().get() / 2);
                    store.compact(through).await?;
                    Command::Compact(through)
                }
                _ => {
                    let txn = txn(n, random);
                    store.commit(txn.clone()).await?;
                    Command::Txn(txn)
                }
            };
            state.apply(command).outcome?;
            digests.insert(state.digest());
        }
        let copy: Result<Vec<_>, _> = store.backup()?.collect();
        let copy = copy?.concat();
        store.close().await;
        let read = |path: PathBuf| std::fs::read(&path).map(|bytes| (path, bytes)).map_err(io);
        std::fs::write(&backup, &copy).map_err(io)?;
        let names = std::fs::read_dir(&directory).map_err(io)?;
        let mut paths = vec![backup.clone()];
        for entry in names {
            paths.push(entry.map_err(io)?.path());
        }
        let files = paths.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        // The lock has nothing in it.
        let files = files.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let sample = Self { directory, backup, files, digests };
        sample.judge(&sample.backup, 0).map_err(Error::invalid)?;
        Ok(sample)
    }

    /// Damages a file, reads, and mends it. An error says what went wrong with the reading, not with the file.
    pub(crate) fn damage(&self, random: &mut Random, tally: &mut Tally) -> Result<(), String> {
        let (path, sound) = &self.files[random.below(self.files.len())];
        let mut bytes = sound.clone();
        mutate(&mut bytes, random);
        std::fs::write(path, &bytes).map_err(|error| error.to_string())?;
        let judged = self.judge(path, bytes.len() as u64);
        std::fs::write(path, sound).map_err(|error| error.to_string())?;
        if judged? {
            tally.unharmed += 1;
        } else {
            tally.refused += 1;
        }
        Ok(())
    }

    /// Reads what `path` belongs to and says whether it was taken.
    fn judge(&self, path: &Path, length: u64) -> Result<bool, String> {
        let is_backup = path == self.backup;
        let read = if is_backup {
            verify_backup(path, &mut |_, _| ())
        } else {
            DiskStore::verify(&self.directory, &mut |_, _| ())
        };
        match read {
            Ok(info) if self.digests.contains(&info.digest) => Ok(true),
            Ok(info) => Err(format!("{} passes for a store that never was: {info:?}", path.display())),
            Err(Error::Corrupt { file, offset, reason }) => {
                let is_told = !reason.is_empty() && (file != *path || offset <= length);
                if is_told { Ok(false) } else { Err(format!("{}: offset {offset}: {reason:?}", file.display())) }
            }
            Err(Error::Format { .. }) => Ok(false),
            Err(error) => Err(format!("{}: {error:?}", path.display())),
        }
    }
}

fn txn(n: u64, random: &mut Random) -> Txn {
    let key = |random: &mut Random| format!("key/{}", random.below(60));
    let put = Put::new(key(random), vec![n as u8; random.below(300)]);
    let lease = (n > 10 && n.is_multiple_of(5)).then_some(LeaseId(1));
    let txn = Txn::new().then(Op::Put(put.lease(lease)));
    // Never the key that is put: a transaction writes a key once.
    if n.is_multiple_of(3) { txn.then(Op::delete(format!("gone/{}", random.below(4)))) } else { txn }
}

fn io(error: std::io::Error) -> Error {
    Error::invalid(error.to_string())
}
