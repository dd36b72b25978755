//! The jobs that are expected, and how much of a node's GPUs is of no use to them.

use std::collections::BTreeMap;

use super::{Ask, GpuNode, Trace};

/// How many of the jobs of a trace the typical kinds must make up, in percent.
const COVERED_PERCENT: usize = 95;

/// The most frequent kinds of jobs of a trace, down to where they make up 95 % of it; each counts as often as it occurs.
#[derive(Clone, Debug, Default)]
pub struct TypicalJobs {
    groups: Vec<Group>,
    total: i64,
}

/// The kinds that differ only in CPUs: how many of the jobs need no more than so many.
#[derive(Clone, Debug)]
struct Group {
    gpus: usize,
    gpu_milli: i64,
    models: Vec<String>,
    up_to: Vec<(i64, i64)>,
}

impl Group {
    fn satisfied(&self, cpu: i64) -> i64 {
        match self.up_to.partition_point(|(needed, _)| *needed <= cpu) {
            0 => 0,
            at => self.up_to[at - 1].1,
        }
    }
}

impl TypicalJobs {
    /// Those of a trace.
    #[must_use]
    pub fn of(trace: &Trace) -> Self {
        let mut counts: BTreeMap<Ask, usize> = BTreeMap::new();
        for job in &trace.jobs {
            *counts.entry(Ask { memory_mib: 0, ..job.clone() }).or_default() += 1;
        }
        let mut kinds: Vec<(usize, Ask)> = counts.into_iter().map(|(ask, count)| (count, ask)).collect();
        kinds.sort_by(|a, b| b.cmp(a));
        let (mut covered, mut total) = (0, 0);
        let mut groups: BTreeMap<_, Vec<(i64, i64)>> = BTreeMap::new();
        for (count, ask) in kinds {
            if covered * 100 >= trace.jobs.len() * COVERED_PERCENT {
                break;
            }
            covered += count;
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            total += count;
            groups.entry((ask.gpus, ask.gpu_milli, ask.models)).or_default().push((ask.cpu, count));
        }
        // To jobs without GPUs all of them are of no use, so those matter in the total only.
        groups.retain(|(gpus, milli, _), _| *gpus > 0 && *milli > 0);
        let accumulate = |mut kinds: Vec<(i64, i64)>| {
            kinds.sort_unstable();
            let mut sum = 0;
            for (_, count) in &mut kinds {
                sum += *count;
                *count = sum;
            }
            kinds
        };
        let group = |((gpus, gpu_milli, models), kinds)| Group { gpus, gpu_milli, models, up_to: accumulate(kinds) };
        Self { groups: groups.into_iter().map(group).collect(), total }
    }

    /// How much of the GPUs that are left a typical job could not use, in thousandths. To a job without GPUs, or one
    /// that the node can't take, all of it is of no use; to one that it can, those GPUs with too little left.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "thousandths of a few GPUs times some thousand jobs")]
    pub fn fragmentation(&self, node: &GpuNode) -> f64 {
        self.weigh(node.cpu_left, &node.gpus_left, &node.model) as f64 / self.total.max(1) as f64
    }

    /// How much less of a node would be of use if a job took those GPUs, in GPUs; less than 0 if more would.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "thousandths of a few GPUs times some thousand jobs")]
    pub fn growth(&self, node: &GpuNode, ask: &Ask, gpus: &[usize]) -> f64 {
        let before = self.weigh(node.cpu_left, &node.gpus_left, &node.model);
        let mut left = node.gpus_left.clone();
        for gpu in gpus {
            left[*gpu] -= ask.gpu_milli;
        }
        let after = self.weigh(node.cpu_left - ask.cpu, &left, &node.model);
        (after - before) as f64 / self.total.max(1) as f64 / 1000.0
    }

    /// The fragmentation times the number of typical jobs: whole numbers, so that equal nodes compare equal.
    fn weigh(&self, cpu_left: i64, gpus_left: &[i64], model: &str) -> i64 {
        let left: i64 = gpus_left.iter().sum();
        if left == 0 {
            return 0;
        }
        let mut useful = 0;
        for group in &self.groups {
            let (mut fitting, mut use_of) = (0, 0);
            for gpu in gpus_left {
                if *gpu >= group.gpu_milli {
                    fitting += 1;
                    use_of += gpu;
                }
            }
            let accessible = group.models.is_empty() || group.models.iter().any(|own| own == model);
            if fitting >= group.gpus && accessible {
                useful += use_of * group.satisfied(cpu_left);
            }
        }
        left * self.total - useful
    }
}
