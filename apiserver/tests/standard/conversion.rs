//! Custom resources whose versions a webhook converts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use kubewright_apiserver::remote::{Remote, RemoteError, Target};
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::MemoryStore;
use serde_json::{Value, json};

use crate::common::{Answer, Events, get, get_as, json, send};

const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/targets.example.com";
const V1: &str = "/apis/example.com/v1/namespaces/default/targets";
const V2: &str = "/apis/example.com/v2/namespaces/default/targets";

/// Converts between `address: host:port` and `host` with `port`.
#[derive(Default)]
struct Webhook {
    asked: Mutex<Vec<(String, usize)>>,
    renames: AtomicBool,
    down: AtomicBool,
}

impl Webhook {
    fn convert(&self, mut object: Value, version: &str) -> Value {
        object["apiVersion"] = version.into();
        let spec = &mut object["spec"];
        if version.ends_with("v2") {
            let address = spec["address"].as_str().unwrap_or(":0").to_owned();
            let (host, port) = address.split_once(':').unwrap();
            *spec = json!({"host": host, "port": port.parse::<u16>().unwrap()});
        } else {
            *spec = json!({"address": format!("{}:{}", spec["host"].as_str().unwrap_or_default(), spec["port"])});
        }
        if self.renames.load(Ordering::Relaxed) {
            object["metadata"]["name"] = "other".into();
        }
        object
    }
}

#[async_trait]
impl Remote for Webhook {
    async fn send(&self, target: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        assert_eq!((target.url.host(), request.uri().path()), (Some("hook"), "/convert"));
        if self.down.load(Ordering::Relaxed) {
            return Err(RemoteError::unreachable("connection refused"));
        }
        let review: Value = serde_json::from_slice(request.body()).expect("a review");
        let version = review["request"]["desiredAPIVersion"].as_str().unwrap().to_owned();
        let objects = review["request"]["objects"].as_array().unwrap().clone();
        self.asked.lock().unwrap().push((version.clone(), objects.len()));
        let converted: Vec<Value> = objects.into_iter().map(|object| self.convert(object, &version)).collect();
        let response = json!({"uid": review["request"]["uid"], "result": {"status": "Success"},
            "convertedObjects": converted});
        let answer = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response});
        Ok(Response::new(answer.to_string().into()))
    }
}

fn definition() -> Value {
    let version = |name: &str, storage: bool, fields: Value| {
        let spec = json!({"type": "object", "required": fields.as_object().unwrap().keys().collect::<Vec<_>>(),
            "properties": fields});
        let status = json!({"type": "object", "properties": {"ready": {"type": "boolean"}}});
        json!({"name": name, "served": true, "storage": storage, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}}})
    };
    // What version 2 allows and version 1 does not is still version 2's to decide.
    let v1 = version("v1", true, json!({"address": {"type": "string", "maxLength": 12}}));
    let v2 = version("v2", false, json!({"host": {"type": "string"}, "port": {"type": "integer", "maximum": 65535}}));
    let webhook = json!({"clientConfig": {"url": "https://hook/convert"}, "conversionReviewVersions": ["v1"]});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "targets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": [v1, v2],
            "names": {"plural": "targets", "singular": "target", "kind": "Target", "listKind": "TargetList"},
            "conversion": {"strategy": "Webhook", "webhook": webhook}}})
}

async fn defined() -> (ApiServer, Arc<Webhook>) {
    let webhook = Arc::new(Webhook::default());
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).remote(Arc::clone(&webhook) as _);
    let server = builder.build().await.expect("a server").as_user(User::admin());
    let (collection, _) = DEFINITION.rsplit_once('/').unwrap();
    let answer = json(&server, Method::POST, collection, &definition()).await;
    assert_eq!(answer.code, 201, "{:?}", answer.fault());
    let mut events = Events::open(&server, &format!("{collection}?watch=true"), "").await;
    loop {
        let object = events.next().await.expect("it is established")["object"].clone();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|found| found["type"] == "Established" && found["status"] == "True") {
            return (server, webhook);
        }
    }
}

