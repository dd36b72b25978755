//! Defaults of pod specs, in pods and in templates.

use serde_json::{Value, json};

use super::image::pull_policy;
use crate::kinds::edit::{default_number, default_text, default_to, each, ensure, find, set, with};

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Defaults of a pod template: its `spec` is made if it isn't there.
pub(crate) fn template(template: &mut Value) {
    if let Some(spec) = ensure(template, "spec") {
        pod_spec(spec);
    }
}

/// Defaults of a pod's spec wherever it is.
pub(crate) fn pod_spec(spec: &mut Value) {
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "restartPolicy", "Always");
    default_to(spec, "securityContext", json!({}));
    default_to(spec, "terminationGracePeriodSeconds", 30);
    default_text(spec, "schedulerName", "default-scheduler");
    service_account(spec);
    each(spec, "volumes").for_each(volume);
    for list in CONTAINER_LISTS {
        each(spec, list).for_each(container);
    }
    with(spec, "overhead", round_up);
    with(spec, "resources.limits", round_up);
    with(spec, "resources.requests", round_up);
}

/// The old and the new name of the same field go together.
pub(crate) fn service_account(spec: &mut Value) {
    let name = match (spec["serviceAccountName"].as_str(), spec["serviceAccount"].as_str()) {
        (Some(name), _) if !name.is_empty() => name.to_owned(),
        (_, Some(name)) if !name.is_empty() => name.to_owned(),
        _ => return,
    };
    set(spec, "serviceAccountName", name.clone());
    set(spec, "serviceAccount", name);
}

/// Amounts keep at most thousandths.
pub(crate) fn round_up(list: &mut Value) {
    let Some(entries) = list.as_object_mut() else { return };
    for amount in entries.values_mut() {
        let text = match &*amount {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => continue,
        };
        // Only amounts finer than thousandths end in these.
        if text.ends_with(['n', 'u'])
            && let Ok(quantity) = text.parse::<kubewright_api::quantity::Quantity>()
        {
            let millis = kubewright_api::quantity::Quantity::from_millis(quantity.millis());
            *amount = Value::String(millis.to_string());
        }
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(container["image"].as_str().unwrap_or_default());
    default_text(container, "imagePullPolicy", policy);
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    default_to(container, "resources", json!({}));
    each(container, "ports").for_each(|port| default_text(port, "protocol", "TCP"));
    for variable in each(container, "env") {
        with(variable, "valueFrom.fieldRef", |field| default_text(field, "apiVersion", "v1"));
        with(variable, "valueFrom.fileKeyRef", |file| default_to(file, "optional", false));
        with(variable, "valueFrom.resourceFieldRef", |field| default_to(field, "divisor", "0"));
    }
    with(container, "resources.limits", round_up);
    with(container, "resources.requests", round_up);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        with(container, name, probe);
    }
    with(container, "lifecycle.postStart.httpGet", http_get);
    with(container, "lifecycle.preStop.httpGet", http_get);
}

fn probe(probe: &mut Value) {
    default_number(probe, "timeoutSeconds", 1);
    default_number(probe, "periodSeconds", 10);
    default_number(probe, "successThreshold", 1);
    default_number(probe, "failureThreshold", 3);
    with(probe, "httpGet", http_get);
    with(probe, "grpc", |grpc| default_to(grpc, "service", ""));
}

fn http_get(action: &mut Value) {
    default_text(action, "path", "/");
    default_text(action, "scheme", "HTTP");
}

fn volume(volume: &mut Value) {
    let empty = volume
        .as_object()
        .is_some_and(|entries| entries.iter().all(|(name, source)| name == "name" || source.is_null()));
    if empty {
        set(volume, "emptyDir", json!({}));
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        with(volume, name, |source| default_to(source, "defaultMode", 0o644));
    }
    with(volume, "hostPath", |source| default_to(source, "type", ""));
    with(volume, "downwardAPI", |source| each(source, "items").for_each(downward_file));
    for source in each(volume, "projected.sources") {
        each(source, "downwardAPI.items").for_each(downward_file);
        with(source, "serviceAccountToken", |token| default_to(token, "expirationSeconds", 3600));
        with(source, "podCertificate", |certificate| default_to(certificate, "maxExpirationSeconds", 86400));
    }
    with(volume, "image", |image| {
        let policy = pull_policy(image["reference"].as_str().unwrap_or_default());
        default_text(image, "pullPolicy", policy);
    });
    with(volume, "ephemeral.volumeClaimTemplate.spec", |claim| default_text(claim, "volumeMode", "Filesystem"));
    network_volume(volume);
}

fn downward_file(file: &mut Value) {
    with(file, "fieldRef", |field| default_text(field, "apiVersion", "v1"));
    with(file, "resourceFieldRef", |field| default_to(field, "divisor", "0"));
}

/// Defaults of volume sources that persistent volumes have too.
pub(crate) fn network_volume(volume: &mut Value) {
    with(volume, "iscsi", |iscsi| default_text(iscsi, "iscsiInterface", "default"));
    with(volume, "rbd", |rbd| {
        default_text(rbd, "pool", "rbd");
        default_text(rbd, "user", "admin");
        default_text(rbd, "keyring", "/etc/ceph/keyring");
    });
    with(volume, "azureDisk", |disk| {
        default_to(disk, "cachingMode", "ReadWrite");
        default_to(disk, "fsType", "ext4");
        default_to(disk, "readOnly", false);
        default_to(disk, "kind", "Shared");
    });
    with(volume, "scaleIO", |scale_io| {
        default_text(scale_io, "storageMode", "ThinProvisioned");
        default_text(scale_io, "fsType", "xfs");
    });
}

/// Defaults that only a pod has, not a template of one.
pub(crate) fn pod_only(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            if let Some(limits) = find(container, "resources.limits").map(|limits| limits.clone())
                && let Some(requests) = ensure(container, "resources.requests")
            {
                limits.as_object().into_iter().flatten().for_each(|(name, limit)| {
                    default_to(requests, name, limit.clone());
                });
            }
        }
    }
    super::pod_level::defaults(spec);
    default_to(spec, "enableServiceLinks", true);
    if spec["hostNetwork"] == true {
        for list in ["containers", "initContainers"] {
            for container in each(spec, list) {
                for port in each(container, "ports") {
                    if let Some(number) = port["containerPort"].as_i64() {
                        default_number(port, "hostPort", number);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_gets() {
        let mut spec = json!({
            "hostNetwork": true,
            "containers": [{
                "name": "a", "image": "x:1", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1"}, "requests": {"memory": "1u"}},
                "livenessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            }],
            "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "m"}}],
        });
        pod_spec(&mut spec);
        pod_only(&mut spec);
        assert_eq!(
            spec,
            json!({
                "hostNetwork": true,
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
                "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler", "enableServiceLinks": true,
                "containers": [{
                    "name": "a", "image": "x:1",
                    "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
                    "imagePullPolicy": "IfNotPresent",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1", "memory": "1m"}},
                    "livenessProbe": {
                        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1,
                        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                    },
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
                }],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "m", "defaultMode": 420}}],
            })
        );
    }
}
