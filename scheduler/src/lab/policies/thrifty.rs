use super::percent;
use crate::lab::{Ask, GpuNode, Policy, Trace, TypicalJobs};
use crate::random::Random;

/// Fragmentation gradient descent that tells small differences apart and, where fragmentation does not decide, spends
/// CPUs where the fewest GPUs wait for them. This project's own.
#[derive(Clone, Debug)]
pub struct Thrifty {
    typical: TypicalJobs,
}

impl Thrifty {
    /// Expecting the jobs of a trace.
    #[must_use]
    pub fn of(trace: &Trace) -> Self {
        Self { typical: TypicalJobs::of(trace) }
    }

    /// What the best choice of GPUs makes useless, and that choice.
    fn best(&self, ask: &Ask, node: &GpuNode) -> (f64, Vec<usize>) {
        let weighed = |gpus: Vec<usize>| (self.typical.growth(node, ask, &gpus), gpus);
        if !ask.shares_a_gpu() {
            return weighed(node.tightest(ask).into_vec());
        }
        let left = &node.gpus_left;
        let fits = |gpu: &usize| left[*gpu] >= ask.gpu_milli && !left[..*gpu].contains(&left[*gpu]);
        let choices = (0..left.len()).filter(fits).map(|gpu| weighed(vec![gpu]));
        choices.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, Vec::new()))
    }

    #[allow(clippy::cast_precision_loss, reason = "thousandths of a few GPUs and cpus")]
    fn standing(&self, ask: &Ask, node: &GpuNode) -> f64 {
        let waiting = (node.gpu_left() - ask.gpu_total()) as f64 / 8000.0;
        let cpu_after = (node.cpu_left - ask.cpu) as f64 / 128_000.0;
        1.0 / (1.0 + (self.best(ask, node).0 + 0.02 * waiting + 0.01 * cpu_after).exp())
    }
}

impl Policy for Thrifty {
    fn name(&self) -> &'static str {
        "thrifty"
    }

    fn score(&self, ask: &Ask, node: &GpuNode) -> i64 {
        percent(self.standing(ask, node))
    }

    fn tie_break(&self, ask: &Ask, node: &GpuNode) -> i64 {
        percent((self.standing(ask, node) * 100.0).fract())
    }

    fn pick(&self, ask: &Ask, node: &GpuNode, _: &mut Random) -> Vec<usize> {
        self.best(ask, node).1
    }
}
