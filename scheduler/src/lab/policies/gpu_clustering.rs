use super::GPU_MOST;
use crate::lab::{Ask, GpuNode, Policy};

/// Nodes that run jobs of the same kind, those with nothing else first (Xiao et al., "Gandiva", OSDI 2018).
#[derive(Clone, Copy, Debug, Default)]
pub struct GpuClustering;

impl Policy for GpuClustering {
    fn name(&self) -> &'static str {
        "gpuclustering"
    }

    fn score(&self, ask: &Ask, node: &GpuNode) -> i64 {
        if ask.gpus == 0 {
            return 0;
        }
        let band = match (node.runs(GpuNode::group(ask)), node.groups()) {
            (true, 1) => 75,
            (true, _) => 50,
            (false, 0) => 25,
            (false, _) => 0,
        };
        band + 25 * (GPU_MOST - node.gpu_left()).max(0) / GPU_MOST
    }
}
