//! How fast the API server is, beside kube-apiserver with etcd: the same client, load and machine, in turn.
//!
//! ```text
//! cargo run --release --example apiserver_bench -- --kube-apiserver PATH --etcd PATH --json FILE
//! ```
//!
//! Without the two paths our server is measured alone. Both servers run as processes of their own over TLS with client
//! certificates, durable stores, RBAC, and API priority and fairness; the client is bound to `cluster-admin` and no
//! member of `system:masters`, so that every request is decided upon.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to people")]

mod client;
mod collections;
mod objects;
mod pass;
mod repeat;
mod serve;
mod servers;
#[path = "../side_by_side/mod.rs"]
mod side_by_side;
mod watchers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::pass::Pass;
use crate::servers::Kind;
use crate::side_by_side::Table;

/// mimalloc gives memory back sooner and takes less time than the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the API server, and kube-apiserver beside it.
#[derive(Clone, Debug, Parser)]
#[command(name = "apiserver_bench")]
struct Flags {
    /// Upstream's kube-apiserver 1.36.
    #[arg(long, value_name = "PATH", requires = "etcd")]
    kube_apiserver: Option<PathBuf>,
    /// etcd, for kube-apiserver.
    #[arg(long, value_name = "PATH", requires = "kube_apiserver")]
    etcd: Option<PathBuf>,
    /// Where the servers keep their state; removed at the end.
    #[arg(long, value_name = "DIR", default_value = "target/apiserver-bench")]
    dir: PathBuf,
    /// Where to write the table as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only the parts whose name contains this: start, create, get, list, update, apply, delete, watch, pods.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// How long each rate is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 4)]
    seconds: u64,
    /// How many pods are stored in the part of that name.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pods: usize,
    /// Store the pods in upstream's server, too, which takes a while.
    #[arg(long)]
    pods_beside: bool,
    /// How many watchers there are in the part of that name.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    watchers: usize,
    /// How many connections make requests.
    #[arg(long, value_name = "N", default_value_t = 16)]
    connections: usize,
    /// Be the server that is measured: its directory and address.
    #[arg(long, hide = true, num_args = 2, value_names = ["DIR", "ADDR:PORT"])]
    serve: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    if let Some(serve) = &flags.serve {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(serve::run(serve[0].as_ref(), &serve[1]));
    }
    // One thread is enough for the client, and leaves the rest to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&flags))
}

async fn measure(flags: &Flags) -> Result<()> {
    let mut table = Table::new("ours", "upstream").less_is_better();
    let upstream = flags.kube_apiserver.clone().zip(flags.etcd.clone());
    let upstream = upstream.map(|(apiserver, etcd)| Kind::Upstream { apiserver, etcd });
    let mut result = Ok(());
    for kind in [Kind::Ours].into_iter().chain(upstream) {
        eprintln!("measuring {}", kind.name());
        let pass = Pass { flags, seconds: Duration::from_secs(flags.seconds) };
        result = pass.run(&kind, &mut table).await.with_context(|| format!("measuring {}", kind.name()));
        if result.is_err() {
            break;
        }
    }
    println!("{table}");
    if let Some(path) = &flags.json {
        std::fs::write(path, table.json()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    // What was measured is shown also if something failed later.
    result
}
