//! A small API server in memory: lists, watches, bindings, status patches, deletions, and a log of all calls.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;

pub(crate) const CLAIMS: &str = "/api/v1/persistentvolumeclaims";
pub(crate) const POD_GROUPS: &str = "/apis/scheduling.k8s.io/v1alpha2/podgroups";
pub(crate) const DEVICE_CLAIMS: &str = "/apis/resource.k8s.io/v1/resourceclaims";

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<String, Value>,
    history: Vec<(u64, String, Value)>,
    watchers: Vec<(String, mpsc::UnboundedSender<Bytes>)>,
    calls: Vec<(Method, String, Value)>,
    faults: Vec<(String, u16, String)>,
    /// Collections whose watches don't tell of changes at the moment.
    muted: Vec<String>,
    /// How many calls stand at the gate, and how many did at most.
    waiting: usize,
    most: usize,
}

/// Where calls to paths with this text wait until they are let through.
type Gate = (String, Arc<Semaphore>);

/// The fake; clones share their state.
#[derive(Clone)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    gates: Arc<Mutex<Vec<Gate>>>,
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), changed: watch::Sender::default(), gates: Arc::default() }
    }

    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.serve(request).await) }
        });
        Client::new(service, "default")
    }

    /// The next call to a path that contains this text is answered with that error.
    pub(crate) fn fail_next(&self, path: &str, code: u16, message: &str) {
        self.state.lock().unwrap().faults.push((path.into(), code, message.into()));
    }

    /// From now on calls to a path that contains this text wait for permits of the semaphore.
    pub(crate) fn hold(&self, path: &str) -> Arc<Semaphore> {
        let permits = Arc::new(Semaphore::new(0));
        self.gates.lock().unwrap().push((path.to_owned(), permits.clone()));
        permits
    }

    /// How many calls wait so, and how many did at most at a time.
    pub(crate) fn held(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.waiting, state.most)
    }

    async fn pass_gate(&self, path: &str) {
        let gate = self.gates.lock().unwrap().iter().find(|(held, _)| path.contains(held.as_str())).cloned();
        let Some((_, permits)) = gate else { return };
        let count = |change: fn(&mut State)| {
            change(&mut self.state.lock().unwrap());
            self.changed.send_modify(|n| *n += 1);
        };
        count(|state| {
            state.waiting += 1;
            state.most = state.most.max(state.waiting);
        });
        permits.acquire().await.expect("the gate stays").forget();
        count(|state| state.waiting -= 1);
    }

    /// Adds or replaces an object; `collection` is such as `/api/v1/nodes`.
    pub(crate) fn put(&self, collection: &str, object: Value) {
        let mut state = self.state.lock().unwrap();
        state.put(collection, object);
        self.changed.send_modify(|n| *n += 1);
    }

    /// From now on nobody hears of changes in a collection: the watch lags behind.
    pub(crate) fn mute(&self, collection: &str) {
        self.state.lock().unwrap().muted.push(collection.to_owned());
    }

    pub(crate) fn get(&self, collection: &str, name: &str) -> Option<Value> {
        let state = self.state.lock().unwrap();
        state.find(collection, name).map(|(_, object)| object.clone())
    }

    pub(crate) fn calls(&self, method: &Method, part: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let wanted = state.calls.iter().filter(|(m, path, _)| m == method && path.contains(part));
        wanted.map(|(_, _, body)| body.clone()).collect()
    }

    /// Waits until something is found.
    pub(crate) async fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = look(self) {
                    return found;
                }
                changed.changed().await.expect("the fake is there");
            }
        };
        let patience = std::time::Duration::from_secs(600);
        tokio::time::timeout(patience, found).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
    }

    async fn serve(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        self.pass_gate(&path).await;
        let mut state = self.state.lock().unwrap();
        state.calls.push((parts.method.clone(), path.clone(), body.clone()));
        if let Some(at) = state.faults.iter().position(|(part, ..)| path.contains(part.as_str())) {
            let (_, code, message) = state.faults.remove(at);
            return status(code, &message);
        }
        let response = if query.contains("watch=true") {
            state.watch(&path, &query)
        } else {
            state.answer(&parts.method, &path, body)
        };
        drop(state);
        self.changed.send_modify(|n| *n += 1);
        response
    }
}

fn full(code: u16, value: &Value) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

