use super::{percent, shares};
use crate::lab::{Ask, GpuNode, Policy};

/// The node for which the product of what is left and what is asked for is smallest (Grandl et al., "Multi-resource
/// packing for cluster schedulers", SIGCOMM 2014, turned to packing tightly).
#[derive(Clone, Copy, Debug, Default)]
pub struct DotProduct;

impl Policy for DotProduct {
    fn name(&self) -> &'static str {
        "dotprod"
    }

    fn score(&self, ask: &Ask, node: &GpuNode) -> i64 {
        let (cpu, gpu) = shares(node.cpu_left, node.gpu_left());
        let (asked_cpu, asked_gpu) = shares(ask.cpu, ask.gpu_total());
        percent(1.0 - (cpu * asked_cpu + gpu * asked_gpu) / 2.0)
    }
}
