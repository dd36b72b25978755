//! Lists: pages of one revision, versions, selectors, forms.

mod common;

use std::sync::Arc;

use common::{get, get_as, json, server};
use http::Method;
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::{MemoryStore, StoreExt};
use serde_json::{Value, json};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn fill(server: &ApiServer, count: usize) {
    for at in 0..count {
        let parity = if at % 2 == 0 { "even" } else { "odd" };
        let object = json!({ "metadata": { "name": format!("c{at:02}"), "labels": { "parity": parity } } });
        assert_eq!(json(server, Method::POST, CONFIGMAPS, &object).await.code, 201);
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().expect("items").iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_show_one_revision() {
    let server = server().await;
    fill(&server, 5).await;
    let first = get(&server, &format!("{CONFIGMAPS}?limit=2")).await.json();
    assert_eq!((first["kind"].as_str(), first["apiVersion"].as_str()), (Some("ConfigMapList"), Some("v1")));
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["c00", "c01"], &json!(3)));
    let object = json!({ "metadata": { "name": "c01b" } });
    assert_eq!(json(&server, Method::POST, CONFIGMAPS, &object).await.code, 201);
    assert_eq!(json(&server, Method::DELETE, &format!("{CONFIGMAPS}/c03"), &json!({})).await.code, 200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = get(&server, &format!("{CONFIGMAPS}?limit=2&continue={token}")).await.json();
    assert_eq!(names(&second), ["c02", "c03"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let versioned = get(&server, &format!("{CONFIGMAPS}?limit=2&continue={token}&resourceVersion=1")).await;
    assert_eq!(versioned.fault().2, "specifying resource version is not allowed when using continue");
    let third = get(&server, &format!("{CONFIGMAPS}?limit=2&continue={token}")).await.json();
    assert_eq!((names(&third), third["metadata"].get("continue")), (vec!["c04"], None));
    let now = get(&server, CONFIGMAPS).await.json();
    assert_eq!(names(&now), ["c00", "c01", "c01b", "c02", "c04"]);
}

#[tokio::test]
async fn versions_are_met_exactly_or_at_least() {
    let server = server().await;
    fill(&server, 1).await;
    let version = get(&server, CONFIGMAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    fill_one(&server, "later").await;
    let exact = format!("{CONFIGMAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    assert_eq!(names(&get(&server, &exact).await.json()), ["c00"]);
    let at_least = format!("{CONFIGMAPS}?resourceVersion={version}&resourceVersionMatch=NotOlderThan");
    assert_eq!(names(&get(&server, &at_least).await.json()), ["c00", "later"]);
    assert_eq!(names(&get(&server, &format!("{CONFIGMAPS}?resourceVersion=0&limit=1")).await.json()).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_version_of_the_future_times_out() {
    let server = server().await;
    let answer = get(&server, &format!("{CONFIGMAPS}?resourceVersion=999")).await;
    let (code, reason, message) = answer.fault();
    assert_eq!((code, reason.as_str()), (504, "Timeout"));
    assert!(message.starts_with("Timeout: Too large resource version: 999, current: "), "{message}");
    assert_eq!(answer.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(answer.headers["retry-after"], "1");
}

async fn fill_one(server: &ApiServer, name: &str) {
    assert_eq!(json(server, Method::POST, CONFIGMAPS, &json!({ "metadata": { "name": name } })).await.code, 201);
}

#[tokio::test]
async fn selectors_select() {
    let server = server().await;
    fill(&server, 4).await;
    for (query, expected) in [
        ("labelSelector=parity%3Dodd", vec!["c01", "c03"]),
        ("labelSelector=parity%20in%20(even),parity!=odd", vec!["c00", "c02"]),
        ("fieldSelector=metadata.name%3Dc02", vec!["c02"]),
        ("fieldSelector=metadata.name!%3Dc02&labelSelector=parity%3Deven", vec!["c00"]),
    ] {
        let list = get(&server, &format!("{CONFIGMAPS}?{query}")).await.json();
        assert_eq!(names(&list), expected, "{query}");
        let all = get(&server, &format!("/api/v1/configmaps?{query}")).await.json();
        assert_eq!(names(&all), expected, "{query}");
    }
    // Pages count what is selected, not what is looked at.
    let page = get(&server, &format!("{CONFIGMAPS}?labelSelector=parity%3Dodd&limit=1")).await.json();
    assert_eq!(names(&page), ["c01"]);
    let token = page["metadata"]["continue"].as_str().unwrap();
    let uri = format!("{CONFIGMAPS}?labelSelector=parity%3Dodd&limit=1&continue={token}");
    assert_eq!(names(&get(&server, &uri).await.json()), ["c03"]);
}

#[tokio::test]
async fn answers_come_in_the_form_asked_for() {
    let server = server().await;
    fill(&server, 1).await;
    let table = get_as(&server, CONFIGMAPS, "application/json;as=Table;v=v1;g=meta.k8s.io").await.json();
    assert_eq!((table["kind"].as_str(), table["apiVersion"].as_str()), (Some("Table"), Some("meta.k8s.io/v1")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "c00");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = get_as(&server, CONFIGMAPS, partial).await.json();
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert_eq!(partial["items"][0]["metadata"]["labels"]["parity"], "even");
    let yaml = get_as(&server, &format!("{CONFIGMAPS}/c00"), "application/yaml").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(String::from_utf8_lossy(&yaml.bytes).contains("kind: ConfigMap\n"));
    let refused = get_as(&server, CONFIGMAPS, "application/cbor").await;
    assert_eq!(refused.fault().0, 406);
}

#[tokio::test]
async fn versions_of_a_resource_share_their_objects() {
    let server = server().await;
    let event = json!({
        "metadata": { "name": "e" }, "involvedObject": { "kind": "Pod", "name": "p", "namespace": "default" },
        "reason": "R", "message": "m", "type": "Normal", "source": { "component": "c" }, "count": 1,
    });
    let created = json(&server, Method::POST, "/api/v1/namespaces/default/events", &event).await;
    assert_eq!(created.code, 201, "{:?}", created.bytes);
    let uri = "/apis/events.k8s.io/v1/namespaces/default/events";
    let new = get(&server, &format!("{uri}/e")).await.json();
    assert_eq!((&new["note"], &new["regarding"]["name"]), (&json!("m"), &json!("p")));
    assert_eq!(new["apiVersion"], "events.k8s.io/v1");
    let list = get(&server, &format!("{uri}?fieldSelector=regarding.kind%3DPod")).await.json();
    assert_eq!((list["apiVersion"].as_str(), names(&list)), (Some("events.k8s.io/v1"), vec!["e"]));
    assert_eq!(list["items"][0]["deprecatedCount"], 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_what_never_comes_keeps_nobody_else_waiting() {
    let store = Arc::new(MemoryStore::new());
    let builder = ApiServer::builder(Arc::clone(&store) as _).bare();
    let server = builder.build().await.expect("a server").as_user(User::admin());
    let uri = "/api/v1/namespaces/default/configmaps";
    let never = format!("{uri}?resourceVersion={}", u64::MAX >> 1);
    assert_eq!(get(&server, &never).await.code, 504);
    for _ in 0..2 {
        // No change of an object tells the server of this revision: it has to ask.
        store.put("/elsewhere", "x").await.expect("it is written");
        assert_eq!(get(&server, uri).await.code, 200);
    }
    server.shutdown().await;
}
