//! What must hold whatever is written and whenever it is read. Every run does the same: the seed is fixed.

mod common;

use std::collections::BTreeMap;

use common::{Events, get, get_as, json, send, server};
use http::Method;
use kubewright_apiserver::server::ApiServer;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LAST: &str = "zz-last";

/// Numbers that look random (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Creates, changes and deletes objects, which come into and fall out of selectors by their labels.
async fn write(server: &ApiServer, mut random: Random, steps: u64) {
    for step in 0..steps {
        let name = format!("m{}", random.below(12));
        let uri = format!("{MAPS}/{name}");
        if random.below(4) == 0 {
            send(server, Method::DELETE, &uri, "", "").await;
        } else {
            let keep = if random.below(2) == 0 { "yes" } else { "no" };
            let object =
                json!({"metadata": {"name": name, "labels": {"keep": keep}}, "data": {"step": step.to_string()}});
            if json(server, Method::PUT, &uri, &object).await.code == 404 {
                assert_eq!(json(server, Method::POST, MAPS, &object).await.code, 201);
            }
        }
        tokio::task::yield_now().await;
    }
    let last = json!({"metadata": {"name": LAST, "labels": {"keep": "yes"}}});
    assert_eq!(json(server, Method::POST, MAPS, &last).await.code, 201);
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a version")
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}

/// The versions of what a list holds, by name.
fn held(list: &Value) -> BTreeMap<String, u64> {
    list["items"].as_array().expect("items").iter().map(|item| (name(item), version(item))).collect()
}

/// Lists, watches from there on until the last write, and gives what it then holds.
async fn follow(server: &ApiServer, selector: &str, pause: u64) -> BTreeMap<String, u64> {
    for _ in 0..pause {
        tokio::task::yield_now().await;
    }
    let list = get(server, &format!("{MAPS}?{selector}")).await.json();
    let (mut held, mut seen) = (held(&list), version(&list));
    if held.contains_key(LAST) {
        return held;
    }
    let mut events = Events::open(server, &format!("{MAPS}?{selector}&watch=true&resourceVersion={seen}"), "").await;
    loop {
        let event = events.next().await.expect("the watch goes on");
        let (object, kind) = (&event["object"], event["type"].as_str().expect("a type"));
        assert!(version(object) > seen, "nothing comes twice or late: {event}");
        seen = version(object);
        let known = held.contains_key(&name(object));
        assert_eq!(
            known,
            kind != "ADDED",
            "an object is added once, and changed or deleted while it is there: {event}"
        );
        match kind {
            "DELETED" => _ = held.remove(&name(object)),
            _ => _ = held.insert(name(object), seen),
        }
        if name(object) == LAST {
            return held;
        }
    }
}

#[tokio::test]
async fn a_watch_after_a_list_misses_nothing_and_repeats_nothing() {
    let server = server().await;
    for round in 1..=3 {
        let all = (0..10).map(|at| {
            let selector = if at % 2 == 0 { "" } else { "labelSelector=keep%3Dyes" };
            let server = &server;
            async move { (selector, follow(server, selector, at * 40).await) }
        });
        let (_, followed) = tokio::join!(write(&server, Random(0x5eed + round), 300), futures::future::join_all(all));
        for (selector, followed) in followed {
            assert_eq!(followed, held(&get(&server, &format!("{MAPS}?{selector}")).await.json()), "{selector}");
        }
        assert_eq!(send(&server, Method::DELETE, MAPS, "", "").await.code, 200);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn tables_show_the_same_as_objects() {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let server = server().await;
    write(&server, Random(0x5eed_7ab1e), 200).await;
    for query in
        ["", "&labelSelector=keep%3Dno", "&fieldSelector=metadata.name%21%3Dm3", "&limit=3", "&resourceVersion=0"]
    {
        let list = get(&server, &format!("{MAPS}?x=y{query}")).await.json();
        let table = get_as(&server, &format!("{MAPS}?x=y{query}&includeObject=Object"), TABLE).await.json();
        assert_eq!(table["metadata"], list["metadata"], "{query}");
        let objects: Vec<&Value> = table["rows"].as_array().expect("rows").iter().map(|row| &row["object"]).collect();
        let items = list["items"].as_array().expect("items").iter();
        // A list says once of which kind all its objects are.
        let typed = |item: &Value| {
            let mut whole = item.clone();
            assert!(whole.get("kind").is_none() && whole.get("apiVersion").is_none());
            (whole["apiVersion"], whole["kind"]) = (list["apiVersion"].clone(), "ConfigMap".into());
            whole
        };
        let items: Vec<Value> = items.map(typed).collect();
        assert_eq!(objects, items.iter().collect::<Vec<_>>(), "{query}");
        for row in table["rows"].as_array().expect("rows") {
            assert_eq!(row["cells"][0], row["object"]["metadata"]["name"]);
            let entries = row["object"]["data"].as_object().map_or(0, serde_json::Map::len);
            assert_eq!(row["cells"][1], entries, "{query}");
        }
    }
    server.shutdown().await;
}
