//! What requests cost within the process, without a socket: `cargo bench -p kubewright-apiserver --bench requests`.
//!
//! The store is in memory, so this is the server's own part: layers, decoding, defaults, admission, validation, encoding,
//! the watch cache.
#![allow(missing_docs, reason = "a measurement, not a library")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::Request;
use http_body_util::{BodyExt, Full};
use kubewright_apiserver::body::Body;
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::{ApiServer, Builder};
use kubewright_store::MemoryStore;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt;

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
const LISTED: usize = 5000;
const WATCHERS: usize = 100;

fn configmap(name: &str, number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "app": format!("app-{}", number % 50), "tier": "bench" } },
        "data": { "changed": number.to_string(), "settings": "0123456789abcdef".repeat(56) },
    })
}

/// A server with all its layers, asked by someone whose rights are looked up.
fn server(runtime: &Runtime) -> ApiServer {
    server_with(runtime, |builder| builder)
}

fn server_with(runtime: &Runtime, change: impl FnOnce(Builder) -> Builder) -> ApiServer {
    runtime.block_on(async {
        let server = change(ApiServer::builder(Arc::new(MemoryStore::new()))).build().await.expect("a server");
        let admin = server.as_user(User::admin());
        let binding = json!({
            "metadata": { "name": "bench" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bench" }],
        });
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        ask(&admin, "POST", path, "application/json", binding.to_string()).await;
        server.as_user(User::new("bench", &["system:authenticated"]))
    })
}

async fn send(server: &ApiServer, method: &str, uri: &str, content_type: &str, body: String) -> http::Response<Body> {
    let request = Request::builder().method(method).uri(uri).header("content-type", content_type);
    let request = request.body(Full::new(Bytes::from(body))).expect("a sound request");
    server.clone().oneshot(request).await.expect("infallible")
}

/// Asks for something that must succeed.
async fn ask(server: &ApiServer, method: &str, uri: &str, content_type: &str, body: String) -> Bytes {
    let answer = send(server, method, uri, content_type, body).await;
    let code = answer.status();
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    assert!(code.is_success(), "{code}: {}", String::from_utf8_lossy(&bytes));
    bytes
}

fn objects(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = server(&runtime);
    let number = AtomicUsize::new(0);
    let next = || number.fetch_add(1, Ordering::Relaxed);
    let one = format!("{CONFIGMAPS}/one");
    runtime.block_on(ask(&server, "POST", CONFIGMAPS, "application/json", configmap("one", 0).to_string()));
    criterion.bench_function("create", |bencher| {
        bencher.iter(|| {
            let n = next();
            let object = configmap(&format!("c-{n}"), n).to_string();
            runtime.block_on(ask(&server, "POST", CONFIGMAPS, "application/json", object))
        });
    });
    for (name, uri) in [("get", one.clone()), ("get of any version", format!("{one}?resourceVersion=0"))] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(ask(&server, "GET", &uri, "", String::new())));
        });
    }
    criterion.bench_function("update", |bencher| {
        bencher.iter(|| {
            let object = configmap("one", next()).to_string();
            runtime.block_on(ask(&server, "PUT", &one, "application/json", object))
        });
    });
    for (name, uri, content_type) in [
        ("merge patch", one.clone(), "application/merge-patch+json"),
        ("strategic merge patch", one.clone(), "application/strategic-merge-patch+json"),
        ("server-side apply", format!("{one}?fieldManager=applier&force=true"), "application/apply-patch+yaml"),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let patch = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one" },
                    "data": { "patched": next().to_string() },
                });
                runtime.block_on(ask(&server, "PATCH", &uri, content_type, patch.to_string()))
            });
        });
    }
    runtime.block_on(server.shutdown());
}

/// What a request costs without its layers: the difference is what they cost.
fn layers(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let one = format!("{CONFIGMAPS}/one");
    let mut group = criterion.benchmark_group("get");
    for (name, fairness, rbac) in [
        ("with all layers", true, true),
        ("without priority and fairness", false, true),
        ("without priority, fairness and RBAC", false, false),
    ] {
        let server = server_with(&runtime, |builder| {
            let builder = if fairness { builder } else { builder.without_fairness() };
            if rbac { builder } else { builder.allow_all() }
        });
        runtime.block_on(ask(&server, "POST", CONFIGMAPS, "application/json", configmap("one", 0).to_string()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(ask(&server, "GET", &one, "", String::new())));
        });
        runtime.block_on(server.shutdown());
    }
    group.finish();
}

fn lists(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = server(&runtime);
    runtime.block_on(async {
        for n in 0..LISTED {
            let object = configmap(&format!("c-{n}"), n).to_string();
            ask(&server, "POST", CONFIGMAPS, "application/json", object).await;
        }
    });
    let by_label = format!("{CONFIGMAPS}?labelSelector=app%3Dapp-7");
    let mut group = criterion.benchmark_group(format!("among {LISTED} objects"));
    for (name, uri) in [("list", CONFIGMAPS), ("list by label", by_label.as_str())] {
        let length = runtime.block_on(ask(&server, "GET", uri, "", String::new())).len();
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(ask(&server, "GET", uri, "", String::new())));
        });
    }
    group.finish();
    runtime.block_on(server.shutdown());
}

fn watches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Everybody else's writes would be held back by priority and fairness, for so many watch.
    let server = server(&runtime).as_user(User::admin());
    let one = format!("{CONFIGMAPS}/one");
    let mut watches = runtime.block_on(async {
        ask(&server, "POST", CONFIGMAPS, "application/json", configmap("one", 0).to_string()).await;
        let uri = format!("{CONFIGMAPS}?watch=1&resourceVersion=0");
        let mut watches = Vec::new();
        for _ in 0..WATCHERS {
            let mut body = send(&server, "GET", &uri, "", String::new()).await.into_body();
            body.frame().await.expect("the object there is").expect("a frame");
            watches.push(body);
        }
        watches
    });
    let mut number = 0;
    criterion.bench_function(&format!("a change and its {WATCHERS} watchers"), |bencher| {
        bencher.iter(|| {
            number += 1;
            let patch = json!({ "data": { "changed": format!("w-{number}") } }).to_string();
            runtime.block_on(async {
                ask(&server, "PATCH", &one, "application/merge-patch+json", patch).await;
                for watch in &mut watches {
                    watch.frame().await.expect("an event").expect("a frame");
                }
            });
        });
    });
    drop(watches);
    runtime.block_on(server.shutdown());
}

criterion_group!(benches, objects, layers, lists, watches);
criterion_main!(benches);
