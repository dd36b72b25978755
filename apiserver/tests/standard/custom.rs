//! Custom resources: defined while the server runs, and like any other from then on.

use http::Method;
use kubewright_apiserver::object::protobuf;
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use serde_json::{Value, json};

use crate::common::{Answer, Events, get, get_as, json, send};

pub(super) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(super) const TRAINS: &str = "/apis/rail.example.com/v1/namespaces/default/trains";

fn definition() -> Value {
    let wagons = json!({"type": "array", "maxItems": 20, "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "maxLength": 63}, "seats": {"type": "integer", "default": 40}}}});
    let spec = json!({"type": "object", "required": ["line"], "properties": {
            "line": {"type": "string", "maxLength": 20}, "replicas": {"type": "integer", "minimum": 0, "default": 1},
            "wagons": wagons},
        "x-kubernetes-validations": [
            {"rule": "self.replicas <= 10", "message": "no more than ten", "fieldPath": ".replicas"},
            {"rule": "self.line == oldSelf.line", "message": "line is immutable"}]});
    let status =
        json!({"type": "object", "properties": {"ready": {"type": "integer"}, "selector": {"type": "string"}}});
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": spec, "status": status}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.ready", "labelSelectorPath": ".status.selector"}},
            "selectableFields": [{"jsonPath": ".spec.line"}],
            "additionalPrinterColumns": [{"name": "Line", "type": "string", "jsonPath": ".spec.line"}]})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "trains.rail.example.com"},
        "spec": {"group": "rail.example.com", "scope": "Namespaced",
            "names": {"plural": "trains", "singular": "train", "kind": "Train", "listKind": "TrainList",
                "shortNames": ["tr"], "categories": ["all"]},
            "versions": [version("v1", true), version("v1beta1", false)]}})
}

pub(super) fn train(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "rail.example.com/v1", "kind": "Train", "metadata": {"name": name}, "spec": spec})
}

/// Waits until a definition has a condition.
pub(super) async fn wait_for(server: &ApiServer, name: &str, condition: &str) {
    let uri = format!("{DEFINITIONS}?watch=true&fieldSelector=metadata.name%3D{name}");
    let mut events = Events::open(server, &uri, "").await;
    while let Some(event) = events.next().await {
        let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|found| found["type"] == condition && found["status"] == "True") {
            return;
        }
    }
    panic!("the watch ended before {name} was {condition}");
}

pub(super) async fn defined() -> ApiServer {
    let server = super::standard().await.as_user(User::admin());
    let answer = json(&server, Method::POST, DEFINITIONS, &definition()).await;
    assert_eq!(answer.code, 201, "{:?}", answer.fault());
    wait_for(&server, "trains.rail.example.com", "Established").await;
    server
}

pub(super) async fn create(server: &ApiServer, name: &str, spec: Value) -> Answer {
    json(server, Method::POST, TRAINS, &train(name, spec)).await
}

pub(super) async fn apply(server: &ApiServer, manager: &str, config: &Value) -> Answer {
    let uri = format!("{TRAINS}/{}?fieldManager={manager}", config["metadata"]["name"].as_str().unwrap());
    send(server, Method::PATCH, &uri, "application/apply-patch+yaml", config.to_string()).await
}

