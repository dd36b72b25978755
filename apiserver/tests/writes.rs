//! Writes: dry runs, patches, apply, status, scale, deletions.

mod common;

use common::{get, json, send, server};
use http::Method;
use serde_json::{Value, json};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn pod(name: &str) -> Value {
    let spec = json!({ "containers": [{ "name": "c", "image": "i" }] });
    json!({ "metadata": { "name": name, "labels": { "app": "a" } }, "spec": spec })
}

fn deployment() -> Value {
    let pod = json!({ "containers": [{ "name": "c", "image": "i" }] });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": { "app": "d" } },
            "template": { "metadata": { "labels": { "app": "d" } }, "spec": pod },
        },
    })
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let server = server().await;
    let object = json!({ "metadata": { "name": "a" }, "data": { "k": "1" } });
    let uri = format!("{CONFIGMAPS}/a");
    let answer = json(&server, Method::POST, &format!("{CONFIGMAPS}?dryRun=All"), &object).await;
    assert_eq!(answer.code, 201);
    assert!(answer.json()["metadata"]["uid"].is_string());
    assert_eq!(get(&server, &uri).await.code, 404);
    let created = json(&server, Method::POST, CONFIGMAPS, &object).await.json();
    assert_eq!(json(&server, Method::POST, &format!("{CONFIGMAPS}?dryRun=All"), &object).await.code, 409);
    let patch = json!({ "data": { "k": "2" } }).to_string();
    let answer =
        send(&server, Method::PATCH, &format!("{uri}?dryRun=All"), "application/merge-patch+json", patch).await;
    assert_eq!(answer.json()["data"]["k"], "2");
    assert_eq!(json(&server, Method::DELETE, &format!("{uri}?dryRun=All"), &json!({})).await.code, 200);
    assert_eq!(get(&server, &uri).await.json(), created);
    assert_eq!(json(&server, Method::POST, &format!("{CONFIGMAPS}?dryRun=Some"), &object).await.fault().0, 422);
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_none() {
    let server = server().await;
    let created = json(&server, Method::POST, CONFIGMAPS, &json!({ "metadata": { "name": "a" } })).await.json();
    let again = json(&server, Method::PUT, &format!("{CONFIGMAPS}/a"), &created).await.json();
    assert_eq!(again["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    // Without a version an update overwrites what is there.
    let object = json!({ "metadata": { "name": "a" }, "data": { "k": "v" } });
    let answer = json(&server, Method::PUT, &format!("{CONFIGMAPS}/a"), &object).await;
    assert_eq!((answer.code.as_u16(), &answer.json()["metadata"]["uid"]), (200, &created["metadata"]["uid"]));
}

#[tokio::test]
async fn patches_of_all_types() {
    let server = server().await;
    json(&server, Method::POST, DEPLOYMENTS, &deployment()).await;
    let uri = format!("{DEPLOYMENTS}/d");
    let strategic = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "s", "image": "j" }] } } } });
    let answer =
        send(&server, Method::PATCH, &uri, "application/strategic-merge-patch+json", strategic.to_string()).await;
    assert_eq!(answer.code, 200, "{:?}", answer.bytes);
    let containers = &answer.json()["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().unwrap().len(), 2);
    assert_eq!(answer.json()["metadata"]["generation"], 2);
    let operations = json!([{ "op": "test", "path": "/spec/replicas", "value": 2 },
        { "op": "replace", "path": "/spec/replicas", "value": 5 }]);
    let answer = send(&server, Method::PATCH, &uri, "application/json-patch+json", operations.to_string()).await;
    assert_eq!((answer.code.as_u16(), &answer.json()["spec"]["replicas"]), (200, &json!(5)));
    let answer = send(&server, Method::PATCH, &uri, "application/json-patch+json", operations.to_string()).await;
    assert_eq!((answer.fault().0, answer.fault().1.as_str()), (422, "Invalid"));
    let answer = send(&server, Method::PATCH, &uri, "application/unknown", "{}").await;
    assert_eq!(answer.fault().0, 415);
    let answer = send(&server, Method::PATCH, &uri, "application/merge-patch+json", "[]").await;
    assert_eq!(answer.fault().0, 400);
    let answer = send(&server, Method::PATCH, &format!("{DEPLOYMENTS}/e"), "application/merge-patch+json", "{}").await;
    assert_eq!(answer.fault().0, 404);
}

