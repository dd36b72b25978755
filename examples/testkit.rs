//! A Kubernetes API for every test: how soon it is there and what it takes.
//!
//! `cargo run --release --example testkit`

#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::time::Instant;

use anyhow::ensure;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kubewright::testing::TestCluster;

/// How many clusters there are at once.
const CLUSTERS: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    println!("| what | measured |\n|---|---|");
    let first = time(false).await?;
    println!("| first cluster of a process, to its first object | {first:.1} ms |");
    for rbac in [false, true] {
        let mut times = Vec::new();
        for _ in 0..21 {
            times.push(time(rbac).await?);
        }
        times.sort_by(f64::total_cmp);
        let what = if rbac { "with RBAC" } else { "without RBAC" };
        println!("| a further one {what}, median of 21 | {:.1} ms |", times[10]);
        let before = resident();
        let mut clusters = Vec::new();
        for _ in 0..CLUSTERS {
            clusters.push(start(rbac).await?);
        }
        if let (Some(before), Some(after)) = (before, resident()) {
            let each = after.saturating_sub(before) as f64 / 1024.0 / CLUSTERS as f64;
            println!("| memory of each of {CLUSTERS} at once {what} | {each:.2} MB |");
        }
        for cluster in clusters {
            cluster.stop().await;
        }
    }
    Ok(())
}

/// Milliseconds from nothing to the first object.
async fn time(rbac: bool) -> anyhow::Result<f64> {
    let began = Instant::now();
    let cluster = start(rbac).await?;
    let took = began.elapsed().as_secs_f64() * 1000.0;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    ensure!(maps.list(&ListParams::default()).await?.items.len() == 1, "a fresh cluster");
    cluster.stop().await;
    Ok(took)
}

async fn start(rbac: bool) -> anyhow::Result<TestCluster> {
    let builder = TestCluster::builder();
    let cluster = if rbac { builder.rbac() } else { builder }.start().await?;
    let mut map = ConfigMap::default();
    map.metadata.name = Some("first".into());
    Api::default_namespaced(cluster.client()).create(&PostParams::default(), &map).await?;
    Ok(cluster)
}

/// Resident memory in KB, where the system tells.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
}
