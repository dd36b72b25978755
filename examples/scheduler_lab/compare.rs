//! `compare`: policies against one another.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use kubewright_scheduler::lab::report::{Origin, Published, html};
use kubewright_scheduler::lab::{POLICIES, Plan, Trace, by_name, compare};

use crate::progress::Progress;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// The nodes, in openb's format (sn,cpu_milli,memory_mib,gpu,model).
    #[arg(long)]
    pub(crate) nodes: PathBuf,
    /// The jobs, in openb's format (name,cpu_milli,memory_mib,num_gpu,gpu_milli[,gpu_spec]); several make several
    /// workloads.
    #[arg(long, required = true, num_args = 1..)]
    pub(crate) pods: Vec<PathBuf>,
    /// The policies: random, dotprod, gpuclustering, gpupacking, bestfit, fgd, thrifty.
    #[arg(long, value_delimiter = ',', default_value = "random,dotprod,gpuclustering,gpupacking,bestfit,fgd")]
    pub(crate) policies: Vec<String>,
    /// Seeds: numbers and ranges, such as 42-51 or 1,2,5-7.
    #[arg(long, default_value = "42-51")]
    pub(crate) seeds: String,
    /// How many times the GPUs there are jobs ask for in the end.
    #[arg(long, default_value_t = 1.3)]
    pub(crate) demand: f64,
    /// Where to write the runs; rows go beside it, as .csv and .curves.csv.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Where to write the page with the plots.
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
    /// Published results to show beside ours (workload,<policy>_mean,<policy>_min,<policy>_max,…).
    #[arg(long)]
    pub(crate) published: Option<PathBuf>,
    /// Where to write a row for each job that was turned away, with the scheduler's reasons.
    #[arg(long)]
    pub(crate) why: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let plan = plan(options)?;
    let (start, progress) = (Instant::now(), Progress::new(plan.len()));
    let comparison = compare(&plan, &|| start.elapsed(), &|run| {
        progress.step(&format!("{} {}: {:.2} %", run.policy, run.seed, run.gpu_allocation_percent));
    });
    print!("{}", comparison.table());
    if let Some(path) = &options.json {
        write(path, &serde_json::to_string(&comparison)?)?;
        write(&path.with_extension("csv"), &comparison.csv())?;
        write(&path.with_extension("curves.csv"), &comparison.curves_csv())?;
    }
    if let Some(path) = &options.why {
        write(path, &comparison.turned_away_csv())?;
    }
    if let Some(path) = &options.html {
        write(path, &html(&plan, &comparison, &origin(options)?))?;
    }
    Ok(())
}

fn plan(options: &Options) -> anyhow::Result<Plan> {
    let nodes = read(&options.nodes)?;
    let mut workloads = Vec::new();
    for path in &options.pods {
        let trace = Trace::read(&nodes, &read(path)?)
            .with_context(|| format!("{} with {}", options.nodes.display(), path.display()))?;
        workloads.push((path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), trace));
    }
    let known: Vec<&str> = POLICIES.iter().map(|(name, _)| *name).collect();
    let make =
        |name: &String| by_name(name).with_context(|| format!("no policy {name:?}; there are {}", known.join(", ")));
    let policies = options.policies.iter().map(make).collect::<anyhow::Result<_>>()?;
    ensure!(options.demand > 0.0 && options.demand <= 100.0, "demand must be above 0 and at most 100");
    Ok(Plan { workloads, policies, seeds: seeds(&options.seeds)?, demand: options.demand })
}

/// `42-51`, `1,2,5-7`.
pub(crate) fn seeds(text: &str) -> anyhow::Result<Vec<u64>> {
    let mut seeds = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number =
            |text: &str| text.trim().parse::<u64>().with_context(|| format!("seeds: {part:?} is no number or range"));
        let (first, last) = (number(first)?, number(last)?);
        ensure!(first <= last && last - first < 10_000, "seeds: {part:?} is empty or too long");
        seeds.extend(first..=last);
    }
    Ok(seeds)
}

fn origin(options: &Options) -> anyhow::Result<Origin> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut files = vec![("Nodes".to_owned(), name(&options.nodes))];
    files.extend(options.pods.iter().map(|path| ("Jobs".to_owned(), name(path))));
    let published = match &options.published {
        Some(path) => Published::read(&read(path)?)?,
        None => Vec::new(),
    };
    let pods: Vec<String> = options.pods.iter().map(|path| name(path)).collect();
    let command = format!(
        "scheduler_lab compare --nodes {} --pods {} --policies {} --seeds {} --demand {}",
        name(&options.nodes),
        pods.join(" "),
        options.policies.join(","),
        options.seeds,
        options.demand
    );
    Ok(Origin { command, files, published })
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}
