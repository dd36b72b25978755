//! From this crate's types to the API's messages.

use super::messages as api;
use crate::{
    AuthConfig, ContainerConfig, ContainerFilter, ContainerMetadata, ContainerResources, ContainerState, Device,
    DnsConfig, ImageSpec, Mount, MountPropagation, NamespaceMode, NamespaceOptions, PodSandboxConfig, PodSandboxFilter,
    PodSandboxMetadata, PodSandboxState, PortMapping, Protocol, SecurityContext, SecurityProfile,
};

/// The API numbers signals by their place in this list, from 1.
const SIGNALS: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP \
                       SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ";

fn signal(name: Option<&str>) -> i32 {
    let wanted = name.map(|name| name.strip_prefix("SIG").unwrap_or(name));
    let at = wanted.and_then(|wanted| SIGNALS.split_whitespace().position(|name| name == wanted));
    at.and_then(|at| i32::try_from(at + 1).ok()).unwrap_or(0)
}

fn int64(value: Option<i64>) -> Option<api::Int64Value> {
    value.map(|value| api::Int64Value { value })
}

pub(super) fn sandbox_config(config: &PodSandboxConfig) -> api::PodSandboxConfig {
    api::PodSandboxConfig {
        metadata: Some(sandbox_metadata(&config.metadata)),
        hostname: config.hostname.clone(),
        log_directory: config.log_directory.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        dns_config: config.dns_config.as_ref().map(dns),
        port_mappings: config.port_mappings.iter().map(port_mapping).collect(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        linux: Some(api::LinuxPodSandboxConfig {
            cgroup_parent: config.cgroup_parent.clone().unwrap_or_default(),
            security_context: Some(sandbox_security(&config.security)),
            sysctls: config.sysctls.clone(),
            resources: config.resources.as_ref().map(resources),
        }),
    }
}

fn sandbox_metadata(metadata: &PodSandboxMetadata) -> api::PodSandboxMetadata {
    api::PodSandboxMetadata {
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        attempt: metadata.attempt,
    }
}

fn dns(dns: &DnsConfig) -> api::DnsConfig {
    api::DnsConfig { servers: dns.servers.clone(), searches: dns.searches.clone(), options: dns.options.clone() }
}

fn port_mapping(mapping: &PortMapping) -> api::PortMapping {
    api::PortMapping {
        protocol: match mapping.protocol {
            Protocol::Tcp => 0,
            Protocol::Udp => 1,
            Protocol::Sctp => 2,
        },
        container_port: mapping.container_port.into(),
        host_port: mapping.host_port.unwrap_or(0).into(),
        host_ip: mapping.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    }
}

fn namespaces(options: &NamespaceOptions) -> api::NamespaceOption {
    let mut target_id = String::new();
    let mut mode = |mode: &NamespaceMode| match mode {
        NamespaceMode::Pod => api::NAMESPACE_POD,
        NamespaceMode::Container => api::NAMESPACE_CONTAINER,
        NamespaceMode::Node => api::NAMESPACE_NODE,
        NamespaceMode::Target(id) => {
            id.as_str().clone_into(&mut target_id);
            api::NAMESPACE_TARGET
        }
    };
    let (network, pid, ipc) = (mode(&options.network), mode(&options.pid), mode(&options.ipc));
    api::NamespaceOption { network, pid, ipc, target_id }
}

fn profile(profile: &SecurityProfile) -> api::SecurityProfile {
    let (profile_type, localhost_ref) = match profile {
        SecurityProfile::RuntimeDefault => (api::PROFILE_RUNTIME_DEFAULT, String::new()),
        SecurityProfile::Unconfined => (api::PROFILE_UNCONFINED, String::new()),
        SecurityProfile::Localhost(name) => (api::PROFILE_LOCALHOST, name.clone()),
    };
    api::SecurityProfile { profile_type, localhost_ref }
}

/// A runtime without AppArmor takes no offence at a profile that is not mentioned.
fn apparmor(wanted: &SecurityProfile) -> Option<api::SecurityProfile> {
    (*wanted != SecurityProfile::Unconfined).then(|| profile(wanted))
}

fn sandbox_security(security: &SecurityContext) -> api::LinuxSandboxSecurityContext {
    api::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(&security.namespaces)),
        run_as_user: int64(security.run_as_user),
        run_as_group: int64(security.run_as_group),
        readonly_rootfs: security.readonly_rootfs,
        supplemental_groups: security.supplemental_groups.clone(),
        privileged: security.privileged,
        seccomp: Some(profile(&security.seccomp)),
        apparmor: apparmor(&security.apparmor),
    }
}

fn container_security(security: &SecurityContext) -> api::LinuxContainerSecurityContext {
    let paths = |paths: &[String]| if security.privileged { Vec::new() } else { paths.to_vec() };
    api::LinuxContainerSecurityContext {
        capabilities: Some(api::Capability {
            add_capabilities: security.capabilities.add.clone(),
            drop_capabilities: security.capabilities.drop.clone(),
        }),
        privileged: security.privileged,
        namespace_options: Some(namespaces(&security.namespaces)),
        run_as_user: int64(security.run_as_user),
        run_as_group: int64(security.run_as_group),
        run_as_username: security.run_as_username.clone().unwrap_or_default(),
        readonly_rootfs: security.readonly_rootfs,
        supplemental_groups: security.supplemental_groups.clone(),
        no_new_privs: security.no_new_privs,
        masked_paths: paths(&security.masked_paths),
        readonly_paths: paths(&security.readonly_paths),
        seccomp: Some(profile(&security.seccomp)),
        apparmor: apparmor(&security.apparmor),
    }
}

