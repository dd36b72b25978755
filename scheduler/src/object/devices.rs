//! Devices, and claims to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kubewright_api::quantity::{Format, Quantity};
use kubewright_api::taint::{Taint, Toleration};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::wire::null_is_default;
use super::{Meta, Name, NodeSelector};

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
    /// Whether it must be made ready before a pod can be bound that uses it.
    pub needs_readying: bool,
}

/// Amounts by name.
pub type Counters = BTreeMap<Name, Quantity>;

/// What may be asked of a capacity.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CapacityPolicy {
    /// What counts as asked for when nothing is said.
    pub default: Option<Quantity>,
    /// What can be asked for, from the smallest to the largest.
    #[serde(deserialize_with = "null_is_default")]
    pub valid_values: Vec<Quantity>,
    /// Or from where to where, in which steps.
    pub valid_range: Option<CapacityRange>,
}

/// What can be asked of a capacity.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CapacityRange {
    /// At least.
    pub min: Option<Quantity>,
    /// At most.
    pub max: Option<Quantity>,
    /// Counted from the least, in steps of this.
    pub step: Option<Quantity>,
}

impl CapacityPolicy {
    /// How much is taken when so much is asked for, or nothing is said; it may be more than was asked for.
    #[must_use]
    pub fn taken(&self, asked: Option<Quantity>, all: Quantity) -> Quantity {
        let Some(asked) = asked else { return self.default.unwrap_or(all) };
        if let Some(CapacityRange { min: Some(min), step, .. }) = &self.valid_range {
            return match step {
                _ if asked < *min => *min,
                None => asked,
                Some(step) => {
                    let (min, step) = (min.value(), step.value().max(1));
                    let steps = (asked.value() - min + step - 1) / step;
                    Quantity::new(min + step * steps, Format::BinarySi)
                }
            };
        }
        self.valid_values.iter().copied().find(|value| asked <= *value).unwrap_or(asked)
    }

    /// Whether so much may be taken.
    #[must_use]
    pub fn allows(&self, taken: Quantity) -> bool {
        if self.default == Some(taken) {
            return true;
        }
        match &self.valid_range {
            Some(CapacityRange { min, max, step }) => {
                let min = min.map_or(0, |min| min.value());
                max.is_none_or(|max| taken <= max)
                    && step.is_none_or(|step| (taken.value() - min) % step.value().max(1) == 0)
            }
            None => self.valid_values.is_empty() || self.valid_values.contains(&taken),
        }
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
            needs_readying: !sharing.binding_conditions.is_empty(),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Amount {
    value: Quantity,
    #[serde(default)]
    request_policy: Option<CapacityPolicy>,
}

fn amounts(counters: BTreeMap<Name, Amount>) -> Counters {
    counters.into_iter().map(|(name, amount)| (name, amount.value)).collect()
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

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireSelector {
    cel: Option<Expression>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Expression {
    expression: Name,
}

fn expressions(selectors: Vec<WireSelector>) -> Vec<Name> {
    selectors.into_iter().filter_map(|selector| Some(selector.cel?.expression)).collect()
}

/// A DeviceClass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClass {
    /// Its name.
    pub name: Name,
    /// Expressions, all of which its devices must meet.
    pub selectors: Vec<Name>,
}

impl<'de> Deserialize<'de> for DeviceClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Spec {
            #[serde(deserialize_with = "null_is_default")]
            selectors: Vec<WireSelector>,
        }
        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        Ok(Self { name: metadata.name, selectors: expressions(spec.selectors) })
    }
}

/// What is asked for: devices of a class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceRequest {
    /// Its name; that of an alternative is preceded by the request's and a slash.
    pub name: Name,
    /// The class.
    pub class: Name,
    /// Expressions, all of which the devices must meet.
    pub selectors: Vec<Name>,
    /// How many; `None` for all there are.
    pub count: Option<usize>,
    /// Whether devices that are in use will do, and stay free.
    pub admin_access: bool,
    /// Which taints are tolerated.
    pub tolerations: Vec<Toleration>,
    /// How much of which capacity each device must have left.
    pub capacity: BTreeMap<String, Quantity>,
}

/// A ResourceClaim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceClaim {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Its identity.
    pub uid: Name,
    /// Which version of it this is.
    pub resource_version: Name,
    /// Whether it is on its way out.
    pub deleting: bool,
    /// The pod that it was made for, by UID.
    pub owner_pod: Name,
    /// What it asks for: for each request the alternatives, best first.
    pub requests: Vec<Vec<DeviceRequest>>,
    /// Attributes that must be the same for all devices of some requests; without requests, of all.
    pub matching: Vec<(String, Vec<Name>)>,
    /// Attributes that must differ, in the same way.
    pub distinct: Vec<(String, Vec<Name>)>,
    /// What it got, if anything: the devices, and the nodes from which they can be used.
    pub allocation: Option<DeviceAllocation>,
    /// The pods for which it is reserved, by UID.
    pub reserved_for: Vec<Name>,
}

/// A device that a claim got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GivenDevice {
    /// For which request.
    pub request: Name,
    /// Which device.
    pub id: DeviceId,
    /// Whether others may use it all the same.
    pub admin_access: bool,
    /// Which share of it, if it isn't the whole device.
    pub share: Option<DeviceShare>,
}

