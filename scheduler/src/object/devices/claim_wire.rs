//! Claims to devices as they come over the wire.

use std::collections::BTreeMap;

use kubewright_api::quantity::Quantity;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::claim::{DeviceAllocation, DeviceClaim, DeviceRequest, DeviceShare, GivenDevice, WireSelector, expressions};
use super::{DeviceId, Readying, readable};
use crate::object::wire::null_is_default;
use crate::object::{Condition, Labels, Meta, Name, NodeSelector, Time};

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
            metadata: ClaimMeta,
            #[serde(default)]
            spec: Spec,
            #[serde(default)]
            status: Status,
        }
        #[derive(Deserialize)]
        struct ClaimMeta {
            #[serde(flatten)]
            meta: Meta,
            #[serde(default)]
            annotations: Labels,
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
            #[serde(deserialize_with = "null_is_default")]
            config: Vec<Config>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Config {
            #[serde(deserialize_with = "null_is_default")]
            requests: Vec<Name>,
            #[serde(flatten)]
            settings: serde_json::Map<String, Value>,
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
            #[serde(deserialize_with = "null_is_default")]
            devices: Vec<Told>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Told {
            #[serde(flatten)]
            id: Option<DeviceId>,
            #[serde(deserialize_with = "null_is_default")]
            conditions: Vec<Condition>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Allocation {
            #[serde(deserialize_with = "null_is_default")]
            devices: Results,
            node_selector: Option<NodeSelector>,
            #[serde(deserialize_with = "crate::object::meta::time")]
            allocation_timestamp: Option<Time>,
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
            #[serde(default, deserialize_with = "null_is_default")]
            binding_conditions: Vec<Name>,
            #[serde(default, deserialize_with = "null_is_default")]
            binding_failure_conditions: Vec<Name>,
            #[serde(default, deserialize_with = "null_is_default")]
            tolerations: Vec<Value>,
        }
        impl From<Given> for GivenDevice {
            fn from(given: Given) -> Self {
                let consumed = given.consumed_capacity;
                Self {
                    request: given.request,
                    id: given.id,
                    admin_access: given.admin_access,
                    share: given.share_id.map(|id| DeviceShare { id, consumed }),
                    readying: Readying {
                        conditions: given.binding_conditions,
                        failures: given.binding_failure_conditions,
                        binds_to_node: false,
                    },
                    tolerations: readable(given.tolerations),
                }
            }
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Consumer {
            uid: Name,
        }
        let Wire { metadata: ClaimMeta { meta: metadata, annotations }, spec, status } =
            Wire::deserialize(deserializer)?;
        let extended = annotations.iter().any(|(name, value)| *name == *Self::EXTENDED && *value == *"true");
        let owner = metadata.controller().filter(|owner| owner.kind == "Pod").map(|owner| owner.uid.clone());
        let constraints = &spec.devices.constraints;
        let matching = |one: &Constraint| Some((one.match_attribute.clone()?, one.requests.clone()));
        let distinct = |one: &Constraint| Some((one.distinct_attribute.clone()?, one.requests.clone()));
        Ok(Self {
            owner_pod: owner.unwrap_or_default(),
            extended,
            config: spec.devices.config.into_iter().map(|one| (one.requests, one.settings.into())).collect(),
            conditions: status.devices.into_iter().filter_map(|told| Some((told.id?, told.conditions))).collect(),
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
                config: Vec::new(),
                since: allocation.allocation_timestamp,
            }),
            reserved_for: status.reserved_for.into_iter().map(|consumer| consumer.uid).collect(),
        })
    }
}
