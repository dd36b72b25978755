//! `scale`: how the core's cost grows with the cluster.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use kubewright_scheduler::lab::report::scale_html;
use kubewright_scheduler::lab::{ScaleConfig, Shape, scale};
use serde_json::json;

use crate::compare::write;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many nodes; several make a curve.
    #[arg(long, value_delimiter = ',', default_value = "1000,3000,10000,30000,100000")]
    nodes: Vec<usize>,
    /// How many pods.
    #[arg(long, default_value_t = 50_000)]
    pods: usize,
    /// What pods care for: alike (nothing), spread, near, far, preempting.
    #[arg(long, value_delimiter = ',', default_value = "alike")]
    shapes: Vec<String>,
    /// How many kinds of pods.
    #[arg(long, default_value_t = 1)]
    kinds: usize,
    /// From which ties are drawn.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Where to write the figures.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where to draw the curve, as a page.
    #[arg(long)]
    html: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    println!(
        "{:<10} {:>9} {:>9} {:>6} {:>10} {:>10} {:>12} {:>9} {:>12}",
        "shape", "nodes", "placed", "kinds", "fill s", "place s", "pods/s", "µs/pod", "peak MiB"
    );
    let start = Instant::now();
    let (mut runs, mut rows) = (Vec::new(), Vec::new());
    for (shape, nodes) in shapes(&options.shapes)?.into_iter().flat_map(|s| options.nodes.iter().map(move |n| (s, *n)))
    {
        let config = ScaleConfig { nodes, pods: options.pods, shape, kinds: options.kinds, seed: options.seed };
        let run = scale(&config, &|| start.elapsed());
        let peak = peak_mib();
        println!(
            "{:<10} {:>9} {:>9} {:>6} {:>10.2} {:>10.2} {:>12.0} {:>9.2} {:>12}",
            run.shape.name(),
            run.nodes,
            run.placed,
            run.kinds,
            run.seconds_to_fill,
            run.seconds,
            run.pods_per_second,
            run.microseconds_per_pod,
            peak.map_or_else(|| "?".to_owned(), |peak| peak.to_string())
        );
        let mut row = serde_json::to_value(run)?;
        row["peak_memory_mib"] = json!(peak);
        rows.push(row);
        runs.push(run);
    }
    if let Some(path) = &options.json {
        write(path, &serde_json::to_string_pretty(&json!({ "runs": rows }))?)?;
    }
    if let Some(path) = &options.html {
        write(path, &scale_html(&runs))?;
    }
    Ok(())
}

fn shapes(names: &[String]) -> anyhow::Result<Vec<Shape>> {
    let known = || Shape::ALL.map(Shape::name).join(", ");
    let of = |name: &String| {
        let shape = Shape::ALL.into_iter().find(|shape| shape.name() == name);
        shape.with_context(|| format!("no shape {name:?}; there are {}", known()))
    };
    names.iter().map(of).collect()
}

/// The most memory that this process has had, where the system says so.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}