/// A part of a device's capacity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceShare {
    /// Its identity.
    pub id: Name,
    /// How much of what.
    pub consumed: BTreeMap<String, Quantity>,
}

/// What a claim got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceAllocation {
    /// The devices.
    pub devices: Vec<GivenDevice>,
    /// From where they can be used; `None` for anywhere.
    pub nodes: Option<NodeSelector>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireRequest {
    name: Name,
    device_class_name: Name,
    #[serde(deserialize_with = "null_is_default")]
    selectors: Vec<WireSelector>,
    allocation_mode: Name,
    count: Option<usize>,
    #[serde(deserialize_with = "null_is_default")]
    admin_access: bool,
    #[serde(deserialize_with = "null_is_default")]
    tolerations: Vec<Value>,
    #[serde(deserialize_with = "null_is_default")]
    capacity: WireCapacity,
    exactly: Option<Box<Self>>,
    #[serde(deserialize_with = "null_is_default")]
    first_available: Vec<Self>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCapacity {
    #[serde(deserialize_with = "null_is_default")]
    requests: BTreeMap<String, Quantity>,
}

impl WireRequest {
    fn alternatives(self) -> Vec<DeviceRequest> {
        let name = self.name;
        if let Some(exactly) = self.exactly {
            return vec![exactly.request(name)];
        }
        let alternative = |one: Self| {
            let full: Name = format!("{name}/{}", one.name).into();
            one.request(full)
        };
        self.first_available.into_iter().map(alternative).collect()
    }

    fn request(self, name: Name) -> DeviceRequest {
        let all = self.allocation_mode == "All";
        DeviceRequest {
            name,
            class: self.device_class_name,
            selectors: expressions(self.selectors),
            count: (!all).then(|| self.count.unwrap_or(1)),
            admin_access: self.admin_access,
            tolerations: readable(self.tolerations),
            capacity: self.capacity.requests,
        }
    }
}

impl<'de> Deserialize<'de> for DeviceClaim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
            #[serde(default)]
            status: Status,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Spec {
            #[serde(deserialize_with = "null_is_default")]
            devices: Wanted,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Wanted {
            #[serde(deserialize_with = "null_is_default")]
            requests: Vec<WireRequest>,
            #[serde(deserialize_with = "null_is_default")]
            constraints: Vec<Constraint>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Constraint {
            #[serde(deserialize_with = "null_is_default")]
            requests: Vec<Name>,
            match_attribute: Option<String>,
            distinct_attribute: Option<String>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Status {
            allocation: Option<Allocation>,
            #[serde(deserialize_with = "null_is_default")]
            reserved_for: Vec<Consumer>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Allocation {
            #[serde(deserialize_with = "null_is_default")]
            devices: Results,
            node_selector: Option<NodeSelector>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Results {
            #[serde(deserialize_with = "null_is_default")]
            results: Vec<Given>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Given {
            #[serde(default)]
            request: Name,
            #[serde(flatten)]
            id: DeviceId,
            #[serde(default, deserialize_with = "null_is_default")]
            admin_access: bool,
            #[serde(default, rename = "shareID")]
            share_id: Option<Name>,
            #[serde(default, deserialize_with = "null_is_default")]
            consumed_capacity: BTreeMap<String, Quantity>,
        }
        impl From<Given> for GivenDevice {
            fn from(given: Given) -> Self {
                let Given { request, id, admin_access, share_id, consumed_capacity: consumed } = given;
                Self { request, id, admin_access, share: share_id.map(|id| DeviceShare { id, consumed }) }
            }
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Consumer {
            uid: Name,
        }
        let Wire { metadata, spec, status } = Wire::deserialize(deserializer)?;
        let owner = metadata.controller().filter(|owner| owner.kind == "Pod").map(|owner| owner.uid.clone());
        let constraints = &spec.devices.constraints;
        let matching = |one: &Constraint| Some((one.match_attribute.clone()?, one.requests.clone()));
        let distinct = |one: &Constraint| Some((one.distinct_attribute.clone()?, one.requests.clone()));
        Ok(Self {
            owner_pod: owner.unwrap_or_default(),
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            deleting: metadata.deletion_timestamp.is_some(),
            matching: constraints.iter().filter_map(matching).collect(),
            distinct: constraints.iter().filter_map(distinct).collect(),
            requests: spec.devices.requests.into_iter().map(WireRequest::alternatives).collect(),
            allocation: status.allocation.map(|allocation| DeviceAllocation {
                devices: allocation.devices.results.into_iter().map(GivenDevice::from).collect(),
                nodes: allocation.node_selector,
            }),
            reserved_for: status.reserved_for.into_iter().map(|consumer| consumer.uid).collect(),
        })
    }
}

/// A pod's claim to devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDevices {
    /// Its name in the pod.
    pub name: Name,
    /// The claim, if the pod names it.
    pub resource_claim_name: Name,
    /// The template from which it is made, if it isn't.
    pub resource_claim_template_name: Name,
}

/// The claims that were made for a pod: its name in the pod, and the claim's; empty if none is needed.
pub type MadeClaims = Arc<[(Name, Name)]>;
