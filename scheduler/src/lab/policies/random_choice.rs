use crate::lab::{Ask, GpuNode, Policy};
use crate::random::Random;

/// Any node; any GPU for jobs that share one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomChoice;

impl Policy for RandomChoice {
    fn name(&self) -> &'static str {
        "random"
    }

    fn score(&self, _: &Ask, _: &GpuNode) -> i64 {
        0
    }

    fn draws_ties(&self) -> bool {
        true
    }

    fn pick(&self, ask: &Ask, node: &GpuNode, random: &mut Random) -> Vec<usize> {
        if !ask.shares_a_gpu() {
            return node.tightest(ask).into_vec();
        }
        let fitting: Vec<usize> =
            (0..node.gpus_left.len()).filter(|gpu| node.gpus_left[*gpu] >= ask.gpu_milli).collect();
        vec![fitting[random.below(fitting.len())]]
    }
}
