//! The traits for the runtime itself, sandboxes, containers and images.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    CriRuntime, convert,
    messages::{self as api, Empty},
    read,
};
use crate::{
    AuthConfig, Container, ContainerConfig, ContainerFilter, ContainerId, ContainerResources, ContainerState,
    ContainerStatus, Containers, Error, FilesystemUsage, Image, ImageRef, ImageSpec, Images, PodAddressing, PodSandbox,
    PodSandboxConfig, PodSandboxFilter, PodSandboxStatus, PodSandboxes, Runtime, RuntimeCondition, RuntimeStatus,
    RuntimeVersion, SandboxId, reason,
};

/// How much longer than usual the kubelet lets a sandbox take: its network is made by other programs.
const SANDBOX_PATIENCE: Duration = Duration::from_secs(120);

/// Takes what is not there for done.
fn unless_gone(result: Result<Empty, Error>) -> Result<(), Error> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// The API counts in seconds; a fraction is given as a whole one.
pub(super) fn seconds(time: Duration) -> i64 {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX)
}

#[async_trait]
impl Runtime for CriRuntime {
    async fn version(&self) -> Result<RuntimeVersion, Error> {
        let question = api::VersionRequest { version: "v1".to_owned() };
        let answer: api::VersionResponse = self.call("Version", question).await?;
        let mut version = RuntimeVersion::new(answer.runtime_name, answer.runtime_version);
        version.runtime_api_version = answer.runtime_api_version;
        Ok(version)
    }

    async fn status(&self) -> Result<RuntimeStatus, Error> {
        let answer: api::StatusResponse = self.call("Status", api::StatusRequest { verbose: false }).await?;
        let conditions = answer.status.unwrap_or_default().conditions.into_iter();
        let mut status = RuntimeStatus::default();
        status.conditions = conditions
            .map(|condition| {
                let mut read = RuntimeCondition::unwell(condition.r#type, condition.reason, condition.message);
                read.status = condition.status;
                read
            })
            .collect();
        status.pod_addressing = PodAddressing::Runtime;
        let handlers = answer.runtime_handlers.into_iter().map(|handler| handler.name);
        status.runtime_handlers = handlers.filter(|name| !name.is_empty()).collect();
        Ok(status)
    }
}

#[async_trait]
impl PodSandboxes for CriRuntime {
    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId, Error> {
        let question = api::RunPodSandboxRequest {
            config: Some(convert::sandbox_config(config)),
            runtime_handler: config.runtime_handler.clone(),
        };
        if let Some(directory) = &config.log_directory {
            // Whoever asks for logs makes their directory: the runtimes leave that to the kubelet.
            let made = tokio::fs::create_dir_all(directory).await;
            made.map_err(|error| Error::internal(format!("cannot make {}", directory.display()), error))?;
        }
        let answer: api::RunPodSandboxResponse = self.call_for("RunPodSandbox", question, SANDBOX_PATIENCE).await?;
        Ok(SandboxId::new(answer.pod_sandbox_id))
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        let question = api::StopPodSandboxRequest { pod_sandbox_id: id.to_string() };
        unless_gone(self.call_for("StopPodSandbox", question, SANDBOX_PATIENCE).await)
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        // Some runtimes refuse to remove what was not stopped.
        self.stop_pod_sandbox(id).await?;
        let question = api::RemovePodSandboxRequest { pod_sandbox_id: id.to_string() };
        unless_gone(self.call_for("RemovePodSandbox", question, SANDBOX_PATIENCE).await)
    }

