use crate::lab::{Ask, GPU, GpuNode, Policy};

/// GPUs in use first, then idle GPUs of nodes in use, then idle nodes, small ones before large ones (Weng et al., "MLaaS
/// in the wild", NSDI 2022).
#[derive(Clone, Copy, Debug, Default)]
pub struct GpuPacking;

impl Policy for GpuPacking {
    fn name(&self) -> &'static str {
        "gpupacking"
    }

    fn score(&self, ask: &Ask, node: &GpuNode) -> i64 {
        if ask.gpus == 0 {
            return 0;
        }
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        if node.idle_gpus() == node.gpus_left.len() {
            return (33 - count(node.idle_gpus())).max(count(node.idle_gpus()));
        }
        let gpus = node.tightest(ask);
        let idle = gpus.iter().filter(|gpu| node.gpus_left[**gpu] == GPU).count();
        if idle > 0 {
            return (50 - count(idle)).max(33);
        }
        let left: i64 = gpus.iter().map(|gpu| node.gpus_left[*gpu] * 100 / GPU).sum();
        (100 - left / 10).max(50)
    }
}