fn status(code: u16, message: &str) -> Response<Body> {
    full(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message,
        "reason": if code == 404 { "NotFound" } else { "Conflict" }}),
    )
}

impl State {
    fn key(collection: &str, object: &Value) -> String {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        format!("{collection}|{}/{}", text("namespace"), text("name"))
    }

    fn find(&self, collection: &str, name: &str) -> Option<(&String, &Value)> {
        self.objects
            .iter()
            .find(|(key, _)| key.starts_with(&format!("{collection}|")) && key.ends_with(&format!("/{name}")))
    }

    fn put(&mut self, collection: &str, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let kind = if self.objects.contains_key(&Self::key(collection, &object)) { "MODIFIED" } else { "ADDED" };
        self.objects.insert(Self::key(collection, &object), object.clone());
        self.tell(collection, kind, &object);
        object
    }

    fn tell(&mut self, collection: &str, kind: &str, object: &Value) {
        if self.muted.iter().any(|own| own == collection) {
            return;
        }
        let event = json!({"type": kind, "object": object});
        self.history.push((self.revision, collection.to_owned(), event.clone()));
        let line = Bytes::from(format!("{event}\n"));
        self.watchers.retain(|(own, watcher)| own != collection || watcher.send(line.clone()).is_ok());
    }

    fn watch(&mut self, path: &str, query: &str) -> Response<Body> {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")?.parse::<u64>().ok());
        let (sender, receiver) = mpsc::unbounded_channel();
        for (revision, collection, event) in &self.history {
            if collection == path && *revision > from.unwrap_or(0) {
                let _ = sender.send(Bytes::from(format!("{event}\n")));
            }
        }
        self.watchers.push((path.to_owned(), sender));
        let stream = UnboundedReceiverStream::new(receiver).map(|line| Ok(http_body::Frame::data(line)));
        Response::new(StreamBody::new(stream).boxed_unsync())
    }

