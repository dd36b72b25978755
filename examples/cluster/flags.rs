//! The command line: a contract that scripts rely on.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Brings up a Kubernetes cluster in one process and shows its main job.
#[derive(Clone, Debug, Parser)]
#[command(name = "cluster", version)]
pub(crate) struct Flags {
    /// Where the cluster keeps its state: objects, certificates, kubeconfigs, pods. A second start on it resumes.
    #[arg(long, value_name = "DIR", default_value = "kubewright-data")]
    pub(crate) data_dir: PathBuf,

    /// Address and port of the API server; port 0 picks a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6443")]
    pub(crate) bind: SocketAddr,

    /// Where to write the administrator's kubeconfig [default: admin.kubeconfig in the data directory].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Whose tokens are believed, by this `AuthenticationConfiguration`, which is followed while the cluster runs.
    #[arg(long, value_name = "FILE")]
    pub(crate) authentication_config: Option<PathBuf>,

    /// Who decides who may do what, by this `AuthorizationConfiguration`, which is followed while the cluster runs
    /// [default: Node and RBAC].
    #[arg(long, value_name = "FILE")]
    pub(crate) authorization_config: Option<PathBuf>,

    /// What admission plugins are told, by this `AdmissionConfiguration` [default: nothing].
    #[arg(long, value_name = "FILE")]
    pub(crate) admission_control_config_file: Option<PathBuf>,

    /// Which requests are traced and where spans go, by this `TracingConfiguration` [default: none].
    #[arg(long, value_name = "FILE")]
    pub(crate) tracing_config_file: Option<PathBuf>,

    /// How many nodes to run, each a kubelet in this process.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) nodes: u16,

    /// What runs containers: `process`, child processes of this one, without privileges; `cri`, containerd or CRI-O,
    /// with root; `sim`, nothing at all, only state.
    #[arg(long, value_enum, default_value_t = RuntimeKind::Process)]
    pub(crate) runtime: RuntimeKind,

    /// The CRI socket, for `--runtime cri`.
    #[arg(long, value_name = "URI", default_value = "unix:///run/containerd/containerd.sock")]
    pub(crate) cri_endpoint: String,

    /// What carries services: `userspace`, sockets of this process; `none`, nothing.
    #[arg(long, value_enum, default_value_t = DataPlane::Userspace)]
    pub(crate) dataplane: DataPlane,

    /// Where objects live: `disk`, durably in the data directory; `memory`, until this process ends.
    #[arg(long, value_enum, default_value_t = StoreKind::Disk)]
    pub(crate) store: StoreKind,

    /// Which components to run, separated by commas. Those left out may be upstream's: kubeconfigs for them
    /// (`kube-scheduler.kubeconfig` and so on), the service-account key and the authorities lie in DATA_DIR/pki.
    #[arg(
        long,
        value_name = "LIST",
        value_enum,
        value_delimiter = ',',
        default_value = "apiserver,scheduler,controllers,node"
    )]
    pub(crate) components: Vec<Component>,

    /// Join the Kubernetes of this kubeconfig instead of starting an API server.
    #[arg(long, value_name = "FILE")]
    pub(crate) server_kubeconfig: Option<PathBuf>,

    /// Don't apply and show the demonstration.
    #[arg(long)]
    pub(crate) no_demo: bool,

    /// Stop after the demonstration; the exit code tells whether it worked.
    #[arg(long, conflicts_with = "no_demo")]
    pub(crate) exit_after_demo: bool,

    /// Show what components log, at this level and above (`error`, `warn`, `info`, `debug`, or a filter).
    #[arg(long, value_name = "FILTER", default_value = "error")]
    pub(crate) log: String,
}

/// A container runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeKind {
    Process,
    Cri,
    Sim,
}

/// A data plane for services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataPlane {
    Userspace,
    None,
}

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    Memory,
    Disk,
}

/// A component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Component {
    Apiserver,
    Scheduler,
    Controllers,
    Node,
}

impl Flags {
    /// Whether that component runs here.
    pub(crate) fn runs(&self, component: Component) -> bool {
        let joined = component == Component::Apiserver && self.server_kubeconfig.is_some();
        self.components.contains(&component) && !joined
    }

    /// What can't work together, before anything is started.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if !self.runs(Component::Apiserver) && self.server_kubeconfig.is_none() {
            return Err("without the apiserver component, --server-kubeconfig must name a cluster to join".into());
        }
        if self.runtime == RuntimeKind::Cri && self.nodes > 1 {
            return Err("--runtime cri runs one node: a CRI socket belongs to one machine; drop --nodes".into());
        }
        Ok(())
    }
}
