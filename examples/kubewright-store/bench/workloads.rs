//! What the servers are given to do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kubewright_store::{DiskConfig, DiskStore, StoreExt};
use tokio::task::JoinSet;

use super::servers::Server;
use crate::lean::Lean;
use crate::progress::Progress;
use crate::side_by_side::{quantile_ms, remove};
use crate::wire::{self, Client, prefix_end};

const VALUE: usize = 256;
/// How many different keys are written.
const KEYS: u64 = 10_000;
const PREFIX: &str = "/registry/bench/";

fn key(n: u64) -> String {
    format!("{PREFIX}{n:010}")
}

/// Numbers that look random and are the same each time.
struct Shuffle(u64);

impl Shuffle {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

pub(crate) struct Measured {
    pub(crate) rate: f64,
    pub(crate) cpu_micros: f64,
    pub(crate) p99_ms: f64,
}

async fn connections(server: &[SocketAddr], count: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for n in 0..count {
        clients.push(Client::connect(server[n % server.len()]).await?);
    }
    Ok(clients)
}

/// What a client does over and over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Put,
    Get,
    Range,
}

/// How a client gets there.
enum Way {
    /// A connection of its own.
    Own(Lean),
    /// One that others may use at the same time, or for what is large.
    Shared(Box<Client>),
}

impl Work {
    async fn ways(self, server: &[SocketAddr], clients: usize, connections: usize) -> Result<Vec<Way>> {
        let mut ways = Vec::new();
        let method = match self {
            Self::Put => "KV/Put",
            Self::Get => "KV/Range",
            Self::Range => "",
        };
        if connections >= clients && !method.is_empty() {
            for n in 0..clients {
                ways.push(Way::Own(Lean::connect(server[n % server.len()], method).await?));
            }
        } else {
            let open = self::connections(server, connections.clamp(1, clients)).await?;
            ways.extend((0..clients).map(|n| Way::Shared(Box::new(open[n % open.len()].clone()))));
        }
        Ok(ways)
    }

    async fn once(self, way: &mut Way, random: u64) -> Result<()> {
        match self {
            Self::Put => {
                let (key, value) = (key(random % KEYS), [b'v'; VALUE]);
                let revision = match way {
                    Way::Own(lean) => {
                        wire::header_revision(&lean.call(&wire::put_message(key.as_bytes(), &value)).await?)?
                    }
                    Way::Shared(client) => client.put(key.as_bytes(), &value).await?,
                };
                if revision > 1 { Ok(()) } else { bail!("a put without a revision") }
            }
            Self::Get => {
                let key = key(random % KEYS);
                let found = match way {
                    Way::Own(lean) => {
                        wire::found(lean.call(&wire::range_message(key.as_bytes(), b"", 0)).await?, false)
                    }
                    Way::Shared(client) => client.range(key.as_bytes(), b"", 0, false).await?,
                };
                if found.count == 1 { Ok(()) } else { bail!("a key is not there") }
            }
            Self::Range => {
                let Way::Shared(client) = way else { bail!("answers are too large for this client") };
                let found = client.range(PREFIX.as_bytes(), &prefix_end(PREFIX.as_bytes()), 0, false).await?;
                let is_all = found.count == KEYS && found.bytes > VALUE * KEYS as usize;
                if is_all { Ok(()) } else { bail!("keys are missing") }
            }
        }
    }
}

/// Answers how long each time took.
async fn over_and_over(work: Work, mut way: Way, n: u64, over: &AtomicBool) -> Result<Vec<Duration>> {
    let mut shuffle = Shuffle(0x9e37_79b9_7f4a_7c15 ^ (n + 1));
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        work.once(&mut way, shuffle.next()).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// Lets so many clients do the same over and over, for so long.
pub(crate) async fn repeat(
    server: &Server,
    work: Work,
    clients: usize,
    connections: usize,
    time: Duration,
) -> Result<Measured> {
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    if clients == 1 {
        // On a thread of its own: one of a pool's would wake another for every answer, to wait in its place.
        let (server, over) = (server.addresses(), over.clone());
        tasks.spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let way = work.ways(&server, 1, connections).await?.pop().context("no client")?;
                over_and_over(work, way, 0, &over).await
            })
        });
    } else {
        for (n, way) in work.ways(&server.addresses(), clients, connections).await?.into_iter().enumerate() {
            let over = over.clone();
            tasks.spawn(async move { over_and_over(work, way, n as u64, &over).await });
        }
    }
    // The first moments are not counted: connections, caches, the first segment.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (cpu, begun) = (server.cpu_seconds()?, Instant::now());
    tokio::time::sleep(time).await;
    let (cpu, took) = (server.cpu_seconds()? - cpu, begun.elapsed());
    over.store(true, Ordering::Relaxed);
    let ended = Instant::now();
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    let whole = ended.duration_since(begun) + Duration::from_millis(300);
    let count = times.len() as f64 * took.as_secs_f64() / whole.as_secs_f64();
    times.sort_unstable();
    let p99_ms = quantile_ms(&times, 0.99);
    Ok(Measured { rate: count / took.as_secs_f64(), cpu_micros: cpu * 1e6 / count, p99_ms })
}

