//! Policies, workloads and seeds against one another.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::parallel::in_parallel;
use super::{Policy, Run, Trace, run};

/// Makes a policy for a trace.
pub type MakePolicy = fn(&Trace) -> Box<dyn Policy>;

/// What is to be compared.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Traces by name.
    pub workloads: Vec<(String, Trace)>,
    /// How policies are made.
    pub policies: Vec<MakePolicy>,
    /// From which arrival orders and ties are drawn.
    pub seeds: Vec<u64>,
    /// How many times the GPUs there are jobs ask for in the end.
    pub demand: f64,
}

impl Plan {
    /// How many runs it takes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.workloads.len() * self.policies.len() * self.seeds.len()
    }

    /// Whether there is nothing to run.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Several runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// Workload by workload, policy by policy, seed by seed.
    pub runs: Vec<Run>,
}

/// Mean, spread and range of a value over the seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the sample; 0 for a single value.
    pub deviation: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of some values.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a number of seeds")]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        if values.is_empty() {
            return Self::default();
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / (values.len() - 1).max(1) as f64).sqrt();
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { mean, deviation, min, max }
    }
}

/// Carries out a plan, as many runs at a time as there are processors. `clock` says how much time has passed since some
/// fixed moment; `done` hears of each run.
#[must_use]
pub fn compare(plan: &Plan, clock: &(dyn Fn() -> Duration + Sync), done: &(dyn Fn(&Run) + Sync)) -> Comparison {
    let (per_policy, per_workload) = (plan.seeds.len(), plan.seeds.len() * plan.policies.len());
    let work = |task: usize| {
        let (name, trace) = &plan.workloads[task / per_workload];
        let policy = plan.policies[task % per_workload / per_policy](trace);
        let start = clock();
        let mut run = run(trace, policy, plan.seeds[task % per_policy], plan.demand);
        run.seconds = clock().saturating_sub(start).as_secs_f64();
        run.workload.clone_from(name);
        done(&run);
        run
    };
    Comparison { runs: in_parallel(plan.len(), &work) }
}

impl Comparison {
    /// The workloads, in order.
    #[must_use]
    pub fn workloads(&self) -> Vec<&str> {
        in_order(self.runs.iter().map(|run| run.workload.as_str()))
    }

    /// The policies, in order.
    #[must_use]
    pub fn policies(&self) -> Vec<&str> {
        in_order(self.runs.iter().map(|run| run.policy.as_str()))
    }

    /// The runs of a policy on a workload.
    #[must_use]
    pub fn of(&self, workload: &str, policy: &str) -> Vec<&Run> {
        self.runs.iter().filter(|run| run.workload == workload && run.policy == policy).collect()
    }

    /// A line for each policy: mean and range of what was allocated, and what was fragmented.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        for workload in self.workloads() {
            let _ = writeln!(table, "{workload}, at the end, in percent of all GPUs");
            let heads = ["mean", "sd", "min", "max", "frag", "seconds"];
            let _ = write!(table, "{:<16}", "policy");
            for head in heads {
                let _ = write!(table, "{head:>9}");
            }
            table.push('\n');
            for policy in self.policies() {
                let runs = self.of(workload, policy);
                let allocated = Spread::of(runs.iter().map(|run| run.gpu_allocation_percent));
                let fragmented = Spread::of(runs.iter().map(|run| run.gpu_fragmentation_percent)).mean;
                let seconds = Spread::of(runs.iter().map(|run| run.seconds)).mean;
                let _ = write!(table, "{policy:<16}");
                let Spread { mean, deviation, min, max } = allocated;
                for cell in [mean, deviation, min, max, fragmented, seconds] {
                    let _ = write!(table, "{cell:>9.2}");
                }
                table.push('\n');
            }
        }
        table
    }

    /// A row for each run, without its curve.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut csv = "workload,policy,seed,gpu_allocation_percent,gpu_fragmentation_percent,\
            gpu_fragmentation_of_idle_percent,cpu_allocation_percent,arrived,placed,failed,seconds\n"
            .to_owned();
        for run in &self.runs {
            let Run { workload, policy, seed, arrived, placed, failed, seconds, .. } = run;
            let (allocated, fragmented) = (run.gpu_allocation_percent, run.gpu_fragmentation_percent);
            let (of_idle, cpu) = (run.gpu_fragmentation_of_idle_percent, run.cpu_allocation_percent);
            let _ = writeln!(
                csv,
                "{workload},{policy},{seed},{allocated:.4},{fragmented:.4},{of_idle:.4},{cpu:.4},{arrived},{placed},\
                 {failed},{seconds:.3}"
            );
        }
        csv
    }

    /// A row for each percent of demand of each run.
    #[must_use]
    pub fn curves_csv(&self) -> String {
        let mut csv = "workload,policy,seed,arrived_percent,allocated_percent,fragmented_percent,\
            fragmented_of_idle_percent\n"
            .to_owned();
        for run in &self.runs {
            for point in &run.curve {
                let _ = writeln!(
                    csv,
                    "{},{},{},{},{:.4},{:.4},{:.4}",
                    run.workload,
                    run.policy,
                    run.seed,
                    point.arrived_percent,
                    point.allocated_percent,
                    point.fragmented_percent,
                    point.fragmented_of_idle_percent
                );
            }
        }
        csv
    }

    /// A row for each job that was turned away, with what the scheduler said.
    #[must_use]
    pub fn turned_away_csv(&self) -> String {
        let mut csv = "workload,policy,seed,arrival,job,why\n".to_owned();
        for run in &self.runs {
            for away in &run.turned_away {
                let (job, why) = (&away.job, away.why.replace('"', "\"\""));
                let _ = writeln!(csv, "{},{},{},{},{job},\"{why}\"", run.workload, run.policy, run.seed, away.arrival);
            }
        }
        csv
    }
}

fn in_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}
