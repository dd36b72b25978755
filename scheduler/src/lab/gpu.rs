//! Nodes with GPUs that can be shared, and the jobs that ask for them.

use smallvec::SmallVec;

/// What a whole GPU counts, in thousandths.
pub const GPU: i64 = 1000;

/// What a job asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask {
    /// Thousandths of a CPU.
    pub cpu: i64,
    /// How much of each of its GPUs, in thousandths.
    pub gpu_milli: i64,
    /// How many GPUs.
    pub gpus: usize,
    /// Which models will do; any, if none is named.
    pub models: Vec<String>,
    /// Memory, in MiB.
    pub memory_mib: i64,
}

impl Ask {
    /// How much of all GPUs together, in thousandths.
    #[must_use]
    pub fn gpu_total(&self) -> i64 {
        self.gpu_milli * i64::try_from(self.gpus).unwrap_or(0)
    }

    /// Whether it asks for a part of one GPU.
    #[must_use]
    pub const fn shares_a_gpu(&self) -> bool {
        self.gpus == 1 && self.gpu_milli < GPU
    }

    /// Whether GPUs of a model will do.
    #[must_use]
    pub fn accepts(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|own| own == model)
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
    pub gpus_left: SmallVec<[i64; 8]>,
    /// How many jobs run on it that share a GPU (at 0), and that have so many GPUs for themselves (at that number).
    pub jobs: SmallVec<[u32; 9]>,
    /// The model of its GPUs.
    pub model: String,
}

impl GpuNode {
    /// A node on which nothing runs.
    #[must_use]
    pub fn idle(cpu: i64, gpus: usize, model: &str) -> Self {
        let gpus_left = SmallVec::from_elem(GPU, gpus);
        let jobs = SmallVec::from_elem(0, gpus + 1);
        Self { cpu_left: cpu, cpu, gpus_left, jobs, model: model.to_owned() }
    }

    /// What is left of all GPUs together, in thousandths.
    #[must_use]
    pub fn gpu_left(&self) -> i64 {
        self.gpus_left.iter().sum()
    }

    /// How many GPUs nobody uses.
    #[must_use]
    pub fn idle_gpus(&self) -> usize {
        self.gpus_left.iter().filter(|left| **left == GPU).count()
    }

    /// Whether its GPUs can take a job.
    #[must_use]
    pub fn has_gpus_for(&self, ask: &Ask) -> bool {
        ask.gpus == 0 || self.gpus_left.iter().filter(|left| **left >= ask.gpu_milli).count() >= ask.gpus
    }

    /// The GPUs that can take a job, those with the least left first; in their order if they have the same left.
    #[must_use]
    pub fn tightest(&self, ask: &Ask) -> SmallVec<[usize; 8]> {
        let mut fitting: SmallVec<[usize; 8]> =
            (0..self.gpus_left.len()).filter(|gpu| self.gpus_left[*gpu] >= ask.gpu_milli).collect();
        fitting.sort_by_key(|gpu| self.gpus_left[*gpu]);
        fitting.truncate(ask.gpus);
        fitting
    }

    /// In which group of jobs one belongs: 0 for those that share a GPU, else how many GPUs it has for itself.
    #[must_use]
    pub fn group(ask: &Ask) -> usize {
        if ask.shares_a_gpu() { 0 } else { ask.gpus }
    }

    /// Whether jobs of a group run here.
    #[must_use]
    pub fn runs(&self, group: usize) -> bool {
        self.jobs.get(group).is_some_and(|count| *count > 0)
    }

    /// Of how many groups jobs run here.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.jobs.iter().filter(|count| **count > 0).count()
    }

    pub(super) fn take(&mut self, ask: &Ask, gpus: &[usize]) {
        self.cpu_left -= ask.cpu;
        for gpu in gpus {
            self.gpus_left[*gpu] -= ask.gpu_milli;
        }
        if ask.gpus > 0
            && let Some(count) = self.jobs.get_mut(Self::group(ask))
        {
            *count += 1;
        }
    }
}
