//! Devices, and claims to them.

mod capacity;
mod claim;
mod claim_wire;
mod taint_rule;

use std::collections::BTreeMap;

use kubewright_api::quantity::Quantity;
use kubewright_api::taint::Taint;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::wire::null_is_default;
use super::{Meta, Name, Node, NodeSelector};
use capacity::{Amount, amounts};

pub use capacity::{CapacityPolicy, CapacityRange, Counters};
pub use taint_rule::DeviceTaintRule;

pub use claim::{
    DeviceAllocation, DeviceClaim, DeviceClass, DeviceRequest, DeviceShare, ExtendedDevices, GivenDevice, MadeClaims,
    PodDevices, RequestMapping,
};

/// A device by driver, pool and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct DeviceId {
    /// Its driver.
    pub driver: Name,
    /// Its pool.
    pub pool: Name,
    /// Its name.
    pub device: Name,
}

/// A property of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[allow(missing_docs, reason = "each holds what it is named after")]
pub enum Attribute {
    #[serde(rename = "bool")]
    Bool(bool),
    #[serde(rename = "int")]
    Int(i64),
    #[serde(rename = "string")]
    Text(Name),
    #[serde(rename = "version")]
    Version(Name),
}

/// Who can use devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Access {
    /// Nobody.
    #[default]
    Nobody,
    /// One node.
    Node(Name),
    /// The nodes that match.
    Nodes(NodeSelector),
    /// All nodes.
    All,
    /// Each device says so itself.
    PerDevice,
}

/// A device.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its name.
    pub name: Name,
    /// Its properties; a name without a domain has the driver's.
    pub attributes: BTreeMap<String, Attribute>,
    /// How much it has of what.
    pub capacity: BTreeMap<String, Quantity>,
    /// What may be asked of each capacity, where there is a rule.
    pub policies: BTreeMap<String, CapacityPolicy>,
    /// Who can use it, if its slice leaves that to it.
    pub access: Access,
    /// What keeps claims away from it.
    pub taints: Vec<Taint>,
    /// Whether several claims can have some of its capacity each.
    pub shareable: bool,
    /// What it takes out of its pool's counter sets when somebody has it.
    pub consumes: Vec<(Name, Counters)>,
    /// How it is made ready for a claim before a pod can be bound that uses it, if it must be.
    pub readying: Readying,
}

/// How a device is made ready for a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readying {
    /// The conditions of the device that must all hold before a pod is bound; none if it is ready always.
    pub conditions: Vec<Name>,
    /// The conditions any of which says that it will not come to that.
    pub failures: Vec<Name>,
    /// Whether it can be used on no other node then.
    pub binds_to_node: bool,
}

