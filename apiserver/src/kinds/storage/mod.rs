//! Volumes, claims on them, classes of them, and the drivers behind them.

mod claims;
mod classes;
mod drivers;
mod volumes;

pub(crate) use claims::PERSISTENT_VOLUME_CLAIMS;
pub(crate) use classes::{STORAGE_CLASSES, VOLUME_ATTRIBUTES_CLASSES};
pub(crate) use drivers::{CSI_DRIVERS, CSI_NODES, CSI_STORAGE_CAPACITIES, VOLUME_ATTACHMENTS};
pub(crate) use volumes::PERSISTENT_VOLUMES;

use serde_json::Value;

use crate::table::text_of;

/// Access modes as `kubectl` shows them: `RWO,ROX`.
fn short_modes(modes: &Value) -> String {
    let has = |mode: &str| modes.as_array().into_iter().flatten().any(|other| other == mode);
    let all =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    all.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// The phase, or that it is on its way out.
fn phase(object: &Value) -> Value {
    if object["metadata"]["deletionTimestamp"].is_string() {
        "Terminating".into()
    } else {
        text_of(&object["status"]["phase"]).into()
    }
}

/// The class: of the annotation of old, or of the field.
fn class(object: &Value) -> Value {
    match text_of(&object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"]) {
        class if !class.is_empty() => class.into(),
        _ => text_of(&object["spec"]["storageClassName"]).into(),
    }
}
