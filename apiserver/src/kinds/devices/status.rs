//! What was allocated to a claim, who uses it, and what drivers say of the devices.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::Value;

use super::claim::{CONFIGURATIONS_MAX, RequestNames, configuration, json_object};
use super::device::binding_conditions;
use super::names::{pool, uuid};
use crate::kinds::edit::{find, remove};
use crate::kinds::read::Field;
use crate::kinds::validate::addresses::interface_address;
use crate::kinds::validate::conditions::conditions;
use crate::kinds::validate::lists::{at_most, bounded, bounded_set};
use crate::kinds::validate::scheduling::node_selector;
use crate::kinds::validate::sources::csi_driver_name;

/// Which device it is: driver, pool, name, and the share of it if it is shared.
fn device_id(device: &Field<'_>) -> String {
    let of = |name| device.field(name).text();
    let id = format!("{}/{}/{}", of("driver"), of("pool"), of("device"));
    if of("shareID").is_empty() { id } else { format!("{id}/{}", of("shareID")) }
}

fn allocated(status: &Value) -> Vec<String> {
    let status = Field::of(status);
    status.at("status.allocation.devices.results").items().map(|result| device_id(&result)).collect()
}

/// Drops what drivers said of devices that are no longer allocated.
pub(super) fn drop_status_of_deallocated(object: &mut Value, old: &Value) {
    let now = allocated(object);
    let gone: Vec<String> = allocated(old).into_iter().filter(|id| !now.contains(id)).collect();
    let Some(Value::Array(devices)) = find(object, "status.devices") else { return };
    devices.retain(|device| !gone.contains(&device_id(&Field::of(device))));
    if devices.is_empty()
        && let Some(status) = find(object, "status")
    {
        remove(status, "devices");
    }
}

/// The rules for a change of a claim's status.
pub(super) fn status(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let (status, before) = (Field::of(object).field("status"), Field::of(old).field("status"));
    let (allocation, reserved) = (status.field("allocation"), status.field("reservedFor"));
    bounded_set(
        &reserved,
        256,
        |consumer| consumer.field("uid").key_text(),
        errors,
        |consumer, errors| {
            for name in ["resource", "name", "uid"] {
                consumer.field(name).require(errors);
            }
        },
    );
    let known = allocated(object);
    bounded_set(
        &status.field("devices"),
        usize::MAX,
        |device| device_id(device).into(),
        errors,
        |device, errors| {
            device_status(device, &known, errors);
        },
    );
    if !reserved.is_empty() && !allocation.is_set() {
        reserved.forbidden(errors, "may not be specified when `allocated` is not set");
    } else if !reserved.is_empty() && Field::of(object).at("metadata.deletionTimestamp").is_set() {
        let was: Vec<Value> = before.field("reservedFor").items().map(|consumer| consumer.raw()).collect();
        if reserved.items().any(|consumer| !was.contains(&consumer.raw())) {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            reserved.forbidden(errors, why);
        }
    }
    if before.field("allocation").is_set() && allocation.is_set() {
        allocation.unchanged(errors, &before.field("allocation"));
    } else if allocation.is_set() {
        let requests = Field::of(object).at("spec.devices");
        allocation_rules(&allocation, &RequestNames::of(&requests), errors);
    }
}

fn allocation_rules(allocation: &Field<'_>, known: &RequestNames<'_>, errors: &mut FieldErrors) {
    let devices = allocation.field("devices");
    bounded(&devices.field("results"), 32, errors, |result, errors| {
        known.check(&result.field("request"), errors);
        csi_driver_name(&result.field("driver"), errors);
        pool(&result.field("pool"), errors);
        result.field("device").check(errors, names::dns1123_label);
        binding_conditions(result, errors);
        if result.field("shareID").is_set() {
            uuid(&result.field("shareID"), errors);
        }
    });
    bounded(&devices.field("config"), 2 * CONFIGURATIONS_MAX, errors, |configured, errors| {
        configured.field("source").one_of(errors, &["FromClaim", "FromClass"]);
        known.check_list(&configured.field("requests"), errors);
        configuration(configured, errors);
    });
    if allocation.field("nodeSelector").is_set() {
        node_selector(&allocation.field("nodeSelector"), errors);
    }
}

fn device_status(device: &Field<'_>, known: &[String], errors: &mut FieldErrors) {
    csi_driver_name(&device.field("driver"), errors);
    pool(&device.field("pool"), errors);
    device.field("device").check(errors, names::dns1123_label);
    if device.field("shareID").is_set() {
        uuid(&device.field("shareID"), errors);
    }
    let id = device_id(device);
    if !known.contains(&id) {
        let value = serde_json::json!({"Driver": {}, "Pool": {}, "Device": {}, "ShareID": {}});
        errors.push(FieldError::invalid(&device.path(), value, "must be an allocated device in the claim"));
    }
    let list = device.field("conditions");
    at_most(&list, 8, errors);
    conditions(&list, errors);
    if device.field("data").is_set() {
        json_object(&device.field("data"), 10 * 1024, errors);
    }
    let network = device.field("networkData");
    for (name, bytes_max) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if network.field(name).text().len() > bytes_max {
            network.field(name).too_long(errors, bytes_max);
        }
    }
    bounded_set(&network.field("ips"), 16, Field::raw, errors, interface_address);
}
