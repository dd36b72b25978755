//! The objects that are written.

use serde_json::{Value, json};

/// ConfigMaps carry one of so many labels.
pub(crate) const LABELS: usize = 50;

pub(crate) fn configmaps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

/// A ConfigMap of about 1.3 KB as it is stored, with what the server adds to it.
pub(crate) fn configmap(name: &str, number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "labels": {
            "app": format!("app-{}", number % LABELS), "tier": "bench", "number": number.to_string(),
        } },
        "data": { "changed": number.to_string(), "settings": "0123456789abcdef".repeat(46) },
    })
}

/// A pod as a Deployment would make it.
pub(crate) fn pod(number: usize) -> Value {
    let app = format!("app-{}", number % 500);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{app}-{number:06}"), "labels": { "app": app, "pod-template-hash": "5d4f8c7b9" },
            "annotations": { "prometheus.io/scrape": "true", "prometheus.io/port": "8080" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-5d4f8c7b9"),
                "uid": "6f2b4a0e-0f54-4a1c-9a57-2d1f6d3c9b11", "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "nodeName": format!("node-{}", number % 1000),
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "app", "image": format!("registry.example.com/{app}:1.2.3"),
                "args": ["--listen=:8080", "--log=info"],
                "env": [{ "name": "APP", "value": app }, { "name": "ZONE", "value": "a" }],
                "ports": [{ "name": "http", "containerPort": 8080 }],
                "resources": {
                    "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "cpu": "500m", "memory": "256Mi" },
                },
                "readinessProbe": { "httpGet": { "path": "/ready", "port": "http" }, "periodSeconds": 5 },
                "volumeMounts": [{ "name": "config", "mountPath": "/etc/app" }],
            }],
            "volumes": [{ "name": "config", "configMap": { "name": app } }],
        },
    })
}
