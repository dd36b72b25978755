//! What the process runtime keeps on disk, so that the next one knows what there was.
//!
//! ```text
//! <state>/lock                       held while a runtime works here
//! <state>/sandboxes/<id>.json        SandboxRecord
//! <state>/containers/<id>/config.json   ContainerRecord: written once
//! <state>/containers/<id>/status.json   StatusRecord: written at each change
//! <state>/containers/<id>/exit.json     ExitRecord: written by the container's supervisor
//! <state>/containers/<id>/root/         the container's own directory
//! <state>/containers/<id>/namespace/    where its mount namespace is built; always empty outside of it
//! ```

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::protocol::ExitRecord;
use crate::{ContainerConfig, ContainerId, ContainerState, PodSandboxConfig, SandboxId};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SandboxRecord {
    pub(super) id: SandboxId,
    pub(super) config: PodSandboxConfig,
    pub(super) created_at: SystemTime,
    pub(super) ready: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    pub(super) id: ContainerId,
    pub(super) sandbox_id: SandboxId,
    pub(super) config: ContainerConfig,
    pub(super) created_at: SystemTime,
    pub(super) log_path: Option<PathBuf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StatusRecord {
    pub(super) state: ContainerState,
    pub(super) started_at: Option<SystemTime>,
    pub(super) finished_at: Option<SystemTime>,
    pub(super) exit_code: i32,
    pub(super) reason: String,
    pub(super) message: String,
    /// Who looks after it while it runs.
    pub(super) supervisor: Option<Supervisor>,
}

/// A supervisor, named beyond doubt: pids come round again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Supervisor {
    pub(super) pid: i32,
    pub(super) start_ticks: u64,
    pub(super) boot_id: String,
}

impl Default for StatusRecord {
    fn default() -> Self {
        Self {
            state: ContainerState::Created,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            supervisor: None,
        }
    }
}

/// The directory of a runtime.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) root: PathBuf,
}

impl Disk {
    pub(super) fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(super) fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    pub(super) fn container_root(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("root")
    }

    pub(super) fn container_namespace(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("namespace")
    }

    pub(super) fn exit_file(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("exit.json")
    }

    /// Makes the directories.
    pub(super) fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(self.sandboxes())?;
        fs::create_dir_all(self.containers())
    }

    pub(super) fn write_sandbox(&self, record: &SandboxRecord) -> io::Result<()> {
        write(&self.sandboxes().join(format!("{}.json", record.id)), record)
    }

    pub(super) fn remove_sandbox(&self, id: &SandboxId) -> io::Result<()> {
        gone(fs::remove_file(self.sandboxes().join(format!("{id}.json"))))
    }

    /// Makes a container's directories and writes its config; nothing is left on error.
    pub(super) fn write_container(&self, record: &ContainerRecord) -> io::Result<()> {
        let written = fs::create_dir_all(self.container_root(&record.id))
            .and_then(|()| fs::create_dir_all(self.container_namespace(&record.id)))
            .and_then(|()| write(&self.container(&record.id).join("config.json"), record));
        written.inspect_err(|_| drop(self.remove_container(&record.id)))
    }

    pub(super) fn write_status(&self, id: &ContainerId, record: &StatusRecord) -> io::Result<()> {
        write(&self.container(id).join("status.json"), record)
    }

    pub(super) fn remove_container(&self, id: &ContainerId) -> io::Result<()> {
        gone(fs::remove_dir_all(self.container(id)))
    }

    pub(super) fn read_exit(&self, id: &ContainerId) -> Option<ExitRecord> {
        read(&self.exit_file(id)).ok().flatten()
    }

    pub(super) fn read_sandboxes(&self) -> io::Result<Vec<SandboxRecord>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.sandboxes())? {
            let path = entry?.path();
            let whole = path.extension().is_some_and(|extension| extension == "json");
            match if whole { read(&path)? } else { None } {
                Some(record) => records.push(record),
                None => gone(fs::remove_file(path))?,
            }
        }
        Ok(records)
    }

    pub(super) fn read_containers(&self) -> io::Result<Vec<(ContainerRecord, StatusRecord)>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.containers())? {
            let path = entry?.path();
            match read(&path.join("config.json"))? {
                Some(config) => records.push((config, read(&path.join("status.json"))?.unwrap_or_default())),
                // Its maker died before it was made, or its remover before it was gone.
                None => gone(fs::remove_dir_all(path))?,
            }
        }
        Ok(records)
    }
}

/// Writes a file as a whole or not at all, as others see it. Other users do not: a container's environment may hold
/// secrets.
fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    fs::rename(temporary, path)
}

/// Reads a file; `None` if it is not there, or damaged (by a loss of power, say: then what it told of is dead anyhow).
fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "left out a damaged record"))
            .ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn records_are_kept_from_others_and_damaged_ones_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk { root: directory.path().to_owned() };
        disk.prepare().unwrap();
        for id in ["whole", "torn"] {
            let record = SandboxRecord {
                id: id.into(),
                config: PodSandboxConfig::default(),
                created_at: SystemTime::UNIX_EPOCH,
                ready: true,
            };
            disk.write_sandbox(&record).unwrap();
        }
        let torn = directory.path().join("sandboxes/torn.json");
        assert_eq!(fs::metadata(&torn).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&torn, "{").unwrap();
        fs::write(directory.path().join("sandboxes/late.new"), "{}").unwrap();
        fs::create_dir_all(directory.path().join("containers/half-made/root")).unwrap();
        let read = disk.read_sandboxes().unwrap();
        assert_eq!(read.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["whole"]);
        assert!(disk.read_containers().unwrap().is_empty());
        assert_eq!(fs::read_dir(directory.path().join("sandboxes")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(directory.path().join("containers")).unwrap().count(), 0);
    }
}
