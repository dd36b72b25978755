//! The servers that are measured, each as a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::side_by_side::{PATIENCE, Processes, etcd, free_addresses, remove};
use crate::wire::Client;

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
    members: Vec<Place>,
    processes: Processes,
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
        remove(directory)?;
        let members =
            free_addresses(members * 2)?.chunks(2).map(|pair| Place { client: pair[0], peer: pair[1] }).collect();
        let directory = directory.to_owned();
        let mut server = Self { kind, directory, members, processes: Processes::default() };
        for n in 0..server.members.len() {
            let home = server.home(n);
            std::fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        }
        server.spawn()?;
        server.ready().await?;
        Ok(server)
    }

    fn spawn(&mut self) -> Result<()> {
        for n in 0..self.members.len() {
            let mut command = command(&self.kind, &self.home(n), n, &self.members)?;
            self.processes.start(&mut command, &self.home(n).join("log"))?;
        }
        Ok(())
    }

    fn home(&self, member: usize) -> PathBuf {
        self.directory.join(name(member))
    }

    /// Where clients go: each one to the next member.
    pub(crate) fn address(&self, client: usize) -> SocketAddr {
        self.members[client % self.members.len()].client
    }

    /// Where all members are.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.client).collect()
    }

    /// Waits until every member answers a linearizable read.
    async fn ready(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        for member in &self.members {
            loop {
                let answer = async { Client::connect(member.client).await?.range(b"x", b"", 0, false).await };
                if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(2), answer).await {
                    break;
                }
                let where_to_look = || format!("{}: see the logs in {}", self.kind.name(), self.directory.display());
                self.processes.check().with_context(where_to_look)?;
                anyhow::ensure!(begun.elapsed() < PATIENCE, "{} does not get ready", self.kind.name());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(begun.elapsed())
    }

    /// Stops it in order and starts it again; answers how long the start took.
    pub(crate) async fn restart(&mut self) -> Result<Duration> {
        self.processes.stop().await?;
        self.spawn()?;
        self.ready().await
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

    /// Its memory, in MB, by its name in `/proc/PID/status`.
    pub(crate) fn memory(&self, name: &str) -> Result<f64> {
        self.processes.memory(name)
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

fn command(kind: &Kind, home: &Path, member: usize, places: &[Place]) -> Result<Command> {
    let (data, Place { client, peer }) = (home.join("data"), places[member]);
    let program = match kind {
        Kind::Etcd(program) => {
            return Ok(etcd(program, &name(member), &data, [client, peer], &cluster(places, "http://")));
        }
        Kind::Kubewright => std::env::current_exe()?,
    };
    let mut command = Command::new(program);
    command.arg("serve").arg("--data-dir").arg(data).arg("--listen").arg(client.to_string());
    if places.len() > 1 {
        command.arg("--name").arg(name(member)).arg("--peer-listen").arg(peer.to_string());
        command.arg("--initial-cluster").arg(cluster(places, ""));
    }
    Ok(command)
}
