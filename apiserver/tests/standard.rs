//! The standard server: everything on, as an embedder gets it.

mod common;
#[path = "standard/conversion.rs"]
mod conversion;
#[path = "standard/custom.rs"]
mod custom;
#[path = "standard/paths.rs"]
mod paths;
#[cfg(feature = "serve")]
#[path = "standard/proxy.rs"]
mod proxy;
#[path = "standard/terminating.rs"]
mod terminating;

use std::sync::Arc;

use common::{get, json, send};
use http::Method;
use kubewright_api::resources;
use kubewright_apiserver::discovery::Check;
use kubewright_apiserver::object::protobuf;
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::MemoryStore;
use serde_json::json;

async fn standard() -> ApiServer {
    ApiServer::builder(Arc::new(MemoryStore::new())).build().await.expect("an empty store can be read")
}

#[tokio::test]
async fn nobody_may_anything_without_being_allowed_to() {
    let server = standard().await;
    let answer = get(&server, "/api/v1/namespaces/default/pods").await;
    let message = "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the \
                   namespace \"default\"";
    assert!([401, 403].contains(&answer.code.as_u16()), "{:?}", answer.fault());
    let someone = server.as_user(User::new("someone", &["system:authenticated"]));
    let answer = get(&someone, "/api/v1/namespaces/default/pods").await;
    let message = message.replace("system:anonymous", "someone");
    assert_eq!(answer.fault(), (403, "Forbidden".into(), message));
    assert_eq!(get(&server.as_user(User::admin()), "/api/v1/namespaces/default/pods").await.code, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn every_resource_can_be_listed_in_every_form() {
    let server = standard().await.as_user(User::admin());
    for info in resources::built_in().iter().filter(|info| info.has_verb("list") && info.has_verb("watch")) {
        let root = if info.group.is_empty() { "api".to_owned() } else { format!("apis/{}", info.group) };
        let uri = format!("/{root}/{}/{}", info.version, info.plural);
        for accept in ["", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/yaml"] {
            let answer = common::get_as(&server, &uri, accept).await;
            assert_eq!(answer.code, 200, "{uri} as {accept}: {:?}", answer.bytes);
        }
        let answer = common::get_as(&server, &uri, "application/vnd.kubernetes.protobuf,application/json").await;
        assert_eq!(answer.headers["content-type"], protobuf::MEDIA_TYPE, "{uri}");
        let listed = protobuf::decode(&answer.bytes).unwrap_or_else(|error| panic!("{uri}: {error}"));
        let plain = get(&server, &uri).await.json();
        assert_eq!(listed["kind"], plain["kind"], "{uri}");
        let (ours, theirs) =
            (listed["items"].as_array().map_or(0, Vec::len), plain["items"].as_array().map_or(0, Vec::len));
        assert_eq!(ours, theirs, "{uri}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_new_cluster_has_its_namespaces_and_roles_and_gives_services_addresses() {
    let server = standard().await.as_user(User::admin());
    for uri in [
        "/api/v1/namespaces/default",
        "/api/v1/namespaces/kube-system",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
    ] {
        assert_eq!(get(&server, uri).await.code, 200, "{uri}");
    }
    let service = json!({ "metadata": { "name": "web" }, "spec": { "ports": [{ "port": 80 }] } });
    let created = json(&server, Method::POST, "/api/v1/namespaces/default/services", &service).await;
    assert_eq!(created.code, 201, "{:?}", created.bytes);
    assert!(created.json()["spec"]["clusterIP"].as_str().unwrap().starts_with("10.96."));
    server.shutdown().await;
}

#[tokio::test]
async fn reviews_and_refusals_come_in_protobuf_too() {
    let server = standard().await.as_user(User::admin());
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": { "verb": "get", "resource": "pods" } } });
    let exchange = |method, uri: &'static str, body: Vec<u8>| {
        let request = http::Request::builder().method(method).uri(uri).header("accept", protobuf::MEDIA_TYPE);
        let request = request.header("content-type", protobuf::MEDIA_TYPE);
        common::exchange(&server, request.body(bytes::Bytes::from(body).into()).unwrap())
    };
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = exchange(Method::POST, uri, protobuf::encode(&review).unwrap()).await;
    assert_eq!(answer.code, 201);
    assert_eq!(protobuf::decode(&answer.bytes).unwrap()["status"]["allowed"], true);
    let table = http::Request::post(uri).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = table.body(bytes::Bytes::from(review.to_string()).into()).unwrap();
    assert_eq!(common::exchange(&server, table).await.code, 406, "a review is no row of a table");
    let answer = exchange(Method::GET, "/api/v1/namespaces/nowhere", Vec::new()).await;
    let status = protobuf::decode(&answer.bytes).unwrap();
    assert_eq!((answer.code.as_u16(), status["reason"].as_str()), (404, Some("NotFound")));
    server.shutdown().await;
}

#[tokio::test]
async fn components_are_asked_how_they_are() {
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).component("scheduler", Arc::new(Ailing));
    let server = builder.build().await.expect("an empty store can be read").as_user(User::admin());
    let list = get(&server, "/api/v1/componentstatuses").await;
    assert_eq!(list.headers["warning"], "299 - \"v1 ComponentStatus is deprecated in v1.19+\"");
    let list = list.json();
    assert_eq!(list["kind"], "ComponentStatusList");
    let condition = |at: usize| list["items"][at]["conditions"][0].clone();
    assert_eq!(list["items"][0]["metadata"]["name"], "etcd-0");
    assert_eq!((&condition(0)["status"], &condition(0)["message"]), (&json!("True"), &json!("ok")));
    assert_eq!((&condition(1)["status"], &condition(1)["message"]), (&json!("False"), &json!("out of order")));
    let table = common::get_as(
        &server,
        "/api/v1/componentstatuses?fieldSelector=metadata.name%3Dscheduler",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
    );
    let rows = table.await.json()["rows"].clone();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["cells"][1]), (1, &json!("Unhealthy")));
    assert_eq!(get(&server, "/api/v1/componentstatuses/etcd-0").await.json()["kind"], "ComponentStatus");
    assert_eq!(get(&server, "/api/v1/componentstatuses/none").await.code, 404);
    assert_eq!(get(&server, "/api/v1/componentstatuses?watch=true").await.code, 405);
    server.shutdown().await;
}

