//! `bench`: this store and etcd, side by side: the same client, load and disk, in turn.

mod servers;
mod workloads;

use std::time::Duration;

use anyhow::{Context as _, Result};

use self::servers::{Kind, Server};
use self::workloads::Work;
use crate::flags::Bench;
use crate::side_by_side::{Goal, Table};

pub(crate) async fn run(flags: Bench) -> Result<()> {
    std::fs::create_dir_all(&flags.dir).with_context(|| format!("cannot make {}", flags.dir.display()))?;
    let bench = Runner { flags: flags.clone(), seconds: Duration::from_secs(flags.seconds) };
    let mut table = Table::new("kubewright", "etcd");
    let result = bench.all(&mut table).await;
    println!("{table}");
    if let Some(path) = &flags.json {
        std::fs::write(path, table.json()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    // What was measured is shown also if something failed later.
    result
}

struct Runner {
    flags: Bench,
    seconds: Duration,
}

impl Runner {
    async fn all(&self, table: &mut Table) -> Result<()> {
        self.puts(table).await?;
        self.clusters(table).await?;
        self.reads(table).await?;
        self.watches(table).await?;
        self.many_keys(table).await
    }

    fn wants(&self, name: &str) -> bool {
        let is_wanted = name.contains(&self.flags.only);
        if is_wanted {
            eprintln!("measuring: {name}");
        }
        is_wanted
    }

    fn kinds(&self) -> Vec<Kind> {
        let etcd = self.flags.etcd.clone().map(Kind::Etcd);
        [Kind::Kubewright].into_iter().chain(etcd).collect()
    }

    async fn start(&self, kind: &Kind, members: usize) -> Result<Server> {
        Server::start(kind.clone(), members, &self.dir(kind)).await
    }

    fn dir(&self, kind: &Kind) -> std::path::PathBuf {
        self.flags.dir.join(kind.name())
    }

    /// Runs a measurement on both servers in turn, some rounds, and answers each one's medians.
    async fn in_turn<const N: usize>(
        &self,
        work: impl AsyncFn(&mut Server) -> Result<[f64; N]>,
    ) -> Result<[Vec<f64>; N]> {
        self.in_turn_with(1, work).await
    }

    /// The same with servers of so many members.
    async fn in_turn_with<const N: usize>(
        &self,
        members: usize,
        work: impl AsyncFn(&mut Server) -> Result<[f64; N]>,
    ) -> Result<[Vec<f64>; N]> {
        let mut all: Vec<Vec<[f64; N]>> = Vec::new();
        let kinds = self.kinds();
        for _ in 0..self.flags.rounds.max(1) {
            for (n, kind) in kinds.iter().enumerate() {
                let mut server = self.start(kind, members).await?;
                let found = work(&mut server).await;
                server.stop().await?;
                all.resize_with(kinds.len(), Vec::new);
                all[n].push(found?);
            }
        }
        Ok(std::array::from_fn(|measure| {
            all.iter()
                .map(|rounds| {
                    let mut values: Vec<f64> = rounds.iter().map(|found| found[measure]).collect();
                    values.sort_by(f64::total_cmp);
                    values[values.len() / 2]
                })
                .collect()
        }))
    }

    async fn puts(&self, table: &mut Table) -> Result<()> {
        if self.wants("put, 1 client") {
            let [rate] = self
                .in_turn(async |server| Ok([workloads::repeat(server, Work::Put, 1, 1, self.seconds).await?.rate]))
                .await?;
            table.add_row("put, 1 client", "puts/s", &rate, Goal::Times(1.5));
        }
        let mut etcd_rate = None;
        if self.wants("put, 64 clients") {
            let [rate, cpu, p99] = self
                .in_turn(async |server| {
                    let found = workloads::repeat(server, Work::Put, 64, self.flags.connections, self.seconds).await?;
                    Ok([found.rate, found.cpu_micros, found.p99_ms])
                })
                .await?;
            etcd_rate = rate.get(1).copied();
            table.add_row("put, 64 clients", "puts/s", &rate, Goal::Times(3.0));
            table.add_row("put, 64 clients: server CPU a put", "µs", &cpu, Goal::Share(0.2));
            table.add_row("put, 64 clients: 99 % within", "ms", &p99, Goal::None);
        }
        if self.wants("put in process, 64 writers") {
            let mut rates = Vec::new();
            for _ in 0..self.flags.rounds.max(1) {
                rates.push(workloads::in_process(&self.flags.dir.join("in-process"), 64, self.seconds).await?);
            }
            rates.sort_by(f64::total_cmp);
            let values: Vec<f64> = [rates[rates.len() / 2]].into_iter().chain(etcd_rate).collect();
            table.add_row("put in process, 64 writers (etcd: 64 clients)", "puts/s", &values, Goal::Times(10.0));
        }
        Ok(())
    }

    async fn clusters(&self, table: &mut Table) -> Result<()> {
        if !self.wants("3 members: put, 64 clients") {
            return Ok(());
        }
        let [rate, cpu, p99] = self
            .in_turn_with(3, async |server| {
                let found = workloads::repeat(server, Work::Put, 64, self.flags.connections, self.seconds).await?;
                Ok([found.rate, found.cpu_micros, found.p99_ms])
            })
            .await?;
        table.add_row("3 members: put, 64 clients", "puts/s", &rate, Goal::Times(3.0));
        table.add_row("3 members: CPU of all a put", "µs", &cpu, Goal::None);
        table.add_row("3 members: 99 % within", "ms", &p99, Goal::None);
        Ok(())
    }

    async fn reads(&self, table: &mut Table) -> Result<()> {
        if self.wants("linearizable get, 64 clients") {
            let [rate, cpu] = self
                .in_turn(async |server| {
                    workloads::fill(server, 10_000, 1).await?;
                    let found = workloads::repeat(server, Work::Get, 64, self.flags.connections, self.seconds).await?;
                    Ok([found.rate, found.cpu_micros])
                })
                .await?;
            table.add_row("linearizable get, 64 clients", "gets/s", &rate, Goal::Times(3.0));
            table.add_row("linearizable get: server CPU a get", "µs", &cpu, Goal::None);
        }
        if self.wants("linearizable get, 1 client") {
            let [rate] = self
                .in_turn(async |server| {
                    workloads::fill(server, 10_000, 1).await?;
                    Ok([workloads::repeat(server, Work::Get, 1, 1, self.seconds).await?.rate])
                })
                .await?;
            table.add_row("linearizable get, 1 client", "gets/s", &rate, Goal::None);
        }
        if self.wants("range of 10,000 keys") {
            let [rate, cpu] = self
                .in_turn(async |server| {
                    workloads::fill(server, 10_000, 1).await?;
                    let found = workloads::repeat(server, Work::Range, 1, 1, self.seconds).await?;
                    Ok([found.rate, found.cpu_micros / 1e3])
                })
                .await?;
            table.add_row("range of 10,000 keys", "ranges/s", &rate, Goal::Times(5.0));
            table.add_row("range of 10,000 keys: server CPU", "ms", &cpu, Goal::None);
        }
        Ok(())
    }

    async fn watches(&self, table: &mut Table) -> Result<()> {
        if !self.wants("1,000 watchers") {
            return Ok(());
        }
        let [rate, lag, catch_up, cpu] = self
            .in_turn(async |server| {
                let found = workloads::watchers(server, 1000, 20, 1000.0, self.seconds).await?;
                Ok([found.delivered_share * 100.0, found.p99_ms, found.catch_up_ms, found.cpu_share * 100.0])
            })
            .await?;
        table.add_row("1,000 watchers, 1,000 events/s: delivered in time", "%", &rate, Goal::AtLeast(99.0));
        table.add_row("1,000 watchers: 99 % of deliveries within", "ms", &lag, Goal::None);
        table.add_row("1,000 watchers: all caught up after", "ms", &catch_up, Goal::None);
        table.add_row("1,000 watchers: server CPU", "% of a core", &cpu, Goal::None);
        Ok(())
    }

    async fn many_keys(&self, table: &mut Table) -> Result<()> {
        let keys = self.flags.keys;
        if !self.wants("memory and restart") {
            return Ok(());
        }
        let (mut memory, mut anonymous, mut restart) = (Vec::new(), Vec::new(), Vec::new());
        for kind in self.kinds() {
            let mut server = self.start(&kind, 1).await?;
            workloads::fill(&server, keys, 100).await?;
            tokio::time::sleep(Duration::from_secs(5)).await;
            memory.push(server.memory("VmRSS")?);
            anonymous.push(server.memory("RssAnon")?);
            restart.push(server.restart().await?.as_secs_f64());
            server.stop().await?;
        }
        let name = |what: &str| format!("{keys} keys of 256 bytes: {what}");
        table.add_row(name("memory"), "MB", &memory, Goal::Share(0.5));
        table.add_row(name("memory that is no file's"), "MB", &anonymous, Goal::None);
        table.add_row(name("restart"), "s", &restart, Goal::AtMost(3.0));
        Ok(())
    }
}
