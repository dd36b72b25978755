//! Small good objects of many kinds: defaults, rules and cells together.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{faults, strategy};

fn cells(group: &str, resource: &str, object: &Value) -> Vec<Value> {
    let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
    let mut object = object.clone();
    strategy(group, resource).default(&mut object);
    strategy(group, resource).columns().iter().map(|column| (column.cell)(&object, now)).collect()
}

#[test]
fn good_objects_have_no_faults() {
    let pod = json!({"containers": [{"name": "c", "image": "x"}]});
    let labels = json!({"app": "a"});
    let template = json!({"metadata": {"labels": labels}, "spec": pod});
    let selected = json!({"selector": {"matchLabels": labels}, "template": template});
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    let webhook = json!({"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [rule],
        "clientConfig": {"url": "https://x"}});
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let samples = [
        ("", "configmaps", json!({"data": {"a": "b"}})),
        ("", "limitranges", json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}})),
        ("", "nodes", json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}})),
        ("", "pods", json!({"metadata": {"name": "a"}, "spec": pod})),
        (
            "",
            "persistentvolumeclaims",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        ),
        (
            "",
            "persistentvolumes",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}}),
        ),
        ("", "replicationcontrollers", json!({"spec": {"selector": labels, "template": template}})),
        ("", "resourcequotas", json!({"spec": {"hard": {"pods": "3", "limits.cpu": "1"}}})),
        ("", "services", json!({"spec": {"ports": [{"port": 80}]}})),
        ("apps", "daemonsets", json!({"spec": selected})),
        ("apps", "deployments", json!({"spec": selected})),
        ("apps", "replicasets", json!({"spec": selected})),
        ("apps", "statefulsets", json!({"spec": selected})),
        (
            "autoscaling",
            "horizontalpodautoscalers",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}}}),
        ),
        (
            "batch",
            "cronjobs",
            json!({"metadata": {"name": "a"}, "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}}}}),
        ),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations", json!({"webhooks": [webhook]})),
        (
            "networking.k8s.io",
            "ingresses",
            json!({"spec": {"rules": [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}}),
        ),
        (
            "networking.k8s.io",
            "networkpolicies",
            json!({"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}]}}),
        ),
        (
            "policy",
            "poddisruptionbudgets",
            json!({"spec": {"minAvailable": "50%", "selector": {"matchLabels": labels}}}),
        ),
        (
            "rbac.authorization.k8s.io",
            "roles",
            json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
        ),
        ("scheduling.k8s.io", "priorityclasses", json!({"metadata": {"name": "high"}, "value": 10})),
        ("storage.k8s.io", "storageclasses", json!({"provisioner": "example.com/disk"})),
        ("storage.k8s.io", "csidrivers", json!({"spec": {}})),
        (
            "resource.k8s.io",
            "resourceclaims",
            json!({"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu"}}]}}}),
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "prioritylevelconfigurations",
            json!({"metadata": {"name": "a"}, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}}),
        ),
        (
            "apiregistration.k8s.io",
            "apiservices",
            json!({"metadata": {"name": "v1.a.b"}, "spec": {"group": "a.b", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10}}),
        ),
    ];
    for (group, resource, object) in samples {
        assert_eq!(faults(group, resource, &object), [] as [&str; 0], "{resource}");
    }
}

#[test]
fn cells_are_upstreams() {
    let check = |group: &str, resource: &str, object: Value, expected: Value| {
        assert_eq!(Value::Array(cells(group, resource, &object)), expected, "{resource}");
    };
    let created = json!({"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"});
    check(
        "",
        "services",
        json!({"metadata": created, "spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "selector": {"app": "a"}, "ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]}}),
        json!(["a", "NodePort", "10.0.0.1", "<none>", "80:30080/TCP,53/UDP", "60m", "app=a"]),
    );
    check(
        "apps",
        "deployments",
        json!({"metadata": created, "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {"spec": {
            "containers": [{"name": "x", "image": "i:1"}, {"name": "y", "image": "j:2"}]}}},
            "status": {"readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1}}),
        json!(["a", "1/1", 1, 1, "60m", "x,y", "i:1,j:2", "app=a"]),
    );
    check(
        "",
        "nodes",
        json!({"metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:55:00Z", "labels": {"node-role.kubernetes.io/control-plane": ""}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Linux", "kernelVersion": "6.1", "architecture": "amd64", "containerRuntimeVersion": "c://1"}}}),
        json!([
            "n",
            "Ready,SchedulingDisabled",
            "control-plane",
            "5m",
            "v1.36.0",
            "10.0.0.9",
            "<none>",
            "Linux",
            "6.1 (amd64)",
            "c://1"
        ]),
    );
    check(
        "",
        "events",
        json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}, "type": "Normal", "reason": "Pulled",
            "message": " done ", "count": 2, "firstTimestamp": "2026-01-01T00:50:00Z", "lastTimestamp": "2026-01-01T00:59:30Z",
            "source": {"component": "kubelet", "host": "n"}}),
        json!(["30s", "Normal", "Pulled", "pod/p", "", "kubelet, n", "done", "10m", 2, "e"]),
    );
    check(
        "",
        "persistentvolumeclaims",
        json!({"metadata": created, "spec": {"volumeName": "v", "storageClassName": "fast"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce", "ReadWriteMany"]}}),
        json!(["a", "Bound", "v", "1Gi", "RWO,RWX", "fast", "<unset>", "60m", "Filesystem"]),
    );
    check(
        "autoscaling",
        "horizontalpodautoscalers",
        json!({"metadata": created, "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
            "status": {"currentReplicas": 2}}),
        json!(["a", "Deployment/d", "cpu: <unknown>/80%", "1", 5, 2, "60m"]),
    );
    check(
        "",
        "endpoints",
        json!({"metadata": created, "subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "2.2.2.2"}], "ports": [{"port": 80}, {"port": 443}]}]}),
        json!(["a", "1.1.1.1:80,2.2.2.2:80,1.1.1.1:443 + 1 more...", "60m"]),
    );
    check(
        "networking.k8s.io",
        "ingresses",
        json!({"metadata": created, "spec": {"rules": [{"host": "a.b"}], "tls": [{}]}}),
        json!(["a", "<none>", "a.b", "", "80, 443", "60m"]),
    );
    check("", "secrets", json!({"metadata": created, "data": {"x": ""}}), json!(["a", "Opaque", 1, "60m"]));
    check("", "namespaces", json!({"metadata": created, "status": {}}), json!(["a", "Active", "60m"]));
}
