//! From the API's messages to this crate's types.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::messages as api;
use crate::{
    Container, ContainerMetadata, ContainerResources, ContainerState, ContainerStatus, FilesystemUsage, Image,
    ImageRef, ImageSpec, Mount, MountPropagation, PodSandbox, PodSandboxMetadata, PodSandboxState, PodSandboxStatus,
    SandboxId,
};

/// An instant in nanoseconds since 1970.
pub(super) fn time(nanos: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// The same, where 0 means never.
fn time_if_set(nanos: i64) -> Option<SystemTime> {
    (nanos > 0).then(|| time(nanos))
}

pub(super) fn number(value: &Option<api::UInt64Value>) -> Option<u64> {
    value.as_ref().map(|value| value.value)
}

pub(super) fn sandbox_metadata(metadata: Option<api::PodSandboxMetadata>) -> PodSandboxMetadata {
    let metadata = metadata.unwrap_or_default();
    let mut read = PodSandboxMetadata::new(metadata.namespace, metadata.name, metadata.uid);
    read.attempt = metadata.attempt;
    read
}

pub(super) fn container_metadata(metadata: Option<api::ContainerMetadata>) -> ContainerMetadata {
    let metadata = metadata.unwrap_or_default();
    ContainerMetadata::new(metadata.name, metadata.attempt)
}

pub(super) fn sandbox(sandbox: api::PodSandbox) -> PodSandbox {
    let metadata = sandbox_metadata(sandbox.metadata);
    let mut read = PodSandbox::new(SandboxId::new(sandbox.id), metadata, time(sandbox.created_at));
    if sandbox.state == api::SANDBOX_READY {
        read.state = PodSandboxState::Ready;
    }
    read.labels = sandbox.labels;
    read.annotations = sandbox.annotations;
    read.runtime_handler = sandbox.runtime_handler;
    read
}

pub(super) fn sandbox_status(status: api::PodSandboxStatus) -> PodSandboxStatus {
    let options = status.linux.and_then(|linux| linux.namespaces).and_then(|namespaces| namespaces.options);
    let network = status.network.unwrap_or_default();
    let ips = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    let mut read = PodSandboxStatus::new(sandbox(api::PodSandbox {
        id: status.id,
        metadata: status.metadata,
        state: status.state,
        created_at: status.created_at,
        labels: status.labels,
        annotations: status.annotations,
        runtime_handler: status.runtime_handler,
    }));
    read.host_network = options.is_some_and(|options| options.network == api::NAMESPACE_NODE);
    read.ips = ips.filter_map(|ip| ip.parse().ok()).collect();
    read
}

fn state(state: i32) -> ContainerState {
    match state {
        api::CONTAINER_CREATED => ContainerState::Created,
        api::CONTAINER_RUNNING => ContainerState::Running,
        api::CONTAINER_EXITED => ContainerState::Exited,
        _ => ContainerState::Unknown,
    }
}

fn image_spec(image: Option<api::ImageSpec>) -> ImageSpec {
    let image = image.unwrap_or_default();
    let mut read = ImageSpec::new(image.image);
    read.annotations = image.annotations;
    read.user_specified_image = image.user_specified_image;
    read.runtime_handler = image.runtime_handler;
    read
}

pub(super) fn container(container: api::Container) -> Container {
    let sandbox = SandboxId::new(container.pod_sandbox_id);
    let metadata = container_metadata(container.metadata);
    let mut read = Container::new(container.id.into(), sandbox, metadata, time(container.created_at));
    read.image = image_spec(container.image);
    read.image_ref = ImageRef(container.image_ref);
    read.state = state(container.state);
    read.labels = container.labels;
    read.annotations = container.annotations;
    read
}

pub(super) fn container_status(status: api::ContainerStatus) -> ContainerStatus {
    let mut read = ContainerStatus::new(container(api::Container {
        id: status.id,
        pod_sandbox_id: String::new(),
        metadata: status.metadata,
        image: status.image,
        image_ref: status.image_ref,
        state: status.state,
        created_at: status.created_at,
        labels: status.labels,
        annotations: status.annotations,
    }));
    read.finished_at = time_if_set(status.finished_at);
    // containerd notes a start when its own call returns: a short program may have ended before that.
    read.started_at = time_if_set(status.started_at).map(|start| read.finished_at.map_or(start, |end| start.min(end)));
    read.exit_code = status.exit_code;
    read.reason = status.reason;
    read.message = status.message;
    read.mounts = status.mounts.into_iter().map(mount).collect();
    read.log_path = (!status.log_path.is_empty()).then(|| PathBuf::from(status.log_path));
    read.resources = status.resources.and_then(|resources| resources.linux).map(resources);
    read
}

fn mount(mount: api::Mount) -> Mount {
    let mut read = Mount::new(mount.container_path, mount.host_path);
    read.readonly = mount.readonly;
    read.propagation = match mount.propagation {
        1 => MountPropagation::HostToContainer,
        2 => MountPropagation::Bidirectional,
        _ => MountPropagation::Private,
    };
    read
}

fn resources(resources: api::LinuxContainerResources) -> ContainerResources {
    let set = |number: i64| (number != 0).then_some(number);
    let said = |text: String| (!text.is_empty()).then_some(text);
    let pages = resources.hugepage_limits.into_iter();
    ContainerResources {
        cpu_period: set(resources.cpu_period),
        cpu_quota: set(resources.cpu_quota),
        cpu_shares: set(resources.cpu_shares),
        memory_limit_in_bytes: set(resources.memory_limit_in_bytes),
        memory_swap_limit_in_bytes: set(resources.memory_swap_limit_in_bytes),
        oom_score_adj: set(resources.oom_score_adj),
        cpuset_cpus: said(resources.cpuset_cpus),
        cpuset_mems: said(resources.cpuset_mems),
        hugepage_limits: pages.map(|page| (page.page_size, page.limit)).collect(),
        unified: resources.unified,
    }
}

pub(super) fn image(image: api::Image) -> Image {
    let mut read = Image::new(ImageRef(image.id));
    read.repo_tags = image.repo_tags;
    read.repo_digests = image.repo_digests;
    read.size = image.size;
    read.uid = image.uid.map(|uid| uid.value);
    read.username = image.username;
    read.pinned = image.pinned;
    read
}

pub(super) fn filesystem(usage: api::FilesystemUsage) -> FilesystemUsage {
    let mountpoint = usage.fs_id.map(|id| id.mountpoint).unwrap_or_default();
    let (bytes, inodes) = (number(&usage.used_bytes), number(&usage.inodes_used));
    FilesystemUsage::new(time(usage.timestamp), mountpoint, bytes.unwrap_or(0), inodes.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(started_at: i64, finished_at: i64) -> (Option<SystemTime>, Option<SystemTime>) {
        let read = container_status(api::ContainerStatus { started_at, finished_at, ..Default::default() });
        (read.started_at, read.finished_at)
    }

    #[test]
    fn a_container_has_not_ended_before_it_started() {
        assert_eq!(ran(0, 0), (None, None));
        assert_eq!(ran(20, 0), (Some(time(20)), None));
        assert_eq!(ran(20, 30), (Some(time(20)), Some(time(30))));
        assert_eq!(ran(30, 20), (Some(time(20)), Some(time(20))), "the runtime noted the start too late");
        assert_eq!(ran(0, 20), (None, Some(time(20))), "it never started");
    }
}
