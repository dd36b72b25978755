//! The servers that are measured, each as a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use kubewright_apiserver::pki::{Pki, PkiConfig, Profile};
use tokio::process::Command;

use crate::client::{Connection, Place, get};
use crate::side_by_side::{PATIENCE, Processes, etcd, free_addresses, remove};

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Ours,
    /// And where its programs are.
    Upstream {
        apiserver: PathBuf,
        etcd: PathBuf,
    },
}

impl Kind {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Ours => "kubewright",
            Self::Upstream { .. } => "kube-apiserver",
        }
    }
}

/// A server that runs, with a directory of its own.
pub(crate) struct Server {
    directory: PathBuf,
    processes: Processes,
    /// Who is bound to `cluster-admin`.
    pub(crate) place: Place,
    /// A member of `system:masters`.
    pub(crate) admin: Place,
    /// From the start of its process to the first 200 of `/readyz`.
    pub(crate) started: Duration,
}

impl Server {
    /// Starts it with an empty directory, and certificates that are there already.
    pub(crate) async fn start(kind: &Kind, directory: &Path) -> Result<Self> {
        let directory = directory.join(kind.name());
        remove(&directory)?;
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let pki = Pki::load_or_create(directory.join("pki"), &PkiConfig::default(), Timestamp::now())?;
        let addresses = free_addresses(3)?;
        let (address, client, peer) = (addresses[0], addresses[1], addresses[2]);
        let as_user = |name: &str, groups: &[&str]| -> Result<Place> {
            let certificate = pki.authority.issue(&Profile::client(name, groups), Timestamp::now())?;
            Place::new(address, pki.authority.certificate_pem(), &certificate)
        };
        let (place, admin) = (as_user("bench", &[])?, as_user("admin", &["system:masters"])?);
        let mut processes = Processes::default();
        if let Kind::Upstream { etcd: program, .. } = kind {
            let cluster = format!("default=http://{peer}");
            let mut etcd = etcd(program, "default", &directory.join("etcd"), [client, peer], &cluster);
            processes.start(&mut etcd, &directory.join("etcd.log"))?;
            // It is up before the clock starts.
            let begun = Instant::now();
            while tokio::net::TcpStream::connect(client).await.is_err() {
                anyhow::ensure!(begun.elapsed() < PATIENCE, "etcd does not listen");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let mut command = match kind {
            Kind::Ours => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("--serve").arg(&directory).arg(address.to_string());
                command
            }
            Kind::Upstream { apiserver, .. } => upstream_command(apiserver, &directory, address, client),
        };
        let begun = Instant::now();
        processes.start(&mut command, &directory.join("log"))?;
        let mut server = Self { directory, processes, place, admin, started: Duration::ZERO };
        server.ready(begun).await?;
        server.started = begun.elapsed();
        Ok(server)
    }

    async fn ready(&mut self, begun: Instant) -> Result<()> {
        loop {
            let answer = async { Connection::open(&self.admin).await?.ask(&get("/readyz")).await };
            if let Ok(Ok(200)) = tokio::time::timeout(Duration::from_secs(5), answer).await {
                return Ok(());
            }
            self.processes.check().with_context(|| format!("see {}", self.directory.display()))?;
            anyhow::ensure!(begun.elapsed() < PATIENCE, "not ready; see {}", self.directory.display());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Stops it and removes what it wrote.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.processes.stop().await?;
        remove(&self.directory)
    }

    /// Its CPU time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        self.processes.cpu_seconds()
    }

    /// Its resident memory in MB: of the API server, and of its store where that is another process.
    pub(crate) fn memory(&self) -> Result<f64> {
        self.processes.memory("VmRSS")
    }

    /// The most that it ever was.
    pub(crate) fn memory_peak(&self) -> Result<f64> {
        self.processes.memory("VmHWM")
    }
}

fn upstream_command(program: &Path, directory: &Path, address: SocketAddr, etcd: SocketAddr) -> Command {
    let pki = |name: &str| directory.join("pki").join(name).display().to_string();
    let mut command = Command::new(program);
    for (flag, value) in [
        ("etcd-servers", format!("http://{etcd}")),
        ("bind-address", address.ip().to_string()),
        ("secure-port", address.port().to_string()),
        ("cert-dir", directory.join("certificates").display().to_string()),
        ("tls-cert-file", pki("apiserver.crt")),
        ("tls-private-key-file", pki("apiserver.key")),
        ("client-ca-file", pki("ca.crt")),
        ("service-account-key-file", pki("sa.pub")),
        ("service-account-signing-key-file", pki("sa.key")),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".into()),
        ("service-cluster-ip-range", "10.96.0.0/16".into()),
        ("authorization-mode", "Node,RBAC".into()),
    ] {
        command.arg(format!("--{flag}={value}"));
    }
    command
}
