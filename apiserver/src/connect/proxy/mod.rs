//! The `proxy` subresources of nodes, pods and services: requests passed on, and their answers back.

mod headers;
mod target;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kubewright_api::status::Status;

use self::target::{Candidate, Named, Reach, Target};
use super::options::Options;
use super::tunnels::Place;
use super::{DialNode, NodeAddress, NodeStream, Tunnels, admit, authority, upgrade};
use crate::admission::Admission;
use crate::body::{self, Body, BoxError};
use crate::layers::is_long_running;
use crate::objects::{GroupResource, Objects};
use crate::remote::{self, Https};
use crate::request::{Context, RequestInfo};
use crate::server::Endpoint;

const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// Answers `nodes/proxy`, `pods/proxy` and `services/proxy`.
pub struct Proxy {
    objects: Arc<dyn Objects>,
    dial: Option<Arc<dyn DialNode>>,
    admission: Arc<[Arc<dyn Admission>]>,
    tunnels: Tunnels,
    reach: Reach,
    /// For whoever is asked for by `https:`. As upstream any certificate will do: nobody issues one for a pod's address. What
    /// the client sent to prove who it is stays here.
    https: Https,
    /// Spreads requests over the endpoints of services.
    turn: AtomicUsize,
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
    /// Reaches kubelets through `dial`; pods, services and other ports of nodes in the clear, or over TLS if a request asks
    /// for `https:`.
    #[must_use]
    pub fn new(
        objects: Arc<dyn Objects>,
        dial: Option<Arc<dyn DialNode>>,
        admission: Arc<[Arc<dyn Admission>]>,
        tunnels: Tunnels,
    ) -> Self {
        let (reach, https, turn) = (Reach::default(), Https::default(), AtomicUsize::new(0));
        Self { objects, dial, admission, tunnels, reach, https, turn }
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
        let place = self.tunnels.open(is_long_running(info))?;
        let path = target::rest_of_path(&request, info);
        let named = Named::read(info)?;
        let target = match info.resource.as_str() {
            "nodes" => {
                let node = self.objects.get(GroupResource::core("nodes"), "", named.name).await?;
                let node = NodeAddress::of(&node)?;
                if named.is_kubelet(&node) {
                    let dial =
                        self.dial.as_ref().ok_or_else(|| Status::unavailable("this server reaches no kubelets"))?;
                    let stream = dial.dial(&node).await.map_err(unreachable)?;
                    let host = authority(&node.host, node.port);
                    return pass_on(&place, request, stream, &host, &path, HeaderMap::new()).await;
                }
                Target { host: node.host, port: named.number()? }
            }
            "pods" => {
                let pod = self.objects.get(GroupResource::core("pods"), &info.namespace, named.name).await?;
                target::pod_target(&pod, &named, self.reach)?
            }
            _ => self.service_target(info, &named).await?,
        };
        let stream = self.connect(&target, named.tls).await?;
        let host = authority(&target.host, target.port);
        pass_on(&place, request, stream, &host, &path, HeaderMap::new()).await
    }

    /// Connects to an address that is looked at, and to no other that a name may stand for a moment later.
    async fn connect(&self, target: &Target, tls: bool) -> Result<Box<dyn NodeStream>, Status> {
        let lookup = tokio::net::lookup_host((target.host.as_str(), target.port));
        let found = tokio::time::timeout(LOOKUP_LIMIT, lookup).await.map_err(unreachable)?.map_err(unreachable)?;
        let found: Vec<SocketAddr> = found.collect();
        let Some(first) = found.first() else { return Err(unreachable("no addresses for hostname")) };
        if !found.iter().all(|address| self.reach.allows(address.ip())) {
            return Err(Status::bad_request("address not allowed"));
        }
        let url = format!("{}://{}", if tls { "https" } else { "http" }, authority(&target.host, target.port));
        let mut remote =
            remote::Target::new(url.parse().map_err(|_| Status::bad_request("the address can't be used"))?);
        remote.connect = Some((first.ip().to_string(), first.port()));
        remote.insecure = true;
        self.https.connect(&remote).await.map_err(unreachable)
    }

    async fn service_target(&self, info: &RequestInfo, named: &Named<'_>) -> Result<Target, Status> {
        let service = self.objects.get(GroupResource::core("services"), &info.namespace, named.name).await?;
        let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
        let slices = self.objects.cached_list(slices, Some(&info.namespace));
        let pods = GroupResource::core("pods");
        // As upstream: to pods of the service's namespace alone, whatever the slices say.
        let is_pod = |candidate: &Candidate| {
            let (namespace, name) = &candidate.pod;
            *namespace == info.namespace
                && candidate.target.host.parse().is_ok_and(|ip| self.reach.allows(ip))
                && self.objects.cached(pods, namespace, name).is_some_and(|pod| candidate.is(&pod))
        };
        let mut candidates = target::service_targets(&service, &slices, named)?;
        if !candidates.is_empty() {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % candidates.len();
            candidates.rotate_left(first);
        }
        let none = || Status::unavailable(format!("no endpoints available for service {:?}", info.name));
        candidates.into_iter().find(is_pod).map(|candidate| candidate.target).ok_or_else(none)
    }
}

/// Passes a request on over a connection that takes that place, with those headers added, and its answer back; upgrades it
/// if both ends agree.
pub(crate) async fn pass_on(
    place: &Place,
    mut request: Request<Body>,
    stream: Box<dyn NodeStream>,
    host: &str,
    path: &str,
    added: HeaderMap,
) -> Result<Response<Body>, Status> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(unreachable)?;
    // Ends with the answer's body, or with the server.
    place.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection that was passed on ended");
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
        place.spawn(upgrade::tunnel(client, server));
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
