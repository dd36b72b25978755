//! The `proxy` subresources of nodes, pods and services: requests passed on, and their answers back.

mod headers;
mod target;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kubewright_api::status::Status;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use self::target::{Candidate, Reach, Target};
use super::options::Options;
use super::{DialNode, NodeAddress, NodeStream, admit, upgrade};
use crate::admission::Admission;
use crate::body::{self, Body, BoxError};
use crate::objects::{GroupResource, Objects};
use crate::request::{Context, RequestInfo};
use crate::server::Endpoint;

const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers `nodes/proxy`, `pods/proxy` and `services/proxy`.
pub struct Proxy {
    objects: Arc<dyn Objects>,
    dial: Option<Arc<dyn DialNode>>,
    admission: Arc<[Arc<dyn Admission>]>,
    draining: CancellationToken,
    reach: Reach,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

fn unreachable(error: impl fmt::Display) -> Status {
    Status::unavailable(format!("error trying to reach service: {error}"))
}

impl Proxy {
    /// Reaches kubelets through `dial`, pods and services in the clear. Connections end once `draining` is cancelled.
    #[must_use]
    pub fn new(
        objects: Arc<dyn Objects>,
        dial: Option<Arc<dyn DialNode>>,
        admission: Arc<[Arc<dyn Admission>]>,
        draining: CancellationToken,
    ) -> Self {
        Self { objects, dial, admission, draining, reach: Reach::default() }
    }

    /// Reaches pods at loopback addresses too, or not (default: not): who may write the status of a pod can then have the
    /// server connect to whatever listens on its host.
    #[must_use]
    pub fn loopback_pods(mut self, allowed: bool) -> Self {
        self.reach.loopback = allowed;
        self
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let context = request.extensions().get::<Context>().cloned();
        let context = context.ok_or_else(|| Status::internal("the request has no context"))?;
        let info = &context.info;
        admit::admit(&self.admission, &context, &Options::of(info, "")?).await?;
        let path = target::rest_of_path(&request, info);
        let (tls, name, port) = target::proxied(&info.name);
        if info.resource == "nodes" {
            let node = self.objects.get(GroupResource::core("nodes"), "", name).await?;
            let node = NodeAddress::of(&node)?;
            let dial = self.dial.as_ref().ok_or_else(|| Status::unavailable("this server reaches no kubelets"))?;
            let stream = dial.dial(&node).await.map_err(unreachable)?;
            return pass_on(&self.draining, request, stream, &node.host, &path, HeaderMap::new()).await;
        }
        if tls {
            return Err(Status::bad_request("pods and services are proxied to in the clear only"));
        }
        let target = if info.resource == "pods" {
            let pod = self.objects.get(GroupResource::core("pods"), &info.namespace, name).await?;
            target::pod_target(&pod, port, self.reach)?
        } else {
            self.service_target(info, name, port).await?
        };
        let Target { host, port } = &target;
        let connect = tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect((host.as_str(), *port)));
        let stream = connect.await.map_err(unreachable)?.map_err(unreachable)?;
        let host = format!("{host}:{port}");
        pass_on(&self.draining, request, Box::new(stream), &host, &path, HeaderMap::new()).await
    }

    async fn service_target(&self, info: &RequestInfo, name: &str, port: &str) -> Result<Target, Status> {
        let service = self.objects.get(GroupResource::core("services"), &info.namespace, name).await?;
        let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
        let slices = self.objects.cached_list(slices, Some(&info.namespace));
        let pods = GroupResource::core("pods");
        // As upstream: to pods of the service's namespace alone, whatever the slices say.
        let is_pod = |candidate: &Candidate| {
            let (namespace, name) = &candidate.pod;
            *namespace == info.namespace
                && self.reach.allows(&candidate.target.host)
                && self.objects.cached(pods, namespace, name).is_some_and(|pod| candidate.is(&pod))
        };
        let found = target::service_targets(&service, &slices, port).into_iter().find(is_pod);
        let none = || Status::unavailable(format!("no endpoints available for service {:?}", info.name));
        found.map(|candidate| candidate.target).ok_or_else(none)
    }
}

/// Passes a request on over a connection, with those headers added, and its answer back; upgrades it if both ends agree.
pub(crate) async fn pass_on(
    draining: &CancellationToken,
    mut request: Request<Body>,
    stream: Box<dyn NodeStream>,
    host: &str,
    path: &str,
    added: HeaderMap,
) -> Result<Response<Body>, Status> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(unreachable)?;
    let ended = draining.clone();
    // Ends with the answer's body, or with the server.
    tokio::spawn(async move {
        tokio::select! {
            () = ended.cancelled() => {}
            _ = connection.with_upgrades() => {}
        }
    });
    let upgrades = headers::is_upgrade(request.headers());
    let client = request.extensions_mut().remove::<OnUpgrade>();
    let (parts, request_body) = request.into_parts();
    let mut onward = Request::builder().method(parts.method).uri(path).header(header::HOST, host);
    if let Some(own) = onward.headers_mut() {
        own.extend(headers::passed_on(&parts.headers, upgrades));
        own.extend(added);
    }
    let onward = onward.body(request_body).map_err(|error| Status::bad_request(error.to_string()))?;
    let mut answer = sender.send_request(onward).await.map_err(unreachable)?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let server = hyper::upgrade::on(&mut answer);
        let client = client.ok_or_else(|| Status::bad_request("the connection cannot be upgraded"))?;
        let draining = draining.clone();
        tokio::spawn(async move { draining.run_until_cancelled(upgrade::tunnel(client, server)).await });
        return Ok(answer.map(|_| body::empty()));
    }
    let (mut parts, answer) = answer.into_parts();
    for name in &headers::HOP_BY_HOP {
        parts.headers.remove(name);
    }
    parts.extensions.insert(body::PassedOn);
    Ok(Response::from_parts(parts, answer.map_err(BoxError::from).boxed_unsync()))
}

#[async_trait]
impl Endpoint for Proxy {
    fn handles(&self, info: &RequestInfo) -> bool {
        info.is_resource_request
            && info.api_group.is_empty()
            && info.subresource == "proxy"
            && matches!(info.resource.as_str(), "nodes" | "pods" | "services")
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        self.answer(request).await.unwrap_or_else(|status| body::status(&status))
    }
}
