//! As much of an API server as a kubelet needs: lists, watches, patches, graceful deletion, tokens.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Key = (String, String, String);

struct Watcher {
    resource: String,
    namespace: Option<String>,
    selector: String,
    sender: mpsc::UnboundedSender<Bytes>,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<Key, Value>,
    watchers: Vec<Watcher>,
    down: bool,
    tokens: u32,
    /// Every request but watches: method and path.
    requests: Vec<String>,
}

#[derive(Clone, Default)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
}

fn kind_of(resource: &str) -> (&'static str, &'static str) {
    match resource {
        "pods" => ("v1", "Pod"),
        "nodes" => ("v1", "Node"),
        "events" => ("v1", "Event"),
        "services" => ("v1", "Service"),
        "configmaps" => ("v1", "ConfigMap"),
        "secrets" => ("v1", "Secret"),
        "leases" => ("coordination.k8s.io/v1", "Lease"),
        other => panic!("unknown resource {other}"),
    }
}

fn selected(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|part| !part.is_empty()).all(|part| {
        let (field, value) = part.split_once('=').unwrap();
        let pointer = format!("/{}", field.replace('.', "/"));
        object.pointer(&pointer).and_then(Value::as_str).unwrap_or_default() == value
    })
}

/// Merges as JSON merge patch does, and lists of conditions and addresses by their key.
fn merge(target: &mut Value, patch: &Value, strategic: bool) {
    let (Value::Object(target), Value::Object(patch)) = (&mut *target, patch) else {
        *target = patch.clone();
        return;
    };
    for (name, value) in patch {
        let key = match name.as_str() {
            "conditions" | "addresses" if strategic => Some("type"),
            "podIPs" if strategic => Some("ip"),
            _ => None,
        };
        match (value, key) {
            (Value::Null, _) => drop(target.remove(name)),
            (Value::Array(items), Some(key)) => merge_list(target.entry(name).or_insert(json!([])), items, key),
            (Value::Object(_), _) => merge(target.entry(name).or_insert(json!({})), value, strategic),
            _ => drop(target.insert(name.clone(), value.clone())),
        }
    }
}

fn merge_list(target: &mut Value, items: &[Value], key: &str) {
    let list = target.as_array_mut().unwrap();
    if items.iter().any(|item| item["$patch"] == "replace") {
        list.clear();
    }
    for item in items.iter().filter(|item| item["$patch"] != "replace") {
        let at = list.iter().position(|own| own[key] == item[key]);
        match (item["$patch"] == "delete", at) {
            (true, Some(at)) => drop(list.remove(at)),
            (true, None) => {}
            (false, Some(at)) => merge(&mut list[at], item, true),
            (false, None) => list.push(item.clone()),
        }
    }
}

impl State {
    fn tell(&mut self, event: &str, key: &Key, object: &Value) {
        let line = Bytes::from(format!("{}\n", json!({"type": event, "object": object})));
        self.watchers.retain(|watcher| {
            let concerns = watcher.resource == key.0
                && watcher.namespace.as_ref().is_none_or(|namespace| *namespace == key.1)
                && selected(object, &watcher.selector);
            if concerns { watcher.sender.send(line.clone()).is_ok() } else { !watcher.sender.is_closed() }
        });
    }

    fn store(&mut self, event: &str, key: &Key, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(key.clone(), object.clone());
        self.tell(event, key, &object);
        object
    }

    fn create(&mut self, key: &Key, mut object: Value) -> Result<Value, (u16, &'static str)> {
        if self.objects.contains_key(key) {
            return Err((409, "AlreadyExists"));
        }
        let (version, kind) = kind_of(&key.0);
        self.version += 1;
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!(key.2);
        object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        if !key.1.is_empty() {
            object["metadata"]["namespace"] = json!(key.1);
        }
        Ok(self.store("ADDED", key, object))
    }

    fn delete(&mut self, key: &Key, options: &Value) -> Result<Value, (u16, &'static str)> {
        let mut object = self.objects.get(key).cloned().ok_or((404, "NotFound"))?;
        let wanted = &options["preconditions"]["uid"];
        if !wanted.is_null() && *wanted != object["metadata"]["uid"] {
            return Err((409, "Conflict"));
        }
        let own = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        let grace = options["gracePeriodSeconds"].as_i64().unwrap_or(own);
        if key.0 == "pods" && grace > 0 {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            return Ok(self.store("MODIFIED", key, object));
        }
        self.objects.remove(key);
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.tell("DELETED", key, &object);
        Ok(object)
    }
}

fn respond(code: u16, value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn failure(code: u16, reason: &str) -> Response<Body> {
    respond(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
        "message": reason, "code": code}),
    )
}

impl FakeApi {
    pub(crate) fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn key(resource: &str, namespace: &str, name: &str) -> Key {
        (resource.to_owned(), namespace.to_owned(), name.to_owned())
    }

