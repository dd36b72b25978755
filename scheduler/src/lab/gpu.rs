//! Nodes with GPUs that can be shared, and how much of them is of no use to the jobs that are to come.

use std::collections::BTreeMap;

use super::Trace;

/// What a job asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask {
    /// Thousandths of a CPU.
    pub cpu: i64,
    /// Memory, in MiB.
    pub memory_mib: i64,
    /// How many GPUs.
    pub gpus: usize,
    /// How much of each of them, in thousandths.
    pub gpu_milli: i64,
    /// Which models will do; any, if none is named.
    pub models: Vec<String>,
}

impl Ask {
    /// How much of all GPUs together, in thousandths.
    #[must_use]
    pub fn gpu_total(&self) -> i64 {
        self.gpu_milli * i64::try_from(self.gpus).unwrap_or(0)
    }
}

/// A node as a policy sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GpuNode {
    /// What is left of its CPUs, in thousandths.
    pub cpu_left: i64,
    /// All of its CPUs, in thousandths.
    pub cpu: i64,
    /// What is left of each GPU, in thousandths.
    pub gpus_left: Vec<i64>,
    /// How many jobs of each kind run on it, by number of GPUs and share of each.
    pub jobs: BTreeMap<(usize, i64), u32>,
}

impl GpuNode {
    /// What is left of all GPUs together, in thousandths.
    #[must_use]
    pub fn gpu_left(&self) -> i64 {
        self.gpus_left.iter().sum()
    }

    /// How many GPUs nobody uses.
    #[must_use]
    pub fn idle_gpus(&self) -> usize {
        self.gpus_left.iter().filter(|left| **left == 1000).count()
    }

    /// Whether its GPUs can take a job.
    #[must_use]
    pub fn has_gpus_for(&self, ask: &Ask) -> bool {
        self.gpus_left.iter().filter(|left| **left >= ask.gpu_milli).count() >= ask.gpus
    }

    /// The GPUs that can take a job, those with the least left first.
    #[must_use]
    pub fn tightest(&self, ask: &Ask) -> Vec<usize> {
        let mut fitting: Vec<usize> =
            (0..self.gpus_left.len()).filter(|gpu| self.gpus_left[*gpu] >= ask.gpu_milli).collect();
        fitting.sort_by_key(|gpu| self.gpus_left[*gpu]);
        fitting.truncate(ask.gpus);
        fitting
    }

    /// The node after a job took those GPUs.
    #[must_use]
    pub fn after(&self, ask: &Ask, gpus: &[usize]) -> Self {
        let mut node = self.clone();
        node.take(ask, gpus);
        node
    }

    pub(super) fn take(&mut self, ask: &Ask, gpus: &[usize]) {
        self.cpu_left -= ask.cpu;
        for gpu in gpus {
            self.gpus_left[*gpu] -= ask.gpu_milli;
        }
        if ask.gpus > 0 {
            *self.jobs.entry((ask.gpus, ask.gpu_milli)).or_default() += 1;
        }
    }
}

/// The kinds of jobs that are expected, each with its share.
#[derive(Clone, Debug, Default)]
pub struct TypicalJobs(Vec<(Ask, f64)>);

impl TypicalJobs {
    /// Those of a trace.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "shares of some thousand jobs")]
    pub fn of(trace: &Trace) -> Self {
        let mut kinds: BTreeMap<Ask, usize> = BTreeMap::new();
        for job in &trace.jobs {
            let kind = Ask { memory_mib: 0, models: Vec::new(), ..job.clone() };
            *kinds.entry(kind).or_default() += 1;
        }
        let all = trace.jobs.len().max(1) as f64;
        Self(kinds.into_iter().map(|(kind, count)| (kind, count as f64 / all)).collect())
    }

    /// How much of the GPUs that are left a typical job could not use, in thousandths. To a job without GPUs all of it
    /// is of no use; to one that the node can't take, too; to one that it can, those GPUs with too little left.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "thousandths of a few GPUs")]
    pub fn fragmentation(&self, node: &GpuNode) -> f64 {
        let total = node.gpu_left();
        let useless = |job: &Ask| {
            if job.gpus == 0 || node.cpu_left < job.cpu {
                return total;
            }
            let (mut fitting, mut rest) = (0, 0);
            for left in &node.gpus_left {
                if *left >= job.gpu_milli { fitting += 1 } else { rest += left }
            }
            if fitting >= job.gpus { rest } else { total }
        };
        self.0.iter().map(|(job, share)| share * useless(job) as f64).sum()
    }
}
