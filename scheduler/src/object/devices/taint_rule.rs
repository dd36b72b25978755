//! Rules that taint devices whatever their drivers say of them.

use kubewright_api::taint::Taint;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{DeviceSlice, readable};
use crate::object::{Meta, Name};

/// A DeviceTaintRule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceTaintRule {
    /// Its name.
    pub name: Name,
    /// The driver of the devices; any if that isn't said.
    pub driver: Option<Name>,
    /// Their pool; any if that isn't said.
    pub pool: Option<Name>,
    /// The device's name; any if that isn't said.
    pub device: Option<Name>,
    /// The taint that they get; nothing if it has no effect on scheduling.
    pub taint: Option<Taint>,
}

impl DeviceTaintRule {
    /// Taints those devices of a slice that the rule is about; tells whether there are any.
    pub(crate) fn apply(&self, slice: &mut DeviceSlice) -> bool {
        let wants = |wanted: &Option<Name>, own: &Name| wanted.as_ref().is_none_or(|wanted| wanted == own);
        let Some(taint) = &self.taint else { return false };
        if !wants(&self.driver, &slice.driver) || !wants(&self.pool, &slice.pool) {
            return false;
        }
        let mut any = false;
        for device in slice.devices.iter_mut().filter(|device| wants(&self.device, &device.name)) {
            device.taints.push(taint.clone());
            any = true;
        }
        any
    }
}

impl<'de> Deserialize<'de> for DeviceTaintRule {
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
            device_selector: Option<Selector>,
            taint: Value,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Selector {
            driver: Option<Name>,
            pool: Option<Name>,
            device: Option<Name>,
        }
        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        // As upstream has it, a rule that says nothing of devices is about all of them.
        let Selector { driver, pool, device } = spec.device_selector.unwrap_or_default();
        Ok(Self { name: metadata.name, driver, pool, device, taint: readable(vec![spec.taint]).pop() })
    }
}
