//! The traits, over the state.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use tokio::{sync::broadcast, time::Instant};

use super::{Operation, SimRuntime, state::ContainerRecord};
use crate::{
    AuthConfig, Container, ContainerConfig, ContainerFilter, ContainerId, ContainerResources, ContainerState,
    ContainerStats, ContainerStatus, Containers, CpuUsage, Error, EventStream, FilesystemUsage, Image, ImageRef,
    ImageSpec, Images, MemoryUsage, PodAddressing, PodSandbox, PodSandboxConfig, PodSandboxFilter, PodSandboxState,
    PodSandboxStats, PodSandboxStatus, PodSandboxes, Runtime, RuntimeEvent, RuntimeStatus, RuntimeVersion, SandboxId,
    Stats, logs::LogFile,
};

#[async_trait]
impl Runtime for SimRuntime {
    async fn version(&self) -> Result<RuntimeVersion, Error> {
        self.admit(Operation::Version, "").await?;
        Ok(RuntimeVersion::new("sim", env!("CARGO_PKG_VERSION")))
    }

    async fn status(&self) -> Result<RuntimeStatus, Error> {
        self.admit(Operation::Status, "").await?;
        Ok(RuntimeStatus::ready(PodAddressing::Runtime))
    }
}

#[async_trait]
impl PodSandboxes for SimRuntime {
    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId, Error> {
        let metadata = &config.metadata;
        self.admit(Operation::RunPodSandbox, format!("{}/{}", metadata.namespace, metadata.name)).await?;
        self.change(|state, now| state.run_sandbox(config, now))
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        self.admit(Operation::StopPodSandbox, id).await?;
        self.change(|state, now| state.stop_sandbox(id, now));
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        self.admit(Operation::RemovePodSandbox, id).await?;
        self.change(|state, now| state.remove_sandbox(id, now));
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus, Error> {
        self.admit(Operation::PodSandboxStatus, id).await?;
        let status = self.change(|state, _| state.sandboxes.get(id).map(|record| record.status.clone()));
        status.ok_or_else(|| Error::sandbox_not_found(id))
    }

    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>, Error> {
        self.admit(Operation::ListPodSandboxes, "").await?;
        Ok(self.change(|state, _| {
            let all = state.sandboxes.values().map(|record| &record.status.sandbox);
            all.filter(|sandbox| filter.matches(sandbox)).cloned().collect()
        }))
    }
}

#[async_trait]
impl Containers for SimRuntime {
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId, Error> {
        self.admit(Operation::CreateContainer, &config.metadata.name).await?;
        let log = config.log_file(sandbox_config).map(LogFile::open).transpose();
        let log = log.map_err(|error| Error::internal("cannot open the container's log", error))?;
        let usage = (self.inner.config.usage_nano_cores, self.inner.config.working_set_bytes);
        self.change(|state, now| state.create(sandbox, config, log, usage, now))
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), Error> {
        self.admit(Operation::StartContainer, id).await?;
        self.change(|state, now| state.start(id, now))
    }

