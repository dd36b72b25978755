//! What comes of a simulation.

use serde::Serialize;

use super::Sample;

/// What became of a workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SimResult {
    /// From which ties were drawn.
    pub seed: u64,
    /// When it ended, in seconds.
    pub seconds: f64,
    /// How many pods arrived, those that lost their node once more.
    pub arrived: usize,
    /// How many got a node.
    pub placed: usize,
    /// How many of those came to their end.
    pub ended: usize,
    /// How many of those run still.
    pub running: usize,
    /// How many lost their node: by preemption, failure or scaling.
    pub moves: usize,
    /// How long pods that got a node waited for it, in seconds: the mean.
    pub waited_mean_seconds: f64,
    /// Half of them waited no longer than this.
    pub waited_median_seconds: f64,
    /// All but one in twenty waited no longer than this.
    pub waited_perc95_seconds: f64,
    /// None waited longer than this.
    pub waited_max_seconds: f64,
    /// The mean over time.
    pub cpu_allocation_percent: f64,
    /// The mean over time.
    pub cpu_fragmentation_percent: f64,
    /// The mean over time.
    pub fairness: f64,
    /// The mean over time.
    pub spread_percent: f64,
    /// The cluster over time.
    pub samples: Vec<Sample>,
    /// The pods that wait still, and why.
    pub unplaced: Vec<Unplaced>,
}

/// A pod without a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Unplaced {
    /// Its name.
    pub pod: String,
    /// How long it has waited, in seconds.
    pub waited_seconds: f64,
    /// What the scheduler said last.
    pub why: String,
}

impl SimResult {
    /// Fills in what follows from how long each pod waited, in seconds, and from the samples.
    #[allow(clippy::cast_precision_loss, reason = "numbers of samples")]
    pub(super) fn sum_up(&mut self, mut waits: Vec<f64>) {
        waits.sort_by(f64::total_cmp);
        let at =
            |percent: usize| waits.get((waits.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or_default();
        self.waited_mean_seconds = waits.iter().sum::<f64>() / waits.len().max(1) as f64;
        (self.waited_median_seconds, self.waited_perc95_seconds, self.waited_max_seconds) = (at(50), at(95), at(100));
        let samples = &self.samples;
        let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / samples.len().max(1) as f64;
        let means = (mean(|s| s.cpu_allocation_percent), mean(|s| s.cpu_fragmentation_percent));
        (self.fairness, self.spread_percent) = (mean(|s| s.fairness), mean(|s| s.spread_percent));
        (self.cpu_allocation_percent, self.cpu_fragmentation_percent) = means;
    }
}
