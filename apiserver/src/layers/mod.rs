//! What every request passes on its way in: each check is a [`Step`] that can be read alone, and a tower layer.
//!
//! Outside in: [`Protect`] (panics, times, headers), [`Compress`], [`Encode`] (protobuf), [`Measure`], [`Identify`] (who
//! asks, for what), the [audit log](crate::audit), [`CheckDeadline`], [`Impersonate`], [`LimitBody`] (which reads it),
//! [priority and fairness](crate::fairness) or [`LimitInFlight`], [`Authorize`]; then the handlers. In process the same
//! steps run, with a fixed user in place of credentials.

mod authorize;
mod compress;
mod deadline;
mod encode;
mod identify;
mod impersonate;
mod limit_body;
mod limit_in_flight;
mod measure;
mod protect;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task;
use std::time::Instant;

use async_trait::async_trait;
use futures::FutureExt;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::BodyExt;
use kubewright_api::field::{FieldError, Path};
use kubewright_api::status::Status;
use prometheus_client::metrics::histogram::Histogram;
use serde_json::{Value, json};
use tower::{Layer, Service};

pub use authorize::{Authorize, forbidden};
pub use compress::Compress;
pub(crate) use deadline::Allotted;
pub use deadline::CheckDeadline;
pub use encode::Encode;
pub use identify::{Identify, Identity};
pub use impersonate::Impersonate;
pub use limit_body::{BODY_BYTES_MAX, LimitBody};
pub use limit_in_flight::LimitInFlight;
pub(crate) use measure::WatchMeter;
pub use measure::{Measure, Metrics};
pub use protect::Protect;

use crate::body::Body;
use crate::object::decode::{self, Expected, FieldValidation, Format};
use crate::request::{Context, RequestInfo, query_pairs};

/// A response on its way.
pub type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// What comes after a step.
pub type Next = Box<dyn FnOnce(Request<Body>) -> Answer + Send>;

/// One thing done to requests before, or to responses after, what comes next.
#[async_trait]
pub trait Step: Send + Sync + 'static {
    /// Answers by itself, or lets `next` answer.
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body>;
}

/// A [`Step`] as a tower layer.
#[derive(Debug)]
pub struct StepLayer<T> {
    step: Arc<T>,
    timer: Option<Histogram>,
}

impl<T> StepLayer<T> {
    /// The layer that does this step.
    pub fn new(step: T) -> Self {
        Self { step: Arc::new(step), timer: None }
    }

    /// Measures how long the step takes before it lets what comes next answer.
    #[must_use]
    pub(crate) fn timed(mut self, timer: Histogram) -> Self {
        self.timer = Some(timer);
        self
    }
}

impl<T> Clone for StepLayer<T> {
    fn clone(&self) -> Self {
        Self { step: Arc::clone(&self.step), timer: self.timer.clone() }
    }
}

impl<T, S> Layer<S> for StepLayer<T> {
    type Service = StepService<T, S>;

    fn layer(&self, inner: S) -> Self::Service {
        StepService { step: Arc::clone(&self.step), timer: self.timer.clone(), inner }
    }
}

/// A service behind a [`Step`].
#[derive(Debug)]
pub struct StepService<T, S> {
    step: Arc<T>,
    timer: Option<Histogram>,
    inner: S,
}

impl<T, S: Clone> Clone for StepService<T, S> {
    fn clone(&self) -> Self {
        Self { step: Arc::clone(&self.step), timer: self.timer.clone(), inner: self.inner.clone() }
    }
}

impl<T, S> Service<Request<Body>> for StepService<T, S>
where
    T: Step,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fresh = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, fresh);
        let step = Arc::clone(&self.step);
        let timer = self.timer.clone().map(|timer| (timer, Instant::now()));
        Box::pin(async move {
            let next: Next = Box::new(move |request| {
                if let Some((timer, since)) = timer {
                    timer.observe(since.elapsed().as_secs_f64());
                }
                Box::pin(ready.call(request).map(|answer| answer.unwrap_or_else(|never| match never {})))
            });
            Ok(step.call(request, next).await)
        })
    }
}

/// Marks an answer that the server gave to defend itself, without doing what was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminated;

/// What a request asks for: read once, by the outermost step.
pub(crate) fn info_of<B>(request: &Request<B>) -> Arc<RequestInfo> {
    match request.extensions().get::<Arc<RequestInfo>>() {
        Some(info) => Arc::clone(info),
        None => RequestInfo::parse(request.method(), request.uri().path(), request.uri().query()).into(),
    }
}

/// Whether a request may stay open as long as it likes: watches, and connections into pods.
#[must_use]
pub fn is_long_running(info: &RequestInfo) -> bool {
    info.is_resource_request
        && (matches!(info.verb.as_str(), "watch" | "proxy")
            || matches!(info.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward"))
}

/// Reads a request that an endpoint answers: its context, its body, held against the version and kind that `of` says, and
/// its `CreateOptions`.
///
/// # Errors
/// The body cannot be read, or is of another kind; 400 and 415 in upstream's words.
pub(crate) async fn read_typed(
    request: Request<Body>,
    of: impl FnOnce(&RequestInfo) -> (String, &'static str),
) -> Result<(Context, Value, Value), Status> {
    let (parts, body) = request.into_parts();
    let context = parts.extensions.get::<Context>().cloned();
    let context = context.ok_or_else(|| Status::internal("the request was not identified"))?;
    let query = query_pairs(parts.uri.query().unwrap_or_default());
    let asked = query.iter().find(|(key, _)| key == "fieldValidation").map_or("", |(_, value)| value);
    let validation = FieldValidation::parse(asked).map_err(|value| {
        let fault = FieldError::not_supported(&Path::new("fieldValidation"), value, &["", "Ignore", "Strict", "Warn"]);
        Status::invalid("meta.k8s.io", "CreateOptions", "", &[fault])
    })?;
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::of_content_type(content_type)?;
    let bytes = body.collect().await.map_err(|_| Status::bad_request("the request's body could not be read"))?;
    let (api_version, kind) = of(&context.info);
    let expected = Expected::new(&api_version, kind);
    let object = decode::object(&bytes.to_bytes(), format, &expected, validation, &context.warnings)?;
    let mut options = json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"});
    if query.iter().any(|(key, value)| key == "dryRun" && value == "All") {
        options["dryRun"] = json!(["All"]);
    }
    Ok((context, object, options))
}