impl Readying {
    /// Whether there is anything to wait for.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        !self.conditions.is_empty()
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireAccess {
    node_name: Name,
    node_selector: Option<NodeSelector>,
    #[serde(deserialize_with = "null_is_default")]
    all_nodes: bool,
    #[serde(deserialize_with = "null_is_default")]
    per_device_node_selection: bool,
}

impl WireAccess {
    fn access(self) -> Access {
        match self {
            Self { node_name, .. } if !node_name.is_empty() => Access::Node(node_name),
            Self { node_selector: Some(nodes), .. } => Access::Nodes(nodes),
            Self { all_nodes: true, .. } => Access::All,
            Self { per_device_node_selection: true, .. } => Access::PerDevice,
            _ => Access::Nobody,
        }
    }
}

/// Reads what can be read; a taint without effect on scheduling is left out.
fn readable<T: for<'de> Deserialize<'de>>(values: Vec<Value>) -> Vec<T> {
    values.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect()
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            name: Name,
            #[serde(default, deserialize_with = "null_is_default")]
            attributes: BTreeMap<String, Attribute>,
            #[serde(default, deserialize_with = "null_is_default")]
            capacity: BTreeMap<String, Amount>,
            #[serde(default, deserialize_with = "null_is_default")]
            taints: Vec<Value>,
            #[serde(flatten)]
            access: WireAccess,
            #[serde(flatten)]
            sharing: WireSharing,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct WireSharing {
            #[serde(deserialize_with = "null_is_default")]
            allow_multiple_allocations: bool,
            #[serde(deserialize_with = "null_is_default")]
            consumes_counters: Vec<Consumption>,
            #[serde(deserialize_with = "null_is_default")]
            binding_conditions: Vec<Name>,
            #[serde(deserialize_with = "null_is_default")]
            binding_failure_conditions: Vec<Name>,
            #[serde(deserialize_with = "null_is_default")]
            binds_to_node: bool,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Consumption {
            #[serde(default)]
            counter_set: Name,
            #[serde(default, deserialize_with = "null_is_default")]
            counters: BTreeMap<Name, Amount>,
        }
        let Wire { name, attributes, capacity, taints, access, sharing } = Wire::deserialize(deserializer)?;
        let rule = |(name, amount): (&String, &Amount)| Some((name.clone(), amount.request_policy.clone()?));
        let consumes = sharing.consumes_counters.into_iter();
        Ok(Self {
            name,
            attributes,
            policies: capacity.iter().filter_map(rule).collect(),
            capacity: capacity.into_iter().map(|(name, amount)| (name, amount.value)).collect(),
            access: access.access(),
            taints: readable(taints),
            shareable: sharing.allow_multiple_allocations,
            consumes: consumes.map(|one| (one.counter_set, amounts(one.counters))).collect(),
            readying: Readying {
                conditions: sharing.binding_conditions,
                failures: sharing.binding_failure_conditions,
                binds_to_node: sharing.binds_to_node,
            },
        })
    }
}

/// A ResourceSlice: some of the devices of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceSlice {
    /// Its name.
    pub name: Name,
    /// The driver.
    pub driver: Name,
    /// The pool.
    pub pool: Name,
    /// Which edition of the pool it belongs to; only the newest counts.
    pub generation: i64,
    /// How many slices that edition has; with fewer, the pool cannot be used yet.
    pub slices: i64,
    /// Who can use the devices.
    pub access: Access,
    /// The devices.
    pub devices: Vec<Device>,
    /// The pool's counter sets, from which devices take something.
    pub counters: BTreeMap<Name, Counters>,
}

impl DeviceSlice {
    /// Whether a node that the slice [reaches](Self::access) can use one of its devices.
    pub(crate) fn offers(&self, device: &Device, node: &Node) -> bool {
        match (&self.access, &device.access) {
            (Access::PerDevice, Access::Node(name)) => *name == node.name,
            (Access::PerDevice, Access::Nodes(nodes)) => nodes.matches(node),
            (Access::PerDevice, access) => *access == Access::All,
            _ => true,
        }
    }
}

impl<'de> Deserialize<'de> for DeviceSlice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            spec: Spec,
        }
        #[derive(Deserialize)]
        struct Spec {
            #[serde(default)]
            driver: Name,
            #[serde(default)]
            pool: Pool,
            #[serde(default, deserialize_with = "null_is_default")]
            devices: Vec<Device>,
            #[serde(default, rename = "sharedCounters", deserialize_with = "null_is_default")]
            counters: Vec<CounterSet>,
            #[serde(flatten)]
            access: WireAccess,
        }
        #[derive(Deserialize)]
        struct CounterSet {
            name: Name,
            #[serde(default, deserialize_with = "null_is_default")]
            counters: BTreeMap<Name, Amount>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Pool {
            name: Name,
            generation: i64,
            resource_slice_count: i64,
        }
        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        Ok(Self {
            name: metadata.name,
            driver: spec.driver,
            pool: spec.pool.name,
            generation: spec.pool.generation,
            slices: spec.pool.resource_slice_count,
            access: spec.access.access(),
            devices: spec.devices,
            counters: spec.counters.into_iter().map(|set| (set.name, amounts(set.counters))).collect(),
        })
    }
}
