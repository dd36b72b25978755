//! What makes a node good: being empty, being full, or a curve in between.

use super::devices::DeviceCounter;
use super::{Resource, Share};
use crate::cache::{Devices, NodeInfo};
use crate::framework::SCORE_MAX;
use crate::object::PodInfo;

/// How much a resource counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceWeight {
    /// The resource.
    pub name: String,
    /// How much it counts, 1 to 100.
    pub weight: i64,
}

/// A point of a curve from utilization to score; between points it is straight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapePoint {
    /// Percent.
    pub utilization: i64,
    /// 0 to 10.
    pub score: i64,
}

/// What makes a node good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScoringStrategy {
    /// Having much left.
    #[default]
    LeastAllocated,
    /// Having little left.
    MostAllocated,
    /// Lying high on a curve, whose points are sorted by utilization.
    RequestedToCapacityRatio(Vec<ShapePoint>),
}

/// A strategy with its weighted resources, made ready.
#[derive(Clone, Debug)]
pub(super) struct Scorer {
    strategy: ScoringStrategy,
    resources: Vec<(Resource, i64)>,
    counter: DeviceCounter,
}

impl Scorer {
    pub(super) fn new(strategy: ScoringStrategy, resources: &[ResourceWeight]) -> Self {
        let resources = resources.iter().map(|r| (Resource::of(&r.name), r.weight)).collect();
        Self { strategy, resources, counter: DeviceCounter::default() }
    }

    /// Whether what a node is worth depends on devices.
    pub(super) fn counts_devices(&self, pod: &PodInfo, devices: &Devices) -> bool {
        DeviceCounter::concerns(self.resources.iter().map(|(resource, _)| resource), pod, devices)
    }

    pub(super) fn score(&self, pod: &PodInfo, node: &NodeInfo, devices: &Devices) -> i64 {
        let (mut sum, mut weights) = (0, 0);
        let on_curve = matches!(self.strategy, ScoringStrategy::RequestedToCapacityRatio(_));
        for (resource, weight) in &self.resources {
            let Some(share) = resource.share(pod, node, true, (&self.counter, devices)) else { continue };
            let score = self.score_share(share);
            if !on_curve || score > 0 {
                sum += score * weight;
                weights += weight;
            }
        }
        match weights {
            0 => 0,
            _ if on_curve => (sum + weights / 2) / weights,
            _ => sum / weights,
        }
    }

    fn score_share(&self, Share { allocatable, allocated, asked }: Share) -> i64 {
        let requested = allocated + asked;
        match &self.strategy {
            ScoringStrategy::LeastAllocated if requested > allocatable => 0,
            ScoringStrategy::LeastAllocated => (allocatable - requested) * SCORE_MAX / allocatable,
            ScoringStrategy::MostAllocated => requested.min(allocatable) * SCORE_MAX / allocatable,
            ScoringStrategy::RequestedToCapacityRatio(shape) if requested > allocatable => on_shape(shape, 100),
            ScoringStrategy::RequestedToCapacityRatio(shape) => on_shape(shape, requested * 100 / allocatable),
        }
    }
}

fn on_shape(shape: &[ShapePoint], utilization: i64) -> i64 {
    let scaled = |point: &ShapePoint| point.score * (SCORE_MAX / 10);
    let Some(next) = shape.iter().position(|point| utilization <= point.utilization) else {
        return shape.last().map_or(0, scaled);
    };
    let high = &shape[next];
    let Some(low) = next.checked_sub(1).map(|at| &shape[at]) else { return scaled(high) };
    let rise = (scaled(high) - scaled(low)) * (utilization - low.utilization);
    scaled(low) + rise / (high.utilization - low.utilization)
}