/// Writes so many keys once each, so many at a time.
pub(crate) async fn fill(server: &Server, keys: u64, at_a_time: u64) -> Result<()> {
    let mut progress = Progress::new("writing keys");
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for mut client in connections(&server.addresses(), 16).await? {
        let next = next.clone();
        tasks.spawn(async move {
            loop {
                let from = next.fetch_add(at_a_time, Ordering::Relaxed);
                if from >= keys {
                    return Ok::<_, anyhow::Error>(());
                }
                let until = (from + at_a_time).min(keys);
                // Each value differs, so that nobody can save by sharing them.
                let value = |n: u64| format!("{n:0>width$}", width = VALUE).into_bytes();
                let entries: Vec<_> = (from..until).map(|n| (key(n).into_bytes(), value(n))).collect();
                client.put_all(&entries).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
        progress.tell(|| format!("{} of {keys}", next.load(Ordering::Relaxed).min(keys)));
    }
    Ok(())
}

/// Puts into a store within this process.
pub(crate) async fn in_process(directory: &Path, writers: usize, time: Duration) -> Result<f64> {
    remove(directory)?;
    let store = Arc::new(DiskStore::open(DiskConfig::new(directory)).await?);
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for n in 0..writers {
        let (store, over) = (store.clone(), over.clone());
        tasks.spawn(async move {
            let mut shuffle = Shuffle(n as u64 + 1);
            let mut done = 0;
            while !over.load(Ordering::Relaxed) {
                store.put(key(shuffle.next() % KEYS), vec![b'v'; VALUE]).await?;
                done += 1;
            }
            Ok::<u64, anyhow::Error>(done)
        });
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    let mut done = 0;
    while let Some(count) = tasks.join_next().await {
        done += count??;
    }
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    store.close().await;
    remove(directory)?;
    Ok(rate)
}

pub(crate) struct Watched {
    /// Of all events that were to be delivered, those that were when the last one was written.
    pub(crate) delivered_share: f64,
    pub(crate) p99_ms: f64,
    pub(crate) catch_up_ms: f64,
    pub(crate) cpu_share: f64,
}

/// Lets so many watches, on so many connections, follow one prefix while events come at a steady rate.
pub(crate) async fn watchers(
    server: &Server,
    watches: usize,
    connections: usize,
    events_per_second: f64,
    time: Duration,
) -> Result<Watched> {
    let origin = Instant::now();
    let delivered = Arc::new(AtomicU64::new(0));
    let expected = (events_per_second * time.as_secs_f64()) as u64;
    let (per_stream, mut tasks) = (watches / connections, JoinSet::new());
    for n in 0..connections {
        let mut client = Client::connect(server.address(n)).await?;
        let mut watch = client.watch(PREFIX.as_bytes(), &prefix_end(PREFIX.as_bytes()), 0, per_stream).await?;
        let mut created = 0;
        while created < per_stream {
            created += usize::from(watch.next(false).await?.created);
        }
        let delivered = delivered.clone();
        tasks.spawn(async move {
            let (mut left, mut lags) = (expected * per_stream as u64, Vec::new());
            while left > 0 {
                let told = watch.next(false).await?;
                if let Some(why) = told.cancelled {
                    bail!("a watch was cancelled: {why}");
                }
                left -= told.events as u64;
                delivered.fetch_add(told.events as u64, Ordering::Relaxed);
                let sent = told.last.and_then(|value| std::str::from_utf8(&value).ok()?.trim().parse().ok());
                let sent = sent.map(Duration::from_nanos);
                lags.extend(sent.map(|sent| origin.elapsed().saturating_sub(sent)));
            }
            drop(client);
            Ok(lags)
        });
    }
    let (cpu, begun) = (server.cpu_seconds()?, Instant::now());
    write_steadily(server, origin, expected, events_per_second).await?;
    let took = begun.elapsed();
    let in_time = delivered.load(Ordering::Relaxed) as f64 / (expected * watches as u64) as f64;
    let caught_up = async {
        let mut lags = Vec::new();
        while let Some(done) = tasks.join_next().await {
            lags.extend(done??);
        }
        Ok::<_, anyhow::Error>(lags)
    };
    let ended = Instant::now();
    let mut lags =
        tokio::time::timeout(Duration::from_secs(120), caught_up).await.context("watches never caught up")??;
    let (catch_up, cpu) = (ended.elapsed(), server.cpu_seconds()? - cpu);
    lags.sort_unstable();
    Ok(Watched {
        delivered_share: in_time,
        p99_ms: quantile_ms(&lags, 0.99),
        catch_up_ms: catch_up.as_secs_f64() * 1e3,
        cpu_share: cpu / (took + catch_up).as_secs_f64(),
    })
}

/// Each value says when it was written.
async fn write_steadily(server: &Server, origin: Instant, events: u64, per_second: f64) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let begun = tokio::time::Instant::now();
    let mut tasks = JoinSet::new();
    let client = Client::connect(server.address(0)).await?;
    for _ in 0..16 {
        let (mut client, next) = (client.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= events {
                    return Ok::<_, anyhow::Error>(());
                }
                tokio::time::sleep_until(begun + Duration::from_secs_f64(n as f64 / per_second)).await;
                let value = format!("{:>VALUE$}", origin.elapsed().as_nanos());
                client.put(key(n % 1000).as_bytes(), value.as_bytes()).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
