//! What is allowed in a pod's spec but hardly meant.

use std::collections::{BTreeMap, BTreeSet};

use super::visit_containers;
use crate::kinds::read::Field;

const DEPRECATED_VOLUMES: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Adds the warnings for a pod's spec.
pub(crate) fn warnings(spec: &Field<'_>, warnings: &mut Vec<String>) {
    for constraint in spec.field("topologySpreadConstraints").items() {
        let selector = constraint.field("labelSelector");
        if !selector.is_set() {
            warnings.push(format!("{}: a null labelSelector results in matching no pod", selector.path()));
        }
    }
    for volume in spec.field("volumes").items() {
        for (name, shown, why) in DEPRECATED_VOLUMES {
            if volume.field(name).is_set() {
                warnings.push(format!("{}: {why}", volume.field(shown).path()));
            }
        }
    }
    repeated(&spec.field("hostAliases"), "ip", "ip", warnings);
    repeated(&spec.field("imagePullSecrets"), "name", "name", warnings);
    for secret in spec.field("imagePullSecrets").items().filter(|secret| secret.field("name").is_empty()) {
        warnings.push(format!("{}: invalid empty name \"\"", secret.field("name").path()));
    }
    visit_containers(spec, |container| {
        for (list, name) in [
            ("limits", "memory"),
            ("requests", "memory"),
            ("limits", "ephemeral-storage"),
            ("requests", "ephemeral-storage"),
        ] {
            let amount = container.field("resources").field(list).key(name);
            if let Some(value) = amount.quantity().filter(|value| !value.is_whole()) {
                let why = "is invalid, must be an integer";
                warnings.push(format!("{}: fractional byte value \"{value}\" {why}", amount.path()));
            }
        }
        hidden_variables(&container, warnings);
    });
    repeated_ports(spec, warnings);
}

fn repeated(list: &Field<'_>, field: &'static str, what: &str, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for item in list.items() {
        let value = item.field(field);
        if !seen.insert(value.text()) {
            warnings.push(format!("{}: duplicate {what} {:?}", value.path(), value.text()));
        }
    }
}

fn hidden_variables(container: &Field<'_>, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for variable in container.field("env").items() {
        let name = variable.field("name").text();
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        let value = variable.field("value").text();
        if variable.field("valueFrom").is_set() || value == reference || !value.contains(&reference) {
            let why = "which may be dropped when using apply";
            warnings.push(format!("{}: hides previous definition of {name:?}, {why}", variable.path()));
        }
    }
}

fn repeated_ports(spec: &Field<'_>, warnings: &mut Vec<String>) {
    let mut seen: BTreeMap<(i64, &str), Vec<Field<'_>>> = BTreeMap::new();
    visit_containers(spec, |container| {
        for port in container.field("ports").items() {
            let key = (port.field("containerPort").int(), port.field("protocol").text());
            let others = seen.entry(key).or_default();
            for other in others.iter() {
                let (ip, host) = (port.field("hostIP").text(), port.field("hostPort").int());
                let (other_ip, other_host) = (other.field("hostIP").text(), other.field("hostPort").int());
                let what = if ip == other_ip && host == other_host {
                    "duplicate"
                } else if host == 0 || other_host == 0 {
                    "overlapping"
                } else if host == other_host && ip.is_empty() != other_ip.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                warnings.push(format!("{}: {what} port definition with {}", port.path(), other.path()));
            }
            others.push(port);
        }
    });
}
