//! Six policies from the literature.

use super::{Ask, GpuNode, Policy, Trace, TypicalJobs};
use crate::random::Random;

/// A policy by the name that [`Policy::name`] gives it.
#[must_use]
pub fn by_name(name: &str, trace: &Trace) -> Option<Box<dyn Policy>> {
    Some(match name {
        "random" => Box::new(RandomChoice),
        "dotprod" => Box::new(DotProduct),
        "gpuclustering" => Box::new(GpuClustering),
        "gpupacking" => Box::new(GpuPacking),
        "bestfit" => Box::new(BestFit),
        "fgd" => Box::new(Fragmentation::of(trace)),
        _ => return None,
    })
}

/// The largest node there is, by which remainders are made comparable: 128 cpus and 8 GPUs.
const CPU_MOST: f64 = 128_000.0;
const GPU_MOST: f64 = 8_000.0;

#[allow(clippy::cast_precision_loss, reason = "thousandths of cpus and GPUs")]
fn shares(cpu: i64, gpu: i64) -> (f64, f64) {
    ((cpu as f64 / CPU_MOST).min(1.0), (gpu as f64 / GPU_MOST).min(1.0))
}

/// Any node, any GPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomChoice;

impl Policy for RandomChoice {
    fn name(&self) -> &'static str {
        "random"
    }

    fn score(&self, _: &Ask, _: &GpuNode) -> f64 {
        0.0
    }

    fn pick(&self, ask: &Ask, node: &GpuNode, random: &mut Random) -> Vec<usize> {
        let mut fitting: Vec<usize> =
            (0..node.gpus_left.len()).filter(|gpu| node.gpus_left[*gpu] >= ask.gpu_milli).collect();
        (0..ask.gpus).map(|_| fitting.swap_remove(random.below(fitting.len()))).collect()
    }
}

/// The node for which the product of what is left and what is asked for is smallest.
#[derive(Clone, Copy, Debug, Default)]
pub struct DotProduct;

impl Policy for DotProduct {
    fn name(&self) -> &'static str {
        "dotprod"
    }

    fn score(&self, ask: &Ask, node: &GpuNode) -> f64 {
        let (cpu, gpu) = shares(node.cpu_left, node.gpu_left());
        let (asked_cpu, asked_gpu) = shares(ask.cpu, ask.gpu_total());
        1.0 - f64::midpoint(cpu * asked_cpu, gpu * asked_gpu)
    }
}

/// Nodes that run jobs of the same kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct GpuClustering;

impl Policy for GpuClustering {
    fn name(&self) -> &'static str {
        "gpuclustering"
    }

    fn score(&self, ask: &Ask, node: &GpuNode) -> f64 {
        let (_, left) = shares(0, node.gpu_left());
        let tightness = (1.0 - left) / 4.0;
        if ask.gpus == 0 {
            return tightness;
        }
        let alike = node.jobs.contains_key(&(ask.gpus, ask.gpu_milli));
        let band = if alike {
            0.7
        } else if node.jobs.is_empty() {
            0.4
        } else {
            0.0
        };
        band + tightness
    }
}

/// GPUs in use first, then idle GPUs of nodes in use, then idle nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct GpuPacking;

impl Policy for GpuPacking {
    fn name(&self) -> &'static str {
        "gpupacking"
    }

    #[allow(clippy::cast_precision_loss, reason = "a few GPUs")]
    fn score(&self, ask: &Ask, node: &GpuNode) -> f64 {
        let idle = (node.idle_gpus() as f64 / 8.0).min(1.0);
        let shared = node.gpus_left.iter().filter(|left| **left < 1000 && **left >= ask.gpu_milli).min();
        let in_use = node.gpu_left() < 1000 * i64::try_from(node.gpus_left.len()).unwrap_or(0);
        match shared {
            Some(left) if ask.gpus == 1 && ask.gpu_milli < 1000 => 0.7 + (1.0 - *left as f64 / 1000.0) * 0.3,
            _ if in_use => 0.4 + (1.0 - idle) * 0.25,
            _ => (1.0 - idle) * 0.3,
        }
    }
}

/// The node with the least left.
#[derive(Clone, Copy, Debug, Default)]
pub struct BestFit;

impl Policy for BestFit {
    fn name(&self) -> &'static str {
        "bestfit"
    }

    fn score(&self, ask: &Ask, node: &GpuNode) -> f64 {
        let (cpu, gpu) = shares(node.cpu_left - ask.cpu, node.gpu_left() - ask.gpu_total());
        1.0 - f64::midpoint(cpu, gpu)
    }
}

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

    /// The score after taking those GPUs, in hundredths as published.
    fn judge(&self, before: f64, ask: &Ask, node: &GpuNode, gpus: &[usize]) -> f64 {
        let gained = (before - self.typical.fragmentation(&node.after(ask, gpus))) / 1000.0;
        (100.0 / (1.0 + (-gained).exp())).floor() / 100.0
    }

    /// The best choice of GPUs: the first, if several are as good.
    fn best(&self, ask: &Ask, node: &GpuNode) -> (f64, Vec<usize>) {
        let before = self.typical.fragmentation(node);
        if ask.gpus != 1 {
            let gpus = node.tightest(ask);
            return (self.judge(before, ask, node, &gpus), gpus);
        }
        let mut best = (f64::MIN, Vec::new());
        let mut seen: Vec<i64> = Vec::with_capacity(8);
        for (gpu, left) in node.gpus_left.iter().enumerate() {
            if *left >= ask.gpu_milli && !seen.contains(left) {
                seen.push(*left);
                let score = self.judge(before, ask, node, &[gpu]);
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

    fn score(&self, ask: &Ask, node: &GpuNode) -> f64 {
        self.best(ask, node).0
    }

    fn pick(&self, ask: &Ask, node: &GpuNode, _: &mut Random) -> Vec<usize> {
        self.best(ask, node).1
    }
}