    fn answer(&mut self, method: &Method, path: &str, body: Value) -> Response<Body> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method.as_str(), &parts[..]) {
            ("POST", ["api", "v1", "namespaces", _, "pods", name, "binding"]) => {
                let node = body["target"]["name"].clone();
                self.change_pod(name, |pod| pod["spec"]["nodeName"] = node.clone());
                full(201, &json!({"kind": "Status", "status": "Success", "code": 201}))
            }
            ("PATCH", ["api", "v1", "namespaces", _, "pods", name, "status"]) => {
                let changed = self.change_pod(name, |pod| merge_status(&mut pod["status"], &body["status"]));
                changed.map_or_else(|| status(404, "pod not found"), |pod| full(200, &pod))
            }
            ("PATCH", ["apis", "scheduling.k8s.io", "v1alpha2", "namespaces", _, "podgroups", name, "status"]) => {
                let Some((_, group)) = self.find(POD_GROUPS, name) else { return status(404, "group not found") };
                let mut group = group.clone();
                merge_status(&mut group["status"], &body["status"]);
                full(200, &self.put(POD_GROUPS, group))
            }
            ("GET", ["api", "v1", "namespaces", _, "pods", name]) => self.one("/api/v1/pods", name),
            ("DELETE", ["api", "v1", "namespaces", _, "pods", name]) => self.remove("/api/v1/pods", name),
            ("GET", ["api", "v1", "persistentvolumes", name]) => self.one("/api/v1/persistentvolumes", name),
            ("PATCH", ["api", "v1", "persistentvolumes", name]) => self.merge("/api/v1/persistentvolumes", name, &body),
            ("PATCH", ["api", "v1", "namespaces", _, "persistentvolumeclaims", name]) => {
                self.merge(CLAIMS, name, &body)
            }
            ("GET", ["api", "v1", "namespaces", _, "persistentvolumeclaims", name]) => self.one(CLAIMS, name),
            ("GET", ["apis", "resource.k8s.io", "v1", "namespaces", _, "resourceclaims", name]) => {
                self.one(DEVICE_CLAIMS, name)
            }
            ("PUT", ["apis", "resource.k8s.io", "v1", "namespaces", _, "resourceclaims", ..]) => {
                full(200, &self.put(DEVICE_CLAIMS, body))
            }
            ("POST", ["apis", "resource.k8s.io", "v1", "namespaces", _, "resourceclaims"]) => {
                let mut claim = body;
                let name =
                    format!("{}{}", claim["metadata"]["generateName"].as_str().unwrap_or_default(), self.revision);
                claim["metadata"]["uid"] = json!(name);
                claim["metadata"]["name"] = json!(name);
                full(201, &self.put(DEVICE_CLAIMS, claim))
            }
            ("PATCH", ["apis", "resource.k8s.io", "v1", "namespaces", _, "resourceclaims", name, "status"]) => {
                let Some((_, claim)) = self.find(DEVICE_CLAIMS, name) else { return status(404, "claim not found") };
                let mut claim = claim.clone();
                let gone = body["status"]["reservedFor"][0]["uid"].clone();
                let users = claim["status"]["reservedFor"].as_array().cloned().unwrap_or_default();
                claim["status"]["reservedFor"] = users.into_iter().filter(|user| user["uid"] != gone).collect();
                full(200, &self.put(DEVICE_CLAIMS, claim))
            }
            ("DELETE", ["apis", "resource.k8s.io", "v1", "namespaces", _, "resourceclaims", name]) => {
                self.remove(DEVICE_CLAIMS, name)
            }
            ("GET", ["apis", "coordination.k8s.io", "v1", "namespaces", _, "leases", name]) => {
                let found = self.find("leases", name).map(|(_, lease)| lease.clone());
                found.map_or_else(|| status(404, "lease not found"), |lease| full(200, &lease))
            }
            ("POST" | "PUT", ["apis", "coordination.k8s.io", ..]) => {
                let written = self.find("leases", body["metadata"]["name"].as_str().unwrap_or_default());
                let current = written.map(|(_, lease)| lease["metadata"]["resourceVersion"].clone());
                if current.is_some_and(|current| current != body["metadata"]["resourceVersion"]) {
                    return status(409, "the object has been modified");
                }
                full(200, &self.put("leases", body))
            }
            ("POST" | "PATCH", ["apis", "events.k8s.io", ..]) => full(201, &body),
            ("GET", _) => {
                let prefix = format!("{path}|");
                let items: Vec<&Value> =
                    self.objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, object)| object).collect();
                full(
                    200,
                    &json!({"kind": "List", "apiVersion": "v1",
                    "metadata": {"resourceVersion": self.revision.to_string()}, "items": items}),
                )
            }
            _ => status(405, "not here"),
        }
    }

    fn remove(&mut self, collection: &str, name: &str) -> Response<Body> {
        let Some(key) = self.find(collection, name).map(|(key, _)| key.clone()) else {
            return status(404, "not found");
        };
        let object = self.objects.remove(&key).unwrap();
        self.revision += 1;
        self.tell(collection, "DELETED", &object);
        full(200, &object)
    }

    fn one(&self, collection: &str, name: &str) -> Response<Body> {
        self.find(collection, name).map_or_else(|| status(404, "not found"), |(_, object)| full(200, object))
    }

    fn merge(&mut self, collection: &str, name: &str, patch: &Value) -> Response<Body> {
        let Some((_, object)) = self.find(collection, name) else { return status(404, "not found") };
        let mut object = object.clone();
        for field in ["uid", "resourceVersion"] {
            let wanted = &patch["metadata"][field];
            if !wanted.is_null() && *wanted != object["metadata"][field] {
                return status(409, "the object has been modified");
            }
        }
        merge(&mut object, patch);
        full(200, &self.put(collection, object))
    }

    fn change_pod(&mut self, name: &str, change: impl FnOnce(&mut Value)) -> Option<Value> {
        let mut pod = self.find("/api/v1/pods", name)?.1.clone();
        change(&mut pod);
        Some(self.put("/api/v1/pods", pod))
    }
}

fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    for (name, value) in fields {
        if object[name].is_null() {
            object[name] = json!({});
        }
        merge(&mut object[name], value);
    }
}

fn merge_status(status: &mut Value, patch: &Value) {
    if let Some(conditions) = patch["conditions"].as_array() {
        let old = status["conditions"].as_array().cloned().unwrap_or_default();
        let kept = old.into_iter().filter(|own| conditions.iter().all(|new| new["type"] != own["type"]));
        status["conditions"] = kept.chain(conditions.iter().cloned()).collect();
    }
    if let Some(told) = patch.get("extendedResourceClaimStatus") {
        status["extendedResourceClaimStatus"] = told.clone();
    }
    if let Some(node) = patch.get("nominatedNodeName") {
        status["nominatedNodeName"] = node.clone();
    }
}