#[tokio::test]
async fn concurrent_patches_all_count() {
    let server = server().await;
    json(&server, Method::POST, CONFIGMAPS, &json!({ "metadata": { "name": "a" } })).await;
    let patches = (0..32).map(|at| {
        let server = server.clone();
        tokio::spawn(async move {
            let patch = json!({ "data": { format!("k{at}"): "v" } }).to_string();
            let uri = format!("{CONFIGMAPS}/a");
            send(&server, Method::PATCH, &uri, "application/merge-patch+json", patch).await.code
        })
    });
    for patch in patches.collect::<Vec<_>>() {
        assert_eq!(patch.await.unwrap(), 200);
    }
    let data = get(&server, &format!("{CONFIGMAPS}/a")).await.json()["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), 32);
}

async fn apply(server: &kubewright_apiserver::server::ApiServer, query: &str, object: &Value) -> common::Answer {
    let uri = format!("{DEPLOYMENTS}/d?{query}");
    send(server, Method::PATCH, &uri, "application/apply-patch+yaml", object.to_string()).await
}

#[tokio::test]
async fn server_side_apply() {
    let server = server().await;
    let mut wanted = deployment();
    assert_eq!(apply(&server, "", &wanted).await.fault().0, 422, "a manager is required");
    assert_eq!(apply(&server, "fieldManager=one", &wanted).await.code, 201);
    let again = apply(&server, "fieldManager=one", &wanted).await;
    assert_eq!(again.code, 200);
    let managed = again.json()["metadata"]["managedFields"].clone();
    assert_eq!((&managed[0]["manager"], &managed[0]["operation"]), (&json!("one"), &json!("Apply")));
    assert_eq!(managed.as_array().unwrap().len(), 1);
    let version = again.json()["metadata"]["resourceVersion"].clone();
    assert_eq!(apply(&server, "fieldManager=one", &wanted).await.json()["metadata"]["resourceVersion"], version);

    wanted["spec"]["replicas"] = json!(7);
    let conflict = apply(&server, "fieldManager=two", &wanted).await;
    let message = "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas";
    assert_eq!(conflict.fault(), (409, "Conflict".into(), message.into()));
    assert_eq!(apply(&server, "fieldManager=two&force=true", &wanted).await.json()["spec"]["replicas"], 7);

    // What a manager no longer names goes, if nobody else wants it.
    let mut less = deployment();
    less["metadata"]["labels"] = json!({ "x": "1" });
    less["spec"].as_object_mut().unwrap().remove("replicas");
    assert_eq!(apply(&server, "fieldManager=one", &less).await.json()["metadata"]["labels"]["x"], "1");
    less["metadata"].as_object_mut().unwrap().remove("labels");
    let applied = apply(&server, "fieldManager=one", &less).await.json();
    assert_eq!((applied["metadata"].get("labels"), &applied["spec"]["replicas"]), (None, &json!(7)));
}

#[tokio::test]
async fn status_and_spec_are_apart() {
    let server = server().await;
    let mut object = deployment();
    object["status"] = json!({ "replicas": 9 });
    let created = json(&server, Method::POST, DEPLOYMENTS, &object).await.json();
    assert!(created["status"].get("replicas").is_none());
    let mut changed = created.clone();
    changed["status"] = json!({ "replicas": 1, "observedGeneration": 1 });
    changed["spec"]["replicas"] = json!(8);
    let uri = format!("{DEPLOYMENTS}/d");
    let through_status = json(&server, Method::PUT, &format!("{uri}/status"), &changed).await.json();
    assert_eq!(through_status["spec"]["replicas"], 2);
    assert_eq!(through_status["status"]["replicas"], 1);
    assert_eq!(through_status["metadata"]["generation"], 1);
    changed["metadata"]["resourceVersion"] = through_status["metadata"]["resourceVersion"].clone();
    changed["status"] = json!({});
    let through_spec = json(&server, Method::PUT, &uri, &changed).await.json();
    assert_eq!((&through_spec["spec"]["replicas"], &through_spec["status"]["replicas"]), (&json!(8), &json!(1)));
    assert_eq!(through_spec["metadata"]["generation"], 2);
}

#[tokio::test]
async fn scales() {
    let server = server().await;
    json(&server, Method::POST, DEPLOYMENTS, &deployment()).await;
    let uri = format!("{DEPLOYMENTS}/d/scale");
    let mut scale = get(&server, &uri).await.json();
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(2), &json!("app=d")));
    scale["spec"]["replicas"] = json!(4);
    assert_eq!(json(&server, Method::PUT, &uri, &scale).await.json()["spec"]["replicas"], 4);
    assert_eq!(json(&server, Method::PUT, &uri, &scale).await.fault().0, 409, "the version is stale");
    let patch = json!({ "spec": { "replicas": 6 } }).to_string();
    let answer = send(&server, Method::PATCH, &uri, "application/merge-patch+json", patch).await;
    assert_eq!(answer.json()["spec"]["replicas"], 6);
    assert_eq!(get(&server, &format!("{DEPLOYMENTS}/d")).await.json()["spec"]["replicas"], 6);
    let patch = json!({ "spec": { "replicas": -1 } }).to_string();
    let answer = send(&server, Method::PATCH, &uri, "application/merge-patch+json", patch).await;
    let message =
        "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
    assert_eq!(answer.fault(), (422, "Invalid".into(), message.into()));
}

