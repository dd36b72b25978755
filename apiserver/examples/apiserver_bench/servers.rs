//! The servers that are measured, each as a process of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use kubewright_apiserver::pki::{Pki, PkiConfig, Profile};
use tokio::process::{Child, Command};

use crate::client::{Connection, Place, get};

/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(120);

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
    processes: Vec<Child>,
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
        let [address, client, peer] = free_addresses()?;
        let as_user = |name: &str, groups: &[&str]| -> Result<Place> {
            let certificate = pki.authority.issue(&Profile::client(name, groups), Timestamp::now())?;
            Place::new(address, pki.authority.certificate_pem(), &certificate)
        };
        let (place, admin) = (as_user("bench", &[])?, as_user("admin", &["system:masters"])?);
        let mut processes = Vec::new();
        if let Kind::Upstream { etcd, .. } = kind {
            let mut etcd = etcd_command(etcd, &directory, client, peer);
            processes.push(spawn(&mut etcd, &directory.join("etcd.log"))?);
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
        processes.push(spawn(&mut command, &directory.join("log"))?);
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
            for process in &mut self.processes {
                if let Some(status) = process.try_wait()? {
                    bail!("a server ended at its start: {status}; see {}", self.directory.display());
                }
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "not ready; see {}", self.directory.display());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Stops it and removes what it wrote.
    pub(crate) async fn stop(mut self) -> Result<()> {
        // The API server before its store.
        for process in self.processes.iter_mut().rev() {
            let id = process.id().context("a server ended by itself")?;
            // The standard library can only kill.
            let status = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await?;
            anyhow::ensure!(status.success(), "cannot stop process {id}");
            tokio::time::timeout(PATIENCE, process.wait()).await.context("a server does not stop")??;
        }
        remove(&self.directory)
    }

    /// What the kernel tells of the processes in files of this name.
    fn proc(&self, file: &str) -> Result<Vec<String>> {
        let read = |process: &Child| {
            let id = process.id().context("a server ended by itself")?;
            Ok(std::fs::read_to_string(format!("/proc/{id}/{file}"))?)
        };
        self.processes.iter().map(read).collect()
    }

    /// Its CPU time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let mut ticks = 0.0;
        for stat in self.proc("stat")? {
            let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
            let fields: Vec<&str> = after_name.split_whitespace().collect();
            for at in [11, 12] {
                ticks += fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("no times in stat")?;
            }
        }
        // The kernel tells it in hundredths of a second, whatever its own ticks.
        Ok(ticks / 100.0)
    }

    /// Its resident memory in MB: of the API server, and of its store where that is another process.
    pub(crate) fn memory(&self) -> Result<f64> {
        self.status_field("VmRSS:")
    }

    /// The most that it ever was.
    pub(crate) fn memory_peak(&self) -> Result<f64> {
        self.status_field("VmHWM:")
    }

    fn status_field(&self, name: &str) -> Result<f64> {
        let mut total = 0.0;
        for status in self.proc("status")? {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            total += number.with_context(|| format!("no {name} in status"))? * 1024.0 / 1e6;
        }
        Ok(total)
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

fn etcd_command(program: &Path, directory: &Path, client: SocketAddr, peer: SocketAddr) -> Command {
    let mut command = Command::new(program);
    for (flag, value) in [
        ("data-dir", directory.join("etcd").display().to_string()),
        ("listen-client-urls", format!("http://{client}")),
        ("advertise-client-urls", format!("http://{client}")),
        ("listen-peer-urls", format!("http://{peer}")),
        ("initial-advertise-peer-urls", format!("http://{peer}")),
        ("initial-cluster", format!("default=http://{peer}")),
        ("log-level", "error".to_owned()),
        ("quota-backend-bytes", (8_u64 << 30).to_string()),
    ] {
        command.arg(format!("--{flag}={value}"));
    }
    command
}

fn spawn(command: &mut Command, log: &Path) -> Result<Child> {
    let log = std::fs::File::create(log)?;
    command.stdout(Stdio::null()).stderr(log).stdin(Stdio::null()).kill_on_drop(true);
    command.spawn().context("cannot start a server")
}

/// Addresses that nobody uses. Held until all are chosen, so that they differ.
fn free_addresses() -> Result<[SocketAddr; 3]> {
    let held = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); 3];
    for (address, listener) in addresses.iter_mut().zip(held) {
        *address = listener?.local_addr()?;
    }
    Ok(addresses)
}

fn remove(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
