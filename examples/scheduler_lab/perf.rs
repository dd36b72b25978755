//! `perf`: upstream's scheduler_perf workloads.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use kubewright_scheduler::lab::perf::{CoreCluster, Measurement, TestCase, Workload, carry_out};
use kubewright_scheduler::schedule::{Scheduler, SchedulerConfig};
use serde_json::json;

use crate::api::ApiCluster;
use crate::compare::write;
use crate::simulate::profiles;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Upstream's performance-config.yaml files, or folders to look for such files in.
    #[arg(long, required = true, num_args = 1..)]
    config: Vec<PathBuf>,
    /// Which workloads, such as SchedulingBasic/5000Nodes_10000Pods.
    #[arg(long, num_args = 1..)]
    workload: Vec<String>,
    /// All workloads with that label.
    #[arg(long)]
    label: Option<String>,
    /// All workloads for which upstream says how fast they must be.
    #[arg(long)]
    thresholds: bool,
    /// Leaves out workloads that differ from one before in nothing but features of upstream's that are on or off.
    #[arg(long)]
    once: bool,
    /// Lists the workloads.
    #[arg(long)]
    list: bool,
    /// `core`: a scheduler and nothing else. `api`: an API server in this process, with informers and bindings.
    #[arg(long, value_parser = ["api", "core"], default_value = "api")]
    mode: String,
    /// From which ties are drawn.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// How many seconds pods may take to be scheduled, in a step through the API.
    #[arg(long, default_value_t = 600)]
    patience: u64,
    /// Where to write what was measured.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where to write a table of it.
    #[arg(long)]
    markdown: Option<PathBuf>,
}

/// A file's cases.
struct Config {
    path: PathBuf,
    cases: Vec<TestCase>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let configs = configs(&options.config)?;
    let all: Vec<Chosen<'_>> = configs.iter().flat_map(Config::workloads).collect();
    if options.list {
        for Chosen { case, workload, .. } in &all {
            let labels = [&case.labels[..], &workload.labels[..]].concat().join(" ");
            println!("{}/{} [{labels}]", case.name, workload.name);
        }
        return Ok(());
    }
    let chosen = choose(options, all)?;
    println!(
        "{:<78} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "measured", "pods", "seconds", "pods/s", "average", "perc50", "upstream", "ratio"
    );
    let (mut rows, mut failed, mut table) = (Vec::new(), Vec::new(), Table::default());
    for chosen in &chosen {
        let name = chosen.name();
        let start = Instant::now();
        match one(options, chosen) {
            Ok(measured) => {
                measured.iter().for_each(print);
                measured.iter().for_each(|measured| table.add(measured));
                rows.push(json!({"workload": name, "mode": options.mode, "seconds": start.elapsed().as_secs_f64(),
                    "measurements": measured}));
            }
            Err(error) => {
                println!("{name}: {error:#}");
                table.add_failed(&name, &format!("{error:#}"));
                rows.push(json!({"workload": name, "mode": options.mode, "error": format!("{error:#}")}));
                failed.push(name);
            }
        }
        // Written each time: what was measured is kept if a later workload is stopped.
        if let Some(path) = &options.json {
            write(path, &serde_json::to_string_pretty(&json!({ "runs": rows }))?)?;
        }
        if let Some(path) = &options.markdown {
            write(path, &table.text())?;
        }
    }
    println!("{}", table.summary(failed.len()));
    if failed.is_empty() { Ok(()) } else { bail!("not carried out: {}", failed.join(", ")) }
}

/// A workload to run.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    config: &'a Config,
    case: &'a TestCase,
    workload: &'a Workload,
}

impl Chosen<'_> {
    fn name(&self) -> String {
        format!("{}/{}", self.case.name, self.workload.name)
    }
}

impl Config {
    fn workloads(&self) -> impl Iterator<Item = Chosen<'_>> {
        let of = move |case| move |workload| Chosen { config: self, case, workload };
        self.cases.iter().flat_map(move |case| case.workloads.iter().map(of(case)))
    }
}

fn configs(paths: &[PathBuf]) -> anyhow::Result<Vec<Config>> {
    let mut files = Vec::new();
    for path in paths {
        find(path, &mut files).with_context(|| path.display().to_string())?;
    }
    ensure!(!files.is_empty(), "no performance-config.yaml in {}", paths[0].display());
    let read = |path: PathBuf| {
        let shown = path.display().to_string();
        let text = fs::read_to_string(&path).with_context(|| shown.clone())?;
        let cases = TestCase::read_all(&text).with_context(|| shown)?;
        Ok(Config { path, cases })
    };
    files.into_iter().map(read).collect()
}

