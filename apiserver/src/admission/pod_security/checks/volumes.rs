//! Which volumes a pod mounts.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, Violation, name, plural, quoted};

const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn volumes(pod: Pod<'_>) -> impl Iterator<Item = &Value> {
    pod.spec["volumes"].as_array().into_iter().flatten()
}

/// The kind of a volume; `unknown` if it has none.
fn kind(volume: &Value) -> &str {
    let mut fields = volume.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    fields.find(|(field, _)| *field != "name").map_or("unknown", |(field, _)| field)
}

pub(super) fn host_path(pod: Pod<'_>) -> Option<Violation> {
    let bad: Vec<&str> = volumes(pod).filter(|volume| !volume["hostPath"].is_null()).map(name).collect();
    let detail = || format!("{} {}", plural(bad.len(), "volume", "volumes"), quoted(&bad));
    (!bad.is_empty()).then(|| Violation { reason: "hostPath volumes", detail: detail() })
}

pub(super) fn restricted(pod: Pod<'_>) -> Option<Violation> {
    let allowed = |volume: &&Value| ALLOWED.iter().any(|kind| !volume[*kind].is_null());
    let bad: Vec<&Value> = volumes(pod).filter(|volume| !allowed(volume)).collect();
    let kinds: BTreeSet<&str> = bad.iter().map(|volume| kind(volume)).collect();
    let (volume, use_) = (plural(bad.len(), "volume", "volumes"), plural(bad.len(), "uses", "use"));
    let type_ = plural(kinds.len(), "restricted volume type", "restricted volume types");
    let names: Vec<&str> = bad.iter().map(|volume| name(volume)).collect();
    let detail = || format!("{volume} {} {use_} {type_} {}", quoted(&names), quoted(&kinds));
    (!bad.is_empty()).then(|| Violation { reason: "restricted volume types", detail: detail() })
}
