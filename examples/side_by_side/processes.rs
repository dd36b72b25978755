//! Processes that are measured.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

/// How long a server may take to start or stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The processes of one server, in the order in which they were started. They are killed if they are not stopped.
#[derive(Default)]
pub(crate) struct Processes(Vec<Child>);

impl Processes {
    /// Starts one more, which writes what it has to say into that file.
    pub(crate) fn start(&mut self, command: &mut Command, log: &Path) -> Result<()> {
        let log = std::fs::File::create(log)?;
        command.stdout(Stdio::null()).stderr(log).stdin(Stdio::null()).kill_on_drop(true);
        let program = command.as_std().get_program().to_owned();
        self.0.push(command.spawn().with_context(|| format!("cannot start {}", program.display()))?);
        Ok(())
    }

    /// Fails if one has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        for process in &mut self.0 {
            if let Some(status) = process.try_wait()? {
                bail!("it ended at its start: {status}");
            }
        }
        Ok(())
    }

    /// Stops all in order, the last one first, and waits for them.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        while let Some(process) = self.0.last_mut() {
            let id = process.id().context("a server ended by itself")?;
            // The standard library can only kill.
            let status = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await?;
            anyhow::ensure!(status.success(), "cannot stop process {id}");
            tokio::time::timeout(PATIENCE, process.wait()).await.context("a server does not stop")??;
            self.0.pop();
        }
        Ok(())
    }

    /// What the kernel tells of them in files of this name.
    fn proc(&self, file: &str) -> Result<Vec<String>> {
        let read = |process: &Child| {
            let id = process.id().context("a server ended by itself")?;
            Ok(std::fs::read_to_string(format!("/proc/{id}/{file}"))?)
        };
        self.0.iter().map(read).collect()
    }

    /// Their CPU time so far, in seconds.
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

    /// Their memory in MB, by its name in `/proc/PID/status`.
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

/// etcd as a member of that name, of a cluster as its flag has it.
pub(crate) fn etcd(program: &Path, name: &str, data: &Path, [client, peer]: [SocketAddr; 2], cluster: &str) -> Command {
    let mut command = Command::new(program);
    for (flag, value) in [
        ("name", name.to_owned()),
        ("data-dir", data.display().to_string()),
        ("listen-client-urls", format!("http://{client}")),
        ("advertise-client-urls", format!("http://{client}")),
        ("listen-peer-urls", format!("http://{peer}")),
        ("initial-advertise-peer-urls", format!("http://{peer}")),
        ("initial-cluster", cluster.to_owned()),
        ("log-level", "error".to_owned()),
        // Room for a million keys, as its operators give it.
        ("quota-backend-bytes", (8_u64 << 30).to_string()),
    ] {
        command.arg(format!("--{flag}={value}"));
    }
    command
}

/// Addresses that nobody uses. Held until all are chosen, so that they differ.
pub(crate) fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let free = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = (0..count).map(free).collect::<Result<Vec<_>, _>>()?;
    Ok(held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}
