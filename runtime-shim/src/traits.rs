//! The contract, split by capability: sandboxes, containers, images, streams, stats; summed by [`Runtime`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    AttachOptions, AuthConfig, Container, ContainerConfig, ContainerFilter, ContainerId, ContainerResources,
    ContainerStats, ContainerStatus, DuplexStream, Error, EventStream, ExecOptions, ExecOutput, FilesystemUsage, Image,
    ImageRef, ImageSpec, PodSandbox, PodSandboxConfig, PodSandboxFilter, PodSandboxStats, PodSandboxStatus,
    RuntimeStatus, RuntimeVersion, SandboxId, StreamSession,
};

/// Pod sandboxes: what a pod's containers share.
#[async_trait]
pub trait PodSandboxes: Send + Sync + 'static {
    /// Makes and starts a sandbox.
    ///
    /// On return it is [`Ready`](crate::PodSandboxState::Ready), listed, and has its addresses. On error nothing is
    /// left of it. A second sandbox of the same pod and attempt gets [`Error::AlreadyExists`].
    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId, Error>;

    /// Stops a sandbox: kills its running containers at once, and gives back its network.
    ///
    /// On return none of its processes live, and it is listed as
    /// [`NotReady`](crate::PodSandboxState::NotReady) until removed. May be repeated; a sandbox that is not there is
    /// no error. Stop containers gently before, with [`Containers::stop_container`].
    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<(), Error>;

    /// Removes a sandbox with all its containers, stopping it first where needed.
    ///
    /// On return neither it nor its containers are listed, and nothing of them is left on the node but logs.
    /// May be repeated; a sandbox that is not there is no error.
    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<(), Error>;

    /// A sandbox's state and addresses, or [`Error::NotFound`].
    async fn pod_sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus, Error>;

    /// The sandboxes that match, stopped ones too, in no particular order.
    async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>, Error>;
}

/// Containers: one program each, run once. To restart one is to make the next attempt of it.
#[async_trait]
pub trait Containers: Send + Sync + 'static {
    /// Makes a container in a ready sandbox; it does not run yet.
    ///
    /// `sandbox_config` is the one the sandbox was made with. [`Error::NotFound`] without the sandbox,
    /// [`Error::ImageNotFound`] without the image, [`Error::AlreadyExists`] for a second one of the same name and
    /// attempt in the sandbox, [`Error::InvalidArgument`] when it could never run. On error nothing is left of it.
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId, Error>;

    /// Starts a container that was made and not yet started; anything else is [`Error::FailedPrecondition`].
    ///
    /// On return its program was started (and may have ended). When the program cannot be started, the error is
    /// [`Error::Start`] and the container is exited, with code 128 and reason
    /// [`StartError`](crate::reason::START_ERROR).
    async fn start_container(&self, id: &ContainerId) -> Result<(), Error>;

    /// Stops a container: asks (`SIGTERM`, or its own stop signal), waits up to `timeout`, then kills.
    ///
    /// On return it is exited, and every process it started is gone. A zero timeout kills at once. May be repeated; a
    /// container that was never started (and stays as it is), has exited, or is not there is no error.
    async fn stop_container(&self, id: &ContainerId, timeout: Duration) -> Result<(), Error>;

    /// Removes a container, killing it first where needed; its log stays. May be repeated; a container that is not
    /// there is no error.
    async fn remove_container(&self, id: &ContainerId) -> Result<(), Error>;

    /// A container's state and fate, or [`Error::NotFound`].
    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, Error>;

    /// The containers that match, exited ones too, in no particular order.
    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>, Error>;

    /// Changes the limits of a container that was not removed; `None`s stay as they are.
    async fn update_container_resources(&self, id: &ContainerId, resources: &ContainerResources) -> Result<(), Error>;

    /// Opens a running container's log file anew, after the caller moved the old one away.
    ///
    /// On return the next line goes to a new file of the old name; no line is lost or torn. On error no new file is
    /// made. A container that does not run is [`Error::FailedPrecondition`].
    async fn reopen_container_log(&self, id: &ContainerId) -> Result<(), Error>;
}

