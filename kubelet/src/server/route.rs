use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use kubewright_runtime_shim::{ContainerFilter, ContainerId, ContainerState, ContainerStatus};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Access;
use super::identity::Caller;
use super::query::{decode, pairs};
use super::respond::{Body, json, text};
use super::{exec, forward, logs, stats};
use crate::node::Context;
use crate::objects::Pod;

/// Where streams that outlive their request live.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) tasks: TaskTracker,
    pub(super) cancel: CancellationToken,
}

/// Why a request is refused.
pub(super) type Refusal = (StatusCode, String);

pub(super) fn bad_request(why: impl Into<String>) -> Refusal {
    (StatusCode::BAD_REQUEST, why.into())
}

pub(super) fn not_found(why: impl Into<String>) -> Refusal {
    (StatusCode::NOT_FOUND, why.into())
}

pub(super) fn internal(why: impl ToString) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, why.to_string())
}

/// Answers a request.
pub(super) async fn handle(
    node: Arc<Context>,
    access: Arc<Access>,
    caller: Arc<Option<Caller>>,
    streams: Streams,
    request: Request<Incoming>,
) -> Response<Body> {
    let Some(caller) = caller.as_ref() else {
        return text(StatusCode::UNAUTHORIZED, "Unauthorized");
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match access.allows(&node, caller, &method, &path).await {
        Ok(true) => {}
        Ok(false) => {
            let (verb, sub) = (method.as_str().to_lowercase(), super::access::subresource(&path));
            let message =
                format!("Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{sub}])", caller.name);
            return text(StatusCode::FORBIDDEN, message);
        }
        Err(why) => {
            let message = format!("Authorization error (user={}): {why}", caller.name);
            return text(StatusCode::INTERNAL_SERVER_ERROR, message);
        }
    }
    match dispatch(&node, &streams, request).await {
        Ok(response) => response,
        Err((status, why)) => text(status, why),
    }
}

async fn dispatch(
    node: &Arc<Context>,
    streams: &Streams,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let path = request.uri().path().to_owned();
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let query = pairs(request.uri().query().unwrap_or_default());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match parts.as_slice() {
        ["healthz", ..] if reads => Ok(text(StatusCode::OK, "ok")),
        ["pods"] if reads => pods(node).await,
        ["stats" | "stats/", "summary"] if reads => Ok(json(&stats::summary(node).await.map_err(internal)?)),
        ["metrics", "resource"] if reads => stats::resource_metrics(node).await.map_err(internal),
        ["metrics"] if reads => Ok(stats::metrics(node)),
        ["containerLogs", namespace, pod, container] if reads => {
            logs::logs(node, streams, namespace, pod, container, &query).await
        }
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            let target = Target::find(node, namespace, pod, container).await?;
            exec::exec(node, streams, target, &query, request).await
        }
        ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
            let target = Target::find(node, namespace, pod, container).await?;
            exec::attach(node, streams, target, &query, request).await
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
            let pod = find_pod(node, namespace, pod)?;
            forward::forward(node, streams, &pod, &query, request).await
        }
        _ => Err(not_found("404 page not found")),
    }
}

pub(super) fn find_pod(node: &Context, namespace: &str, name: &str) -> Result<Arc<Pod>, Refusal> {
    node.pods.find(namespace, name).ok_or_else(|| not_found(format!("pod {name:?} does not exist")))
}

/// A running container of a pod.
pub(super) struct Target {
    pub(super) id: ContainerId,
    pub(super) tty: bool,
}

impl Target {
    async fn find(node: &Context, namespace: &str, pod: &str, container: &str) -> Result<Self, Refusal> {
        let pod = find_pod(node, namespace, pod)?;
        let spec = pod.spec.container(container);
        let spec = spec.ok_or_else(|| not_found(format!("container not found ({container:?})")))?;
        let newest = runs_of(node, &pod, container).await?.into_iter().next();
        match newest.filter(|status| status.container.state == ContainerState::Running) {
            Some(status) => Ok(Self { id: status.container.id, tty: spec.tty }),
            None => Err(not_found(format!("container not found ({container:?})"))),
        }
    }
}

/// Every run of a container that the runtime still shows, the newest first.
pub(super) async fn runs_of(node: &Context, pod: &Pod, name: &str) -> Result<Vec<ContainerStatus>, Refusal> {
    let listed = node.runtime.list_containers(&ContainerFilter::pod_uid(pod.uid())).await.map_err(internal)?;
    let mut runs: Vec<_> = listed.into_iter().filter(|container| container.metadata.name == name).collect();
    runs.sort_by_key(|container| std::cmp::Reverse(container.metadata.attempt));
    let mut out = Vec::new();
    for run in runs {
        match node.runtime.container_status(&run.id).await {
            Ok(status) => out.push(status),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(internal(error)),
        }
    }
    Ok(out)
}

/// The node's pods, as the API server has them: what is kept here is less than a whole pod.
async fn pods(node: &Context) -> Result<Response<Body>, Refusal> {
    let uri = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", node.config.node_name);
    let request = Request::get(uri).body(Vec::new()).map_err(internal)?;
    let list: serde_json::Value = node.client.request(request).await.map_err(internal)?;
    Ok(json(&list))
}