    async fn pod_sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus, Error> {
        let question = api::PodSandboxStatusRequest { pod_sandbox_id: id.to_string(), verbose: false };
        let answer: api::PodSandboxStatusResponse = self.call("PodSandboxStatus", question).await?;
        answer.status.map(read::sandbox_status).ok_or_else(|| Error::sandbox_not_found(id))
    }

    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>, Error> {
        let question = api::ListPodSandboxRequest { filter: Some(convert::sandbox_filter(filter)) };
        let answer: api::ListPodSandboxResponse = self.call("ListPodSandbox", question).await?;
        let read = answer.items.into_iter().map(read::sandbox);
        // Runtimes take the beginning of an id for the id.
        Ok(read.filter(|sandbox| filter.matches(sandbox)).collect())
    }
}

impl CriRuntime {
    /// What a failed start means: mostly that the program is at fault, which the container's state tells.
    async fn start_error(&self, id: &ContainerId, error: Error) -> Error {
        if !matches!(error, Error::Internal { .. } | Error::InvalidArgument { .. } | Error::NotFound { .. }) {
            return error;
        }
        match self.container_status(id).await {
            Ok(status) if status.reason == reason::START_ERROR || status.container.state == ContainerState::Exited => {
                Error::Start { id: id.to_string(), message: error.to_string() }
            }
            _ => error,
        }
    }
}

#[async_trait]
impl Containers for CriRuntime {
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId, Error> {
        if let Some(directory) = config.log_file(sandbox_config).as_deref().and_then(std::path::Path::parent) {
            let made = tokio::fs::create_dir_all(directory).await;
            made.map_err(|error| Error::internal(format!("cannot make {}", directory.display()), error))?;
        }
        let question = api::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_string(),
            config: Some(convert::container_config(config)),
            sandbox_config: Some(convert::sandbox_config(sandbox_config)),
        };
        let answer: Result<api::CreateContainerResponse, _> = self.call("CreateContainer", question).await;
        match answer {
            Ok(answer) => Ok(ContainerId::new(answer.container_id)),
            Err(Error::ImageNotFound { .. }) => Err(Error::ImageNotFound { image: config.image.image.clone() }),
            Err(error) => Err(error),
        }
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), Error> {
        let question = api::StartContainerRequest { container_id: id.to_string() };
        match self.call::<_, Empty>("StartContainer", question).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.start_error(id, error).await),
        }
    }

    async fn stop_container(&self, id: &ContainerId, timeout: Duration) -> Result<(), Error> {
        let question = api::StopContainerRequest { container_id: id.to_string(), timeout: seconds(timeout) };
        unless_gone(self.call_for("StopContainer", question, timeout).await)
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), Error> {
        // Some runtimes refuse to remove what runs.
        self.stop_container(id, Duration::ZERO).await?;
        let question = api::RemoveContainerRequest { container_id: id.to_string() };
        unless_gone(self.call("RemoveContainer", question).await)
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, Error> {
        let question = api::ContainerStatusRequest { container_id: id.to_string(), verbose: false };
        let answer: api::ContainerStatusResponse = self.call("ContainerStatus", question).await?;
        answer.status.map(read::container_status).ok_or_else(|| Error::container_not_found(id))
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>, Error> {
        let question = api::ListContainersRequest { filter: Some(convert::container_filter(filter)) };
        let answer: api::ListContainersResponse = self.call("ListContainers", question).await?;
        let read = answer.containers.into_iter().map(read::container);
        Ok(read.filter(|container| filter.matches(container)).collect())
    }

    async fn update_container_resources(&self, id: &ContainerId, resources: &ContainerResources) -> Result<(), Error> {
        let question = api::UpdateContainerResourcesRequest {
            container_id: id.to_string(),
            linux: Some(convert::resources(resources)),
            annotations: std::collections::BTreeMap::new(),
        };
        self.call::<_, Empty>("UpdateContainerResources", question).await.map(drop)
    }

    async fn reopen_container_log(&self, id: &ContainerId) -> Result<(), Error> {
        let question = api::ReopenContainerLogRequest { container_id: id.to_string() };
        self.call::<_, Empty>("ReopenContainerLog", question).await.map(drop)
    }
}

#[async_trait]
impl Images for CriRuntime {
    async fn pull_image(
        &self,
        image: &ImageSpec,
        auth: Option<&AuthConfig>,
        sandbox: Option<&PodSandboxConfig>,
    ) -> Result<ImageRef, Error> {
        let question = api::PullImageRequest {
            image: Some(convert::image(image)),
            auth: auth.map(convert::auth),
            sandbox_config: sandbox.map(convert::sandbox_config),
        };
        let answer = self.call_without_limit::<_, api::PullImageResponse>("ImageService", "PullImage", question).await;
        match answer {
            Ok(answer) => Ok(ImageRef(answer.image_ref)),
            Err(error @ (Error::Unavailable { .. } | Error::InvalidArgument { .. })) => Err(error),
            Err(error) => Err(Error::ImagePull { image: image.image.clone(), message: error.to_string() }),
        }
    }

    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>, Error> {
        let question = api::ImageStatusRequest { image: Some(convert::image(image)), verbose: false };
        match self.call_images::<_, api::ImageStatusResponse>("ImageStatus", question).await {
            Ok(answer) => Ok(answer.image.map(read::image)),
            Err(Error::ImageNotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list_images(&self) -> Result<Vec<Image>, Error> {
        let answer: api::ListImagesResponse = self.call_images("ListImages", api::ListImagesRequest {}).await?;
        Ok(answer.images.into_iter().map(read::image).collect())
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<(), Error> {
        let question = api::RemoveImageRequest { image: Some(convert::image(image)) };
        match self.call_images::<_, Empty>("RemoveImage", question).await {
            Err(error) if !matches!(error, Error::ImageNotFound { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>, Error> {
        let answer: api::ImageFsInfoResponse = self.call_images("ImageFsInfo", Empty {}).await?;
        Ok(answer.image_filesystems.into_iter().map(read::filesystem).collect())
    }
}
