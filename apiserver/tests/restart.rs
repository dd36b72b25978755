//! What was acknowledged outlives the server, and what the server builds of it is exact.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Events, get, json};
use http::Method;
use kubewright_apiserver::objects::{GroupResource, Observer};
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::{MemoryStore, Store, StoreExt};
use serde_json::{Value, json};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn over(store: &Arc<MemoryStore>) -> ApiServer {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    ApiServer::builder(store).bare().build().await.expect("the store can be read").as_user(User::admin())
}

#[tokio::test]
async fn another_server_goes_on() {
    let store = Arc::new(MemoryStore::new());
    let first = over(&store).await;
    for name in ["a", "b"] {
        assert_eq!(json(&first, Method::POST, CONFIGMAPS, &json!({ "metadata": { "name": name } })).await.code, 201);
    }
    let before = get(&first, CONFIGMAPS).await.json();
    first.shutdown().await;
    let second = over(&store).await;
    assert_eq!(get(&second, CONFIGMAPS).await.json(), before);
    // What others write into the store is seen too, in whatever order its fields are.
    let foreign = r#"{"metadata":{"name":"c","namespace":"default"},"kind":"ConfigMap","apiVersion":"v1"}"#;
    let written = store.put("/registry/core/configmaps/default/c", foreign).await.unwrap();
    let list = get(&second, CONFIGMAPS).await.json();
    assert_eq!(list["items"][2]["metadata"]["resourceVersion"], written.mod_revision.to_string());
    let one = get(&second, &format!("{CONFIGMAPS}/c")).await.json();
    assert_eq!((&one["kind"], &one["metadata"]), (&json!("ConfigMap"), &list["items"][2]["metadata"]));
}

#[derive(Default)]
struct Names(Mutex<Vec<String>>);

impl Observer for Names {
    fn changed(&self, namespace: &str, name: &str, object: Option<&Value>) {
        let sign = if object.is_some() { "+" } else { "-" };
        self.0.lock().unwrap().push(format!("{sign}{namespace}/{name}"));
    }
}

#[tokio::test]
async fn an_observer_knows_what_was_acknowledged() {
    let server = over(&Arc::new(MemoryStore::new())).await;
    let object = |name: &str| json!({ "metadata": { "name": name } });
    json(&server, Method::POST, CONFIGMAPS, &object("a")).await;
    let names = Arc::new(Names::default());
    server.objects().observe(GroupResource::core("configmaps"), Arc::clone(&names) as _);
    json(&server, Method::POST, CONFIGMAPS, &object("b")).await;
    assert_eq!(*names.0.lock().unwrap(), ["+default/a", "+default/b"]);
    json(&server, Method::DELETE, &format!("{CONFIGMAPS}/a"), &json!({})).await;
    assert_eq!(names.0.lock().unwrap().last().unwrap(), "-default/a");
    assert!(server.objects().cached(GroupResource::core("configmaps"), "default", "a").is_none());
    assert_eq!(server.objects().cached_list(GroupResource::core("configmaps"), Some("default")).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn history_is_forgotten_after_a_while() {
    let server = over(&Arc::new(MemoryStore::new())).await;
    for name in ["a", "b", "c"] {
        json(&server, Method::POST, CONFIGMAPS, &json!({ "metadata": { "name": name } })).await;
    }
    let page = get(&server, &format!("{CONFIGMAPS}?limit=1")).await.json();
    let version = page["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
    json(&server, Method::POST, CONFIGMAPS, &json!({ "metadata": { "name": "d" } })).await;
    // A watch that is polled keeps the paused clock from standing still.
    let mut events = Events::open(&server, &format!("{CONFIGMAPS}?watch=1&timeoutSeconds=1000"), "").await;
    while events.next().await.is_some() {}
    tokio::time::sleep(Duration::from_secs(1)).await;
    let expired = get(&server, &format!("{CONFIGMAPS}?limit=1&continue={token}")).await;
    assert_eq!((expired.fault().0, expired.fault().1.as_str()), (410, "Expired"));
    let exact = get(&server, &format!("{CONFIGMAPS}?resourceVersion={version}&resourceVersionMatch=Exact")).await;
    let message = "The resourceVersion for the provided list is too old.";
    assert_eq!(exact.fault(), (410, "Expired".into(), message.into()));
    assert_eq!(get(&server, CONFIGMAPS).await.json()["items"].as_array().unwrap().len(), 4);
}