/// A component that isn't well.
struct Ailing;

#[async_trait::async_trait]
impl Check for Ailing {
    fn name(&self) -> &str {
        "scheduler"
    }

    async fn check(&self) -> Result<(), String> {
        Err("out of order".into())
    }
}

#[tokio::test]
async fn what_the_server_sets_is_nobodys() {
    let server = standard().await.as_user(User::admin());
    let service = json!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80 }] } });
    let services = "/api/v1/namespaces/default/services";
    let created = json(&server, Method::POST, services, &service).await.json();
    assert!(created["spec"]["clusterIP"].is_string());
    let fields = &created["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    assert!(fields.get("f:clusterIP").is_none() && fields["f:ports"]["."].is_object(), "{fields}");
}

#[tokio::test]
async fn claims_on_devices_as_administrator_want_a_labelled_namespace() {
    let server = standard().await.as_user(User::admin());
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let exactly = json!({"deviceClassName": "gpu", "adminAccess": true});
    let claim =
        json!({"metadata": {"name": "a"}, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}});
    let answer = json(&server, Method::POST, claims, &claim).await;
    let why = "ResourceClaim.resource.k8s.io \"a\" is invalid: spec.devices.requests[0].adminAccess: Forbidden: admin access to \
               devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    assert_eq!(answer.fault(), (422, "Invalid".into(), why.into()));
    let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    let namespace = "/api/v1/namespaces/default";
    let answer = send(&server, Method::PATCH, namespace, "application/merge-patch+json", label.to_string()).await;
    assert_eq!(answer.code, 200, "{:?}", answer.fault());
    let answer = json(&server, Method::POST, claims, &claim).await;
    assert_eq!(answer.code, 201, "{:?}", answer.fault());
}