    async fn stop_container(&self, id: &ContainerId, timeout: Duration) -> Result<(), Error> {
        self.admit(Operation::StopContainer, id).await?;
        let deadline = Instant::now() + timeout;
        let mut changes = self.inner.changes.subscribe();
        let lives = !timeout.is_zero() && self.change(|state, now| state.terminate(id, now));
        while lives && self.is_running(id) {
            tokio::select! {
                () = self.changed(&mut changes) => {}
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        self.change(|state, now| state.kill(id, now));
        Ok(())
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), Error> {
        self.admit(Operation::RemoveContainer, id).await?;
        self.change(|state, now| state.remove_container(id, now));
        Ok(())
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, Error> {
        self.admit(Operation::ContainerStatus, id).await?;
        let status = self.change(|state, _| state.containers.get(id).map(|record| record.status.clone()));
        status.ok_or_else(|| Error::container_not_found(id))
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>, Error> {
        self.admit(Operation::ListContainers, "").await?;
        Ok(self.change(|state, _| {
            let all = state.containers.values().map(|record| &record.status.container);
            all.filter(|container| filter.matches(container)).cloned().collect()
        }))
    }

    async fn update_container_resources(&self, id: &ContainerId, resources: &ContainerResources) -> Result<(), Error> {
        self.admit(Operation::UpdateContainerResources, id).await?;
        self.change(|state, _| {
            let record = state.containers.get_mut(id).ok_or_else(|| Error::container_not_found(id))?;
            record.status.resources.get_or_insert_default().merge(resources);
            Ok(())
        })
    }

    async fn reopen_container_log(&self, id: &ContainerId) -> Result<(), Error> {
        self.admit(Operation::ReopenContainerLog, id).await?;
        self.change(|state, _| {
            let record = state.containers.get(id).ok_or_else(|| Error::container_not_found(id))?;
            record.must_run()?;
            let reopened = record.log.as_ref().map_or(Ok(()), LogFile::reopen);
            reopened.map_err(|error| Error::internal("cannot open the container's log", error))
        })
    }
}

#[async_trait]
impl Images for SimRuntime {
    async fn pull_image(
        &self,
        image: &ImageSpec,
        _auth: Option<&AuthConfig>,
        _sandbox: Option<&PodSandboxConfig>,
    ) -> Result<ImageRef, Error> {
        self.admit(Operation::PullImage, &image.image).await?;
        if image.image.is_empty() || image.image.contains(char::is_whitespace) {
            return Err(Error::invalid(format!("invalid image name {:?}", image.image)));
        }
        let pullable = self.inner.config.pullable;
        let pulled = self.change(|state, _| match state.image(image) {
            Some(image) => Some(image.id.clone()),
            None => pullable.then(|| state.add_image(&image.image)),
        });
        pulled.ok_or_else(|| Error::ImagePull { image: image.image.clone(), message: "not found".to_owned() })
    }

    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>, Error> {
        self.admit(Operation::ImageStatus, &image.image).await?;
        Ok(self.change(|state, _| state.image(image).cloned()))
    }

    async fn list_images(&self) -> Result<Vec<Image>, Error> {
        self.admit(Operation::ListImages, "").await?;
        Ok(self.change(|state, _| state.images.values().cloned().collect()))
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<(), Error> {
        self.admit(Operation::RemoveImage, &image.image).await?;
        self.change(|state, _| {
            let id = state.image(image).map(|image| image.id.clone());
            state.images.retain(|_, image| Some(&image.id) != id.as_ref());
        });
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>, Error> {
        self.admit(Operation::ImageFsInfo, "").await?;
        Ok(self.change(|state, now| {
            let used = state.images.values().map(|image| image.size).sum();
            vec![FilesystemUsage::new(now, "/", used, u64::try_from(state.images.len()).unwrap_or(u64::MAX))]
        }))
    }
}

#[async_trait]
impl Stats for SimRuntime {
    async fn container_stats(&self, id: &ContainerId) -> Result<ContainerStats, Error> {
        self.admit(Operation::ContainerStats, id).await?;
        let stats = self.change(|state, now| state.containers.get(id).map(|record| record.stats(now)));
        stats.ok_or_else(|| Error::container_not_found(id))
    }

    async fn list_container_stats(&self, filter: &ContainerFilter) -> Result<Vec<ContainerStats>, Error> {
        self.admit(Operation::ListContainerStats, "").await?;
        Ok(self.change(|state, now| {
            let all = state.containers.values().filter(|record| record.is_running());
            all.filter(|record| filter.matches(&record.status.container)).map(|record| record.stats(now)).collect()
        }))
    }

    async fn pod_sandbox_stats(&self, id: &SandboxId) -> Result<PodSandboxStats, Error> {
        self.admit(Operation::PodSandboxStats, id).await?;
        self.pod_stats(id).ok_or_else(|| Error::sandbox_not_found(id))
    }

    async fn list_pod_sandbox_stats(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>, Error> {
        self.admit(Operation::ListPodSandboxStats, "").await?;
        let ids: Vec<_> = self.change(|state, _| {
            let all = state.sandboxes.values().map(|record| &record.status.sandbox);
            let ready = all.filter(|sandbox| sandbox.state == PodSandboxState::Ready && filter.matches(sandbox));
            ready.map(|sandbox| sandbox.id.clone()).collect()
        });
        Ok(ids.iter().filter_map(|id| self.pod_stats(id)).collect())
    }

    async fn events(&self) -> Result<EventStream, Error> {
        self.admit(Operation::Events, "").await?;
        let (events, changes) = (self.inner.events.subscribe(), self.inner.changes.subscribe());
        let start = (self.clone(), events, changes);
        let stream = futures::stream::unfold(start, |(runtime, mut events, mut changes)| async move {
            loop {
                match events.try_recv() {
                    Ok(event) => {
                        return Some((RuntimeEvent::Container(event), (runtime, events, changes)));
                    }
                    Err(broadcast::error::TryRecvError::Lagged(_)) => {
                        // What is still buffered is older than the list that the reader makes now.
                        events = events.resubscribe();
                        return Some((RuntimeEvent::Resync, (runtime, events, changes)));
                    }
                    Err(broadcast::error::TryRecvError::Closed) => return None,
                    Err(broadcast::error::TryRecvError::Empty) => runtime.changed(&mut changes).await,
                }
            }
        });
        Ok(stream.boxed())
    }
}

impl SimRuntime {
    pub(super) fn is_running(&self, id: &ContainerId) -> bool {
        self.change(|state, _| state.containers.get(id).is_some_and(ContainerRecord::is_running))
    }

    fn pod_stats(&self, id: &SandboxId) -> Option<PodSandboxStats> {
        self.change(|state, now| {
            let sandbox = &state.sandboxes.get(id)?.status.sandbox;
            let mut stats = PodSandboxStats::new(id.clone(), sandbox.metadata.clone());
            stats.labels.clone_from(&sandbox.labels);
            let inside = state.containers.values().filter(|record| record.status.container.sandbox_id == *id);
            stats.containers = inside.filter(|record| record.is_running()).map(|record| record.stats(now)).collect();
            let cpu = stats.containers.iter().filter_map(|container| container.cpu.as_ref());
            let mut total = CpuUsage::new(now, cpu.clone().map(|cpu| cpu.usage_core_nano_seconds).sum());
            total.usage_nano_cores = Some(cpu.filter_map(|cpu| cpu.usage_nano_cores).sum());
            stats.cpu = Some(total);
            let memory = stats.containers.iter().filter_map(|container| container.memory.as_ref());
            stats.memory = Some(MemoryUsage::new(now, memory.map(|memory| memory.working_set_bytes).sum()));
            stats.process_count = Some(u64::try_from(stats.containers.len()).unwrap_or(u64::MAX));
            Some(stats)
        })
    }
}

impl ContainerRecord {
    pub(super) fn is_running(&self) -> bool {
        self.status.container.state == ContainerState::Running
    }

    pub(super) fn must_run(&self) -> Result<(), Error> {
        if self.is_running() {
            return Ok(());
        }
        let (id, state) = (&self.status.container.id, self.status.container.state);
        Err(Error::precondition(format!("container {id} is {state:?}, not Running")))
    }

    fn stats(&self, now: std::time::SystemTime) -> ContainerStats {
        let container = &self.status.container;
        let mut stats = ContainerStats::new(container.id.clone(), container.metadata.clone());
        stats.labels.clone_from(&container.labels);
        let (cores, bytes) = if self.is_running() { self.usage } else { (0, 0) };
        let mut cpu = CpuUsage::new(now, self.cpu_used(now));
        cpu.usage_nano_cores = Some(cores);
        stats.cpu = Some(cpu);
        stats.memory = Some(MemoryUsage::new(now, bytes));
        stats
    }
}