pub(super) fn resources(resources: &ContainerResources) -> api::LinuxContainerResources {
    let pages = resources.hugepage_limits.iter();
    api::LinuxContainerResources {
        cpu_period: resources.cpu_period.unwrap_or(0),
        cpu_quota: resources.cpu_quota.unwrap_or(0),
        cpu_shares: resources.cpu_shares.unwrap_or(0),
        memory_limit_in_bytes: resources.memory_limit_in_bytes.unwrap_or(0),
        oom_score_adj: resources.oom_score_adj.unwrap_or(0),
        cpuset_cpus: resources.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: resources.cpuset_mems.clone().unwrap_or_default(),
        hugepage_limits: pages
            .map(|(size, limit)| api::HugepageLimit { page_size: size.clone(), limit: *limit })
            .collect(),
        unified: resources.unified.clone(),
        memory_swap_limit_in_bytes: resources.memory_swap_limit_in_bytes.unwrap_or(0),
    }
}

pub(super) fn container_metadata(metadata: &ContainerMetadata) -> api::ContainerMetadata {
    api::ContainerMetadata { name: metadata.name.clone(), attempt: metadata.attempt }
}

pub(super) fn image(image: &ImageSpec) -> api::ImageSpec {
    api::ImageSpec {
        image: image.image.clone(),
        annotations: image.annotations.clone(),
        user_specified_image: image.user_specified_image.clone(),
        runtime_handler: image.runtime_handler.clone(),
        image_ref: String::new(),
    }
}

fn mount(mount: &Mount) -> api::Mount {
    api::Mount {
        container_path: mount.container_path.clone(),
        host_path: mount.host_path.display().to_string(),
        readonly: mount.readonly,
        propagation: match mount.propagation {
            MountPropagation::Private => 0,
            MountPropagation::HostToContainer => 1,
            MountPropagation::Bidirectional => 2,
        },
    }
}

fn device(device: &Device) -> api::Device {
    api::Device {
        container_path: device.container_path.clone(),
        host_path: device.host_path.display().to_string(),
        permissions: device.permissions.clone(),
    }
}

pub(super) fn container_config(config: &ContainerConfig) -> api::ContainerConfig {
    let envs = config.envs.iter();
    api::ContainerConfig {
        metadata: Some(container_metadata(&config.metadata)),
        image: Some(image(&config.image)),
        command: config.command.clone(),
        args: config.args.clone(),
        working_dir: config.working_dir.clone().unwrap_or_default(),
        envs: envs.map(|env| api::KeyValue { key: env.key.clone(), value: env.value.clone() }).collect(),
        mounts: config.mounts.iter().map(mount).collect(),
        devices: config.devices.iter().map(device).collect(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        log_path: config.log_path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        tty: config.tty,
        linux: Some(api::LinuxContainerConfig {
            resources: Some(resources(&config.resources)),
            security_context: Some(container_security(&config.security)),
        }),
        stop_signal: signal(config.stop_signal.as_deref()),
    }
}

pub(super) fn sandbox_filter(filter: &PodSandboxFilter) -> api::PodSandboxFilter {
    api::PodSandboxFilter {
        id: filter.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        state: filter.state.map(|state| api::PodSandboxStateValue {
            state: match state {
                PodSandboxState::Ready => api::SANDBOX_READY,
                PodSandboxState::NotReady => api::SANDBOX_NOTREADY,
            },
        }),
        label_selector: filter.label_selector.clone(),
    }
}

pub(super) fn container_filter(filter: &ContainerFilter) -> api::ContainerFilter {
    api::ContainerFilter {
        id: filter.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        state: filter.state.map(|state| api::ContainerStateValue {
            state: match state {
                ContainerState::Created => api::CONTAINER_CREATED,
                ContainerState::Running => api::CONTAINER_RUNNING,
                ContainerState::Exited => api::CONTAINER_EXITED,
                ContainerState::Unknown => api::CONTAINER_UNKNOWN,
            },
        }),
        pod_sandbox_id: filter.sandbox_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        label_selector: filter.label_selector.clone(),
    }
}

pub(super) fn auth(auth: &AuthConfig) -> api::AuthConfig {
    api::AuthConfig {
        username: auth.username.clone(),
        password: auth.password.clone(),
        auth: auth.auth.clone(),
        server_address: auth.server_address.clone(),
        identity_token: auth.identity_token.clone(),
        registry_token: auth.registry_token.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_apis_numbers() {
        for (name, number) in [("SIGABRT", 1), ("SIGINT", 10), ("SIGTERM", 23), ("USR1", 29), ("SIGXFSZ", 34)] {
            assert_eq!(signal(Some(name)), number, "{name}");
        }
        assert_eq!((signal(None), signal(Some("SIGNOTHING"))), (0, 0));
    }

    #[test]
    fn privileged_containers_have_nothing_masked() {
        let mut security = SecurityContext::default();
        assert!(container_security(&security).masked_paths.contains(&"/proc/kcore".to_owned()));
        security.privileged = true;
        assert!(container_security(&security).masked_paths.is_empty());
    }
}