/// Images.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// Fetches an image, and says how it was resolved. One that is there already is checked for a newer one.
    /// Fails with [`Error::ImagePull`], or [`Error::InvalidArgument`] for a name that can be none.
    async fn pull_image(
        &self,
        image: &ImageSpec,
        auth: Option<&AuthConfig>,
        sandbox: Option<&PodSandboxConfig>,
    ) -> Result<ImageRef, Error>;

    /// The image of this name or id, or `None`.
    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>, Error>;

    /// Every image.
    async fn list_images(&self) -> Result<Vec<Image>, Error>;

    /// Removes an image. One that is not there is no error.
    async fn remove_image(&self, image: &ImageSpec) -> Result<(), Error>;

    /// What the file systems that hold images use.
    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>, Error>;
}

/// Ways into a container. What does not run is [`Error::FailedPrecondition`], what is not there [`Error::NotFound`].
#[async_trait]
pub trait Streams: Send + Sync + 'static {
    /// Runs a command in a container to its end and gives back what it said.
    ///
    /// An exit code other than 0 is no error. With a timeout, a command still running then is killed and the answer is
    /// [`Error::Timeout`]. A command that is not there is an error too, or an exit code of 126 or 127: runtimes differ.
    async fn exec_sync(&self, id: &ContainerId, cmd: &[String], timeout: Option<Duration>)
    -> Result<ExecOutput, Error>;

    /// Runs a command in a container and hands out its streams.
    async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<StreamSession, Error>;

    /// Hands out the streams of a container's first process, from now on. Several may be attached at once.
    async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<StreamSession, Error>;

    /// Connects to a TCP port of a pod.
    async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<DuplexStream, Error>;
}

/// What containers use, and what happens to them.
#[async_trait]
pub trait Stats: Send + Sync + 'static {
    /// What a container uses, or [`Error::NotFound`].
    async fn container_stats(&self, id: &ContainerId) -> Result<ContainerStats, Error>;

    /// What the running containers that match use.
    async fn list_container_stats(&self, filter: &ContainerFilter) -> Result<Vec<ContainerStats>, Error>;

    /// What a pod uses, or [`Error::NotFound`].
    async fn pod_sandbox_stats(&self, id: &SandboxId) -> Result<PodSandboxStats, Error>;

    /// What the ready pods that match use.
    async fn list_pod_sandbox_stats(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>, Error>;

    /// Changes of containers from now on, each container's in order.
    ///
    /// The buffer behind the stream is bounded. A reader too slow for it gets
    /// [`Resync`](crate::RuntimeEvent::Resync) in place of what was lost. An event is a hint: read the state itself.
    /// It may come late, but comes after the state it tells of can be read.
    async fn events(&self) -> Result<EventStream, Error>;
}

/// A container runtime: all the capabilities together.
///
/// # Contract
///
/// - Calls may come from many tasks at once. Calls about different objects do not wait for one another; calls about
///   one object take effect in some order.
/// - What a call returned is seen by every later call.
/// - A call that is dropped before it returns may have taken effect or not, and leaves nothing half made that
///   `list_…` does not show.
/// - Ids are the runtime's own, unique over its life, restarts of the hosting process too.
/// - A container's log is in the CRI's format (see [`logs`](crate::logs)) at
///   [`ContainerConfig::log_file`](crate::ContainerConfig::log_file), complete when the container is seen exited.
/// - Sandboxes and containers outlive the caller's connection: after a restart, list, and remove what is not wanted.
#[async_trait]
pub trait Runtime: PodSandboxes + Containers + Images + Streams + Stats {
    /// What the runtime is.
    async fn version(&self) -> Result<RuntimeVersion, Error>;

