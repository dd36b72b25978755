//! What is allowed in a pod's spec but hardly meant.

use std::collections::{BTreeMap, BTreeSet};

use super::annotations::{SECCOMP, SECCOMP_OF_POD};
use super::visit_containers;
use crate::kinds::read::Field;
use crate::kinds::validate::addresses::ip_warning;

const DEPRECATED_LABELS: &[(&str, &str)] = &[
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
];

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

const DEPRECATED_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

/// Adds the warnings for a pod, or for a template.
pub(crate) fn warnings(pod: &Field<'_>, warnings: &mut Vec<String>) {
    let spec = &pod.field("spec");
    old_annotations(pod, warnings);
    for (label, entry) in spec.field("nodeSelector").entries() {
        warnings.extend(deprecated_label(label).map(|why| format!("{}: {why}", entry.path())));
    }
    let node_affinity = spec.at("affinity.nodeAffinity");
    let required = node_affinity.at("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    required.items().for_each(|term| node_terms(&term, warnings));
    let preferred = node_affinity.field("preferredDuringSchedulingIgnoredDuringExecution");
    preferred.items().for_each(|weighted| node_terms(&weighted.field("preference"), warnings));
    for constraint in spec.field("topologySpreadConstraints").items() {
        named_label(&constraint.field("topologyKey"), warnings);
        null_selector(&constraint.field("labelSelector"), warnings);
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
    let grace = spec.field("terminationGracePeriodSeconds");
    if grace.int() < 0 {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(format!("{}: {why}", grace.path()));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = spec.field("affinity").field(kind);
        for term in affinity.field("requiredDuringSchedulingIgnoredDuringExecution").items() {
            null_selector(&term.field("labelSelector"), warnings);
        }
        for weighted in affinity.field("preferredDuringSchedulingIgnoredDuringExecution").items() {
            null_selector(&weighted.at("podAffinityTerm.labelSelector"), warnings);
        }
    }
    warnings.extend(spec.at("dnsConfig.nameservers").items().filter_map(|address| ip_warning(&address)));
    warnings.extend(spec.field("hostAliases").items().filter_map(|alias| ip_warning(&alias.field("ip"))));
}

fn old_annotations(pod: &Field<'_>, warnings: &mut Vec<String>) {
    let (annotations, spec) = (pod.at("metadata.annotations"), pod.field("spec"));
    let mut tell = |key: &str, why: &str| {
        let annotation = annotations.key(key);
        warnings.extend(annotation.is_set().then(|| format!("{}: {why}", annotation.path())));
    };
    DEPRECATED_ANNOTATIONS.iter().for_each(|(key, why)| tell(key, why));
    let seccomp = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    if !spec.at("securityContext.seccompProfile").is_set() {
        tell(SECCOMP_OF_POD, seccomp);
    }
    visit_containers(&spec, |container| {
        if !container.at("securityContext.seccompProfile").is_set() {
            tell(&format!("{SECCOMP}{}", container.field("name").text()), seccomp);
        }
    });
}

fn deprecated_label(label: &str) -> Option<&'static str> {
    DEPRECATED_LABELS.iter().find(|(name, _)| *name == label).map(|(_, why)| *why)
}

fn named_label(field: &Field<'_>, warnings: &mut Vec<String>) {
    let why = deprecated_label(field.text());
    warnings.extend(why.map(|why| format!("{}: {} is {why}", field.path(), field.text())));
}

fn node_terms(term: &Field<'_>, warnings: &mut Vec<String>) {
    term.field("matchExpressions").items().for_each(|expression| named_label(&expression.field("key"), warnings));
}

fn null_selector(selector: &Field<'_>, warnings: &mut Vec<String>) {
    if !selector.is_set() {
        warnings.push(format!("{}: a null labelSelector results in matching no pod", selector.path()));
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_oddity_is_told() {
        let check = |spec: Value, expected: &[&str]| {
            let mut told = Vec::new();
            warnings(&Field::of(&json!({"spec": spec})), &mut told);
            assert_eq!(told, expected, "{spec}");
        };
        check(json!({}), &[]);
        let key = "container.seccomp.security.alpha.kubernetes.io/a";
        let pod = json!({"metadata": {"annotations": {key: "unconfined"}}, "spec": {"containers": [{"name": "a"}]}});
        let mut told = Vec::new();
        warnings(&Field::of(&pod), &mut told);
        let why = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
        assert_eq!(told, [format!("metadata.annotations[{key}]: {why}")]);
        check(
            json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            &["spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"],
        );
        check(
            json!({"topologySpreadConstraints": [{"topologyKey": "node-role.kubernetes.io/master"}]}),
            &[
                "spec.topologySpreadConstraints[0].topologyKey: node-role.kubernetes.io/master is use \
                 \"node-role.kubernetes.io/control-plane\" instead",
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            ],
        );
        check(
            json!({"terminationGracePeriodSeconds": -1, "hostAliases": [{"ip": "01.2.3.4"}]}),
            &[
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
                "spec.hostAliases[0].ip: non-standard IP address \"01.2.3.4\" is invalid: use \"1.2.3.4\"",
            ],
        );
    }
}
