//! Nodes: for each a runtime and a kubelet; for all of them, as they share this host, one service proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::runtime::wait::{Condition, await_condition};
use kubewright::apiserver::pki::{Pki, Profile};
use kubewright::kubelet::probe::AssumedHealthy;
use kubewright::kubelet::server::{ServerConfig, ServingIdentity};
use kubewright::kubelet::{Kubelet, KubeletConfig};
use kubewright::proxy::PodNetwork;
use kubewright::proxy::driver::ServiceProxy;
use kubewright::proxy::loopback::LoopbackPodNetwork;
use kubewright::proxy::rules;
use kubewright::proxy::userspace::UserspaceNetwork;
use kubewright::runtime_shim::Runtime;
use kubewright::runtime_shim::cri::{CriConfig, CriRuntime};
use kubewright::runtime_shim::process::{ProcessConfig, ProcessRuntime};
use kubewright::runtime_shim::sim::{SimConfig, SimRuntime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clients::Clients;
use crate::flags::{DataPlane, Flags, RuntimeKind};
use crate::network::{Addresses, LocalRange};
use crate::stages::Stages;

/// How long a node may take to become ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long pods may take to end when the cluster stops.
const STOP_GRACE: Duration = Duration::from_secs(5);
const KUBELET_PORT: u16 = 10_250;
/// Pods are evicted when less than this share of the disk is left.
const DISK_AVAILABLE_MIN: f64 = 0.01;

/// The nodes of this process.
pub(crate) struct Nodes {
    kubelets: Vec<Kubelet>,
    processes: Vec<Arc<ProcessRuntime>>,
    shutdown: CancellationToken,
    proxy: Option<JoinHandle<()>>,
    local_range: Option<LocalRange>,
}

impl Nodes {
    /// Starts them and waits until they are ready.
    pub(crate) async fn start(
        flags: &Flags,
        addresses: &Addresses,
        clients: &Clients,
        pki: Option<&Pki>,
        stages: Stages,
    ) -> anyhow::Result<Self> {
        let mut nodes = Self {
            kubelets: Vec::new(),
            processes: Vec::new(),
            shutdown: CancellationToken::new(),
            proxy: None,
            local_range: None,
        };
        let started = nodes.start_all(flags, addresses, clients, pki, stages).await;
        if let Err(error) = started {
            nodes.stop().await;
            return Err(error);
        }
        Ok(nodes)
    }

    async fn start_all(
        &mut self,
        flags: &Flags,
        addresses: &Addresses,
        clients: &Clients,
        pki: Option<&Pki>,
        stages: Stages,
    ) -> anyhow::Result<()> {
        let names: Vec<String> = (1..=flags.nodes).map(|at| format!("node-{at}")).collect();
        if flags.dataplane == DataPlane::Userspace {
            self.local_range = LocalRange::claim(&addresses.services)?;
            self.start_proxy(&names, addresses, clients, stages).await;
        }
        let network = match flags.runtime {
            RuntimeKind::Cri => None,
            _ => Some(Arc::new(LoopbackPodNetwork::new(&addresses.pods)?) as Arc<dyn PodNetwork>),
        };
        for (at, name) in (0..).zip(&names) {
            let runtime = self.runtime(flags, at, name).await?;
            let config = kubelet_config(flags, addresses, clients, pki, at, name)?;
            let mut builder = Kubelet::builder(config, clients.kubelet(name), runtime);
            if let Some(network) = &network {
                builder = builder.network(Arc::clone(network));
            }
            if flags.runtime == RuntimeKind::Sim {
                builder = builder.prober(Arc::new(AssumedHealthy));
            }
            let kubelet = builder.start().await.with_context(|| format!("node {name}"))?;
            self.kubelets.push(kubelet);
        }
        for name in &names {
            await_ready(clients, name).await?;
            stages.ready("node", &format!("{name}, runtime {:?}", flags.runtime).to_lowercase());
        }
        Ok(())
    }

    async fn start_proxy(&mut self, names: &[String], addresses: &Addresses, clients: &Clients, stages: Stages) {
        let mut node = rules::Node::default();
        node.names = names.to_vec();
        node.addresses = (0..).zip(names).map(|(at, _)| addresses.node(at)).collect();
        node.addresses.dedup();
        let proxy = ServiceProxy::new(clients.proxy(), UserspaceNetwork::default(), node);
        let (mut applied, stop) = (proxy.applied(), self.shutdown.clone());
        self.proxy = Some(tokio::spawn(async move {
            if let Err(error) = proxy.run(stop).await {
                tracing::error!(%error, "the service proxy ended");
            }
        }));
        // It only fails if the proxy ended, which is logged.
        applied.wait_for(|count| *count > 0).await.ok();
        stages.ready("services", &format!("{} in user space", addresses.services));
    }

    async fn runtime(&mut self, flags: &Flags, at: u16, name: &str) -> anyhow::Result<Arc<dyn Runtime>> {
        match flags.runtime {
            RuntimeKind::Sim => {
                let mut config = SimConfig::default();
                config.seed = at.into();
                // A node has at most 110 pods: 256 addresses for each.
                config.first_ip = Ipv4Addr::from(u32::from(config.first_ip) + (u32::from(at) << 8));
                Ok(Arc::new(SimRuntime::new(config)))
            }
            RuntimeKind::Cri => Ok(Arc::new(CriRuntime::connect(CriConfig::new(&flags.cri_endpoint)).await?)),
            RuntimeKind::Process => {
                let mut config = ProcessConfig::new(directory(&flags.data_dir, name).join("runtime"));
                config.node_name = name.to_owned();
                let runtime = Arc::new(ProcessRuntime::open(config).await?);
                self.processes.push(Arc::clone(&runtime));
                Ok(runtime)
            }
        }
    }

    /// Stops the pods, the kubelets, the runtimes and the proxy.
    pub(crate) async fn stop(self) {
        let kubelets = self.kubelets.into_iter().map(|kubelet| kubelet.shutdown_with_pods(STOP_GRACE));
        futures::future::join_all(kubelets).await;
        for runtime in self.processes {
            runtime.shutdown().await;
        }
        self.shutdown.cancel();
        if let Some(proxy) = self.proxy {
            // It only fails if the proxy panicked, and then it has ended as well.
            proxy.await.ok();
        }
        drop(self.local_range);
    }
}

fn directory(data_dir: &Path, node: &str) -> std::path::PathBuf {
    std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned()).join("nodes").join(node)
}

