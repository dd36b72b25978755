//! Claims to devices, their classes, and what they got.

use std::collections::BTreeMap;
use std::sync::Arc;

use kubewright_api::quantity::Quantity;
use kubewright_api::taint::Toleration;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{DeviceId, Readying};
use crate::object::wire::null_is_default;
use crate::object::{Condition, Meta, Name, NodeSelector, Time};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireSelector {
    cel: Option<Expression>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Expression {
    expression: Name,
}

pub(super) fn expressions(selectors: Vec<WireSelector>) -> Vec<Name> {
    selectors.into_iter().filter_map(|selector| Some(selector.cel?.expression)).collect()
}

/// A DeviceClass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClass {
    /// Its name.
    pub name: Name,
    /// Expressions, all of which its devices must meet.
    pub selectors: Vec<Name>,
    /// Settings for the drivers of its devices, as they are.
    pub config: Vec<Value>,
    /// The extended resource that its devices can be asked for as, beside the one named after the class.
    pub extended_resource: Option<Name>,
    /// When it was made.
    pub created: Option<Time>,
}

impl DeviceClass {
    /// What the name of the extended resource begins with that every class has; the class's name follows.
    pub const RESOURCE_PREFIX: &'static str = "deviceclass.resource.kubernetes.io/";
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
        #[serde(rename_all = "camelCase", default)]
        struct Spec {
            #[serde(deserialize_with = "null_is_default")]
            selectors: Vec<WireSelector>,
            #[serde(deserialize_with = "null_is_default")]
            config: Vec<Value>,
            extended_resource_name: Option<Name>,
        }
        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        Ok(Self {
            name: metadata.name,
            selectors: expressions(spec.selectors),
            config: spec.config,
            extended_resource: spec.extended_resource_name,
            created: metadata.creation_timestamp,
        })
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
    /// Whether a scheduler made it, for a pod that asks for devices as extended resources.
    pub extended: bool,
    /// What it asks for: for each request the alternatives, best first.
    pub requests: Vec<Vec<DeviceRequest>>,
    /// Attributes that must be the same for all devices of some requests; without requests, of all.
    pub matching: Vec<(String, Vec<Name>)>,
    /// Attributes that must differ, in the same way.
    pub distinct: Vec<(String, Vec<Name>)>,
    /// Settings for the drivers of some requests' devices, as they are; without requests, of all.
    pub config: Vec<(Vec<Name>, Value)>,
    /// What it got, if anything: the devices, and the nodes from which they can be used.
    pub allocation: Option<DeviceAllocation>,
    /// What drivers say of the devices that it got.
    pub conditions: Vec<(DeviceId, Vec<Condition>)>,
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
    /// How it is made ready.
    pub readying: Readying,
    /// Which of its taints are tolerated.
    pub tolerations: Vec<Toleration>,
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
    /// Settings for their drivers, as they are; left out when an allocation is read.
    pub config: Vec<Value>,
    /// When it was given.
    pub since: Option<Time>,
}

impl DeviceAllocation {
    /// Whether any of the devices must be made ready.
    #[must_use]
    pub fn needs_readying(&self) -> bool {
        self.devices.iter().any(|given| given.readying.is_needed())
    }
}

impl DeviceClaim {
    /// The annotation of claims that a scheduler made for extended resources.
    pub const EXTENDED: &'static str = "resource.kubernetes.io/extended-resource-claim";

    /// Whether the devices that it got are ready.
    ///
    /// # Errors
    /// One of them will not be; the text says why.
    pub fn is_ready(&self) -> Result<bool, String> {
        let Some(allocation) = &self.allocation else { return Ok(false) };
        for given in allocation.devices.iter().filter(|given| given.readying.is_needed()) {
            let Some((_, told)) = self.conditions.iter().find(|(id, _)| *id == given.id) else { return Ok(false) };
            let holds = |kind: &Name| told.iter().find(|own| own.kind == *kind && own.status == "True");
            if let Some(failure) = given.readying.failures.iter().find_map(holds) {
                let Condition { reason, message, .. } = failure;
                return Err(format!(
                    "device binding failed: claim={}, reason={reason}, message={:?}",
                    self.name, &**message
                ));
            }
            if !given.readying.conditions.iter().all(|kind| holds(kind).is_some()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether its devices should be ready by now, `patience` after they were given to it.
    #[must_use]
    pub fn is_overdue(&self, patience: std::time::Duration, now: Time) -> bool {
        let since = self.allocation.as_ref().filter(|own| own.needs_readying()).and_then(|own| own.since);
        since.is_some_and(|since| since.checked_add(patience).is_ok_and(|until| until < now))
    }
}

/// What a claim asks for that is made for a pod that asks for extended resources, and who uses it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtendedDevices {
    /// What is asked for.
    pub requests: Vec<DeviceRequest>,
    /// Which containers use which requests.
    pub mappings: Vec<RequestMapping>,
}

/// A container that uses devices as an extended resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMapping {
    /// The container's name.
    pub container: Name,
    /// The resource.
    pub resource: Name,
    /// The request in the claim.
    pub request: Name,
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
