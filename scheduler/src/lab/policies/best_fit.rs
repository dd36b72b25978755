use super::{percent, shares};
use crate::lab::{Ask, GpuNode, Policy};

/// The node with the least left.
#[derive(Clone, Copy, Debug, Default)]
pub struct BestFit;

impl Policy for BestFit {
    fn name(&self) -> &'static str {
        "bestfit"
    }

    fn score(&self, ask: &Ask, node: &GpuNode) -> i64 {
        let (cpu, gpu) = shares(node.cpu_left - ask.cpu, node.gpu_left() - ask.gpu_total());
        percent(1.0 - (cpu * 0.5 + gpu * 0.5))
    }
}
