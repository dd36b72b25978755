//! The store and the API server, its certificates and kubeconfigs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use k8s_openapi::jiff::Timestamp;
use kubewright::apiserver::admission::AdmissionConfig;
use kubewright::apiserver::authn::StructuredAuthentication;
use kubewright::apiserver::authn::token::{Issuer, SigningKey};
use kubewright::apiserver::authz::StructuredAuthorization;
use kubewright::apiserver::connect::KubeletTls;
use kubewright::apiserver::environment::SystemEnvironment;
use kubewright::apiserver::pki::{Pki, PkiConfig};
use kubewright::apiserver::remote;
use kubewright::apiserver::request::User;
use kubewright::apiserver::serve::{Listener, Tls};
use kubewright::apiserver::server::{ApiServer, Builder};
use kubewright::apiserver::traces::{Traces, TracingConfig};
use kubewright::controllers::grant_access;
use kubewright::store::{DiskConfig, DiskStore, MemoryStore, Store};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::flags::{Flags, RuntimeKind, StoreKind};
use crate::health::Pulses;
use crate::network::Addresses;
use crate::stages::Stages;

/// Who issues service account tokens; upstream's default.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A running API server over its store.
pub(crate) struct ControlPlane {
    pub(crate) server: ApiServer,
    pub(crate) pki: Pki,
    disk: Option<Arc<DiskStore>>,
    traces: Option<Traces>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

/// Makes the data directory, or says in one line why it can't be used.
pub(crate) fn prepare_data_dir(data_dir: &Path) -> anyhow::Result<()> {
    let shown = data_dir.display();
    std::fs::create_dir_all(data_dir).with_context(|| format!("data directory {shown}"))?;
    let probe = data_dir.join(".writable");
    std::fs::write(&probe, "").with_context(|| format!("data directory {shown} is not writable"))?;
    std::fs::remove_file(&probe).with_context(|| format!("data directory {shown}"))
}

impl ControlPlane {
    /// Starts it and writes the kubeconfigs.
    pub(crate) async fn start(
        flags: &Flags,
        addresses: &Addresses,
        pulses: &Pulses,
        stages: Stages,
    ) -> anyhow::Result<Self> {
        let (store, disk) = open_store(flags).await?;
        stages.ready("store", if disk.is_some() { "on disk, recovered" } else { "in memory" });
        // Bound before anything else is made, so that a port in use is told at once.
        let socket = tokio::net::TcpListener::bind(flags.bind).await;
        let socket = socket.with_context(|| format!("cannot listen on {}", flags.bind))?;
        let bound = socket.local_addr()?;
        let advertise = advertised(bound, addresses);
        let services: kubewright::apiserver::allocate::AddressRange = addresses.services.parse()?;
        let config =
            PkiConfig { addresses: vec![bound.ip(), advertise.ip(), services.first()], ..PkiConfig::default() };
        let pki = Pki::load_or_create(flags.data_dir.join("pki"), &config, Timestamp::now())?;
        let url = format!("https://{}", reachable(bound));
        pki.write_component_kubeconfigs(&url, Timestamp::now())?;
        let admin = pki.kubeconfig_path("admin");
        let kubeconfig = flags.kubeconfig.clone().unwrap_or_else(|| admin.clone());
        if kubeconfig != admin {
            copy_private(&admin, &kubeconfig)?;
        }
        let authority = pki.authority.certificate_pem();
        let kubelets = KubeletTls::from_pem(&pki.kubelet_client.certificate, &pki.kubelet_client.key, authority)?;
        let mut builder = configured(flags, ApiServer::builder(store)).await?;
        let traces = traces(flags)?;
        if let Some(traces) = &traces {
            builder = builder.traces(traces.clone());
        }
        // Its pods are processes of this host, at loopback addresses.
        if flags.runtime == RuntimeKind::Process {
            builder = builder.loopback_pods();
        }
        for (name, check) in pulses.checks(flags)? {
            builder = builder.component(name, check);
        }
        let server = builder
            .client_authorities(authority)
            .front_proxy_authorities(pki.front_proxy_authority.certificate_pem())
            .front_proxy_client(&pki.front_proxy_client.certificate, &pki.front_proxy_client.key)
            .service_account_issuer(Issuer::new(ISSUER, SigningKey::from_pem(&pki.service_account_key)?))
            .service_addresses(services)
            .advertise(advertise, addresses.kubernetes_port())
            .kubelets(Arc::new(kubelets))
            .build()
            .await?;
        // Wherever the controllers run.
        grant_access(&kube::Client::new(server.as_user(User::admin()), "default")).await?;
        let tls = Tls::new(&pki.serving.certificate, &pki.serving.key, authority)?;
        let listener = Listener::from_socket(socket, tls)?;
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(listener.measured(server.metrics()).serve(server.clone(), shutdown.clone()));
        stages.ready("apiserver", &format!("{url}, RBAC on"));
        stages.note("kubectl", &format!("export KUBECONFIG={}", absolute(&kubeconfig)));
        Ok(Self { server, pki, disk, traces, shutdown, serving })
    }

