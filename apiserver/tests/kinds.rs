//! Every built-in kind through the front door: created with strict validation, shown as a table, changed, deleted.

mod common;

use common::{get_as, json, server};
use http::Method;
use kubewright_api::resources;
use serde_json::{Value, json};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// A good object of each kind that can be created, without metadata.
fn samples() -> Vec<(&'static str, &'static str, Value)> {
    let mut all = core();
    all.extend(workloads());
    all.extend(cluster());
    all.extend(admission());
    all
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1.27",
        "ports": [{"containerPort": 80, "name": "http"}], "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m", "memory": "64Mi"}},
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}}, "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}],
        "volumes": [{"name": "tmp", "emptyDir": {}}]}})
}

fn core() -> Vec<(&'static str, &'static str, Value)> {
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let volume =
        json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}});
    let subset = json!({"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]});
    vec![
        ("", "configmaps", json!({"data": {"a": "b"}})),
        ("", "endpoints", json!({"subsets": [subset]})),
        ("", "events", json!({"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R"})),
        ("", "limitranges", json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}})),
        ("", "namespaces", json!({})),
        ("", "nodes", json!({"spec": {"podCIDR": "10.1.0.0/24"}, "status": {"capacity": {"pods": "110"}}})),
        ("", "persistentvolumeclaims", json!({ "spec": claim })),
        ("", "persistentvolumes", json!({ "spec": volume })),
        ("", "pods", template()),
        ("", "podtemplates", json!({"template": template()})),
        ("", "replicationcontrollers", json!({"spec": {"selector": {"app": "a"}, "template": template()}})),
        ("", "resourcequotas", json!({"spec": {"hard": {"pods": "10", "requests.cpu": "4"}}})),
        ("", "secrets", json!({"stringData": {"password": "x"}})),
        ("", "serviceaccounts", json!({})),
        (
            "",
            "services",
            json!({"spec": {"selector": {"app": "a"}, "clusterIP": "None", "ports": [{"port": 80, "targetPort": "http"}]}}),
        ),
    ]
}

fn workloads() -> Vec<(&'static str, &'static str, Value)> {
    let selected = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template()});
    let mut once = template();
    once["spec"]["restartPolicy"] = json!("OnFailure");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"});
    vec![
        ("apps", "controllerrevisions", json!({"data": {"spec": {}}, "revision": 1})),
        ("apps", "daemonsets", json!({ "spec": selected })),
        ("apps", "deployments", json!({ "spec": selected })),
        ("apps", "replicasets", json!({ "spec": selected })),
        ("apps", "statefulsets", json!({ "spec": selected })),
        (
            "batch",
            "cronjobs",
            json!({"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": once}}}}),
        ),
        ("batch", "jobs", json!({"spec": {"template": once}})),
        ("autoscaling", "horizontalpodautoscalers", json!({"spec": {"maxReplicas": 5, "scaleTargetRef": target}})),
        (
            "policy",
            "poddisruptionbudgets",
            json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "a"}}}}),
        ),
        ("coordination.k8s.io", "leases", json!({"spec": {"holderIdentity": "me", "leaseDurationSeconds": 40}})),
        (
            "discovery.k8s.io",
            "endpointslices",
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}], "ports": [{"port": 80}]}),
        ),
        (
            "resource.k8s.io",
            "resourceclaims",
            json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}}),
        ),
        (
            "resource.k8s.io",
            "resourceclaimtemplates",
            json!({"spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}}}),
        ),
    ]
}

fn cluster() -> Vec<(&'static str, &'static str, Value)> {
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    let subject = json!({"kind": "User", "name": "jane"});
    let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let flow_rule = json!({"subjects": [{"kind": "Group", "group": {"name": "g"}}], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
    vec![
        ("rbac.authorization.k8s.io", "clusterrolebindings", json!({"roleRef": role, "subjects": [subject]})),
        ("rbac.authorization.k8s.io", "clusterroles", json!({ "rules": [rule] })),
        ("rbac.authorization.k8s.io", "rolebindings", json!({"roleRef": role, "subjects": [subject]})),
        ("rbac.authorization.k8s.io", "roles", json!({ "rules": [rule] })),
        ("networking.k8s.io", "ingressclasses", json!({"spec": {"controller": "example.com/ingress"}})),
        (
            "networking.k8s.io",
            "ingresses",
            json!({"spec": {"rules": [{"host": "a.example", "http": {"paths": paths}}]}}),
        ),
        ("networking.k8s.io", "networkpolicies", json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})),
        ("networking.k8s.io", "servicecidrs", json!({"spec": {"cidrs": ["10.250.0.0/16"]}})),
        ("node.k8s.io", "runtimeclasses", json!({"handler": "runc"})),
        ("scheduling.k8s.io", "priorityclasses", json!({"value": 100})),
        ("storage.k8s.io", "csidrivers", json!({"spec": {}})),
        ("storage.k8s.io", "csinodes", json!({"spec": {"drivers": [{"name": "d.example", "nodeID": "n"}]}})),
        ("storage.k8s.io", "csistoragecapacities", json!({"storageClassName": "fast"})),
        ("storage.k8s.io", "storageclasses", json!({"provisioner": "example.com/disk"})),
        (
            "storage.k8s.io",
            "volumeattachments",
            json!({"spec": {"attacher": "d.example", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
        ),
        ("storage.k8s.io", "volumeattributesclasses", json!({"driverName": "d.example", "parameters": {"a": "b"}})),
        (
            "flowcontrol.apiserver.k8s.io",
            "flowschemas",
            json!({"spec": {"priorityLevelConfiguration": {"name": "low"}, "rules": [flow_rule]}}),
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "prioritylevelconfigurations",
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}}),
        ),
        ("resource.k8s.io", "deviceclasses", json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}})),
        (
            "resource.k8s.io",
            "resourceslices",
            json!({"spec": {"driver": "d.example", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}}),
        ),
    ]
}