fn target(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Target", "metadata": {"name": name}, "spec": spec})
}

async fn create_v1(server: &ApiServer, name: &str, address: &str) -> Value {
    let answer = json(server, Method::POST, V1, &target("v1", name, json!({"address": address}))).await;
    assert_eq!(answer.code, 201, "{:?}", answer.fault());
    answer.json()
}

async fn merge(server: &ApiServer, uri: &str, patch: Value) -> Answer {
    send(server, Method::PATCH, uri, "application/merge-patch+json", patch.to_string()).await
}

#[tokio::test]
async fn every_verb_speaks_every_version() {
    let (server, webhook) = defined().await;
    create_v1(&server, "a", "h:1").await;
    assert!(webhook.asked.lock().unwrap().is_empty(), "the stored version needs no webhook");
    let mut watch = Events::open(&server, &format!("{V2}?watch=true"), "").await;
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["object"]["apiVersion"], &event["object"]["spec"]),
        (&json!("example.com/v2"), &json!({"host": "h", "port": 1}))
    );
    let made = json(&server, Method::POST, V2, &target("v2", "b", json!({"host": "i", "port": 2}))).await;
    assert_eq!((made.code.as_u16(), &made.json()["spec"]), (201, &json!({"host": "i", "port": 2})));
    assert_eq!(watch.next().await.unwrap()["object"]["spec"]["host"], "i");
    assert_eq!(get(&server, &format!("{V1}/b")).await.json()["spec"], json!({"address": "i:2"}));
    webhook.asked.lock().unwrap().clear();
    let listed = get(&server, V2).await.json();
    let ports: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|item| &item["spec"]["port"]).collect();
    assert_eq!(ports, [1, 2]);
    assert_eq!(*webhook.asked.lock().unwrap(), [("example.com/v2".to_owned(), 2)], "one review for a list");
    let patched = merge(&server, &format!("{V2}/a"), json!({"spec": {"port": 9}})).await;
    assert_eq!((patched.code.as_u16(), &patched.json()["spec"]["port"]), (200, &json!(9)));
    assert_eq!(get(&server, &format!("{V1}/a")).await.json()["spec"], json!({"address": "h:9"}));
    let status = merge(&server, &format!("{V2}/a/status"), json!({"status": {"ready": true}})).await;
    assert_eq!((status.code.as_u16(), &status.json()["spec"]["port"]), (200, &json!(9)));
    assert_eq!(get(&server, &format!("{V1}/a")).await.json()["status"]["ready"], true);
    let apply = format!("{V2}/c?fieldManager=m");
    let config = target("v2", "c", json!({"host": "j", "port": 3}));
    let applied = send(&server, Method::PATCH, &apply, "application/apply-patch+yaml", config.to_string()).await;
    assert_eq!(applied.code, 201, "{:?}", applied.fault());
    let again = send(&server, Method::PATCH, &apply, "application/apply-patch+yaml", config.to_string()).await;
    assert_eq!(again.json()["metadata"]["resourceVersion"], applied.json()["metadata"]["resourceVersion"]);
    let table = get_as(&server, V2, "application/json;as=Table;v=v1;g=meta.k8s.io").await.json();
    assert_eq!(table["rows"].as_array().map(Vec::len), Some(3));
    let refused = json(&server, Method::POST, V2, &target("v2", "d", json!({"host": "j", "port": 70_000}))).await;
    assert_eq!(refused.code, 422, "the request's version decides what is valid");
    let long = target("v2", "d", json!({"host": "a-rather-long-name", "port": 3}));
    let taken = json(&server, Method::POST, V2, &long).await;
    assert_eq!(taken.code, 201, "and nothing else: {:?}", taken.fault());
    assert_eq!(taken.json()["metadata"]["managedFields"][0]["apiVersion"], "example.com/v2");
    server.shutdown().await;
}

