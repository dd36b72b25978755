//! Whether the servers behind APIServices answer, and what they serve.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header;
use kubewright_api::status::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::extension::aggregated;
use super::{API_SERVICES, Extension, Extensions};
use crate::discovery::of_group;
use crate::environment::{Environment, time};
use crate::objects::{GroupResource, Objects};
use crate::remote::{Remote, RemoteError, Target, of_service};

/// How often each is looked at though nothing changed.
const PERIOD: Duration = Duration::from_secs(30);
/// How soon one is looked at again that is not there.
const RETRY: Duration = Duration::from_secs(1);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Keeps the condition `Available` true to life.
pub(crate) struct Availability {
    pub(crate) extensions: Arc<Extensions>,
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) remote: Arc<dyn Remote>,
    pub(crate) identity: Option<(Arc<str>, Arc<str>)>,
}

/// What a look at a server gave: reason and message of why it is not available.
type Found<T = ()> = Result<T, (&'static str, String)>;

impl Availability {
    /// Runs until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let mut changed = self.extensions.changes();
        let work = async {
            loop {
                changed.mark_unchanged();
                let mut all_well = true;
                for extension in self.extensions.all() {
                    let (found, target) = match self.look(&extension).await {
                        Ok(target) => (Ok(()), Some(target)),
                        Err(why) => (Err(why), None),
                    };
                    all_well &= found.is_ok();
                    let reported = self.report(&extension.name, found).await;
                    if let Some(target) = target {
                        self.describe(&extension, &target).await;
                    }
                    match reported {
                        Ok(()) => {}
                        Err(status) if matches!(status.code, 404 | 409) => all_well = false,
                        Err(error) => {
                            tracing::warn!(%error, name = extension.name, "cannot write an APIService's status")
                        }
                    }
                }
                let pause = if all_well { PERIOD } else { RETRY };
                // Its own writes wake it once more, and change nothing then.
                _ = tokio::time::timeout(pause, changed.changed()).await;
            }
        };
        cancel.run_until_cancelled(work).await;
    }

    /// Whom to ask further, if it is well.
    async fn look(&self, extension: &Extension) -> Found<Target> {
        let (namespace, name, port) = &extension.service;
        let service = self.objects.cached(GroupResource::core("services"), namespace, name);
        let Some(service) = service else {
            return Err(("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")));
        };
        if service["spec"]["type"] == "ClusterIP" {
            self.endpoints(&service, namespace, name, *port)?;
        }
        let failed = |message: String| ("FailedDiscoveryCheck", message);
        let address = of_service(&*self.objects, namespace, name, *port, 0).map_err(failed)?;
        let path = format!("/apis/{}/{}", extension.group, extension.version);
        let url = format!("https://{}:{}{path}", address.0, address.1);
        let missing = |why: String| failed(format!("failing or missing response from {url}: {why}"));
        let target = extension.target(address, self.identity.clone()).ok_or_else(|| missing("bad URL".into()))?;
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.ask(&target, &path, "")).await;
        let answer = answer.map_err(|_| failed(format!("timed out waiting for {url}")))?;
        let answer = answer.map_err(|error| missing(error.to_string()))?;
        if !answer.status().is_success() {
            return Err(missing(format!("bad status from {url}: {}", answer.status().as_u16())));
        }
        if let Ok(list) = serde_json::from_slice::<Value>(answer.body()) {
            let resources = aggregated(&list, &extension.group, &extension.version);
            self.extensions.discovered(&extension.name, resources);
        }
        Ok(target)
    }

    /// Asks a server as the aggregator; `known` is the tag of what is had already.
    async fn ask(&self, target: &Target, path: &str, known: &str) -> Result<http::Response<Bytes>, RemoteError> {
        let mut request = http::Request::get(path)
            .header(header::ACCEPT, "application/json")
            .header("x-remote-user", "system:kube-aggregator")
            .header("x-remote-group", "system:masters");
        if !known.is_empty() {
            request = request.header(header::IF_NONE_MATCH, known);
        }
        let request = request.body(Bytes::new()).map_err(RemoteError::configuration)?;
        self.remote.send(target, request).await
    }

    /// Takes over what structure a server's objects have. One that doesn't say is available nevertheless.
    async fn describe(&self, extension: &Extension, target: &Target) {
        let known = extension.openapi_tag.as_deref().unwrap_or_default();
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.ask(target, "/openapi/v2", known)).await;
        let Ok(Ok(answer)) = answer else { return };
        let document = serde_json::from_slice::<Value>(answer.body());
        if let Some(document) = document.ok().filter(|_| answer.status() == http::StatusCode::OK) {
            let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            let part = of_group(&document, &extension.group, &extension.version);
            self.extensions.described(&extension.name, part, tag);
        }
    }

    /// A Service with an address of the cluster must have the port, and endpoints for it.
    fn endpoints(&self, service: &Value, namespace: &str, name: &str, port: u16) -> Found {
        let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let Some(entry) = ports.find(|entry| entry["port"] == port) else {
            let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
            return Err(("ServicePortError", message));
        };
        let wanted = entry["name"].as_str().unwrap_or_default();
        let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
        let mut slices = self.objects.cached_list(slices, Some(namespace));
        slices.retain(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name);
        if slices.is_empty() {
            let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
            return Err(("EndpointsNotFound", message));
        }
        let has_port = |slice: &Value| {
            let mut ports = slice["ports"].as_array().into_iter().flatten();
            ports.any(|port| port["name"].as_str().unwrap_or_default() == wanted)
        };
        let ready = |endpoint: &Value| endpoint["conditions"]["ready"] != false;
        let active = |slice: &&Value| has_port(slice) && slice["endpoints"].as_array().into_iter().flatten().any(ready);
        if slices.iter().any(|slice| active(&slice)) {
            return Ok(());
        }
        let message =
            format!("endpointslices for service/{name} in {namespace:?} have no addresses with port name {wanted:?}");
        Err(("MissingEndpoints", message))
    }

    async fn report(&self, name: &str, found: Found) -> Result<(), Status> {
        let Some(mut object) = self.objects.cached(API_SERVICES, "", name) else { return Ok(()) };
        let (status, reason, message) = match found {
            Ok(()) => ("True", "Passed", "all checks passed".to_owned()),
            Err((reason, message)) => ("False", reason, message),
        };
        let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let old = conditions.iter().position(|condition| condition["type"] == "Available");
        let old = old.map(|at| conditions.remove(at)).unwrap_or_default();
        if old["status"] == status && old["reason"] == reason && old["message"] == message {
            return Ok(());
        }
        let since = if old["status"] == status { old["lastTransitionTime"].clone() } else { Value::Null };
        let since = if since.is_null() { time(self.environment.now()).into() } else { since };
        conditions.push(json!({"type": "Available", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since}));
        object["status"] = json!({"conditions": conditions});
        self.objects.update_status(API_SERVICES, object).await.map(drop)
    }
}
