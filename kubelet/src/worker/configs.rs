//! What the runtime is told of a pod and its containers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kubewright_api::quantity::Quantity;
use kubewright_api::requests::QosClass;
use kubewright_runtime_shim::{
    ContainerResources, DnsConfig, NamespaceMode, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol, labels,
};
use serde_json::json;

use crate::config::KubeletConfig;
use crate::objects::{Container, Pod};

/// Keeps the digest of a container's spec with the container.
pub(super) const HASH_ANNOTATION: &str = "io.kubernetes.container.hash";

/// Digests the part of a container's spec under which a running one must be replaced: its name and its image, as
/// upstream has it.
pub(super) fn hash(container: &Container) -> String {
    // FNV-1a: the same in every build, which is all that is asked of it.
    let text = json!({"name": container.name, "image": container.image}).to_string();
    let digest = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{digest:x}")
}

/// Where the logs of a pod's containers lie.
pub(crate) fn log_directory(config: &KubeletConfig, pod: &Pod) -> PathBuf {
    config.pod_logs_dir.join(format!("{}_{}_{}", pod.namespace(), pod.name(), pod.uid()))
}

/// The host name of a pod.
pub(super) fn host_name(pod: &Pod, domain: &str) -> String {
    let name = if pod.spec.hostname.is_empty() { pod.name() } else { &pod.spec.hostname };
    let short: String = name.chars().take(63).collect();
    let short = short.trim_end_matches(['-', '.']).to_owned();
    if pod.spec.set_hostname_as_fqdn == Some(true) && !pod.spec.subdomain.is_empty() {
        return format!("{short}.{}.{}.svc.{domain}", pod.spec.subdomain, pod.namespace());
    }
    short
}

/// The labels by which a pod's sandboxes and containers are found again.
pub(super) fn pod_labels(pod: &Pod, config: &KubeletConfig) -> BTreeMap<String, String> {
    BTreeMap::from([
        (crate::node::NODE_LABEL.to_owned(), config.node_name.clone()),
        (labels::POD_NAME.to_owned(), pod.name().to_owned()),
        (labels::POD_NAMESPACE.to_owned(), pod.namespace().to_owned()),
        (labels::POD_UID.to_owned(), pod.uid().to_owned()),
    ])
}

/// What the runtime is told of a pod.
pub(super) fn sandbox_config(pod: &Pod, config: &KubeletConfig, attempt: u32) -> PodSandboxConfig {
    let mut metadata = PodSandboxMetadata::new(pod.namespace(), pod.name(), pod.uid());
    metadata.attempt = attempt;
    let mut sandbox = PodSandboxConfig::new(metadata);
    if !pod.spec.host_network {
        sandbox.hostname = host_name(pod, &config.cluster_domain);
    }
    sandbox.log_directory = Some(log_directory(config, pod));
    sandbox.dns_config = dns(pod, config);
    sandbox.port_mappings = port_mappings(pod);
    sandbox.labels = pod.metadata.labels.clone().unwrap_or_default();
    sandbox.labels.extend(pod_labels(pod, config));
    sandbox.annotations = pod.metadata.annotations.clone().unwrap_or_default();
    sandbox.security = super::security::sandbox_security(pod);
    let sysctls = pod.spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    sandbox.sysctls = sysctls.into_iter().flatten().map(|s| (s.name.clone(), s.value.clone())).collect();
    sandbox
}

fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let port = |port: &crate::objects::ContainerPort| {
        let mut mapping = PortMapping::default();
        mapping.protocol = match port.protocol.as_str() {
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        mapping.container_port = u16::try_from(port.container_port).ok()?;
        mapping.host_port = u16::try_from(port.host_port).ok().filter(|port| *port > 0);
        mapping.host_ip = port.host_ip.parse().ok();
        Some(mapping)
    };
    containers.flat_map(|container| &container.ports).filter_map(port).collect()
}

fn dns(pod: &Pod, config: &KubeletConfig) -> Option<DnsConfig> {
    let policy = pod.spec.dns_policy.as_str();
    let of_cluster = match policy {
        "Default" | "None" => false,
        "ClusterFirstWithHostNet" => true,
        _ => !pod.spec.host_network,
    };
    let mut dns = DnsConfig::default();
    if of_cluster && !config.cluster_dns.is_empty() {
        let domain = &config.cluster_domain;
        dns.servers = config.cluster_dns.iter().map(ToString::to_string).collect();
        dns.searches = vec![format!("{}.svc.{domain}", pod.namespace()), format!("svc.{domain}"), domain.clone()];
        dns.options = vec!["ndots:5".to_owned()];
    } else if policy != "None" && pod.spec.dns_config.is_none() {
        return None;
    }
    if let Some(more) = &pod.spec.dns_config {
        dns.servers.extend(
            more.nameservers.iter().filter(|server| !dns.servers.contains(server)).cloned().collect::<Vec<_>>(),
        );
        dns.searches
            .extend(more.searches.iter().filter(|search| !dns.searches.contains(search)).cloned().collect::<Vec<_>>());
        for option in &more.options {
            dns.options.retain(|own| own.split(':').next() != Some(option.name.as_str()));
            let value = option.value.as_ref().map(|value| format!(":{value}")).unwrap_or_default();
            dns.options.push(format!("{}{value}", option.name));
        }
    }
    Some(dns)
}