    /// Makes an object, or puts its content in place of the old one.
    pub(crate) fn put(&self, resource: &str, namespace: &str, name: &str, object: Value) {
        let (key, mut state) = (Self::key(resource, namespace, name), self.state());
        match state.objects.get(&key).cloned() {
            None => drop(state.create(&key, object).unwrap()),
            Some(mut old) => {
                merge(&mut old, &object, false);
                state.store("MODIFIED", &key, old);
            }
        }
    }

    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&Self::key(resource, namespace, name)).cloned()
    }

    pub(crate) fn list(&self, resource: &str) -> Vec<Value> {
        self.state().objects.iter().filter(|(key, _)| key.0 == resource).map(|(_, object)| object.clone()).collect()
    }

    /// Asks for deletion; `grace` of `None` is the object's own.
    pub(crate) fn delete(&self, resource: &str, namespace: &str, name: &str, grace: Option<i64>) {
        let options = json!({"gracePeriodSeconds": grace});
        self.state().delete(&Self::key(resource, namespace, name), &options).unwrap();
    }

    /// Answers nothing but errors while down.
    pub(crate) fn set_down(&self, down: bool) {
        let mut state = self.state();
        state.down = down;
        if down {
            state.watchers.clear();
        }
    }

    pub(crate) fn watches(&self, resource: &str) -> usize {
        self.state().watchers.iter().filter(|w| w.resource == resource && !w.sender.is_closed()).count()
    }

    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        let path = parts.uri.path().trim_start_matches("/api/v1").trim_start_matches("/apis/coordination.k8s.io/v1");
        let mut segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let mut namespace = None;
        if segments[0] == "namespaces" && segments.len() > 2 {
            namespace = Some(segments[1].to_owned());
            segments.drain(..2);
        }
        let query = parts.uri.query().unwrap_or_default().replace("%3D", "=").replace("%2C", ",");
        let parameter = |name: &str| {
            let found = query.split('&').find_map(|part| part.strip_prefix(&format!("{name}=")));
            found.unwrap_or_default().to_owned()
        };
        let mut state = self.state();
        if state.down {
            return failure(503, "ServiceUnavailable");
        }
        let resource = segments[0].to_owned();
        let selector = parameter("fieldSelector");
        let watch = parameter("watch") == "true";
        if !watch {
            state.requests.push(format!("{} {}", parts.method, parts.uri.path()));
        }
        if resource == "serviceaccounts" {
            state.tokens += 1;
            let token = format!("token-{}", state.tokens);
            return respond(
                201,
                &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                "spec": body["spec"], "status": {"token": token, "expirationTimestamp": "2099-01-01T00:00:00Z"}}),
            );
        }
        let name = segments.get(1).map(ToString::to_string);
        let key = |name: &str| Self::key(&resource, namespace.as_deref().unwrap_or_default(), name);
        match (parts.method, name) {
            (Method::GET, None) if watch => {
                let from: u64 = parameter("resourceVersion").parse().unwrap_or(0);
                Self::watch(&mut state, resource, namespace, selector, from)
            }
            (Method::GET, None) => {
                let of = |key: &Key| key.0 == resource && namespace.as_ref().is_none_or(|own| *own == key.1);
                let items = state.objects.iter().filter(|(key, object)| of(key) && selected(object, &selector));
                let items: Vec<_> = items.map(|(_, object)| object.clone()).collect();
                respond(
                    200,
                    &json!({"apiVersion": "v1", "kind": "List", "items": items,
                    "metadata": {"resourceVersion": state.version.to_string()}}),
                )
            }
            (Method::GET, Some(name)) => match state.objects.get(&key(&name)) {
                Some(object) => respond(200, object),
                None => failure(404, "NotFound"),
            },
            (Method::POST, None) => {
                let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                state.create(&key(&name), body).map_or_else(|(c, r)| failure(c, r), |object| respond(201, &object))
            }
            (Method::PATCH, Some(name)) => {
                let Some(mut object) = state.objects.get(&key(&name)).cloned() else {
                    return failure(404, "NotFound");
                };
                let uid = &body["metadata"]["uid"];
                if !uid.is_null() && *uid != object["metadata"]["uid"] {
                    return failure(409, "Conflict");
                }
                let strategic = parts.headers["content-type"].to_str().unwrap().contains("strategic");
                let before = object.clone();
                merge(&mut object, &body, strategic);
                if object != before {
                    object = state.store("MODIFIED", &key(&name), object);
                }
                respond(200, &object)
            }
            (Method::DELETE, Some(name)) => {
                state.delete(&key(&name), &body).map_or_else(|(c, r)| failure(c, r), |object| respond(200, &object))
            }
            (method, _) => panic!("{method} {path}"),
        }
    }

    fn watch(
        state: &mut State,
        resource: String,
        namespace: Option<String>,
        selector: String,
        from: u64,
    ) -> Response<Body> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for (key, object) in &state.objects {
            let version: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            let concerns = key.0 == resource && namespace.as_ref().is_none_or(|own| *own == key.1);
            if concerns && version > from && selected(object, &selector) {
                sender.send(format!("{}\n", json!({"type": "MODIFIED", "object": object})).into()).unwrap();
            }
        }
        state.watchers.push(Watcher { resource, namespace, selector, sender });
        let lines = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|line| (Ok(Frame::data(line)), receiver))
        });
        Response::new(StreamBody::new(lines.boxed()).boxed_unsync())
    }
}
