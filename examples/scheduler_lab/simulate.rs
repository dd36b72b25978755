//! `simulate` and `generate`: clusters on virtual time.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use kubewright_scheduler::config::{Configuration, Registry};
use kubewright_scheduler::framework::Profile;
use kubewright_scheduler::lab::report::{Simulated, simulation_html};
use kubewright_scheduler::lab::simulate::{
    Autoscaler, GenerateConfig, GrowAndShrink, SimConfig, SimResult, SimWorkload, generate, simulate_all,
};
use kubewright_scheduler::plugins::default_profile;
use serde_json::json;

use crate::compare::{seeds, write};
use crate::progress::Progress;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What happens: rows in a .csv, or a JSON object a line in a .jsonl.
    #[arg(long)]
    workload: PathBuf,
    /// Configurations of schedulers (KubeSchedulerConfiguration) to compare; upstream's defaults without any.
    #[arg(long, num_args = 1..)]
    config: Vec<PathBuf>,
    /// Seeds: numbers and ranges.
    #[arg(long, default_value = "1-3")]
    seeds: String,
    /// How often to look at the cluster, in seconds.
    #[arg(long, default_value_t = 60)]
    sample_seconds: u64,
    /// Lets an autoscaler add up to so many nodes like the first one.
    #[arg(long)]
    autoscale: Option<usize>,
    /// Where to write the results.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where to write the page with the plots.
    #[arg(long)]
    html: Option<PathBuf>,
    /// Whether to print why each pod waits that has no node in the end.
    #[arg(long)]
    why: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Generate {
    /// How many nodes.
    #[arg(long, default_value_t = 100)]
    nodes: usize,
    /// How many jobs.
    #[arg(long, default_value_t = 2_000)]
    jobs: usize,
    /// Within how many seconds they arrive.
    #[arg(long, default_value_t = 86_400.0)]
    seconds: f64,
    /// How many times the CPUs there are they ask for on average.
    #[arg(long, default_value_t = 0.9)]
    load: f64,
    /// How many nodes fail for a while.
    #[arg(long, default_value_t = 3)]
    outages: usize,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write it.
    #[arg(long)]
    out: PathBuf,
}

pub(crate) fn generate_file(options: &Generate) -> anyhow::Result<()> {
    let Generate { nodes, jobs, seconds, load, outages, seed, .. } = *options;
    ensure!(seconds > 0.0 && load > 0.0, "seconds and load must be above 0");
    write(
        &options.out,
        &generate(&GenerateConfig { nodes, jobs, seconds, load, outages, seed, ..GenerateConfig::default() }),
    )
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let text = fs::read_to_string(&options.workload).with_context(|| options.workload.display().to_string())?;
    let rows = options.workload.extension().is_some_and(|extension| extension == "csv");
    let workload = if rows { SimWorkload::read_csv(&text) } else { SimWorkload::read_jsonl(&text) };
    let workload = workload.with_context(|| options.workload.display().to_string())?;
    let seeds = seeds(&options.seeds)?;
    let mut setups: Vec<(String, Option<String>)> = Vec::new();
    for path in &options.config {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        profiles(Some(&text)).with_context(|| path.display().to_string())?;
        setups.push((path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), Some(text)));
    }
    if setups.is_empty() {
        setups.push(("default".to_owned(), None));
    }
    let count = setups.len() * seeds.len();
    let progress = Progress::new(count);
    let make = |number: usize| {
        let config = SimConfig {
            seed: seeds[number % seeds.len()],
            sample_every: std::time::Duration::from_secs(options.sample_seconds.max(1)),
            until: None,
        };
        // They were read before, so they can be.
        let profiles = profiles(setups[number / seeds.len()].1.as_deref()).unwrap_or_default();
        let autoscaler = options.autoscale.zip(workload.nodes.first());
        let autoscaler =
            autoscaler.map(|(most, node)| Box::new(GrowAndShrink::new((**node).clone(), most)) as Box<dyn Autoscaler>);
        (config, profiles, autoscaler)
    };
    let results = simulate_all(&workload, count, &make, &|result| progress.step(&format!("seed {}", result.seed)))?;
    let results: Vec<Simulated> = results
        .into_iter()
        .enumerate()
        .map(|(number, result)| Simulated { setup: setups[number / seeds.len()].0.clone(), result })
        .collect();
    print_table(&results);
    if options.why {
        for unplaced in results.iter().flat_map(|simulated| &simulated.result.unplaced) {
            println!("{} has waited {:.0} s: {}", unplaced.pod, unplaced.waited_seconds, unplaced.why);
        }
    }
    if let Some(path) = &options.json {
        write(path, &serde_json::to_string(&json!({ "runs": results }))?)?;
    }
    if let Some(path) = &options.html {
        write(path, &simulation_html(&results))?;
    }
    Ok(())
}

/// A configuration's profiles; upstream's defaults without one.
pub(crate) fn profiles(configuration: Option<&str>) -> anyhow::Result<Vec<Profile>> {
    Ok(match configuration {
        Some(text) => Configuration::read(text, &Registry::default())?.profiles,
        None => vec![default_profile("default-scheduler").build()?],
    })
}

fn print_table(results: &[Simulated]) {
    let heads = [
        "seed", "hours", "placed", "ended", "moves", "unplaced", "wait s", "p95 s", "cpu %", "frag %", "fair", "spread",
    ];
    print!("{:<20}", "scheduler");
    for head in heads {
        print!("{head:>9}");
    }
    println!();
    for Simulated { setup, result } in results {
        let SimResult { seed, placed, ended, moves, unplaced, .. } = result;
        println!(
            "{setup:<20}{seed:>9}{:>9.1}{placed:>9}{ended:>9}{moves:>9}{:>9}{:>9.1}{:>9.1}{:>9.1}{:>9.1}{:>9.3}{:>9.1}",
            result.seconds / 3600.0,
            unplaced.len(),
            result.waited_mean_seconds,
            result.waited_perc95_seconds,
            result.cpu_allocation_percent,
            result.cpu_fragmentation_percent,
            result.fairness,
            result.spread_percent
        );
    }
}
