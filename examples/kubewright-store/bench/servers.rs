//! The servers that are measured, each as a process of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

use crate::wire::Client;

/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Kubewright,
    /// And where it is.
    Etcd(PathBuf),
}

impl Kind {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Kubewright => "kubewright",
            Self::Etcd(_) => "etcd",
        }
    }
}

/// A server that runs, with a directory of its own.
pub(crate) struct Server {
    kind: Kind,
    directory: PathBuf,
    client: SocketAddr,
    peer: SocketAddr,
    process: Child,
}

impl Server {
    /// Starts a server with an empty directory and waits until it answers.
    pub(crate) async fn start(kind: Kind, directory: &Path) -> Result<Self> {
        super::remove(directory)?;
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let [client, peer] = free_addresses()?;
        let process = spawn(&kind, directory, client, peer)?;
        let mut server = Self { kind, directory: directory.to_owned(), client, peer, process };
        server.ready().await?;
        Ok(server)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.client
    }

    /// Waits until it answers a linearizable read.
    async fn ready(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let answer = async { Client::connect(self.client).await?.range(b"x", b"", 0, false).await };
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(2), answer).await {
                return Ok(begun.elapsed());
            }
            let name = self.kind.name();
            if let Some(status) = self.process.try_wait()? {
                bail!("{name} ended at its start: {status}; see {}", self.directory.join("log").display());
            }
            if begun.elapsed() > PATIENCE {
                bail!("{name} did not get ready within {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops it in order and starts it again; answers how long the start took.
    pub(crate) async fn restart(&mut self) -> Result<Duration> {
        self.end().await?;
        self.process = spawn(&self.kind, &self.directory, self.client, self.peer)?;
        self.ready().await
    }

    /// Stops it and removes what it wrote.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.end().await?;
        super::remove(&self.directory)
    }

    async fn end(&mut self) -> Result<()> {
        let id = self.process.id().context("a server ended by itself")?;
        // The standard library can only kill.
        let status = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await?;
        if !status.success() {
            bail!("cannot stop process {id}");
        }
        tokio::time::timeout(PATIENCE, self.process.wait()).await.context("a server does not stop")??;
        Ok(())
    }

    /// What the kernel tells of the process in a file of this name.
    fn proc(&self, file: &str) -> Result<String> {
        let id = self.process.id().context("a server ended by itself")?;
        Ok(std::fs::read_to_string(format!("/proc/{id}/{file}"))?)
    }

    /// Its CPU time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        // The kernel tells it in hundredths of a second, whatever its own ticks.
        let stat = self.proc("stat")?;
        let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let mut ticks = 0.0;
        for at in [11, 12] {
            ticks += fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("no times in stat")?;
        }
        Ok(ticks / 100.0)
    }

    /// Its memory, in MB, by its name in `/proc/PID/status`.
    pub(crate) fn memory(&self, name: &str) -> Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(number.with_context(|| format!("no {name} in status"))? * 1024.0 / 1e6)
    }
}

fn spawn(kind: &Kind, directory: &Path, client: SocketAddr, peer: SocketAddr) -> Result<Child> {
    let data = directory.join("data");
    let mut command = match kind {
        Kind::Kubewright => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("serve").arg("--data-dir").arg(data).arg("--listen").arg(client.to_string());
            command
        }
        Kind::Etcd(path) => {
            let mut command = Command::new(path);
            command.arg("--name").arg("bench").arg("--data-dir").arg(data);
            for (flag, value) in [
                ("--listen-client-urls", format!("http://{client}")),
                ("--advertise-client-urls", format!("http://{client}")),
                ("--listen-peer-urls", format!("http://{peer}")),
                ("--initial-advertise-peer-urls", format!("http://{peer}")),
                ("--initial-cluster", format!("bench=http://{peer}")),
                ("--log-level", "error".to_owned()),
                // Room for a million keys, as its operators give it.
                ("--quota-backend-bytes", (8_u64 << 30).to_string()),
            ] {
                command.arg(flag).arg(value);
            }
            command
        }
    };
    let log = std::fs::File::create(directory.join("log"))?;
    command.stdout(Stdio::null()).stderr(log).stdin(Stdio::null()).kill_on_drop(true);
    command.spawn().with_context(|| format!("cannot start {}", kind.name()))
}

/// Addresses that nobody uses. Held until all are chosen, so that they differ.
fn free_addresses() -> Result<[SocketAddr; 2]> {
    let (one, other) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    Ok([one.local_addr()?, other.local_addr()?])
}
