//! The runtime as a whole: its tables, its directory, its beginning and its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::broadcast;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    MountMode, MountPreference, ProcessConfig,
    container::Entry,
    create::marker,
    disk::{Disk, SandboxRecord},
    dispatch::{ARGUMENT, NAMESPACES_FAIL, NAMESPACES_WORK},
    procfs, recover,
    services::sandbox_name,
};
use crate::{
    ContainerEvent, ContainerEventType, ContainerId, Error, PodAddressing, Runtime, RuntimeStatus, RuntimeVersion,
    SandboxId,
};

/// How long killed processes may take to go before the caller is told.
const KILL_PATIENCE: Duration = Duration::from_secs(30);
/// How long the helper may take to try out namespaces.
const PROBE_PATIENCE: Duration = Duration::from_secs(20);

/// Containers as plain processes on the host; see the [module](super) for what that means. Clones share it.
///
/// It works in tokio tasks of its own: end it with [`shutdown`](Self::shutdown). When it is dropped instead, its
/// containers are killed too, but nobody waits for that.
#[derive(Clone)]
pub struct ProcessRuntime {
    pub(super) inner: Arc<Inner>,
    _guard: Arc<DropGuard>,
}

pub(super) struct Inner {
    pub(super) config: ProcessConfig,
    pub(super) disk: Disk,
    pub(super) mode: MountMode,
    pub(super) boot_id: String,
    pub(super) tasks: TaskTracker,
    pub(super) cancel: CancellationToken,
    pub(super) events: broadcast::Sender<ContainerEvent>,
    pub(super) next_exec: AtomicU64,
    tables: Mutex<Tables>,
    /// Held as long as this runtime works in its directory.
    _lock: Flock<std::fs::File>,
}

#[derive(Default)]
pub(super) struct Tables {
    pub(super) sandboxes: BTreeMap<SandboxId, SandboxRecord>,
    pub(super) containers: BTreeMap<ContainerId, Arc<Entry>>,
    /// Names of sandboxes and containers that are taken.
    pub(super) names: BTreeSet<String>,
    pub(super) images: BTreeSet<String>,
}

impl fmt::Debug for ProcessRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessRuntime").field("state_dir", &self.inner.disk.root).finish_non_exhaustive()
    }
}

impl ProcessRuntime {
    /// Opens a runtime in its directory, cleaning up first what an earlier one left there.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the directory cannot be used, or another runtime works in it;
    /// [`Error::InvalidArgument`] when the helper is not one, or namespaces are asked for and do not work.
    pub async fn open(mut config: ProcessConfig) -> Result<Self, Error> {
        let boot_id = procfs::boot_id();
        let opened = {
            let (state_dir, boot_id) = (config.state_dir.clone(), boot_id.clone());
            let work = move || open_directory(&state_dir, &boot_id);
            tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal("opening was cut short", error))?
        };
        let (disk, lock, recovered) = opened?;
        config.state_dir.clone_from(&disk.root);
        let mode = find_mode(&config, &disk).await?;
        let mut tables = Tables::default();
        for record in recovered.sandboxes {
            tables.names.insert(sandbox_name(&record.config));
            tables.sandboxes.insert(record.id.clone(), record);
        }
        for entry in recovered.containers {
            tables.names.insert(entry.unique_name());
            tables.containers.insert(entry.record.id.clone(), Arc::new(entry));
        }
        let cancel = CancellationToken::new();
        let inner = Inner {
            disk,
            mode,
            boot_id,
            tasks: TaskTracker::new(),
            cancel: cancel.clone(),
            events: broadcast::Sender::new(config.events_max.max(1)),
            next_exec: AtomicU64::new(0),
            tables: Mutex::new(tables),
            config,
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner), _guard: Arc::new(cancel.drop_guard()) })
    }

    /// How containers see their mounts here.
    #[must_use]
    pub fn mount_mode(&self) -> MountMode {
        self.inner.mode
    }

    /// Kills every container at once and waits until nothing of this runtime runs any more. What is on disk stays, for
    /// the next one. Containers cannot be started afterwards.
    pub async fn shutdown(&self) {
        self.inner.tasks.close();
        self.inner.cancel.cancel();
        self.inner.tasks.wait().await;
    }
}

fn open_directory(
    state_dir: &std::path::Path,
    boot_id: &str,
) -> Result<(Disk, Flock<std::fs::File>, recover::Recovered), Error> {
    let failed = |error: io::Error| Error::Unavailable {
        message: format!("cannot use the runtime's directory {}: {error}", state_dir.display()),
        source: Some(Arc::new(error)),
    };
    std::fs::create_dir_all(state_dir).map_err(failed)?;
    let disk = Disk { root: state_dir.canonicalize().map_err(failed)? };
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(disk.lock_file()).map_err(failed)?;
    let mut holder = String::new();
    file.read_to_string(&mut holder).map_err(failed)?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| Error::Unavailable {
        message: format!(
            "the runtime's directory {} is in use by process {}: stop that first, or use another directory",
            state_dir.display(),
            holder.trim()
        ),
        source: Some(Arc::new(error)),
    })?;
    lock.set_len(0).and_then(|()| io::Seek::rewind(&mut *lock)).map_err(failed)?;
    writeln!(lock, "{}", std::process::id()).map_err(failed)?;
    let recovered = recover::recover(&disk, boot_id).map_err(failed)?;
    Ok((disk, lock, recovered))
}