fn kubelet_config(
    flags: &Flags,
    addresses: &Addresses,
    clients: &Clients,
    pki: Option<&Pki>,
    at: u16,
    name: &str,
) -> anyhow::Result<KubeletConfig> {
    let ip = addresses.node(at);
    let mut config = KubeletConfig::new(name, ip, directory(&flags.data_dir, name).join("kubelet"));
    // The disk is not the cluster's alone: at upstream's tenth, a full laptop would get no pod.
    config.eviction.disk_available_share = Some(DISK_AVAILABLE_MIN);
    config.eviction.inodes_free_share = Some(DISK_AVAILABLE_MIN);
    let listen = SocketAddr::new(ip, KUBELET_PORT);
    config.server = match (clients, pki) {
        (_, Some(pki)) => {
            let names = vec![name.to_owned(), ip.to_string()];
            let profile = Profile::server(&format!("system:node:{name}"), names).with_organizations(&["system:nodes"]);
            let certificate = pki.authority.issue(&profile, Timestamp::now())?;
            let mut server = ServerConfig::new(listen, pki.authority.certificate_pem());
            server.identity = ServingIdentity::Pem { certificates: certificate.certificate, key: certificate.key };
            Some(server)
        }
        (Clients::Remote { authority, .. }, None) if !authority.is_empty() => {
            Some(ServerConfig::new(listen, authority.clone()))
        }
        _ => None,
    };
    Ok(config)
}

async fn await_ready(clients: &Clients, name: &str) -> anyhow::Result<()> {
    let api: Api<Node> = Api::all(clients.admin());
    let ready = await_condition(api, name, is_ready());
    let waited = tokio::time::timeout(READY_LIMIT, ready).await;
    waited.with_context(|| format!("node {name} is not ready after {} s", READY_LIMIT.as_secs()))??;
    Ok(())
}

fn is_ready() -> impl Condition<Node> {
    |node: Option<&Node>| {
        let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_deref()).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }
}