#[tokio::test]
async fn objects_outlive_the_version_they_were_stored_in() {
    let (server, _) = defined().await;
    create_v1(&server, "a", "h:1").await;
    create_v1(&server, "b", "i:2").await;
    let mut changed = get(&server, DEFINITION).await.json();
    for (at, storage) in [(0, false), (1, true)] {
        changed["spec"]["versions"][at]["storage"] = storage.into();
    }
    let answer = json(&server, Method::PUT, DEFINITION, &changed).await;
    assert_eq!(answer.code, 200, "{:?}", answer.fault());
    let made = json(&server, Method::POST, V2, &target("v2", "c", json!({"host": "j", "port": 3}))).await;
    assert_eq!(made.code, 201, "{:?}", made.fault());
    for (uri, expected) in [(V1, json!({"address": "h:1"})), (V2, json!({"host": "h", "port": 1}))] {
        let listed = get(&server, uri).await.json();
        assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["spec"]), (3, &expected));
        assert_eq!(get(&server, &format!("{uri}/a")).await.json()["spec"], expected);
    }
    let status = merge(&server, &format!("{V1}/a/status"), json!({"status": {"ready": true}})).await;
    assert_eq!((status.code.as_u16(), &status.json()["spec"]), (200, &json!({"address": "h:1"})));
    assert_eq!(get(&server, &format!("{V2}/a")).await.json()["spec"], json!({"host": "h", "port": 1}));
    assert_eq!(send(&server, Method::DELETE, &format!("{V1}/b"), "", "").await.code, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn a_webhook_that_fails_or_lies_is_not_believed() {
    let (server, webhook) = defined().await;
    create_v1(&server, "a", "h:1").await;
    webhook.renames.store(true, Ordering::Relaxed);
    let (code, _, message) = get(&server, &format!("{V2}/a")).await.fault();
    assert_eq!(code, 500);
    assert!(message.ends_with("returned invalid object at index 0: must have the same name: a != other"), "{message}");
    webhook.down.store(true, Ordering::Relaxed);
    let (code, _, message) = get(&server, &format!("{V2}/a")).await.fault();
    assert_eq!(code, 500);
    let start = "Internal error occurred: conversion webhook for example.com/v1, Kind=Target failed: Post";
    assert!(message.starts_with(start) && message.ends_with("connection refused"), "{message}");
    let mut watch = Events::open(&server, &format!("{V2}?watch=true"), "").await;
    assert_eq!(watch.next().await.unwrap()["type"], "ERROR");
    assert!(watch.next().await.is_none());
    assert_eq!(get(&server, &format!("{V1}/a")).await.code, 200, "the stored version needs nobody");
    server.shutdown().await;
}

#[tokio::test]
async fn a_watch_ends_with_the_first_object_that_cannot_be_converted() {
    let (server, webhook) = defined().await;
    create_v1(&server, "a", "h:1").await;
    create_v1(&server, "b", "h:2").await;
    webhook.down.store(true, Ordering::Relaxed);
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = Events::open(&server, &format!("{V2}?{query}"), "").await;
    assert_eq!(watch.next().await.unwrap()["type"], "ERROR");
    assert_eq!(watch.next().await, None, "nothing comes after the error, least of all that this was everything");
}

#[tokio::test]
async fn looking_at_a_scale_stores_nothing() {
    let (server, _) = defined().await;
    let made = create_v1(&server, "a", "h:1").await;
    let mut changed = get(&server, DEFINITION).await.json();
    for (at, storage) in [(0, false), (1, true)] {
        changed["spec"]["versions"][at]["storage"] = storage.into();
    }
    changed["spec"]["versions"][1]["subresources"]["scale"] =
        json!({"specReplicasPath": ".spec.port", "statusReplicasPath": ".status.port"});
    let answer = json(&server, Method::PUT, DEFINITION, &changed).await;
    assert_eq!(answer.code, 200, "{:?}", answer.fault());
    let version = &made["metadata"]["resourceVersion"];
    let scale = get(&server, &format!("{V2}/a/scale")).await;
    assert_eq!((scale.code.as_u16(), &scale.json()["spec"]["replicas"]), (200, &json!(1)));
    assert_eq!(&scale.json()["metadata"]["resourceVersion"], version);
    let wanted = json!({"spec": {"replicas": 5}});
    let imagined = merge(&server, &format!("{V2}/a/scale?dryRun=All"), wanted.clone()).await;
    assert_eq!((imagined.code.as_u16(), &imagined.json()["spec"]["replicas"]), (200, &json!(5)));
    let still = get(&server, &format!("{V1}/a")).await.json();
    assert_eq!((&still["metadata"]["resourceVersion"], &still["spec"]["address"]), (version, &json!("h:1")));
    assert_eq!(merge(&server, &format!("{V2}/a/scale"), wanted).await.code, 200);
    assert_eq!(get(&server, &format!("{V1}/a")).await.json()["spec"]["address"], "h:5");
}

#[tokio::test]
async fn policies_look_at_the_version_that_they_name() {
    let (server, webhook) = defined().await;
    let registration = "/apis/admissionregistration.k8s.io/v1";
    let rules = json!({"matchPolicy": "Equivalent", "resourceRules": [{"operations": ["CREATE", "UPDATE"],
        "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["targets"]}]});
    let policy = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": rules,
        "validations": [{"expression": "object.spec.address != 'bad:1'", "messageExpression": "object.apiVersion"}]}});
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    let made = json(&server, Method::POST, &format!("{registration}/validatingadmissionpolicies"), &policy).await;
    assert_eq!(made.code, 201, "{:?}", made.fault());
    let uri = format!("{registration}/validatingadmissionpolicybindings");
    assert_eq!(json(&server, Method::POST, &uri, &binding).await.code, 201);
    let refused = json(&server, Method::POST, V2, &target("v2", "a", json!({"host": "bad", "port": 1}))).await;
    let (code, _, message) = refused.fault();
    assert_eq!(code, 422, "{message}");
    assert!(message.ends_with("denied request: example.com/v1"), "{message}");
    let good = json(&server, Method::POST, V2, &target("v2", "a", json!({"host": "good", "port": 1}))).await;
    assert_eq!(good.code, 201, "{:?}", good.fault());

    let mutation = json!({"patchType": "ApplyConfiguration", "applyConfiguration":
        {"expression": "Object{spec: Object.spec{address: object.spec.address + '0'}}"}});
    let policy = json!({"metadata": {"name": "m"}, "spec": {"matchConstraints": rules, "reinvocationPolicy": "Never",
        "mutations": [mutation]}});
    let made = json(&server, Method::POST, &format!("{registration}/mutatingadmissionpolicies"), &policy).await;
    assert_eq!(made.code, 201, "{:?}", made.fault());
    let uri = format!("{registration}/mutatingadmissionpolicybindings");
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "m"}});
    assert_eq!(json(&server, Method::POST, &uri, &binding).await.code, 201);
    let changed = json(&server, Method::POST, V2, &target("v2", "b", json!({"host": "good", "port": 1}))).await;
    assert_eq!((changed.code.as_u16(), &changed.json()["spec"]), (201, &json!({"host": "good", "port": 10})));
    // Who can't be asked in that version is not let in.
    webhook.down.store(true, Ordering::Relaxed);
    let refused = json(&server, Method::POST, V2, &target("v2", "c", json!({"host": "good", "port": 1}))).await;
    let (code, _, message) = refused.fault();
    assert!(code == 403 && message.contains("failed to convert object version: "), "{code} {message}");
    server.shutdown().await;
}
