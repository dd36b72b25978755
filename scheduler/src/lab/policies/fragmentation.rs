use super::percent;
use crate::lab::{Ask, GpuNode, Policy, Trace, TypicalJobs};
use crate::random::Random;

/// Fragmentation gradient descent: the node and GPU where the least becomes useless to the jobs that are expected
/// (Weng et al., "Beware of Fragmentation", ATC 2023).
#[derive(Clone, Debug)]
pub struct Fragmentation {
    typical: TypicalJobs,
}

impl Fragmentation {
    /// Expecting the jobs of a trace.
    #[must_use]
    pub fn of(trace: &Trace) -> Self {
        Self { typical: TypicalJobs::of(trace) }
    }

    fn judge(&self, ask: &Ask, node: &GpuNode, gpus: &[usize]) -> i64 {
        percent(1.0 / (1.0 + self.typical.growth(node, ask, gpus).exp()))
    }

    /// The best choice of GPUs: the first, if several are as good.
    fn best(&self, ask: &Ask, node: &GpuNode) -> (i64, Vec<usize>) {
        if !ask.shares_a_gpu() {
            let gpus = node.tightest(ask).into_vec();
            return (self.judge(ask, node, &gpus), gpus);
        }
        let mut best = (-1, Vec::new());
        for (gpu, left) in node.gpus_left.iter().enumerate() {
            if *left >= ask.gpu_milli && !node.gpus_left[..gpu].contains(left) {
                let score = self.judge(ask, node, &[gpu]);
                if score > best.0 {
                    best = (score, vec![gpu]);
                }
            }
        }
        best
    }
}

impl Policy for Fragmentation {
    fn name(&self) -> &'static str {
        "fgd"
    }

    fn score(&self, ask: &Ask, node: &GpuNode) -> i64 {
        self.best(ask, node).0
    }

    fn pick(&self, ask: &Ask, node: &GpuNode, _: &mut Random) -> Vec<usize> {
        self.best(ask, node).1
    }
}
