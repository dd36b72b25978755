//! The traits for sandboxes, containers and images.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    net::IpAddr,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::{broadcast, oneshot};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    MountMode, MountPreference, ProcessConfig,
    container::{Entry, Plan},
    create::{self, Place, is_hello, marker},
    disk::{ContainerRecord, Disk, SandboxRecord, StatusRecord},
    dispatch::{ARGUMENT, NAMESPACES_FAIL, NAMESPACES_WORK},
    hello, procfs, recover,
};
use crate::{
    AuthConfig, Container, ContainerConfig, ContainerEvent, ContainerEventType, ContainerFilter, ContainerId,
    ContainerResources, ContainerState, ContainerStatus, Containers, Error, FilesystemUsage, Image, ImageRef,
    ImageSpec, Images, Kind, PodAddressing, PodSandbox, PodSandboxConfig, PodSandboxFilter, PodSandboxState,
    PodSandboxStatus, PodSandboxes, Runtime, RuntimeStatus, RuntimeVersion, SandboxId,
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
struct Tables {
    sandboxes: BTreeMap<SandboxId, SandboxRecord>,
    containers: BTreeMap<ContainerId, Arc<Entry>>,
    /// Names of sandboxes and containers that are taken.
    names: BTreeSet<String>,
    images: BTreeSet<String>,
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
    fn tables(&self) -> MutexGuard<'_, Tables> {
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
    async fn kill(&self, entry: &Entry) -> Result<(), Error> {
        entry.ask(super::link::Ask::Kill).await;
        tokio::time::timeout(KILL_PATIENCE, entry.ended()).await.map_err(|_| Error::Timeout {
            operation: format!("killing container {}", entry.record.id),
            after: KILL_PATIENCE,
        })
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
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

    async fn remove(&self, entry: &Entry) -> Result<(), Error> {
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

/// An id that no other has: 64 hexadecimal digits of the system's randomness.
fn new_id() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|error| Error::internal("cannot read randomness", error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn sandbox_name(config: &PodSandboxConfig) -> String {
    let metadata = &config.metadata;
    format!("{}/{}/{}/{}", metadata.namespace, metadata.name, metadata.uid, metadata.attempt)
}

pub(super) fn sandbox_item(record: &SandboxRecord) -> PodSandbox {
    let mut sandbox = PodSandbox::new(record.id.clone(), record.config.metadata.clone(), record.created_at);
    sandbox.state = if record.ready { PodSandboxState::Ready } else { PodSandboxState::NotReady };
    sandbox.labels.clone_from(&record.config.labels);
    sandbox.annotations.clone_from(&record.config.annotations);
    sandbox.runtime_handler.clone_from(&record.config.runtime_handler);
    sandbox
}

pub(super) fn sandbox_ip(record: &SandboxRecord) -> Option<IpAddr> {
    record.config.ip.filter(|_| !record.config.security.host_network())
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

#[async_trait]
impl PodSandboxes for ProcessRuntime {
    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId, Error> {
        if !config.runtime_handler.is_empty() {
            return Err(Error::invalid(format!("no runtime for {:?} is configured", config.runtime_handler)));
        }
        let (id, name) = (SandboxId::new(new_id()?), sandbox_name(config));
        let record =
            SandboxRecord { id: id.clone(), config: config.clone(), created_at: SystemTime::now(), ready: true };
        let mut tables = self.inner.tables();
        if tables.names.contains(&name) {
            return Err(Error::AlreadyExists { kind: Kind::Sandbox, name });
        }
        let written = self.inner.disk.write_sandbox(&record);
        written.map_err(|error| Error::internal("cannot keep the sandbox's state", error))?;
        tables.names.insert(name);
        tables.sandboxes.insert(id.clone(), record);
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        self.inner.stop_sandbox(id).await
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        self.inner.stop_sandbox(id).await?;
        for entry in self.inner.containers(|entry| entry.record.sandbox_id == *id) {
            self.inner.remove(&entry).await?;
        }
        let mut tables = self.inner.tables();
        if let Some(record) = tables.sandboxes.get(id) {
            let name = sandbox_name(&record.config);
            let removed = self.inner.disk.remove_sandbox(id);
            removed.map_err(|error| Error::internal("cannot remove the sandbox's state", error))?;
            tables.names.remove(&name);
            tables.sandboxes.remove(id);
        }
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus, Error> {
        let record = self.inner.sandbox(id)?;
        let mut status = PodSandboxStatus::new(sandbox_item(&record));
        status.host_network = record.config.security.host_network();
        if record.ready {
            status.ips.extend(sandbox_ip(&record));
        }
        Ok(status)
    }

    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>, Error> {
        let all = self.inner.tables().sandboxes.values().map(sandbox_item).collect::<Vec<_>>();
        Ok(all.into_iter().filter(|sandbox| filter.matches(sandbox)).collect())
    }
}

#[async_trait]
impl Containers for ProcessRuntime {
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId, Error> {
        let inner = &self.inner;
        if !inner.sandbox(sandbox)?.ready {
            return Err(Error::precondition(format!("pod sandbox {sandbox} is not ready")));
        }
        let id = ContainerId::new(new_id()?);
        let place = Place {
            mode: inner.mode,
            helper: &inner.config.helper,
            node_name: &inner.config.node_name,
            marker: marker(&inner.disk.root, id.as_str()),
            root: inner.disk.container_root(&id),
            namespace: inner.disk.container_namespace(&id),
        };
        let mut command = create::command(config, sandbox_config, &place)?;
        let record = ContainerRecord {
            id: id.clone(),
            sandbox_id: sandbox.clone(),
            config: config.clone(),
            created_at: SystemTime::now(),
            log_path: config.log_file(sandbox_config),
        };
        let name = Entry::new(record.clone(), StatusRecord::default(), None).unique_name();
        if !inner.tables().names.insert(name.clone()) {
            return Err(Error::AlreadyExists { kind: Kind::Container, name });
        }
        let written = inner.disk.write_container(&record);
        let written = written.map_err(|error| Error::internal("cannot keep the container's state", error));
        match written.and_then(|()| create::lay_out(config, sandbox_config, &place, &mut command)) {
            Ok(namespace) => {
                let entry = Arc::new(Entry::new(record, StatusRecord::default(), Some(Plan { command, namespace })));
                inner.tables().containers.insert(id.clone(), entry.clone());
                inner.tell(&entry, ContainerEventType::Created);
                Ok(id)
            }
            Err(error) => {
                // What went wrong matters more than what is wrong with cleaning up.
                let _ = inner.disk.remove_container(&id);
                inner.tables().names.remove(&name);
                Err(error)
            }
        }
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), Error> {
        let (inner, entry) = (self.inner.clone(), self.inner.container(id)?);
        let (told, answer) = oneshot::channel();
        if inner.tasks.is_closed() {
            return Err(Error::unavailable("the process runtime is shut down"));
        }
        // In a task of its own, so that a caller who leaves does not leave it half done.
        self.inner.tasks.spawn(async move {
            let turn = entry.turn.lock().await;
            let ready = inner.sandbox(&entry.record.sandbox_id).map(|sandbox| sandbox.ready);
            let result = match (entry.state(), ready) {
                (_, Err(error)) => Err(error),
                (ContainerState::Created, Ok(true)) => inner.start(&entry).await,
                (ContainerState::Created, Ok(false)) => {
                    Err(Error::precondition(format!("pod sandbox {} is not ready", entry.record.sandbox_id)))
                }
                (state, _) => {
                    Err(Error::precondition(format!("container {} is {state:?}, not Created", entry.record.id)))
                }
            };
            drop(turn);
            let _ = told.send(result);
        });
        answer.await.map_err(|error| Error::internal("the start was cut short", error))?
    }

    async fn stop_container(&self, id: &ContainerId, timeout: Duration) -> Result<(), Error> {
        let Ok(entry) = self.inner.container(id) else { return Ok(()) };
        drop(entry.turn.lock().await);
        if !timeout.is_zero() {
            entry.ask(super::link::Ask::Signal(stop_signal(&entry.record.config))).await;
            if tokio::time::timeout(timeout, entry.ended()).await.is_ok() {
                return Ok(());
            }
        }
        self.inner.kill(&entry).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), Error> {
        match self.inner.container(id) {
            Ok(entry) => self.inner.remove(&entry).await,
            Err(_) => Ok(()),
        }
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, Error> {
        Ok(self.inner.container(id)?.full_status())
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>, Error> {
        let all = self.inner.containers(|_| true).into_iter().map(|entry| entry.list_item());
        Ok(all.filter(|container| filter.matches(container)).collect())
    }

    async fn update_container_resources(&self, id: &ContainerId, _: &ContainerResources) -> Result<(), Error> {
        // There are no limits here, so there is none to change.
        self.inner.container(id).map(drop)
    }

    async fn reopen_container_log(&self, id: &ContainerId) -> Result<(), Error> {
        let log = self.inner.container(id)?.with_live(|live| live.log.clone())?;
        let reopened = log.map_or(Ok(()), |log| log.reopen());
        reopened.map_err(|error| Error::internal("cannot open the container's log", error))
    }
}

/// The number of the signal that asks a container to stop.
fn stop_signal(config: &ContainerConfig) -> i32 {
    let named = config.stop_signal.as_deref().and_then(|name| name.parse::<nix::sys::signal::Signal>().ok());
    named.unwrap_or(nix::sys::signal::Signal::SIGTERM) as i32
}

#[async_trait]
impl Images for ProcessRuntime {
    async fn pull_image(
        &self,
        image: &ImageSpec,
        _auth: Option<&AuthConfig>,
        _sandbox: Option<&PodSandboxConfig>,
    ) -> Result<ImageRef, Error> {
        if image.image.is_empty() || image.image.contains(char::is_whitespace) {
            return Err(Error::invalid(format!("invalid image name {:?}", image.image)));
        }
        // There is nothing to fetch: an image is but a name here.
        self.inner.tables().images.insert(image.image.clone());
        Ok(ImageRef(image.image.clone()))
    }

    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>, Error> {
        let known = is_hello(&image.image) || self.inner.tables().images.contains(&image.image);
        Ok(known.then(|| named_image(&image.image)))
    }

    async fn list_images(&self) -> Result<Vec<Image>, Error> {
        let mut names = self.inner.tables().images.clone();
        names.insert(hello::IMAGE.to_owned());
        Ok(names.iter().map(|name| named_image(name)).collect())
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<(), Error> {
        self.inner.tables().images.remove(&image.image);
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>, Error> {
        Ok(vec![FilesystemUsage::new(SystemTime::now(), &self.inner.disk.root, 0, 0)])
    }
}

fn named_image(name: &str) -> Image {
    let mut image = Image::new(ImageRef(name.to_owned()));
    image.repo_tags = vec![name.to_owned()];
    image.pinned = is_hello(name);
    image
}

impl ProcessRuntime {
    /// A number that no other `exec` has.
    pub(super) fn next_exec(&self) -> u64 {
        self.inner.next_exec.fetch_add(1, Ordering::Relaxed)
    }
}
