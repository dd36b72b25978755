//! Counts and times of requests, under upstream's metric names.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use async_trait::async_trait;
use http::{Request, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Next, Step, info_of, is_long_running};
use crate::body::Body;
use crate::request::RequestInfo;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodedLabels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    request_kind: &'static str,
}

const DURATIONS: [f64; 22] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0,
];

fn histogram() -> Histogram {
    Histogram::new(DURATIONS)
}

/// What is measured; `/metrics` shows it. Clones share it.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<CodedLabels, Counter>,
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<KindLabels, Gauge<i64, AtomicI64>>,
    long_running: Family<RequestLabels, Gauge<i64, AtomicI64>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::with_registry(Registry::default())
    }
}

impl Metrics {
    /// Adds the server's own metrics to those that a registry already holds.
    #[must_use]
    pub fn with_registry(mut registry: Registry) -> Self {
        let requests = Family::default();
        let durations = Family::new_with_constructor(histogram as fn() -> Histogram);
        let (in_flight, long_running) = (Family::default(), Family::default());
        registry.register("apiserver_request", "Requests by verb, resource and code", requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "Response latency in seconds, long-running requests aside",
            durations.clone(),
        );
        registry.register("apiserver_current_inflight_requests", "Requests that run now, by kind", in_flight.clone());
        registry.register("apiserver_longrunning_requests", "Long-running requests that run now", long_running.clone());
        let version = [("major", "1"), ("minor", "36"), ("git_version", crate::discovery::GIT_VERSION)];
        // A gauge that is always one, as upstream has it: not every reader knows what an info is.
        let build: Family<Vec<(&str, &str)>, Gauge> = Family::default();
        build.get_or_create(&version.to_vec()).set(1);
        registry.register("kubernetes_build_info", "The version that is built", build);
        Self { registry: Arc::new(registry), requests, durations, in_flight, long_running }
    }

    /// All metrics as OpenMetrics text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// The step.
#[derive(Clone, Debug)]
pub struct Measure {
    metrics: Metrics,
}

impl Measure {
    /// Measures into these metrics.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

/// The labels of a request. Only names from paths that exist become labels: whoever asks must not fill the memory.
fn labels(info: &RequestInfo) -> RequestLabels {
    let known = kubewright_api::resources::find(&info.api_group, &info.api_version, &info.resource);
    let subresource_known = |known: &kubewright_api::resources::Resource| {
        info.subresource.is_empty() || known.subresource(&info.subresource).is_some()
    };
    let (group, version, resource, subresource) = match known {
        Some(known) if subresource_known(known) => {
            (info.api_group.clone(), info.api_version.clone(), info.resource.clone(), info.subresource.clone())
        }
        _ => Default::default(),
    };
    let verb = match info.verb.as_str() {
        "update" => "PUT",
        "create" => "POST",
        "get" | "list" | "watch" | "patch" | "delete" | "deletecollection" | "post" | "put" | "connect" => &info.verb,
        _ => "other",
    };
    let scope = match (info.is_resource_request, info.name.is_empty(), info.namespace.is_empty()) {
        (false, ..) => "",
        (true, false, _) => "resource",
        (true, true, false) => "namespace",
        (true, true, true) => "cluster",
    };
    let verb = verb.to_uppercase();
    RequestLabels { verb, group, version, resource, subresource, scope, component: "apiserver" }
}

/// Takes itself off a gauge when dropped, also when the request is given up.
struct Running(Gauge<i64, AtomicI64>);

impl Running {
    fn start(gauge: &Gauge<i64, AtomicI64>) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[async_trait]
impl Step for Measure {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let info = info_of(&request);
        let labels = labels(&info);
        let long_running = is_long_running(&info);
        let reads = matches!(info.verb.as_str(), "get" | "list" | "head");
        let running = if long_running {
            Running::start(&self.metrics.long_running.get_or_create(&labels))
        } else {
            let request_kind = if reads { "readOnly" } else { "mutating" };
            Running::start(&self.metrics.in_flight.get_or_create(&KindLabels { request_kind }))
        };
        let started = Instant::now();
        let response = next(request).await;
        drop(running);
        if !long_running {
            self.metrics.durations.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
        }
        let RequestLabels { verb, group, version, resource, subresource, scope, component } = labels;
        let code = response.status().as_u16();
        let coded = CodedLabels { verb, group, version, resource, subresource, scope, component, code };
        self.metrics.requests.get_or_create(&coded).inc();
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;

    #[tokio::test]
    async fn requests_are_counted_under_upstreams_names() {
        let metrics = Metrics::default();
        let measure = Measure::new(metrics.clone());
        for uri in ["/api/v1/namespaces/a/pods", "/api/v1/namespaces/a/nonsense"] {
            let next: Next = Box::new(|_| Box::pin(async { Response::new(body::empty()) }));
            measure.call(Request::get(uri).body(body::empty()).unwrap(), next).await;
        }
        let text = metrics.render();
        assert!(
            text.contains("apiserver_request_total{verb=\"LIST\",group=\"\",version=\"v1\",resource=\"pods\""),
            "{text}"
        );
        assert!(!text.contains("nonsense"));
        assert!(text.contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0"));
    }
}
