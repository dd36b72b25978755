//! Notes in `metadata.managedFields` who wrote what.

use serde_json::Value;

use super::call::Call;
use crate::environment::time;
use crate::patch::managed::{Manager, Operation, note_update};

/// Notes what a creation or an update set, through that subresource or the call's. Server-side apply notes for itself.
pub(super) fn note(call: &Call<'_>, subresource: Option<&str>, new: &mut Value, old: Option<&Value>) {
    let storage = call.storage();
    let manager = Manager {
        name: call.manager,
        operation: Operation::Update,
        subresource: subresource.unwrap_or(call.subresource),
        api_version: call.api_version(),
        time: &time(call.now),
        status: storage.info.subresource("status").is_some(),
    };
    note_update(new, old, call.schema(), &manager);
}
