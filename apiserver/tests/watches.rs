//! Watches: resumed, bookmarked, selective, expired, ended.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Events, get, json, server};
use http::Method;
use kubewright_apiserver::object::protobuf;
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::MemoryStore;
use serde_json::{Value, json};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn put(server: &ApiServer, name: &str, labels: Value) -> String {
    let object = json!({ "metadata": { "name": name, "labels": labels } });
    let uri = format!("{CONFIGMAPS}/{name}");
    let mut answer = json(server, Method::PUT, &uri, &object).await;
    if answer.code == 404 {
        answer = json(server, Method::POST, CONFIGMAPS, &object).await;
    }
    assert!(answer.code.is_success(), "{:?}", answer.bytes);
    answer.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

async fn delete(server: &ApiServer, name: &str) {
    assert_eq!(json(server, Method::DELETE, &format!("{CONFIGMAPS}/{name}"), &json!({})).await.code, 200);
}

fn pair(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn a_watch_resumes_without_a_gap() {
    let server = server().await;
    put(&server, "a", json!({})).await;
    let version = put(&server, "b", json!({})).await;
    put(&server, "c", json!({})).await;
    put(&server, "a", json!({ "x": "1" })).await;
    delete(&server, "b").await;
    let mut events = Events::open(&server, &format!("{CONFIGMAPS}?watch=1&resourceVersion={version}"), "").await;
    assert_eq!(events.next_name().await, pair("ADDED", "c"));
    let modified = events.next().await.unwrap();
    assert_eq!((&modified["type"], &modified["object"]["metadata"]["labels"]["x"]), (&json!("MODIFIED"), &json!("1")));
    let deleted = events.next().await.unwrap();
    assert_eq!((&deleted["type"], &deleted["object"]["metadata"]["name"]), (&json!("DELETED"), &json!("b")));
    // A deletion carries the version of the deletion, from which the next watch goes on.
    let version = deleted["object"]["metadata"]["resourceVersion"].as_str().unwrap();
    put(&server, "d", json!({})).await;
    let mut events = Events::open(&server, &format!("{CONFIGMAPS}?watch=1&resourceVersion={version}"), "").await;
    assert_eq!(events.next_name().await, pair("ADDED", "d"));
    // Without a version, a watch starts with what there is.
    let mut events = Events::open(&server, &format!("{CONFIGMAPS}?watch=1"), "").await;
    for name in ["a", "c", "d"] {
        assert_eq!(events.next_name().await, pair("ADDED", name));
    }
}

#[tokio::test]
async fn objects_come_and_go_with_the_selector() {
    let server = server().await;
    let uri = format!("{CONFIGMAPS}?watch=1&labelSelector=on");
    let mut events = Events::open(&server, &uri, "").await;
    put(&server, "a", json!({})).await;
    put(&server, "a", json!({ "on": "1" })).await;
    put(&server, "a", json!({ "on": "2" })).await;
    let last = put(&server, "a", json!({ "off": "1" })).await;
    put(&server, "a", json!({ "off": "2" })).await;
    delete(&server, "a").await;
    put(&server, "b", json!({ "on": "1" })).await;
    assert_eq!(events.next_name().await, pair("ADDED", "a"));
    assert_eq!(events.next_name().await, pair("MODIFIED", "a"));
    let left = events.next().await.unwrap();
    assert_eq!(left["type"], "DELETED");
    // The state it was last selected in, as of the version at which it left.
    assert_eq!(left["object"]["metadata"]["labels"], json!({ "on": "2" }));
    assert_eq!(left["object"]["metadata"]["resourceVersion"], last);
    assert_eq!(events.next_name().await, pair("ADDED", "b"));
}

#[tokio::test(start_paused = true)]
async fn bookmarks_say_how_far_a_watch_has_got() {
    let server = server().await;
    put(&server, "a", json!({})).await;
    let uri = format!(
        "{CONFIGMAPS}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    );
    let mut events = Events::open(&server, &uri, "").await;
    assert_eq!(events.next_name().await, pair("ADDED", "a"));
    let end = events.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["kind"], "ConfigMap");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    // Changes elsewhere move the bookmark on.
    let secret = json!({ "metadata": { "name": "s" } });
    let secret = json(&server, Method::POST, "/api/v1/namespaces/default/secrets", &secret).await.json();
    let bookmark = events.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], secret["metadata"]["resourceVersion"]);
    assert!(bookmark["object"]["metadata"].get("annotations").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_its_time_is_up_or_the_server_stops() {
    let server = server().await;
    let mut events = Events::open(&server, &format!("{CONFIGMAPS}?watch=1&timeoutSeconds=5"), "").await;
    assert_eq!(events.next().await, None);
    let mut events = Events::open(&server, &format!("{CONFIGMAPS}?watch=1"), "").await;
    let (end, ()) = tokio::join!(events.next(), server.shutdown());
    assert_eq!(end, None);
    assert_eq!(get(&server, CONFIGMAPS).await.code, 503);
}

#[tokio::test]
async fn who_asks_for_too_much_history_starts_over() {
    let store = Arc::new(MemoryStore::new());
    let server = ApiServer::builder(store).bare().watch_history(4, 1 << 20).build().await.unwrap();
    let server = server.as_user(User::admin());
    let first = put(&server, "a", json!({})).await;
    let mut slow = Events::open(&server, &format!("{CONFIGMAPS}?watch=1&resourceVersion={first}"), "").await;
    for at in 0..10 {
        put(&server, "a", json!({ "at": at.to_string() })).await;
    }
    let too_old = format!("too old resource version: {first} (");
    for (mut events, expected) in [
        (slow_next(&mut slow).await, "the watcher was too slow: changes up to resource version "),
        (late(&server, &first).await, too_old.as_str()),
    ] {
        let error = events.pop().unwrap();
        assert_eq!(error["type"], "ERROR");
        assert_eq!((&error["object"]["code"], &error["object"]["reason"]), (&json!(410), &json!("Expired")));
        let message = error["object"]["message"].as_str().unwrap();
        assert!(message.starts_with(expected), "{message}");
    }
}

async fn slow_next(events: &mut Events) -> Vec<Value> {
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        all.push(event);
    }
    all
}

async fn late(server: &ApiServer, version: &str) -> Vec<Value> {
    let mut events = Events::open(server, &format!("{CONFIGMAPS}?watch=1&resourceVersion={version}"), "").await;
    slow_next(&mut events).await
}

#[tokio::test]
async fn tables_are_watched_row_by_row() {
    let server = server().await;
    put(&server, "a", json!({})).await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut events = Events::open(&server, &format!("{CONFIGMAPS}?watch=1"), accept).await;
    let first = events.next().await.unwrap();
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    put(&server, "b", json!({})).await;
    let second = events.next().await.unwrap();
    assert_eq!(second["object"]["columnDefinitions"], Value::Null);
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test]
async fn everyone_sees_every_change_in_order() {
    let server = server().await;
    let mut watches = Vec::new();
    for _ in 0..20 {
        watches.push(Events::open(&server, &format!("{CONFIGMAPS}?watch=1"), "").await);
    }
    let writers = (0..8).map(|writer| {
        let server = server.clone();
        tokio::spawn(async move {
            for at in 0..50 {
                put(&server, &format!("w{writer}"), json!({ "at": at.to_string() })).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let mut stories = Vec::new();
    for mut watch in watches {
        let mut story = Vec::new();
        while story.len() < 400 {
            let event = tokio::time::timeout(Duration::from_secs(60), watch.next()).await.unwrap().unwrap();
            let metadata = &event["object"]["metadata"];
            story.push(metadata["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap());
        }
        assert!(story.is_sorted_by(|a, b| a < b), "in order, each once");
        stories.push(story);
    }
    assert!(stories.windows(2).all(|pair| pair[0] == pair[1]), "the same for everyone");
}

/// Events of a watch in protobuf: type and object of each, until so many came.
async fn protobuf_events(server: &ApiServer, uri: &str, count: usize) -> Vec<(String, Value)> {
    let request =
        http::Request::builder().uri(uri).header("accept", "application/vnd.kubernetes.protobuf;stream=watch");
    let request = request.body(http_body_util::Full::new(bytes::Bytes::new())).unwrap();
    let response = tower::ServiceExt::oneshot(server.clone(), request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let (mut body, mut buffer, mut events) = (response.into_body(), Vec::new(), Vec::new());
    while events.len() < count {
        let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
        buffer.extend_from_slice(&frame.into_data().unwrap());
        while let Some(length) = buffer.first_chunk::<4>().map(|head| u32::from_be_bytes(*head) as usize)
            && buffer.len() >= length + 4
        {
            let event: Vec<u8> = buffer.drain(..length + 4).skip(4).collect();
            // One field of text, then the object in its envelope, which begins with the magic bytes.
            let text = String::from_utf8_lossy(&event[2..2 + usize::from(event[1])]).into_owned();
            let at = event.windows(4).position(|window| window == b"k8s\0").unwrap();
            events.push((text, protobuf::decode(&event[at..]).unwrap()));
        }
    }
    events
}

#[tokio::test]
async fn events_in_protobuf_are_the_same_as_in_json() {
    let server = server().await;
    let since = put(&server, "a", json!({})).await;
    put(&server, "b", json!({})).await;
    json(&server, Method::DELETE, &format!("{CONFIGMAPS}/a"), &json!({})).await;
    let uri = format!("{CONFIGMAPS}?watch=true&resourceVersion={since}");
    let mut lines = Events::open(&server, &uri, "application/json").await;
    for (kind, object) in protobuf_events(&server, &uri, 2).await {
        let line = lines.next().await.unwrap();
        assert_eq!(line["type"], kind.as_str());
        assert_eq!(line["object"], object);
    }
    let initial = format!(
        "{CONFIGMAPS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    );
    let events = protobuf_events(&server, &initial, 2).await;
    assert_eq!((events[0].0.as_str(), events[1].0.as_str()), ("ADDED", "BOOKMARK"));
    assert_eq!(events[1].1["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let refused =
        common::get_as(&server, CONFIGMAPS, "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1").await;
    assert_eq!(refused.code, 406);
    server.shutdown().await;
}