#[tokio::test]
async fn objects_are_defaulted_pruned_and_checked() {
    let server = defined().await;
    let answer = create(&server, "a", json!({"line": "S1", "wagons": [{"name": "x"}], "unknown": 1})).await;
    assert_eq!(answer.code, 201, "{:?}", answer.fault());
    assert_eq!(answer.headers["warning"], "299 - \"unknown field \\\"spec.unknown\\\"\"");
    let made = answer.json();
    assert_eq!(made["spec"], json!({"line": "S1", "replicas": 1, "wagons": [{"name": "x", "seats": 40}]}));
    assert_eq!(made["metadata"]["generation"], 1);
    let refused = create(&server, "b", json!({"replicas": 11})).await.fault();
    assert_eq!(refused.0, 422);
    assert!(
        refused.2.starts_with("Train.rail.example.com \"b\" is invalid: [spec.line: Required value"),
        "{refused:?}"
    );
    let refused = create(&server, "b", json!({"line": "S1", "replicas": 11})).await.fault();
    let message = "Train.rail.example.com \"b\" is invalid: spec.replicas: Invalid value: no more than ten";
    assert_eq!(refused.2, message);
    let mut changed = made.clone();
    changed["spec"]["line"] = "S2".into();
    let refused = json(&server, Method::PUT, &format!("{TRAINS}/a"), &changed).await.fault();
    assert!(refused.2.ends_with("spec: Invalid value: line is immutable"), "{refused:?}");
    let strict = format!("{TRAINS}?fieldValidation=Strict");
    let refused = json(&server, Method::POST, &strict, &train("c", json!({"line": "S1", "x": 1}))).await.fault();
    assert!(refused.2.contains("strict decoding error: unknown field \"spec.x\""), "{refused:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn status_and_scale_are_subresources() {
    let server = defined().await;
    let mut made = create(&server, "a", json!({"line": "S1"})).await.json();
    assert!(made.get("status").is_none());
    made["status"] = json!({"ready": 1, "selector": "app=a"});
    made["spec"]["replicas"] = 9.into();
    let uri = format!("{TRAINS}/a");
    let updated = json(&server, Method::PUT, &format!("{uri}/status"), &made).await.json();
    assert_eq!((&updated["status"]["ready"], &updated["spec"]["replicas"]), (&json!(1), &json!(1)));
    assert_eq!(updated["metadata"]["generation"], 1);
    let scale = get(&server, &format!("{uri}/scale")).await.json();
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]),
        (&json!(1), &json!({"replicas": 1, "selector": "app=a"}))
    );
    let patch = r#"{"spec":{"replicas":5}}"#;
    let scaled = send(&server, Method::PATCH, &format!("{uri}/scale"), "application/merge-patch+json", patch).await;
    assert_eq!(scaled.json()["spec"]["replicas"], 5);
    let found = get(&server, &uri).await.json();
    assert_eq!((&found["spec"]["replicas"], &found["metadata"]["generation"]), (&json!(5), &json!(2)));
    server.shutdown().await;
}

#[tokio::test]
async fn lists_watches_tables_and_selectors_are_those_of_any_kind() {
    let server = defined().await;
    let mut events = Events::open(&server, &format!("{TRAINS}?watch=true"), "").await;
    for (name, line) in [("a", "S1"), ("b", "S2")] {
        assert_eq!(create(&server, name, json!({"line": line})).await.code, 201);
        assert_eq!(events.next_name().await, ("ADDED".into(), name.into()));
    }
    let list = get(&server, &format!("{TRAINS}?fieldSelector=spec.line%3DS2")).await.json();
    assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("TrainList"), 1));
    assert_eq!(get(&server, &format!("{TRAINS}?fieldSelector=spec.x%3D1")).await.code, 400);
    let table = get_as(&server, TRAINS, "application/json;as=Table;v=v1;g=meta.k8s.io").await.json();
    assert_eq!(table["columnDefinitions"][1]["name"], "Line");
    assert_eq!(table["rows"][0]["cells"], json!(["a", "S1"]));
    let older = get(&server, &format!("{}/a", TRAINS.replace("/v1/", "/v1beta1/"))).await.json();
    assert_eq!(older["apiVersion"], "rail.example.com/v1beta1");
    server.shutdown().await;
}

#[tokio::test]
async fn server_side_apply_merges_by_the_schemas_keys() {
    let server = defined().await;
    let one = train("a", json!({"line": "S1", "wagons": [{"name": "x", "seats": 10}]}));
    assert_eq!(apply(&server, "one", &one).await.code, 201);
    let two = train("a", json!({"line": "S1", "wagons": [{"name": "y"}]}));
    let merged = apply(&server, "two", &two).await.json();
    assert_eq!(merged["spec"]["wagons"], json!([{"name": "x", "seats": 10}, {"name": "y", "seats": 40}]));
    let three = train("a", json!({"line": "S1", "wagons": [{"name": "x", "seats": 11}]}));
    let refused = apply(&server, "three", &three).await.fault();
    assert_eq!(refused.0, 409);
    assert!(refused.2.contains(".spec.wagons[name=\"x\"].seats"), "{refused:?}");
    let unknown = train("a", json!({"line": "S1", "bogus": 1}));
    let refused = apply(&server, "one", &unknown).await.fault();
    let message = "failed to create typed patch object (/a; rail.example.com/v1, Kind=Train): .spec.bogus: field \
                   not declared in schema";
    assert_eq!((refused.0, refused.2.as_str()), (500, message));
    let strategic = "application/strategic-merge-patch+json";
    let patched = send(&server, Method::PATCH, &format!("{TRAINS}/a"), strategic, "{}").await;
    assert_eq!(patched.code, 415);
    server.shutdown().await;
}

