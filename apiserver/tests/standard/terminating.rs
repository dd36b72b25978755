//! A definition that goes while its objects still have something to wait for.

use http::Method;
use serde_json::json;

use super::custom::{DEFINITIONS, TRAINS, apply, create, defined, train, wait_for};
use crate::common::{Events, get, send};

#[tokio::test]
async fn nothing_new_comes_of_what_goes() {
    let server = defined().await;
    let mut held = train("held", json!({"line": "S1"}));
    held["metadata"]["finalizers"] = json!(["rail.example.com/hold"]);
    assert_eq!(send(&server, Method::POST, TRAINS, "application/json", held.to_string()).await.code, 201);
    let (name, uri) = ("trains.rail.example.com", format!("{DEFINITIONS}/trains.rail.example.com"));
    let mut definitions = Events::open(&server, &format!("{DEFINITIONS}?watch=true"), "").await;
    assert_eq!(send(&server, Method::DELETE, &uri, "", "").await.code, 200);
    wait_for(&server, name, "Terminating").await;
    while create(&server, "new", json!({"line": "S1"})).await.code != 405 {
        tokio::task::yield_now().await;
    }
    let refused = apply(&server, "m", &train("new", json!({"line": "S1"}))).await;
    let why = "create not allowed while custom resource definition is terminating";
    assert_eq!(refused.code, 403, "{:?}", refused.fault());
    assert!(refused.json()["message"].as_str().unwrap().ends_with(why), "{:?}", refused.json());
    assert_eq!(get(&server, &format!("{TRAINS}/new")).await.code, 404);
    // What is there may still be changed, and so let go.
    let freed = json!({"metadata": {"finalizers": null}}).to_string();
    let patched = send(&server, Method::PATCH, &format!("{TRAINS}/held"), "application/merge-patch+json", freed).await;
    assert_eq!(patched.code, 200, "{:?}", patched.fault());
    while definitions.next_name().await.0 != "DELETED" {}
    server.shutdown().await;
}
