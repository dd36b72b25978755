//! Upstream's in-tree plugins, one file each.

mod default_binder;
mod default_preemption;
mod device_selector;
mod dynamic_resources;
mod gang_scheduling;
#[cfg(test)]
mod hint_tests;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_declared_features;
mod node_name;
mod node_ports;
mod node_resources;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod priority_sort;
mod scheduling_gates;
mod taint_toleration;
mod topology;
mod volume_binding;
mod volume_restrictions;
#[cfg(test)]
mod volume_tests;
mod volume_zone;
mod volumes;

pub use default_binder::DefaultBinder;
pub(crate) use default_preemption::split_by_budget;
pub use default_preemption::{DefaultPreemption, DefaultPreemptionArgs};
pub use dynamic_resources::DynamicResources;
pub use gang_scheduling::GangScheduling;
pub use image_locality::ImageLocality;
pub use inter_pod_affinity::{InterPodAffinity, InterPodAffinityArgs};
pub use node_affinity::{AddedAffinity, NodeAffinity};
pub use node_declared_features::NodeDeclaredFeatures;
pub use node_name::NodeName;
pub use node_ports::NodePorts;
pub use node_resources::{
    BalancedAllocation, NodeResourcesFit, NodeResourcesFitArgs, ResourceWeight, ScoringStrategy, ShapePoint,
};
pub use node_unschedulable::NodeUnschedulable;
pub use node_volume_limits::NodeVolumeLimits;
pub use pod_topology_spread::{PodTopologySpread, SpreadDefaults};
pub use priority_sort::PrioritySort;
pub use scheduling_gates::SchedulingGates;
pub use taint_toleration::TaintToleration;
pub use volume_binding::VolumeBinding;
pub use volume_restrictions::VolumeRestrictions;
pub use volume_zone::VolumeZone;

use std::sync::Arc;

use crate::framework::{PluginRef, Profile, ProfileBuilder};
use crate::object::Name;

/// Upstream's default plugins in upstream's order, with the weight each scores with.
#[must_use]
pub fn default_plugins() -> Vec<(PluginRef, i64)> {
    vec![
        (Arc::new(SchedulingGates), 0),
        (Arc::new(PrioritySort), 0),
        (Arc::new(NodeUnschedulable), 0),
        (Arc::new(NodeName), 0),
        (Arc::new(TaintToleration), 3),
        (Arc::new(NodeAffinity::default()), 2),
        (Arc::new(NodePorts), 0),
        (Arc::new(NodeResourcesFit::default()), 1),
        (Arc::new(VolumeRestrictions), 0),
        (Arc::new(NodeVolumeLimits::default()), 0),
        (Arc::new(VolumeBinding::default()), 0),
        (Arc::new(VolumeZone), 0),
        (Arc::new(PodTopologySpread::default()), 2),
        (Arc::new(InterPodAffinity::default()), 2),
        (Arc::new(DynamicResources::default()), 2),
        (Arc::new(DefaultPreemption::default()), 0),
        (Arc::new(BalancedAllocation::default()), 1),
        (Arc::new(ImageLocality), 1),
        (Arc::new(DefaultBinder), 0),
        (Arc::new(NodeDeclaredFeatures), 0),
    ]
}

/// A profile of the default plugins, to change before it is built.
pub fn default_profile(name: impl Into<Name>) -> ProfileBuilder {
    let plugins = default_plugins().into_iter();
    plugins.fold(Profile::builder(name), |builder, (plugin, weight)| builder.with(plugin, weight))
}