    /// Ends watches, lets requests in flight finish, and closes the store.
    pub(crate) async fn stop(self) {
        self.server.drain();
        self.shutdown.cancel();
        // It only fails if it panicked, and then there is nothing left to wait for.
        self.serving.await.ok();
        self.server.shutdown().await;
        if let Some(traces) = self.traces {
            traces.shutdown().await;
        }
        if let Some(disk) = self.disk {
            disk.close().await;
        }
    }
}

/// With what the configuration files say of who is believed and who decides.
async fn configured(flags: &Flags, mut builder: Builder) -> anyhow::Result<Builder> {
    if let Some(path) = &flags.authentication_config {
        let (remote, environment) = (remote::standard(), Arc::new(SystemEnvironment));
        let authentication = StructuredAuthentication::from_file(path.clone(), remote, environment).await?;
        builder = builder.authentication(authentication);
    }
    if let Some(path) = &flags.authorization_config {
        let (remote, environment) = (remote::standard(), Arc::new(SystemEnvironment));
        let authorization = StructuredAuthorization::from_file(path.clone(), remote, environment).await?;
        builder = builder.authorization(authorization);
    }
    if let Some(path) = &flags.admission_control_config_file {
        builder = builder.admission_config(AdmissionConfig::load(path)?);
    }
    Ok(builder)
}

/// What is traced, if anything is.
fn traces(flags: &Flags) -> anyhow::Result<Option<Traces>> {
    let Some(path) = &flags.tracing_config_file else { return Ok(None) };
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let config = TracingConfig::parse(&text).with_context(|| shown.to_string())?;
    Ok(Some(Traces::new(&config, &SystemEnvironment)?))
}

async fn open_store(flags: &Flags) -> anyhow::Result<(Arc<dyn Store>, Option<Arc<DiskStore>>)> {
    match flags.store {
        StoreKind::Memory => Ok((Arc::new(MemoryStore::default()), None)),
        StoreKind::Disk => {
            let directory = flags.data_dir.join("store");
            let opened = DiskStore::open(DiskConfig::new(&directory)).await;
            let store = Arc::new(opened.with_context(|| format!("cannot open the store in {}", directory.display()))?);
            Ok((Arc::clone(&store) as Arc<dyn Store>, Some(store)))
        }
    }
}

/// Where pods reach the server: the bound address, or one of this host's if it is bound to all.
fn advertised(bound: SocketAddr, addresses: &Addresses) -> SocketAddr {
    if bound.ip().is_unspecified() { SocketAddr::new(addresses.node(0), bound.port()) } else { bound }
}

/// Where clients on this machine reach it.
fn reachable(bound: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], bound.port())) } else { bound }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn copy_private(from: &Path, to: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let shown = to.display();
    std::fs::copy(from, to).with_context(|| format!("cannot write the kubeconfig {shown}"))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o600)).with_context(|| format!("kubeconfig {shown}"))
}