#[tokio::test]
async fn discovery_and_openapi_show_what_is_defined() {
    let server = defined().await;
    let list = get(&server, "/apis/rail.example.com/v1").await.json();
    assert_eq!(list["resources"][0]["shortNames"], json!(["tr"]));
    assert_eq!(list["resources"][2]["name"], "trains/status");
    let group = get(&server, "/apis/rail.example.com").await.json();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let index = get(&server, "/openapi/v3").await.json();
    let uri = index["paths"]["apis/rail.example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = get(&server, &uri).await.json();
    let schema = &document["components"]["schemas"]["com.example.rail.v1.Train"];
    assert_eq!(schema["properties"]["spec"]["properties"]["wagons"]["x-kubernetes-list-type"], "map");
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Train");
    let older = get(&server, "/openapi/v2").await;
    assert!(older.json()["definitions"]["com.example.rail.v1.TrainList"].is_object());
    let protobuf = get_as(&server, "/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf").await;
    assert_eq!(protobuf.headers["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    assert_eq!(protobuf.headers["etag"], older.headers["etag"]);
    let name = b"com.example.rail.v1.TrainList";
    assert!(protobuf.bytes.windows(name.len()).any(|window| window == name));
    let moved = get(&server, uri.replace("hash=", "hash=0").as_str()).await;
    assert_eq!((moved.code.as_u16(), moved.headers["location"].to_str().unwrap()), (301, uri.as_str()));
    server.shutdown().await;
}

#[tokio::test]
async fn a_definition_takes_its_objects_with_it() {
    let server = defined().await;
    assert_eq!(create(&server, "a", json!({"line": "S1"})).await.code, 201);
    let mut watch = Events::open(&server, &format!("{TRAINS}?watch=true"), "").await;
    assert_eq!(watch.next_name().await.0, "ADDED");
    let uri = format!("{DEFINITIONS}/trains.rail.example.com");
    let mut definitions = Events::open(&server, &format!("{DEFINITIONS}?watch=true"), "").await;
    let answer = send(&server, Method::DELETE, &uri, "", "").await;
    assert_eq!(answer.code, 200, "{:?}", answer.fault());
    while definitions.next_name().await.0 != "DELETED" {}
    // The watch ends with the resource, whether or not it tells of the deletion first.
    if watch.next().await.is_some() {
        assert!(watch.next().await.is_none());
    }
    assert_eq!(get(&server, &uri).await.code, 404);
    assert_eq!(get(&server, TRAINS).await.code, 404);
    assert_eq!(get(&server, "/apis/rail.example.com").await.code, 404);
    server.shutdown().await;
}

#[tokio::test]
async fn an_object_keeps_up_with_its_schema() {
    let server = defined().await;
    assert_eq!(create(&server, "a", json!({"line": "S1"})).await.code, 201);
    let uri = format!("{DEFINITIONS}/trains.rail.example.com");
    let mut changed = get(&server, &uri).await.json();
    for version in 0..2 {
        let spec = &mut changed["spec"]["versions"][version]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        spec["properties"]["class"] = json!({"type": "string", "default": "second"});
    }
    let answer = json(&server, Method::PUT, &uri, &changed).await;
    assert_eq!(answer.code, 200, "{:?}", answer.fault());
    let found = get(&server, &format!("{TRAINS}/a")).await.json();
    assert_eq!(found["spec"]["class"], "second", "whoever saw the answer sees the schema");
    let listed = get(&server, TRAINS).await.json();
    assert_eq!(listed["items"][0]["spec"]["class"], "second");
    server.shutdown().await;
}

#[tokio::test]
async fn names_that_are_taken_are_refused_until_they_are_free() {
    let server = defined().await;
    let mut second = definition();
    second["metadata"]["name"] = "tramways.rail.example.com".into();
    second["spec"]["names"] = json!({"plural": "tramways", "singular": "tramway", "kind": "Tramway",
        "listKind": "TramwayList", "shortNames": ["tr"]});
    assert_eq!(json(&server, Method::POST, DEFINITIONS, &second).await.code, 201);
    let mut events = Events::open(&server, &format!("{DEFINITIONS}?watch=true"), "").await;
    loop {
        let object = events.next().await.unwrap()["object"].clone();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if let Some(condition) =
            conditions.iter().find(|found| found["type"] == "NamesAccepted" && found["status"] == "False")
        {
            assert_eq!(condition["reason"], "ShortNamesConflict");
            break;
        }
    }
    assert_eq!(get(&server, "/apis/rail.example.com/v1/tramways").await.code, 404);
    send(&server, Method::DELETE, &format!("{DEFINITIONS}/trains.rail.example.com"), "", "").await;
    wait_for(&server, "tramways.rail.example.com", "Established").await;
    assert_eq!(get(&server, "/apis/rail.example.com/v1/tramways").await.code, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn watches_outlast_changes_of_the_definition_that_are_not_about_them() {
    let server = defined().await;
    assert_eq!(create(&server, "a", json!({"line": "S1"})).await.code, 201);
    let beta = TRAINS.replace("/v1/", "/v1beta1/");
    let mut watch = Events::open(&server, &format!("{TRAINS}?watch=true"), "").await;
    let mut beta_watch = Events::open(&server, &format!("{beta}?watch=true"), "").await;
    assert_eq!((watch.next_name().await.1, beta_watch.next_name().await.1), ("a".into(), "a".into()));
    let uri = format!("{DEFINITIONS}/trains.rail.example.com");
    let mut changed = get(&server, &uri).await.json();
    let spec = &mut changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["properties"]["class"] = json!({"type": "string", "default": "second"});
    changed["spec"]["versions"][1]["served"] = false.into();
    assert_eq!(json(&server, Method::PUT, &uri, &changed).await.code, 200);
    assert!(beta_watch.next().await.is_none(), "the version is no longer served");
    assert_eq!(create(&server, "b", json!({"line": "S1"})).await.code, 201);
    let event = watch.next().await.expect("the watch goes on");
    assert_eq!((event["type"].as_str(), &event["object"]["spec"]["class"]), (Some("ADDED"), &json!("second")));
    assert_eq!(event["object"]["metadata"]["name"], "b");
    server.shutdown().await;
}

#[tokio::test]
async fn deprecated_versions_warn_and_finalizers_need_no_domain() {
    let server = defined().await;
    let uri = format!("{DEFINITIONS}/trains.rail.example.com");
    let mut changed = get(&server, &uri).await.json();
    changed["spec"]["versions"][1]["deprecated"] = true.into();
    assert_eq!(json(&server, Method::PUT, &uri, &changed).await.code, 200);
    let answer = get(&server, &TRAINS.replace("/v1/", "/v1beta1/")).await;
    assert_eq!(answer.headers["warning"], "299 - \"rail.example.com/v1beta1 Train is deprecated\"");
    let mut kept = train("a", json!({"line": "S1"}));
    kept["metadata"]["finalizers"] = json!(["keep"]);
    let answer = json(&server, Method::POST, TRAINS, &kept).await;
    assert_eq!(answer.code, 201, "{:?}", answer.fault());
    server.shutdown().await;
}

#[tokio::test]
async fn definitions_come_in_protobuf_and_their_objects_go_in_json() {
    let server = super::standard().await.as_user(User::admin());
    let body = protobuf::encode(&definition()).unwrap();
    let answer = send(&server, Method::POST, DEFINITIONS, protobuf::MEDIA_TYPE, body).await;
    assert_eq!(answer.code, 201, "{:?}", answer.fault());
    wait_for(&server, "trains.rail.example.com", "Established").await;
    let stored = get(&server, &format!("{DEFINITIONS}/trains.rail.example.com")).await.json();
    for at in 0..2 {
        let schema = |object: &Value| {
            let mut schema = object["spec"]["versions"][at]["schema"]["openAPIV3Schema"].clone();
            // A number with a fraction, of which JSON says as little as it likes.
            schema["properties"]["spec"]["properties"]["replicas"]["minimum"] = Value::Null;
            schema
        };
        assert_eq!(schema(&stored), schema(&definition()));
    }
    assert_eq!(create(&server, "a", json!({"line": "S1"})).await.code, 201);
    let either = get_as(&server, TRAINS, "application/vnd.kubernetes.protobuf,application/json").await;
    assert_eq!(either.headers["content-type"], "application/json");
    let only = get_as(&server, TRAINS, "application/vnd.kubernetes.protobuf").await;
    assert_eq!((only.code.as_u16(), only.json()["reason"].as_str()), (406, Some("NotAcceptable")));
    let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let partial = get_as(&server, TRAINS, partial).await;
    assert_eq!(
        (partial.code.as_u16(), &partial.headers["content-type"]),
        (200, &protobuf::MEDIA_TYPE.parse().unwrap())
    );
    server.shutdown().await;
}

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

#[tokio::test]
async fn groups_have_api_services_as_long_as_they_are_served() {
    let server = defined().await;
    let apps = get(&server, &format!("{SERVICES}/v1.apps")).await.json();
    assert_eq!(apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    assert_eq!(apps["status"]["conditions"][0]["reason"], "Local");
    let uri = format!("{SERVICES}?watch=true&fieldSelector=metadata.name%3Dv1.rail.example.com");
    let mut events = Events::open(&server, &uri, "").await;
    assert_eq!(events.next_name().await.0, "ADDED");
    let made = get(&server, &format!("{SERVICES}/v1.rail.example.com")).await.json();
    assert_eq!(made["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    let gone = send(&server, Method::DELETE, &format!("{DEFINITIONS}/trains.rail.example.com"), "", "").await;
    assert_eq!(gone.code, 200);
    while events.next_name().await.0 != "DELETED" {}
    server.shutdown().await;
}

#[tokio::test]
async fn objects_go_with_a_definition_whose_stored_version_is_not_served() {
    let server = super::standard().await.as_user(User::admin());
    let mut definition = definition();
    definition["spec"]["versions"][0]["served"] = false.into();
    assert_eq!(json(&server, Method::POST, DEFINITIONS, &definition).await.code, 201);
    wait_for(&server, "trains.rail.example.com", "Established").await;
    let mut train = train("a", json!({"line": "S1"}));
    train["apiVersion"] = "rail.example.com/v1beta1".into();
    let trains = TRAINS.replace("/v1/", "/v1beta1/");
    assert_eq!(json(&server, Method::POST, &trains, &train).await.code, 201);
    let mut events = Events::open(&server, &format!("{DEFINITIONS}?watch=true"), "").await;
    let uri = format!("{DEFINITIONS}/trains.rail.example.com");
    assert_eq!(send(&server, Method::DELETE, &uri, "", "").await.code, 200);
    while events.next_name().await.0 != "DELETED" {}
    assert_eq!(get(&server, &uri).await.code, 404);
    server.shutdown().await;
}

#[tokio::test]
async fn objects_say_their_kind_and_version() {
    let server = defined().await;
    let check = async |change: Value, expected: (u16, &str)| {
        let mut body = train("a", json!({"line": "S1"}));
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = json(&server, Method::POST, &format!("{TRAINS}?dryRun=All"), &body).await;
        let (code, _, message) = answer.fault();
        assert!(code == expected.0 && message.contains(expected.1), "{change}: {code} {message}");
    };
    check(json!({"kind": ""}), (400, "(must be of type Train): Object 'Kind' is missing in '{")).await;
    check(json!({"kind": 5}), (400, "cannot unmarshal number into Go struct field .kind of type string")).await;
    check(json!({"apiVersion": ""}), (400, "the API version in the data () does not match the expected")).await;
    check(json!({"apiVersion": "a/b/c"}), (400, "unexpected GroupVersion string: a/b/c")).await;
    check(json!({"kind": "Tram"}), (422, "\"a\" is invalid: kind: Invalid value: \"Tram\": must be Train")).await;
    let made = create(&server, "a", json!({"line": "S1"})).await;
    assert_eq!(made.code, 201, "{:?}", made.fault());
    let uri = format!("{TRAINS}/a");
    for (patch, expected) in [
        (json!({"kind": null}), (422, "Object 'Kind' is missing in '{")),
        (json!({"apiVersion": null}), (500, "Object 'apiVersion' is missing")),
        (json!({"kind": "Tram"}), (422, "kind: Invalid value: \"Tram\": must be Train")),
    ] {
        let answer = send(&server, Method::PATCH, &uri, "application/merge-patch+json", patch.to_string()).await;
        let (code, _, message) = answer.fault();
        assert!(code == expected.0 && message.contains(expected.1), "{patch}: {code} {message}");
    }
    // A scale needs no version, though the object does.
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 2}});
    let answer = json(&server, Method::PUT, &format!("{uri}/scale"), &scale).await;
    assert_eq!(answer.code, 200, "{:?}", answer.fault());
}