/// The files below a folder, in the order of their names.
fn find(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut inside = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    inside.sort();
    let wanted =
        |path: &PathBuf| path.is_dir() || path.file_name().is_some_and(|name| name == "performance-config.yaml");
    inside.into_iter().filter(wanted).try_for_each(|path| find(&path, files))
}

fn choose<'a>(options: &Options, all: Vec<Chosen<'a>>) -> anyhow::Result<Vec<Chosen<'a>>> {
    for name in &options.workload {
        let known = || all.iter().map(Chosen::name).collect::<Vec<_>>().join(", ");
        ensure!(all.iter().any(|chosen| chosen.name() == *name), "no workload {name:?}; there are {}", known());
    }
    let wanted = |chosen: &Chosen<'_>| {
        let labelled = |label| chosen.case.labels.contains(label) || chosen.workload.labels.contains(label);
        options.workload.contains(&chosen.name())
            || options.label.as_ref().is_some_and(labelled)
            || (options.thresholds && chosen.workload.threshold.value() > 0.0)
    };
    let mut chosen: Vec<Chosen<'a>> = all.into_iter().filter(wanted).collect();
    if options.once {
        let mut seen = Vec::new();
        chosen.retain(|chosen| {
            let what = (&chosen.case.name, &chosen.workload.params);
            let again = seen.contains(&what);
            seen.push(what);
            !again
        });
    }
    ensure!(!chosen.is_empty(), "say which with --workload, --label or --thresholds; --list lists them");
    Ok(chosen)
}

fn one(options: &Options, chosen: &Chosen<'_>) -> anyhow::Result<Vec<Measurement>> {
    let Chosen { config, case, workload } = *chosen;
    let folder = config.path.parent().unwrap_or_else(|| Path::new("."));
    let files = |path: &str| fs::read_to_string(folder.join(path)).map_err(|error| error.to_string());
    let configuration = case.scheduler_config_path.as_deref().map(|path| fs::read_to_string(folder.join(path)));
    let profiles = profiles(configuration.transpose()?.as_deref())?;
    if options.mode == "api" {
        let mut cluster = ApiCluster::start(profiles, options.seed, Duration::from_secs(options.patience))?;
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

/// How much faster than what upstream's average must reach, where that is said.
fn ratio(measured: &Measurement) -> Option<f64> {
    (measured.threshold > 0.0).then(|| measured.throughput.average / measured.threshold)
}

fn print(measured: &Measurement) {
    let throughput = &measured.throughput;
    let shown = |value: Option<f64>, digits| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"));
    println!(
        "{:<78} {:>7} {:>9.2} {:>9.0} {:>9.0} {:>9.0} {:>9} {:>7}",
        measured.name,
        throughput.pods,
        throughput.seconds,
        throughput.pods_per_second,
        throughput.average,
        throughput.perc50,
        shown(Some(measured.threshold).filter(|threshold| *threshold > 0.0), 0),
        shown(ratio(measured), 1),
    );
}

/// What was measured, as Markdown.
#[derive(Default)]
struct Table {
    lines: Vec<String>,
    measured: usize,
    least: Option<(f64, String)>,
}

impl Table {
    fn add(&mut self, measured: &Measurement) {
        let Measurement { name, throughput, threshold, .. } = measured;
        self.measured += 1;
        let (wanted, times) = match ratio(measured) {
            Some(ratio) => (format!("{threshold:.0}"), format!("{ratio:.1}")),
            None => (String::new(), String::new()),
        };
        self.lines.push(format!("| {name} | {} | {:.0} | {wanted} | {times} |", throughput.pods, throughput.average));
        if let Some(ratio) = ratio(measured)
            && self.least.as_ref().is_none_or(|(least, _)| ratio < *least)
        {
            self.least = Some((ratio, name.clone()));
        }
    }

    fn add_failed(&mut self, name: &str, why: &str) {
        self.lines.push(format!("| {name} | | {} | | |", why.replace('|', "/").replace('\n', " ")));
    }

    fn text(&self) -> String {
        let head = "| workload | pods | pods/s | upstream's threshold | ratio |\n|---|---|---|---|---|\n";
        format!("{head}{}\n", self.lines.join("\n"))
    }

    fn summary(&self, failed: usize) -> String {
        let least = self.least.as_ref().map(|(ratio, name)| format!("; the least ratio is {ratio:.1}, of {name}"));
        format!("{} measurements, {failed} workloads failed{}", self.measured, least.unwrap_or_default())
    }
}
