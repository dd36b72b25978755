//! Traces of requests (feature `traces`): spans in OpenTelemetry's form, sent to a collector by OTLP over gRPC.
//!
//! [`Traces`] is made of upstream's [`TracingConfig`] and given to
//! [`Builder::traces`](crate::server::Builder::traces). Each request that is sampled has a span, below it are spans of the
//! store and of calls of webhooks, which get the trace's context in their `traceparent` header. A trace that a client has
//! begun is continued for `system:masters` and `system:monitoring`; others' is linked to, and whether the request is
//! sampled is for the server to say. Nothing global is set.

mod config;
mod remote;
mod step;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanKind, Status as SpanStatus, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

pub use config::{TracingConfig, TracingConfigError};
pub(crate) use remote::TracedRemote;
pub(crate) use step::{TraceHandlers, TraceRequests};
pub(crate) use store::TracedStore;

use crate::environment::{Environment, new_uid};

const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// What makes spans, and the span that this task is in.
    static CURRENT: (Traces, Context);
}

/// Whether this task is in a span that is sampled.
fn is_recording() -> bool {
    CURRENT.try_with(|(_, span)| span.span().is_recording()).unwrap_or_default()
}

/// Does something inside a span of its own, below that which this task is in; in none where this task is in none.
pub(crate) async fn within<F: Future>(
    name: &'static str,
    attributes: impl FnOnce() -> Vec<KeyValue>,
    work: F,
) -> F::Output {
    let span = CURRENT.try_with(|(traces, parent)| {
        let recording = parent.span().is_recording();
        recording.then(|| (traces.clone(), traces.below(parent, name.into(), SpanKind::Internal, attributes())))
    });
    let Ok(Some((traces, span))) = span else { return work.await };
    let outcome = CURRENT.scope((traces, span.clone()), work).await;
    end(Some(span), None);
    outcome
}

/// Makes spans and sends them, in the background and in bounded batches. Clones share them.
#[derive(Clone)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: Arc<TraceContextPropagator>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}

impl Traces {
    /// Traces so. Must be called on a tokio runtime. A collector that can't be reached costs spans, and no request.
    ///
    /// # Errors
    /// The endpoint can't be used.
    pub fn new(config: &TracingConfig, environment: &dyn Environment) -> Result<Self, TracingConfigError> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(format!("http://{}", config.endpoint))
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| TracingConfigError::new(format!("endpoint {:?}: {error}", config.endpoint)))?;
        let ratio = f64::from(config.sampling_rate_per_million) / 1_000_000.0;
        let root = if ratio > 0.0 { Sampler::TraceIdRatioBased(ratio) } else { Sampler::AlwaysOff };
        let instance = KeyValue::new("service.instance.id", new_uid(environment));
        let resource = Resource::builder_empty().with_service_name("apiserver").with_attribute(instance).build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(root)))
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("k8s.io/component-base/tracing");
        Ok(Self { provider, tracer, propagator: Arc::default() })
    }

    /// Sends what waits, and ends.
    pub async fn shutdown(&self) {
        let provider = self.provider.clone();
        // It waits for its thread, which needs the runtime.
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "not all spans were sent");
        }
    }

    /// A span below the one that this task is in; `None` outside of any.
    fn child(&self, name: impl FnOnce() -> String, kind: SpanKind, attributes: Vec<KeyValue>) -> Option<Context> {
        let (_, parent) = CURRENT.try_with(Clone::clone).ok()?;
        parent.span().is_recording().then(|| self.below(&parent, name(), kind, attributes))
    }

    fn below(&self, parent: &Context, name: String, kind: SpanKind, attributes: Vec<KeyValue>) -> Context {
        let builder = self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        parent.with_span(builder.start_with_context(&self.tracer, parent))
    }
}

/// Ends a span with the outcome of what it is about.
fn end(span: Option<Context>, fault: Option<String>) {
    let Some(span) = span else { return };
    if let Some(fault) = fault {
        span.span().set_status(SpanStatus::error(fault));
    }
    span.span().end();
}

/// Headers as traces read and write them.
struct Headers<T>(T);

impl Extractor for Headers<&http::HeaderMap> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

impl Injector for Headers<&mut http::HeaderMap> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (key.parse::<http::HeaderName>(), value.parse::<http::HeaderValue>()) {
            self.0.insert(name, value);
        }
    }
}