fn admission() -> Vec<(&'static str, &'static str, Value)> {
    let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
    let webhook = json!({"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [rule],
        "clientConfig": {"service": {"name": "s", "namespace": "default"}}});
    let constraints = json!({ "resourceRules": [rule] });
    let (version, schema) = ("v1", json!({"openAPIV3Schema": {"type": "object"}}));
    let versions = json!([{"name": version, "served": true, "storage": true, "schema": schema}]);
    let names = json!({"plural": "widgets", "kind": "Widget"});
    let group = "admissionregistration.k8s.io";
    let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/data/a', value: 'b'}]"}});
    vec![
        (group, "mutatingwebhookconfigurations", json!({ "webhooks": [webhook] })),
        (group, "validatingwebhookconfigurations", json!({ "webhooks": [webhook] })),
        (
            group,
            "validatingadmissionpolicies",
            json!({"spec": {"matchConstraints": constraints, "validations": [{"expression": "true"}]}}),
        ),
        (
            group,
            "validatingadmissionpolicybindings",
            json!({"spec": {"policyName": "a", "validationActions": ["Deny"]}}),
        ),
        (
            group,
            "mutatingadmissionpolicies",
            json!({"spec": {"matchConstraints": constraints, "mutations": [mutation], "reinvocationPolicy": "Never"}}),
        ),
        (group, "mutatingadmissionpolicybindings", json!({"spec": {"policyName": "a"}})),
        (
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            json!({"metadata": {"name": "widgets.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}}),
        ),
        (
            "apiregistration.k8s.io",
            "apiservices",
            json!({"metadata": {"name": "v1.example.com"},
            "spec": {"group": "example.com", "version": version, "groupPriorityMinimum": 100, "versionPriority": 100}}),
        ),
    ]
}

#[tokio::test]
async fn every_kind_is_created_shown_changed_and_deleted() {
    let server = server().await;
    for (group, plural, mut object) in samples() {
        let version = if group == "autoscaling" { "v2" } else { "v1" };
        let resource = resources::find(group, version, plural).expect("a built-in resource");
        let root = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/{version}") };
        let list = if resource.namespaced() {
            format!("{root}/namespaces/default/{plural}")
        } else {
            format!("{root}/{plural}")
        };
        object["apiVersion"] = json!(resource.api_version());
        object["kind"] = json!(resource.kind);
        if object["metadata"]["name"].is_null() {
            object["metadata"]["name"] = json!("sample");
        }
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let strict = format!("{list}?fieldValidation=Strict");
        let answer = json(&server, Method::POST, &strict, &object).await;
        assert_eq!(answer.code, 201, "{plural}: {:?}", answer.fault());
        let created = answer.json();

        let table = get_as(&server, &list, TABLE).await.json();
        assert_eq!(table["kind"], "Table", "{plural}");
        let row = table["rows"][0]["cells"].as_array().unwrap_or_else(|| panic!("{plural} has no row"));
        assert_eq!(row.len(), table["columnDefinitions"].as_array().unwrap().len(), "{plural}");

        let uri = format!("{list}/{name}");
        let unchanged = json(&server, Method::PUT, &uri, &created).await;
        assert_eq!(unchanged.code, 200, "{plural}: {:?}", unchanged.fault());
        let version_of = |object: &Value| object["metadata"]["resourceVersion"].clone();
        assert_eq!(version_of(&unchanged.json()), version_of(&created), "{plural} changes when it is written again");
        let mut labelled = created.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        let answer = json(&server, Method::PUT, &uri, &labelled).await;
        assert_eq!(answer.code, 200, "{plural}: {:?}", answer.fault());
        let generation = |object: &Value| object["metadata"]["generation"].clone();
        assert_eq!(
            generation(&answer.json()),
            generation(&created),
            "labels of {plural} count as a change of its spec"
        );
        assert!(json(&server, Method::DELETE, &uri, &json!({})).await.code.is_success(), "{plural}");
    }
}