/// Finds out how mounts can be done, and with that whether the helper is one.
async fn find_mode(config: &ProcessConfig, disk: &Disk) -> Result<MountMode, Error> {
    if config.mounts == MountPreference::Symlinks {
        return Ok(MountMode::Symlinks);
    }
    let scratch = disk.root.join("probe");
    std::fs::create_dir_all(&scratch).map_err(|error| Error::internal("cannot make a directory to try in", error))?;
    let mut command = tokio::process::Command::new(&config.helper.program);
    command.args(&config.helper.arguments).args([ARGUMENT, "probe"]).arg(&scratch);
    if !nix::unistd::geteuid().is_root() {
        command.arg("user");
    }
    command.env_clear().envs(marker(&disk.root, "")).stdin(Stdio::null()).kill_on_drop(true);
    let tried = tokio::time::timeout(PROBE_PATIENCE, command.output()).await;
    let removed = std::fs::remove_dir_all(&scratch);
    removed.map_err(|error| Error::internal("cannot remove the directory tried in", error))?;
    let program = config.helper.program.display();
    let tried = tried.map_err(|_| Error::invalid(format!("{program} did not act as the container helper in time")))?;
    let output = tried.map_err(|error| Error::internal(format!("cannot run the container helper {program}"), error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(NAMESPACES_WORK) => Ok(MountMode::Namespace),
        Some(NAMESPACES_FAIL) if config.mounts == MountPreference::Auto => {
            tracing::info!(reason = %said.trim(), "mounts of containers will be symbolic links");
            Ok(MountMode::Symlinks)
        }
        Some(NAMESPACES_FAIL) => Err(Error::invalid(format!("mount namespaces do not work here: {}", said.trim()))),
        _ => Err(Error::invalid(format!(
            "{program} did not act as the container helper: its main has to call process::dispatch first"
        ))),
    }
}

impl Inner {
    pub(super) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn container(&self, id: &ContainerId) -> Result<Arc<Entry>, Error> {
        self.tables().containers.get(id).cloned().ok_or_else(|| Error::container_not_found(id))
    }

    pub(super) fn containers(&self, matches: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        self.tables().containers.values().filter(|entry| matches(entry)).cloned().collect()
    }

    pub(super) fn sandbox(&self, id: &SandboxId) -> Result<SandboxRecord, Error> {
        self.tables().sandboxes.get(id).cloned().ok_or_else(|| Error::sandbox_not_found(id))
    }

    pub(super) fn sandboxes(&self) -> Vec<SandboxRecord> {
        self.tables().sandboxes.values().cloned().collect()
    }

    pub(super) fn tell(&self, entry: &Entry, event_type: ContainerEventType) {
        let (id, sandbox) = (entry.record.id.clone(), entry.record.sandbox_id.clone());
        // Nobody may be listening.
        let _ = self.events.send(ContainerEvent::new(id, sandbox, event_type, SystemTime::now()));
    }

    /// Kills a container and waits until it is gone.
    pub(super) async fn kill(&self, entry: &Entry) -> Result<(), Error> {
        entry.ask(super::link::Ask::Kill).await;
        tokio::time::timeout(KILL_PATIENCE, entry.ended()).await.map_err(|_| Error::Timeout {
            operation: format!("killing container {}", entry.record.id),
            after: KILL_PATIENCE,
        })
    }

    pub(super) async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        {
            let mut tables = self.tables();
            let Some(record) = tables.sandboxes.get_mut(id) else { return Ok(()) };
            record.ready = false;
            let written = self.disk.write_sandbox(record);
            written.map_err(|error| Error::internal("cannot keep the sandbox's state", error))?;
        }
        let inside = self.containers(|entry| entry.record.sandbox_id == *id);
        let killed = futures::future::join_all(inside.iter().map(async |entry| {
            // A start that has begun is let finish, so that there is something to kill.
            drop(entry.turn.lock().await);
            self.kill(entry).await
        }));
        killed.await.into_iter().collect()
    }

    pub(super) async fn remove(&self, entry: &Entry) -> Result<(), Error> {
        let turn = entry.turn.lock().await;
        self.kill(entry).await?;
        let id = &entry.record.id;
        let removed = self.disk.remove_container(id);
        removed.map_err(|error| Error::internal(format!("cannot remove the files of container {id}"), error))?;
        let known = {
            let mut tables = self.tables();
            tables.names.remove(&entry.unique_name());
            tables.containers.remove(id).is_some()
        };
        drop(turn);
        if known {
            self.tell(entry, ContainerEventType::Deleted);
        }
        Ok(())
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn version(&self) -> Result<RuntimeVersion, Error> {
        Ok(RuntimeVersion::new("process", env!("CARGO_PKG_VERSION")))
    }

    async fn status(&self) -> Result<RuntimeStatus, Error> {
        Ok(RuntimeStatus::ready(PodAddressing::Caller))
    }
}

impl ProcessRuntime {
    /// A number that no other `exec` has.
    pub(super) fn next_exec(&self) -> u64 {
        self.inner.next_exec.fetch_add(1, Ordering::Relaxed)
    }
}
