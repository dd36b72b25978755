//! What all requests share, and which handler answers which.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use kubewright_api::resources::Scope;
use kubewright_api::status::Status;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Endpoint, Parts, handlers, negotiate, transcode};
use crate::admission::Admission;
use crate::body::{self, Body};
use crate::custom::Converter;
use crate::environment::Environment;
use crate::objects::Objects;
use crate::registry::Registry;
use crate::registry::storage::Served;
use crate::request::{Context, RequestInfo};

/// Numbers that a server goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) bookmark_interval: Duration,
    /// Watches that don't say how long they want to last last at least so long, and less than twice that.
    pub(crate) watch_timeout_min: Duration,
    pub(crate) body_bytes_max: usize,
    /// How long the store's history is kept, at least.
    pub(crate) history: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bookmark_interval: Duration::from_secs(60),
            watch_timeout_min: Duration::from_secs(1800),
            body_bytes_max: 3 << 20,
            history: Duration::from_secs(300),
        }
    }
}

pub(crate) struct Core {
    pub(crate) registry: Arc<Registry>,
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) admission: Vec<Arc<dyn Admission>>,
    pub(crate) settings: Settings,
    pub(crate) converter: Arc<Converter>,
    pub(crate) cancel: CancellationToken,
    /// Cancelled before, or with, `draining`: `/readyz` fails.
    pub(super) unready: CancellationToken,
    /// Cancelled before, or with, `cancel`.
    pub(super) draining: CancellationToken,
    endpoints: Vec<Arc<dyn Endpoint>>,
    tasks: TaskTracker,
}

impl Core {
    pub(super) fn new(
        parts: Parts,
        settings: Settings,
        converter: Converter,
        tasks: TaskTracker,
        cancel: CancellationToken,
        unready: CancellationToken,
        draining: CancellationToken,
    ) -> Self {
        let converter = Arc::new(converter);
        parts.registry.lend(&converter);
        Self {
            registry: parts.registry,
            objects: parts.objects,
            environment: parts.environment,
            admission: parts.admission,
            endpoints: parts.endpoints,
            settings,
            converter,
            cancel,
            unready,
            draining,
            tasks,
        }
    }

    /// Runs something of the server's own, which must end when it is told to.
    #[cfg(feature = "serve")]
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    pub(super) async fn shutdown(&self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Answers a request whose [`Context`] is in its extensions.
    pub(super) async fn dispatch(&self, context: Context, request: Request<Body>) -> Response<Body> {
        let info = &context.info;
        // What the path says to be a watch was authorized as one, whatever the method: it may be nothing else. Of old
        // there were paths that begin with `proxy`, too.
        if info.is_resource_request && info.verb == "watch" && request.method() != Method::GET {
            return body::status(&Status::method_not_allowed());
        }
        if info.is_resource_request && info.verb == "proxy" {
            return no_such_page(info);
        }
        if !self.is_routed(info) {
            return no_such_page(info);
        }
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.handles(info));
        if let Some(endpoint) = endpoint.filter(|endpoint| endpoint.takes_any_encoding()) {
            return endpoint.call(request).await;
        }
        let request = match transcode::to_json(request, self.settings.body_bytes_max).await {
            Ok(request) => request,
            Err(status) => return body::status(&status),
        };
        if let Some(endpoint) = endpoint {
            if is_review(info) && !negotiate::accepts_whole(request.headers()) {
                return body::status(&negotiate::not_acceptable());
            }
            return endpoint.call(request).await;
        }
        // A binding is posted to the pods, whichever way.
        let resource = if is_legacy_binding(info) { "pods" } else { info.resource.as_str() };
        let served = info
            .is_resource_request
            .then(|| self.registry.served(&info.api_group, &info.api_version, resource))
            .flatten();
        let Some(served) = served else { return no_such_page(info) };
        if let Some(warning) = &served.info.deprecation {
            context.warnings.deprecated(warning);
        }
        let answer = self.answer(&context, &served, request).await;
        answer.unwrap_or_else(|status| body::status(&status))
    }

    /// Whether a path into a built-in group may be answered at all, by an endpoint or out of the registry.
    fn is_routed(&self, info: &RequestInfo) -> bool {
        if !info.is_resource_request {
            return true;
        }
        let core = info.api_group.is_empty();
        match kubewright_api::resources::find(&info.api_group, &info.api_version, &info.resource) {
            Some(known) => {
                let namespaced = known.scope == Scope::Namespaced;
                let elsewhere = namespaced && info.namespace.is_empty() && !known.has_verb("list");
                let beyond = info.parts.len() > 3 && !(core && info.subresource == "proxy");
                is_in_scope(info, namespaced) && !elsewhere && !beyond
            }
            // Endpoints of the core group tell their requests by resource and subresource.
            None if core && !info.subresource.is_empty() => {
                self.registry.served("", &info.api_version, &info.resource).is_some()
            }
            None => true,
        }
    }

    async fn answer(
        &self,
        context: &Context,
        served: &Arc<Served>,
        request: Request<Body>,
    ) -> Result<Response<Body>, Status> {
        let info = &context.info;
        let handler = handlers::Handler { core: self, context, served };
        if info.parts.len() > 3 || !is_in_scope(info, served.info.namespaced()) {
            return Ok(no_such_page(info));
        }
        match (info.subresource.as_str(), info.name_in_path()) {
            ("", "") if is_legacy_binding(info) => handler.bind(request).await,
            ("", "") => handler.collection(request).await,
            ("", _) => handler.object(request).await,
            ("scale", _) if served.strategy().scale().is_some() => handler.at_home().scale(request).await,
            ("binding" | "eviction", _) if info.resource == "pods" && request.method() != Method::POST => {
                Err(Status::method_not_allowed())
            }
            ("binding", _) if info.resource == "pods" => handler.bind(request).await,
            ("eviction", _) if info.resource == "pods" => handler.evict(request).await,
            (name, _) if served.strategy().subresource(name).is_some() => match *request.method() {
                Method::GET | Method::PUT | Method::PATCH => handler.object(request).await,
                _ => Err(Status::method_not_allowed()),
            },
            _ => Ok(no_such_page(info)),
        }
    }
}

/// Whether a path names a resource where it lives. A path may say a namespace for what is in none, and who has rights in
/// that namespace alone was then asked for less than what is done.
fn is_in_scope(info: &RequestInfo, namespaced: bool) -> bool {
    match (namespaced, info.namespace.is_empty()) {
        (true, false) | (false, true) => true,
        (true, true) => info.name_in_path().is_empty(),
        (false, false) => info.resource == "namespaces" && info.namespace == info.name_in_path(),
    }
}

fn is_legacy_binding(info: &RequestInfo) -> bool {
    let posted = info.verb == "create" && !info.namespace.is_empty() && info.name_in_path().is_empty();
    info.api_group.is_empty() && info.api_version == "v1" && info.resource == "bindings" && posted
}

/// Whether something built in is posted that is answered and not stored.
fn is_review(info: &RequestInfo) -> bool {
    let known = kubewright_api::resources::find(&info.api_group, &info.api_version, &info.resource);
    info.verb == "create" && info.subresource.is_empty() && known.is_some_and(|known| !known.has_verb("list"))
}

/// 404: in words where upstream serves a group, and a page where it knows nothing of it.
fn no_such_page(info: &RequestInfo) -> Response<Body> {
    let known = |group: &str| kubewright_api::resources::built_in().iter().any(|row| row.group == group);
    if info.is_resource_request && known(&info.api_group) {
        return body::status(&Status::no_such_path());
    }
    body::no_such_page()
}