/// The limits of a container, in the kernel's terms.
pub(super) fn resources(pod: &Pod, container: &Container, memory_capacity: i64) -> ContainerResources {
    let of = |list: &BTreeMap<String, Quantity>, name: &str| list.get(name).copied().filter(|q| q.signum() > 0);
    let (requests, limits) = (&container.resources.requests, &container.resources.limits);
    let mut out = ContainerResources::default();
    let cpu_request = of(requests, "cpu").or_else(|| of(limits, "cpu"));
    out.cpu_shares = Some(cpu_request.map_or(2, |cpu| (cpu.millis() * 1024 / 1000).clamp(2, 262_144)));
    if let Some(cpu) = of(limits, "cpu") {
        out.cpu_period = Some(100_000);
        out.cpu_quota = Some((cpu.millis() * 100).max(1000));
    }
    out.memory_limit_in_bytes = of(limits, "memory").map(|memory| memory.value());
    let memory_request = of(requests, "memory").or_else(|| of(limits, "memory")).map_or(0, |memory| memory.value());
    out.oom_score_adj = Some(match pod.resources().qos_class() {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let share = if memory_capacity > 0 { 1000 * memory_request / memory_capacity } else { 0 };
            (1000 - share).clamp(3, 999)
        }
    });
    out.hugepage_limits = limits
        .iter()
        .filter_map(|(name, amount)| {
            let size = name.strip_prefix("hugepages-")?.trim_end_matches('i');
            Some((format!("{size}B"), u64::try_from(amount.value()).ok()?))
        })
        .collect();
    out
}

/// The processes a container sees.
pub(super) fn pid_mode(pod: &Pod) -> NamespaceMode {
    if pod.spec.host_pid {
        NamespaceMode::Node
    } else if pod.spec.share_process_namespace == Some(true) {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    }
}

/// The pod's `/etc/hosts`.
pub(super) fn etc_hosts(pod: &Pod, domain: &str, ips: &[std::net::IpAddr]) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let host = host_name(pod, domain);
    let short = host.split('.').next().unwrap_or(&host);
    for ip in ips {
        if pod.spec.subdomain.is_empty() {
            text.push_str(&format!("{ip}\t{short}\n"));
        } else {
            let full = format!("{short}.{}.{}.svc.{domain}", pod.spec.subdomain, pod.namespace());
            text.push_str(&format!("{ip}\t{full}\t{short}\n"));
        }
    }
    if !pod.spec.host_aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in &pod.spec.host_aliases {
            text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn config() -> KubeletConfig {
        let mut config = KubeletConfig::new("n", "192.0.2.1".parse().unwrap(), "/tmp/x");
        config.cluster_dns = vec!["10.96.0.10".parse().unwrap()];
        config
    }

    #[test]
    fn dns_follows_the_policy() {
        let of = |spec| dns(&pod(spec), &config());
        let first = of(json!({})).unwrap();
        assert_eq!(first.servers, ["10.96.0.10"]);
        assert_eq!(first.searches, ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
        assert_eq!(of(json!({"dnsPolicy": "Default"})), None);
        assert_eq!(of(json!({"hostNetwork": true})), None);
        assert!(of(json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"})).is_some());
        let own = json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}});
        let own = of(own).unwrap();
        assert_eq!((own.servers, own.options), (vec!["1.1.1.1".into()], vec!["ndots:2".into(), "edns0".into()]));
    }

    #[test]
    fn limits_become_the_kernels() {
        let spec = json!({"containers": [{"name": "c", "resources":
            {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"cpu": "1500m", "memory": "512Mi"}}}]});
        let pod = pod(spec);
        let found = resources(&pod, &pod.spec.containers[0], 1 << 30);
        assert_eq!((found.cpu_shares, found.cpu_quota, found.cpu_period), (Some(512), Some(150_000), Some(100_000)));
        assert_eq!((found.memory_limit_in_bytes, found.oom_score_adj), (Some(512 << 20), Some(750)));
    }

    #[test]
    fn hosts_name_the_pod() {
        let text = etc_hosts(
            &pod(json!({"subdomain": "sub", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]})),
            "cluster.local",
            &["10.0.0.1".parse().unwrap()],
        );
        assert!(text.contains("10.0.0.1\tp.sub.ns.svc.cluster.local\tp\n"));
        assert!(text.ends_with("# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
    }

    #[test]
    fn the_hash_is_about_name_and_image_alone() {
        let of = |json: serde_json::Value| hash(&serde_json::from_value(json).unwrap());
        let plain = of(json!({"name": "c", "image": "a:1"}));
        assert_eq!(plain, of(json!({"name": "c", "image": "a:1", "command": ["x"]})));
        assert_ne!(plain, of(json!({"name": "c", "image": "a:2"})));
    }
}
