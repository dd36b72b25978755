//! `perf`: upstream's scheduler_perf workloads.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use kubewright_scheduler::lab::perf::{CoreCluster, Measurement, TestCase, Workload, carry_out};
use kubewright_scheduler::schedule::{Scheduler, SchedulerConfig};
use serde_json::json;

use crate::api::ApiCluster;
use crate::compare::write;
use crate::simulate::profiles;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A performance-config.yaml of upstream's.
    #[arg(long)]
    config: PathBuf,
    /// Which workloads, such as SchedulingBasic/5000Nodes_10000Pods.
    #[arg(long, num_args = 1..)]
    workload: Vec<String>,
    /// All workloads with that label.
    #[arg(long)]
    label: Option<String>,
    /// Lists the workloads.
    #[arg(long)]
    list: bool,
    /// `core`: a scheduler and nothing else. `api`: an API server in this process, with informers and bindings.
    #[arg(long, value_parser = ["api", "core"], default_value = "api")]
    mode: String,
    /// From which ties are drawn.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Where to write what was measured.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let shown = options.config.display().to_string();
    let text = fs::read_to_string(&options.config).with_context(|| shown.clone())?;
    let cases = TestCase::read_all(&text).with_context(|| shown.clone())?;
    let all = || cases.iter().flat_map(|case| case.workloads.iter().map(move |workload| (case, workload)));
    if options.list {
        for (case, workload) in all() {
            println!(
                "{}/{} [{}]",
                case.name,
                workload.name,
                [&case.labels[..], &workload.labels[..]].concat().join(" ")
            );
        }
        return Ok(());
    }
    let mut chosen = Vec::new();
    for name in &options.workload {
        chosen.push(TestCase::find(&cases, name)?);
    }
    if let Some(label) = &options.label {
        chosen.extend(all().filter(|(case, workload)| case.labels.contains(label) || workload.labels.contains(label)));
    }
    ensure!(!chosen.is_empty(), "say which with --workload or --label; --list lists them");
    println!(
        "{:<78} {:>7} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "measured", "pods", "seconds", "pods/s", "average", "perc50", "ratio"
    );
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for (case, workload) in chosen {
        let name = format!("{}/{}", case.name, workload.name);
        let start = Instant::now();
        match one(options, case, workload) {
            Ok(measured) => {
                measured.iter().for_each(print);
                rows.push(json!({"workload": name, "mode": options.mode, "seconds": start.elapsed().as_secs_f64(),
                    "measurements": measured}));
            }
            Err(error) => {
                println!("{name}: {error:#}");
                rows.push(json!({"workload": name, "mode": options.mode, "error": format!("{error:#}")}));
                failed.push(name);
            }
        }
    }
    if let Some(path) = &options.json {
        write(path, &serde_json::to_string_pretty(&json!({ "runs": rows }))?)?;
    }
    if failed.is_empty() { Ok(()) } else { bail!("not carried out: {}", failed.join(", ")) }
}

fn one(options: &Options, case: &TestCase, workload: &Workload) -> anyhow::Result<Vec<Measurement>> {
    let folder = options.config.parent().unwrap_or_else(|| Path::new("."));
    let files = |path: &str| fs::read_to_string(folder.join(path)).map_err(|error| error.to_string());
    let configuration = case.scheduler_config_path.as_deref().map(|path| fs::read_to_string(folder.join(path)));
    let profiles = profiles(configuration.transpose()?.as_deref())?;
    if options.mode == "api" {
        let mut cluster = ApiCluster::start(profiles, options.seed)?;
        let result = carry_out(case, workload, &files, &mut cluster);
        cluster.stop()?;
        return Ok(result?);
    }
    let start = Instant::now();
    let clock = || start.elapsed();
    let settings = SchedulerConfig { seed: options.seed, ..SchedulerConfig::default() };
    let mut cluster = CoreCluster::new(Scheduler::new(settings, profiles)?, &clock);
    Ok(carry_out(case, workload, &files, &mut cluster)?)
}

/// A line for a measurement; the ratio is to upstream's threshold, where it has one.
fn print(measured: &Measurement) {
    let throughput = &measured.throughput;
    let ratio =
        if measured.threshold > 0.0 { format!("{:.1}", throughput.average / measured.threshold) } else { "-".into() };
    println!(
        "{:<78} {:>7} {:>9.2} {:>9.0} {:>9.0} {:>9.0} {:>7}",
        measured.name,
        throughput.pods,
        throughput.seconds,
        throughput.pods_per_second,
        throughput.average,
        throughput.perc50,
        ratio
    );
}