    /// How the runtime is: the kubelet's node is ready only while this says so.
    async fn status(&self) -> Result<RuntimeStatus, Error>;
}

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: PodSandboxes + ?Sized> PodSandboxes for $pointer<T> {
            async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId, Error> {
                (**self).run_pod_sandbox(config).await
            }

            async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
                (**self).stop_pod_sandbox(id).await
            }

            async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
                (**self).remove_pod_sandbox(id).await
            }

            async fn pod_sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus, Error> {
                (**self).pod_sandbox_status(id).await
            }

            async fn list_pod_sandboxes(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandbox>, Error> {
                (**self).list_pod_sandboxes(filter).await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Containers + ?Sized> Containers for $pointer<T> {
            async fn create_container(
                &self,
                sandbox: &SandboxId,
                config: &ContainerConfig,
                sandbox_config: &PodSandboxConfig,
            ) -> Result<ContainerId, Error> {
                (**self).create_container(sandbox, config, sandbox_config).await
            }

            async fn start_container(&self, id: &ContainerId) -> Result<(), Error> {
                (**self).start_container(id).await
            }

            async fn stop_container(&self, id: &ContainerId, timeout: Duration) -> Result<(), Error> {
                (**self).stop_container(id, timeout).await
            }

            async fn remove_container(&self, id: &ContainerId) -> Result<(), Error> {
                (**self).remove_container(id).await
            }

            async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, Error> {
                (**self).container_status(id).await
            }

            async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>, Error> {
                (**self).list_containers(filter).await
            }

            async fn update_container_resources(
                &self,
                id: &ContainerId,
                resources: &ContainerResources,
            ) -> Result<(), Error> {
                (**self).update_container_resources(id, resources).await
            }

            async fn reopen_container_log(&self, id: &ContainerId) -> Result<(), Error> {
                (**self).reopen_container_log(id).await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Images + ?Sized> Images for $pointer<T> {
            async fn pull_image(
                &self,
                image: &ImageSpec,
                auth: Option<&AuthConfig>,
                sandbox: Option<&PodSandboxConfig>,
            ) -> Result<ImageRef, Error> {
                (**self).pull_image(image, auth, sandbox).await
            }

            async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>, Error> {
                (**self).image_status(image).await
            }

            async fn list_images(&self) -> Result<Vec<Image>, Error> {
                (**self).list_images().await
            }

            async fn remove_image(&self, image: &ImageSpec) -> Result<(), Error> {
                (**self).remove_image(image).await
            }

            async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>, Error> {
                (**self).image_fs_info().await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Streams + ?Sized> Streams for $pointer<T> {
            async fn exec_sync(
                &self,
                id: &ContainerId,
                cmd: &[String],
                timeout: Option<Duration>,
            ) -> Result<ExecOutput, Error> {
                (**self).exec_sync(id, cmd, timeout).await
            }

            async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<StreamSession, Error> {
                (**self).exec(id, options).await
            }

            async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<StreamSession, Error> {
                (**self).attach(id, options).await
            }

            async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<DuplexStream, Error> {
                (**self).port_forward(id, port).await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Stats + ?Sized> Stats for $pointer<T> {
            async fn container_stats(&self, id: &ContainerId) -> Result<ContainerStats, Error> {
                (**self).container_stats(id).await
            }

            async fn list_container_stats(&self, filter: &ContainerFilter) -> Result<Vec<ContainerStats>, Error> {
                (**self).list_container_stats(filter).await
            }

            async fn pod_sandbox_stats(&self, id: &SandboxId) -> Result<PodSandboxStats, Error> {
                (**self).pod_sandbox_stats(id).await
            }

            async fn list_pod_sandbox_stats(&self, filter: &PodSandboxFilter) -> Result<Vec<PodSandboxStats>, Error> {
                (**self).list_pod_sandbox_stats(filter).await
            }

            async fn events(&self) -> Result<EventStream, Error> {
                (**self).events().await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Runtime + ?Sized> Runtime for $pointer<T> {
            async fn version(&self) -> Result<RuntimeVersion, Error> {
                (**self).version().await
            }

            async fn status(&self) -> Result<RuntimeStatus, Error> {
                (**self).status().await
            }
        }
    };
}

forward!(Arc);
forward!(Box);

/// Holds the promise that `Arc<dyn Runtime>` is a `Runtime`.
const _: () = {
    const fn is_runtime<T: Runtime>() {}
    is_runtime::<Arc<dyn Runtime>>();
    is_runtime::<Box<dyn Runtime>>();
};
