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

/// A server that runs, with a directory of its own; or several, as the members of a cluster.
pub(crate) struct Server {
    kind: Kind,
    directory: PathBuf,
    members: Vec<Member>,
}

struct Member {
    at: Place,
    process: Child,
}

/// Where a member listens.
#[derive(Clone, Copy)]
struct Place {
    client: SocketAddr,
    peer: SocketAddr,
}

impl Server {
    /// Starts so many members with empty directories and waits until they answer.
    pub(crate) async fn start(kind: Kind, members: usize, directory: &Path) -> Result<Self> {
        super::remove(directory)?;
        let places = free_places(members)?;
        let mut server = Self { kind, directory: directory.to_owned(), members: Vec::new() };
        for n in 0..members {
            let home = server.home(n);
            std::fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
            let process = spawn(&server.kind, &home, n, &places)?;
            server.members.push(Member { at: places[n], process });
        }
        server.ready().await?;
        Ok(server)
    }

    fn home(&self, member: usize) -> PathBuf {
        self.directory.join(name(member))
    }

    /// Where clients go: each one to the next member.
    pub(crate) fn address(&self, client: usize) -> SocketAddr {
        self.members[client % self.members.len()].at.client
    }

    /// Where all members are.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.at.client).collect()
    }

    /// Waits until every member answers a linearizable read.
    async fn ready(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        for n in 0..self.members.len() {
            let (log, name) = (self.home(n).join("log"), self.kind.name());
            let member = &mut self.members[n];
            loop {
                let answer = async { Client::connect(member.at.client).await?.range(b"x", b"", 0, false).await };
                if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(2), answer).await {
                    break;
                }
                if let Some(status) = member.process.try_wait()? {
                    bail!("{name} ended at its start: {status}; see {}", log.display());
                }
                if begun.elapsed() > PATIENCE {
                    bail!("{name} did not get ready within {} s", PATIENCE.as_secs());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(begun.elapsed())
    }

    /// Stops it in order and starts it again; answers how long the start took.
    pub(crate) async fn restart(&mut self) -> Result<Duration> {
        self.end().await?;
        let places: Vec<Place> = self.members.iter().map(|member| member.at).collect();
        for n in 0..places.len() {
            self.members[n].process = spawn(&self.kind, &self.home(n), n, &places)?;
        }
        self.ready().await
    }

    /// Stops it and removes what it wrote.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.end().await?;
        super::remove(&self.directory)
    }

    async fn end(&mut self) -> Result<()> {
        for member in &mut self.members {
            let id = member.process.id().context("a server ended by itself")?;
            // The standard library can only kill.
            let status = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await?;
            if !status.success() {
                bail!("cannot stop process {id}");
            }
            tokio::time::timeout(PATIENCE, member.process.wait()).await.context("a server does not stop")??;
        }
        Ok(())
    }

    /// What the kernel tells of the processes in files of this name.
    fn proc(&self, file: &str) -> Result<Vec<String>> {
        let read = |member: &Member| {
            let id = member.process.id().context("a server ended by itself")?;
            Ok(std::fs::read_to_string(format!("/proc/{id}/{file}"))?)
        };
        self.members.iter().map(read).collect()
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

    /// Its memory, in MB, by its name in `/proc/PID/status`.
    pub(crate) fn memory(&self, name: &str) -> Result<f64> {
        let mut total = 0.0;
        for status in self.proc("status")? {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            total += number.with_context(|| format!("no {name} in status"))? * 1024.0 / 1e6;
        }
        Ok(total)
    }
}

fn name(member: usize) -> String {
    format!("n{}", member + 1)
}

/// All members of a cluster as its flag wants them.
fn cluster(places: &[Place], scheme: &str) -> String {
    let member = |(n, place): (usize, &Place)| format!("{}={scheme}{}", name(n), place.peer);
    places.iter().enumerate().map(member).collect::<Vec<_>>().join(",")
}

fn spawn(kind: &Kind, home: &Path, member: usize, places: &[Place]) -> Result<Child> {
    let (data, Place { client, peer }) = (home.join("data"), places[member]);
    let mut command = match kind {
        Kind::Kubewright => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("serve").arg("--data-dir").arg(data).arg("--listen").arg(client.to_string());
            if places.len() > 1 {
                command.arg("--name").arg(name(member)).arg("--peer-listen").arg(peer.to_string());
                command.arg("--initial-cluster").arg(cluster(places, ""));
            }
            command
        }
        Kind::Etcd(path) => {
            let mut command = Command::new(path);
            command.arg("--name").arg(name(member)).arg("--data-dir").arg(data);
            for (flag, value) in [
                ("--listen-client-urls", format!("http://{client}")),
                ("--advertise-client-urls", format!("http://{client}")),
                ("--listen-peer-urls", format!("http://{peer}")),
                ("--initial-advertise-peer-urls", format!("http://{peer}")),
                ("--initial-cluster", cluster(places, "http://")),
                ("--log-level", "error".to_owned()),
                // Room for a million keys, as its operators give it.
                ("--quota-backend-bytes", (8_u64 << 30).to_string()),
            ] {
                command.arg(flag).arg(value);
            }
            command
        }
    };
    let log = std::fs::File::create(home.join("log"))?;
    command.stdout(Stdio::null()).stderr(log).stdin(Stdio::null()).kill_on_drop(true);
    command.spawn().with_context(|| format!("cannot start {}", kind.name()))
}

/// Addresses that nobody uses. Held until all are chosen, so that they differ.
fn free_places(members: usize) -> Result<Vec<Place>> {
    let free = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = (0..members * 2).map(free).collect::<Result<Vec<_>, _>>()?;
    let addresses = held.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    Ok(addresses.chunks(2).map(|pair| Place { client: pair[0], peer: pair[1] }).collect())
}
