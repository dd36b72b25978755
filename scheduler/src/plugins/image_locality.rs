//! Nodes that have the pod's images already.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{CycleState, Plugin, SCORE_MAX, ScorePlugin, Status};
use crate::object::{Name, PodInfo};

/// Prefers nodes that have the pod's images, the more so the larger these are; an image that only few nodes have counts
/// for less, so that not all pods of a kind go to one node.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImageLocality;

const MIB: i64 = 1024 * 1024;
const SUM_MIN: i64 = 23 * MIB;
const SUM_MAX_PER_CONTAINER: i64 = 1000 * MIB;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> {
        Some(self)
    }
}

fn images(pod: &PodInfo) -> impl Iterator<Item = &Name> {
    pod.spec.images.iter().chain(&pod.spec.image_volumes)
}

impl ScorePlugin for ImageLocality {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "upstream computes these in floating point, and so must we to agree with it"
    )]
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) -> Result<i64, Status> {
        if node.node.images.is_empty() {
            return Ok(0);
        }
        let scaled = |image: &Name| {
            let spread = snapshot.image_spread(image) as f64 / snapshot.len() as f64;
            node.node.image_size(image).map(|size| (size as f64 * spread) as i64)
        };
        let sum: i64 = images(pod).filter_map(scaled).sum();
        let most = SUM_MAX_PER_CONTAINER * i64::try_from(pod.spec.containers).unwrap_or(1).max(1);
        Ok(SCORE_MAX * (sum.clamp(SUM_MIN, most) - SUM_MIN) / (most - SUM_MIN))
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }

    fn stamp(&self, pod: &PodInfo, snapshot: &Snapshot) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        images(pod).for_each(|image| snapshot.image_spread(image).hash(&mut hasher));
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod, scores};

    #[test]
    fn large_and_widespread_images_count() {
        let nodes = || {
            [
                node("a").image("gcr.io/40:latest", 40 * MIB).image("gcr.io/300:latest", 300 * MIB),
                node("b").image("gcr.io/250:latest", 250 * MIB),
            ]
        };
        // 300 MiB on one of two nodes counts as 150 MiB: 100 * (150 - 23) / (1000 - 23) = 12.
        assert_eq!(scores(ImageLocality, pod("p").images(&["gcr.io/300"]), nodes(), []), [12, 0]);
        // 20 MiB is below the threshold, 125 MiB is not, shared between two containers.
        assert_eq!(scores(ImageLocality, pod("p").images(&["gcr.io/40", "gcr.io/250"]), nodes(), []), [0, 5]);
        assert_eq!(scores(ImageLocality, pod("p").images(&["other"]), nodes(), []), [0, 0]);
        let huge = [node("a").image("huge:v1", 4000 * MIB), node("b")];
        assert_eq!(scores(ImageLocality, pod("p").images(&["huge:v1"]), huge, []), [100, 0]);
    }
}
