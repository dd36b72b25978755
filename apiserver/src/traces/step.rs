//! The span of a request.

use async_trait::async_trait;
use http::{Request, Response};
use opentelemetry::trace::Link;

use super::*;
use crate::body::Body;
use crate::layers::{Next, Step};
use crate::request::{self, RequestInfo, SYSTEM_MASTERS};

/// The group of those who watch over the cluster.
const MONITORING: &str = "system:monitoring";

/// The step.
#[derive(Debug)]
pub(crate) struct TraceRequests(Option<Traces>);

impl TraceRequests {
    /// Traces so, if at all.
    pub(crate) const fn new(traces: Option<Traces>) -> Self {
        Self(traces)
    }
}

/// As upstream names a request's span: the path without the names in it.
fn name(method: &http::Method, info: &RequestInfo) -> String {
    if !info.is_resource_request {
        return method.to_string();
    }
    let mut name = format!("{method} /{}", if info.api_group.is_empty() { "api" } else { "apis" });
    let mut add = |part: &str| {
        name.push('/');
        name.push_str(part);
    };
    if !info.api_group.is_empty() {
        add(&info.api_group);
    }
    add(&info.api_version);
    if !info.namespace.is_empty() {
        add("namespaces/{:namespace}");
    }
    add(&info.resource);
    if !info.name.is_empty() {
        add("{:name}");
    }
    if !info.subresource.is_empty() {
        add(&info.subresource);
    }
    name
}

impl Traces {
    fn of_request(&self, request: &Request<Body>, context: &request::Context) -> Context {
        let begun = self.propagator.extract_with_context(&Context::new(), &Headers(request.headers()));
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let attributes = vec![
            KeyValue::new("http.method", request.method().to_string()),
            KeyValue::new("http.target", target.to_owned()),
            KeyValue::new("http.scheme", "https"),
        ];
        let builder = self.tracer.span_builder(name(request.method(), &context.info));
        let mut builder = builder.with_kind(SpanKind::Server).with_attributes(attributes);
        let mut parent = Context::new();
        if context.user.in_group(SYSTEM_MASTERS) || context.user.in_group(MONITORING) {
            parent = begun;
        } else if begun.span().span_context().is_valid() {
            // Nobody else decides how much is traced here.
            builder = builder.with_links(vec![Link::new(begun.span().span_context().clone(), Vec::new(), 0)]);
        }
        parent.with_span(builder.start_with_context(&self.tracer, &parent))
    }
}

#[async_trait]
impl Step for TraceRequests {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let (Some(traces), Some(context)) = (&self.0, request.extensions().get::<request::Context>()) else {
            return next(request).await;
        };
        let span = traces.of_request(&request, context);
        let response = CURRENT.scope((traces.clone(), span.clone()), next(request)).await;
        let code = response.status();
        span.span().set_attribute(KeyValue::new("http.status_code", i64::from(code.as_u16())));
        if let Some(id) = response.headers().get("audit-id").and_then(|id| id.to_str().ok()) {
            span.span().set_attribute(KeyValue::new("audit-id", id.to_owned()));
        }
        end(Some(span), code.is_server_error().then(|| code.to_string()));
        response
    }
}

/// The span of what a handler does, once it is known that the request may be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceHandlers;

/// Upstream's name for what is done to resources.
fn handler(verb: &str) -> Option<&'static str> {
    Some(match verb {
        "create" => "Create",
        "update" => "Update",
        "patch" => "Patch",
        "delete" | "deletecollection" => "Delete",
        "get" => "Get",
        "list" => "List",
        _ => return None,
    })
}

fn text(headers: &http::HeaderMap, name: http::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

#[async_trait]
impl Step for TraceHandlers {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let context = request.extensions().get::<request::Context>();
        let info = context.map(|context| Arc::clone(&context.info)).filter(|info| info.is_resource_request);
        let found = info.filter(|_| is_recording()).and_then(|info| Some((handler(&info.verb)?, info)));
        let Some((name, info)) = found else { return next(request).await };
        let headers = request.headers();
        let (accept, agent) = (text(headers, http::header::ACCEPT), text(headers, http::header::USER_AGENT));
        let (url, protocol) = (request.uri().path().to_owned(), format!("{:?}", request.version()));
        let attributes = move || {
            [
                ("accept", accept),
                ("api-group", info.api_group.clone()),
                ("api-version", info.api_version.clone()),
                ("name", info.name.clone()),
                ("namespace", info.namespace.clone()),
                ("protocol", protocol),
                ("resource", info.resource.clone()),
                ("subresource", info.subresource.clone()),
                ("url", url),
                ("user-agent", agent),
                ("verb", info.verb.clone()),
            ]
            .map(|(key, value)| KeyValue::new(key, value))
            .into()
        };
        within(name, attributes, next(request)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_named_as_upstream_names_them() {
        for (method, path, expected) in [
            (
                http::Method::GET,
                "/api/v1/namespaces/a/pods/b/log",
                "GET /api/v1/namespaces/{:namespace}/pods/{:name}/log",
            ),
            (
                http::Method::POST,
                "/apis/apps/v1/namespaces/a/deployments",
                "POST /apis/apps/v1/namespaces/{:namespace}/deployments",
            ),
            (http::Method::GET, "/api/v1/nodes/a", "GET /api/v1/nodes/{:name}"),
            (http::Method::GET, "/livez", "GET"),
        ] {
            assert_eq!(name(&method, &RequestInfo::parse(&method, path, None)), expected);
        }
    }
}
