//! Connections into pods: `log` is a plain stream from the node's kubelet; `exec`, `attach` and `portforward` are
//! upgraded connections whose bytes are passed on both ways, whatever protocol the two ends agree on.

mod admit;
mod dial;
mod log;
mod options;
mod pod;
mod proxy;
mod tunnels;
mod upgrade;

use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response};
use kubewright_api::status::Status;

pub use self::dial::{DialNode, KubeletTls, NodeStream};
use self::options::Options;
pub use self::pod::NodeAddress;
pub use self::proxy::Proxy;
pub(crate) use self::proxy::pass_on;
pub use self::tunnels::Tunnels;
use crate::admission::Admission;
use crate::body::{self, Body};
use crate::objects::{GroupResource, Objects};
use crate::request::{Context, RequestInfo};
use crate::server::Endpoint;

/// Host and port as URLs and `Host` headers have them.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Answers `pods/log`, `pods/exec`, `pods/attach` and `pods/portforward`.
pub struct Connect {
    objects: Arc<dyn Objects>,
    dial: Option<Arc<dyn DialNode>>,
    admission: Arc<[Arc<dyn Admission>]>,
    tunnels: Tunnels,
}

impl Connect {
    /// An endpoint that reaches kubelets through `dial`; without one it answers that it can't.
    #[must_use]
    pub fn new(
        objects: Arc<dyn Objects>,
        dial: Option<Arc<dyn DialNode>>,
        admission: Arc<[Arc<dyn Admission>]>,
        tunnels: Tunnels,
    ) -> Self {
        Self { objects, dial, admission, tunnels }
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let context = request.extensions().get::<Context>().cloned();
        let context = context.ok_or_else(|| Status::internal("the request has no context"))?;
        let info = &context.info;
        let options = Options::of(info, request.uri().query().unwrap_or_default())?;
        let Some(dial) = &self.dial else {
            return Err(Status::unavailable(
                "this API server has no way to reach kubelets: give its builder a node connection",
            ));
        };
        let pod = self.objects.get(GroupResource::core("pods"), &info.namespace, &info.name).await?;
        let node = self.node_of(&pod, &info.name)?;
        admit::admit(&self.admission, &context, &options).await?;
        match info.subresource.as_str() {
            "log" => log::stream(dial.as_ref(), &node, &pod, request.uri().query(), &self.tunnels.open(true)?).await,
            subresource => {
                let place = self.tunnels.open(true)?;
                let path = pod::stream_path(subresource, &pod, &options)?;
                let (response, tunnel) = upgrade::open(dial.as_ref(), &node, &path, request, &place).await?;
                if let Some(tunnel) = tunnel {
                    place.spawn(tunnel);
                }
                Ok(response)
            }
        }
    }

    fn node_of(&self, pod: &serde_json::Value, name: &str) -> Result<NodeAddress, Status> {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if node.is_empty() {
            return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
        }
        let object = self.objects.cached(GroupResource::core("nodes"), "", node);
        let object = object.ok_or_else(|| Status::not_found("", "nodes", node))?;
        NodeAddress::of(&object)
    }
}

#[async_trait]
impl Endpoint for Connect {
    fn handles(&self, info: &RequestInfo) -> bool {
        info.is_resource_request
            && info.api_group.is_empty()
            && info.resource == "pods"
            && matches!(info.subresource.as_str(), "log" | "exec" | "attach" | "portforward")
            && matches!(info.verb.as_str(), "get" | "create")
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        self.answer(request).await.unwrap_or_else(|status| body::status(&status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_version_6_are_in_brackets() {
        for (host, expected) in [("10.0.0.1", "10.0.0.1:80"), ("fd00::5", "[fd00::5]:80"), ("node", "node:80")] {
            assert_eq!(authority(host, 80), expected);
        }
    }
}