#[tokio::test]
async fn pods_are_bound_and_go_gracefully() {
    let server = server().await;
    json(&server, Method::POST, PODS, &pod("p")).await;
    let binding = json!({ "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "n" } });
    let bound = json(&server, Method::POST, &format!("{PODS}/p/binding"), &binding).await;
    assert_eq!((bound.code.as_u16(), &bound.json()["status"]), (201, &json!("Success")));
    let again = json(&server, Method::POST, &format!("{PODS}/p/binding"), &binding).await;
    let message = "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\"";
    assert_eq!(again.fault(), (409, "Conflict".into(), message.into()));
    let on_node = get(&server, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn").await.json();
    assert_eq!(on_node["items"].as_array().unwrap().len(), 1);
    assert_eq!(on_node["items"][0]["status"]["conditions"][0]["type"], "PodScheduled");

    let uri = format!("{PODS}/p");
    let going = json(&server, Method::DELETE, &uri, &json!({ "gracePeriodSeconds": 20 })).await;
    assert_eq!((going.code.as_u16(), &going.json()["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(20)));
    let longer = json(&server, Method::DELETE, &uri, &json!({ "gracePeriodSeconds": 60 })).await.json();
    assert_eq!(longer["metadata"]["deletionTimestamp"], going.json()["metadata"]["deletionTimestamp"]);
    let shorter = json(&server, Method::DELETE, &uri, &json!({ "gracePeriodSeconds": 5 })).await.json();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let forced = json(&server, Method::DELETE, &uri, &json!({ "gracePeriodSeconds": 0 })).await;
    assert_eq!((forced.code.as_u16(), &forced.json()["kind"]), (200, &json!("Pod")));
    assert_eq!(get(&server, &uri).await.code, 404);
}

#[tokio::test]
async fn finalizers_and_propagation() {
    let server = server().await;
    let object = json!({ "metadata": { "name": "a", "finalizers": ["x/y"] } });
    let created = json(&server, Method::POST, CONFIGMAPS, &object).await.json();
    let uri = format!("{CONFIGMAPS}/a");
    let wrong = json!({ "preconditions": { "uid": "other" } });
    assert_eq!(json(&server, Method::DELETE, &uri, &wrong).await.fault().0, 409);
    let going = json(&server, Method::DELETE, &uri, &json!({})).await.json();
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let taken = json(&server, Method::POST, CONFIGMAPS, &object).await;
    assert_eq!(taken.fault().2, "object is being deleted: configmaps \"a\" already exists");
    let patch = json!({ "metadata": { "finalizers": null, "uid": created["metadata"]["uid"] } }).to_string();
    assert_eq!(send(&server, Method::PATCH, &uri, "application/merge-patch+json", patch).await.code, 200);
    assert_eq!(get(&server, &uri).await.code, 404);

    json(&server, Method::POST, DEPLOYMENTS, &deployment()).await;
    let uri = format!("{DEPLOYMENTS}/d");
    let foreground = json(&server, Method::DELETE, &uri, &json!({ "propagationPolicy": "Foreground" })).await.json();
    assert_eq!(foreground["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let both = json!({ "propagationPolicy": "Orphan", "orphanDependents": true });
    assert_eq!(json(&server, Method::DELETE, &uri, &both).await.fault().0, 422);
    let orphan = json(&server, Method::DELETE, &format!("{uri}?propagationPolicy=Orphan"), &json!({})).await;
    assert_eq!(orphan.code, 200);
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let server = server().await;
    for name in ["a", "b", "c"] {
        let object = json!({ "metadata": { "name": name, "labels": { "name": name } } });
        json(&server, Method::POST, CONFIGMAPS, &object).await;
    }
    let uri = format!("{CONFIGMAPS}?labelSelector=name%20notin%20(b)");
    let deleted = json(&server, Method::DELETE, &uri, &json!({})).await;
    assert_eq!((deleted.code.as_u16(), &deleted.json()["kind"]), (200, &json!("ConfigMapList")));
    let left = get(&server, CONFIGMAPS).await.json();
    assert_eq!((left["items"].as_array().unwrap().len(), &left["items"][0]["metadata"]["name"]), (1, &json!("b")));
}

#[tokio::test]
async fn evictions_need_a_budget() {
    let server = server().await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "metadata": { "name": "b" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "a" } } },
    });
    assert_eq!(json(&server, Method::POST, budgets, &budget).await.code, 201);
    for name in ["p", "q"] {
        json(&server, Method::POST, PODS, &pod(name)).await;
        let binding = json!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": "n" } });
        json(&server, Method::POST, &format!("{PODS}/{name}/binding"), &binding).await;
        let status = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        let uri = format!("{PODS}/{name}/status");
        let answer = send(&server, Method::PATCH, &uri, "application/merge-patch+json", status.to_string()).await;
        assert_eq!(answer.code, 200, "{:?}", answer.bytes);
    }
    let status = json!({ "status": { "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
        "desiredHealthy": 1, "expectedPods": 2 } });
    let uri = format!("{budgets}/b/status");
    let answer = send(&server, Method::PATCH, &uri, "application/merge-patch+json", status.to_string()).await;
    assert_eq!(answer.code, 200, "{:?}", answer.bytes);
    let eviction = |name: &str| json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
    let first = json(&server, Method::POST, &format!("{PODS}/p/eviction"), &eviction("p")).await;
    assert_eq!(first.code, 201, "{:?}", first.bytes);
    let going = get(&server, &format!("{PODS}/p")).await.json();
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(going["status"]["conditions"].as_array().unwrap().last().unwrap()["type"], "DisruptionTarget");
    let second = json(&server, Method::POST, &format!("{PODS}/q/eviction"), &eviction("q")).await;
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert_eq!(second.fault(), (429, "TooManyRequests".into(), message.into()));
}

#[tokio::test]
async fn namespaces_are_finalized() {
    let server = server().await;
    let uri = "/api/v1/namespaces/n";
    let created = json(&server, Method::POST, "/api/v1/namespaces", &json!({ "metadata": { "name": "n" } })).await;
    assert_eq!(created.code, 201, "{:?}", created.bytes);
    if created.json()["spec"]["finalizers"] != json!(["kubernetes"]) {
        return;
    }
    let mut going = json(&server, Method::DELETE, uri, &json!({})).await.json();
    assert_eq!(going["status"]["phase"], "Terminating");
    going["spec"]["finalizers"] = json!([]);
    assert_eq!(json(&server, Method::PUT, &format!("{uri}/finalize"), &going).await.code, 200);
    assert_eq!(get(&server, uri).await.code, 404);
}

#[tokio::test]
async fn managers_own_what_they_set_and_nothing_else() {
    let server = server().await;
    let mut wanted = deployment();
    wanted["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "A", "value": "1" }]);
    let uri = format!("{DEPLOYMENTS}?fieldManager=one");
    let created = json(&server, Method::POST, &uri, &wanted).await.json();
    let fields = &created["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    // What holds something belongs to who made it, but for the parts that every deployment has.
    let container = &fields["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"];
    assert_eq!(container["f:env"]["."], json!({}));
    assert!(fields["f:template"]["f:spec"]["f:containers"].get(".").is_none());
    assert_eq!(fields["f:strategy"]["f:rollingUpdate"]["."], json!({}));
    assert!(fields["f:strategy"].get(".").is_none());

    let scaled = format!("{DEPLOYMENTS}/d/scale?fieldManager=two");
    let patch = json!({ "spec": { "replicas": 5 } }).to_string();
    assert_eq!(send(&server, Method::PATCH, &scaled, "application/merge-patch+json", patch).await.code, 200);
    let uri = format!("{DEPLOYMENTS}/d");
    let entries = get(&server, &uri).await.json()["metadata"]["managedFields"].clone();
    let entry = entries.as_array().unwrap().iter().find(|entry| entry["manager"] == "two").unwrap();
    assert_eq!(
        (&entry["subresource"], &entry["fieldsV1"]),
        (&json!("scale"), &json!({ "f:spec": { "f:replicas": {} } }))
    );

    // kubectl moves what it applied at the client so.
    let mut moved = entries;
    moved[0]["manager"] = json!("moved");
    let patch = json!([{ "op": "replace", "path": "/metadata/managedFields", "value": moved }]).to_string();
    let answer = send(&server, Method::PATCH, &uri, "application/json-patch+json", patch).await;
    assert_eq!((answer.code.as_u16(), &answer.json()["metadata"]["managedFields"]), (200, &moved));
}
