//! The traits for sandboxes, containers and images.

use std::{
    io::Read as _,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{
    ProcessRuntime,
    container::{Entry, Plan},
    create::{self, Place, is_hello, marker},
    disk::{ContainerRecord, SandboxRecord, StatusRecord},
    hello,
};
use crate::{
    AuthConfig, Container, ContainerConfig, ContainerEventType, ContainerFilter, ContainerId, ContainerResources,
    ContainerState, ContainerStatus, Containers, Error, FilesystemUsage, Image, ImageRef, ImageSpec, Images, Kind,
    PodSandbox, PodSandboxConfig, PodSandboxFilter, PodSandboxState, PodSandboxStatus, PodSandboxes, SandboxId,
};

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

/// An id that no other has: 64 hexadecimal digits of the system's randomness.
fn new_id() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|error| Error::internal("cannot read randomness", error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn sandbox_name(config: &PodSandboxConfig) -> String {
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
