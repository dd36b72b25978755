//! Keeps claims that pods use, and volumes that claims use, from going before their users: each has a finalizer, which is
//! taken off once nobody uses it any more.

pub mod claims;
pub mod volumes;

use serde_json::json;

use crate::objects::{Meta, Object};
use crate::plan::Plan;

/// Takes the finalizer off what is being deleted and free, and puts it on what lacks it.
fn guard<K: Object>(object: &K, finalizer: &str, free: bool) -> Plan {
    let mut plan = Plan::nothing();
    let meta: &Meta = object.meta();
    let held = meta.finalizers.iter().any(|own| own == finalizer);
    let finalizers: Vec<&str> = match (meta.deleting(), held) {
        (true, true) if free => meta.finalizers.iter().map(String::as_str).filter(|own| *own != finalizer).collect(),
        (false, false) => meta.finalizers.iter().map(String::as_str).chain([finalizer]).collect(),
        _ => return plan,
    };
    plan.patch(object, "", json!({"metadata": {"finalizers": finalizers}}));
    plan
}
