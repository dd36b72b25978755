use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use kubewright_api::requests::ResourceList;
use kubewright_api::taint::Taint;

use crate::Error;

/// How one kubelet is set up. Several kubelets in one process need names, addresses, directories and ports of their own.
///
/// ```
/// use kubewright_kubelet::KubeletConfig;
///
/// let mut config = KubeletConfig::new("node-1", "192.0.2.7".parse()?, "/var/lib/kubelet");
/// config.pods_max = 30;
/// config.labels.insert("disk".into(), "ssd".into());
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KubeletConfig {
    /// The node's name.
    pub node_name: String,
    /// The node's addresses, the primary one first.
    pub node_ips: Vec<IpAddr>,
    /// Where the kubelet keeps volumes and the like.
    pub root_dir: PathBuf,
    /// Where containers' logs go; `<root_dir>/logs` unless set otherwise. Upstream's is `/var/log/pods`.
    pub pod_logs_dir: PathBuf,
    /// Makes the Node object where it is missing.
    pub register_node: bool,
    /// Labels of the node besides the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// Taints of the node when it is made.
    pub taints: Vec<Taint>,
    /// The node's `providerID`; empty without one.
    pub provider_id: String,
    /// How many pods the node takes.
    pub pods_max: u32,
    /// What the node has; what is missing here is measured.
    pub capacity: ResourceList,
    /// What of it pods may not use.
    pub reserved: ResourceList,
    /// The name servers of pods; empty gives them the node's own.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// Gives containers an `/etc/hosts` with the pod's name and `hostAliases`.
    pub manages_etc_hosts: bool,
    /// The version the node reports.
    pub version: String,
    /// How often the node's lease is renewed; its duration is four times that.
    pub lease_renew_interval: Duration,
    /// How often the node's status is looked at; changes are reported at once.
    pub node_status_interval: Duration,
    /// How often the node's status is reported without a change.
    pub node_status_report_interval: Duration,
    /// How often a pod is looked at when nothing happens to it.
    pub sync_interval: Duration,
    /// How often all containers are listed, should the runtime lose an event.
    pub relist_interval: Duration,
    /// How many images are pulled at a time.
    pub pulls_max: usize,
    /// The size of a log from which a new one is begun, in bytes.
    pub log_bytes_max: u64,
    /// How many logs of a container are kept, the current one among them.
    pub log_files_max: usize,
    /// When the node is short of something.
    pub eviction: EvictionThresholds,
    /// The HTTPS server; `None` for none, and then no logs, exec and so on.
    #[cfg(feature = "server")]
    pub server: Option<crate::server::ServerConfig>,
}

/// Below what is left of memory and disk pods are evicted. Upstream's hard thresholds are the default.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct EvictionThresholds {
    /// Bytes of memory; `None` never evicts for memory.
    pub memory_available_bytes: Option<u64>,
    /// The share of the disk, 0 to 1; `None` never evicts for disk space.
    pub disk_available_share: Option<f64>,
    /// The share of the disk's inodes, 0 to 1; `None` never evicts for inodes.
    pub inodes_free_share: Option<f64>,
    /// How long a pressure is reported after it has passed.
    pub transition_period: Duration,
}

impl Default for EvictionThresholds {
    fn default() -> Self {
        Self {
            memory_available_bytes: Some(100 << 20),
            disk_available_share: Some(0.10),
            inodes_free_share: Some(0.05),
            transition_period: Duration::from_secs(300),
        }
    }
}

impl EvictionThresholds {
    /// Never evicts.
    #[must_use]
    pub fn never() -> Self {
        Self { memory_available_bytes: None, disk_available_share: None, inodes_free_share: None, ..Self::default() }
    }
}

impl KubeletConfig {
    /// A node of that name and address that keeps its things below `root_dir`, with upstream's numbers.
    #[must_use]
    pub fn new(node_name: impl Into<String>, node_ip: IpAddr, root_dir: impl Into<PathBuf>) -> Self {
        let root_dir = root_dir.into();
        Self {
            node_name: node_name.into(),
            node_ips: vec![node_ip],
            pod_logs_dir: root_dir.join("logs"),
            root_dir,
            register_node: true,
            labels: BTreeMap::new(),
            taints: vec![],
            provider_id: String::new(),
            pods_max: 110,
            capacity: ResourceList::new(),
            reserved: ResourceList::new(),
            cluster_dns: vec![],
            cluster_domain: "cluster.local".to_owned(),
            manages_etc_hosts: true,
            version: format!("v1.36.0+kubewright-{}", env!("CARGO_PKG_VERSION")),
            lease_renew_interval: Duration::from_secs(10),
            node_status_interval: Duration::from_secs(10),
            node_status_report_interval: Duration::from_secs(300),
            sync_interval: Duration::from_secs(60),
            relist_interval: Duration::from_secs(10),
            pulls_max: 4,
            log_bytes_max: 10 << 20,
            log_files_max: 5,
            eviction: EvictionThresholds::default(),
            #[cfg(feature = "server")]
            server: None,
        }
    }

    /// Checks it, and makes its directories.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        if let Some(fault) = kubewright_api::names::dns1123_subdomain(&self.node_name).first() {
            return Err(Error::InvalidConfig(format!("node name {:?}: {fault}", self.node_name)));
        }
        if self.node_ips.is_empty() {
            return Err(Error::InvalidConfig("a node needs an address".to_owned()));
        }
        if !self.root_dir.is_absolute() || !self.pod_logs_dir.is_absolute() {
            return Err(Error::InvalidConfig("directories must be absolute paths".to_owned()));
        }
        for path in [self.root_dir.join("pods"), self.pod_logs_dir.clone()] {
            std::fs::create_dir_all(&path).map_err(|source| Error::Unwritable { path, source })?;
        }
        Ok(())
    }
}
