//! The outermost step: no panic ends a connection, no request lasts too long, no stream outlives the server.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use kubewright_api::status::Status;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Metrics, Next, Step, deadline, is_long_running};
use crate::body::{self, Body, BoxError};
use crate::environment::{self, Environment};
use crate::request::RequestInfo;

/// How long a request may take that is not long-running.
const REQUEST_SECONDS_MAX: u64 = 60;

/// The step.
pub struct Protect {
    timeout: Duration,
    draining: CancellationToken,
    environment: Arc<dyn Environment>,
    metrics: Option<Metrics>,
}

impl std::fmt::Debug for Protect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protect").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Protect {
    /// Ends the streams of long-running requests once `draining` is cancelled.
    #[must_use]
    pub fn new(draining: CancellationToken, environment: Arc<dyn Environment>) -> Self {
        Self { timeout: Duration::from_secs(REQUEST_SECONDS_MAX), draining, environment, metrics: None }
    }

    /// Counts what was not answered in time into these metrics.
    #[must_use]
    pub fn measured(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// What is left of a request to count it by when the request is gone.
    fn shadow(&self, request: &Request<Body>, info: &RequestInfo) -> Option<Request<Body>> {
        self.metrics.as_ref().filter(|_| !is_long_running(info))?;
        let mut shadow = Request::new(body::empty());
        shadow.method_mut().clone_from(request.method());
        shadow.uri_mut().clone_from(request.uri());
        if let Some(kind) = request.headers().get(CONTENT_TYPE) {
            shadow.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        Some(shadow)
    }
}

#[async_trait]
impl Step for Protect {
    async fn call(&self, mut request: Request<Body>, next: Next) -> Response<Body> {
        let info = RequestInfo::parse(request.method(), request.uri().path(), request.uri().query());
        let info = Arc::new(info);
        // Whatever was there before: it is what this request says that counts.
        request.extensions_mut().insert(Arc::clone(&info));
        let shadow = self.shadow(&request, &info);
        let timeout = deadline::of(request.uri().query(), self.timeout);
        if !is_long_running(&info) {
            request.extensions_mut().insert(deadline::Allotted(timeout));
        }
        let answer = AssertUnwindSafe(next(request)).catch_unwind();
        let outcome =
            if is_long_running(&info) { Ok(answer.await) } else { tokio::time::timeout(timeout, answer).await };
        let mut response = match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => {
                tracing::error!(path = info.path, verb = info.verb, "a handler panicked");
                let why = "This request caused apiserver to panic. Look in the logs for details.";
                body::status(&Status::failure(500, "InternalError", why))
            }
            Err(_) => {
                if let (Some(metrics), Some(shadow)) = (&self.metrics, &shadow) {
                    metrics.timed_out(shadow, &info);
                }
                let why = "request did not complete within the allotted timeout";
                body::status(&Status::timeout(why, 0))
            }
        };
        if is_long_running(&info) {
            let ended = self.draining.clone().cancelled_owned();
            response = response.map(|inner| UntilDrained { inner, ended: Box::pin(ended) }.boxed_unsync());
        }
        let headers = response.headers_mut();
        let cache = http::header::CACHE_CONTROL;
        headers.entry(cache).or_insert(HeaderValue::from_static("no-cache, private"));
        if !headers.contains_key("audit-id")
            && let Ok(id) = environment::new_uid(&*self.environment).try_into()
        {
            headers.insert("audit-id", id);
        }
        response
    }
}

/// A body that ends, as if complete, when the server drains.
struct UntilDrained {
    inner: Body,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl HttpBody for UntilDrained {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending => self.ended.as_mut().poll(cx).map(|()| None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::SystemEnvironment;

    fn protect(draining: &CancellationToken) -> Protect {
        Protect::new(draining.clone(), Arc::new(SystemEnvironment))
    }

    fn get(uri: &str) -> Request<Body> {
        Request::get(uri).body(body::empty()).unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_a_500() {
        let next: Next = Box::new(|_| Box::pin(async { panic!("a test's panic") }));
        let response = protect(&CancellationToken::new()).call(get("/version"), next).await;
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key("audit-id"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_a_504() {
        let never = || -> Next { Box::new(|_| Box::pin(std::future::pending())) };
        let metrics = Metrics::default();
        let protect = protect(&CancellationToken::new()).measured(metrics.clone());
        let response = protect.call(get("/api/v1/pods"), never()).await;
        assert_eq!(response.status(), 504);
        let line = "apiserver_request_terminations_total{code=\"504\",verb=\"LIST\",group=\"\",version=\"v1\",\
            resource=\"pods\",subresource=\"\",scope=\"cluster\",component=\"apiserver\"} 1";
        assert!(metrics.render().lines().any(|found| found == line));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_wait_for_less() {
        let never: Next = Box::new(|_| Box::pin(std::future::pending()));
        let start = tokio::time::Instant::now();
        let response = protect(&CancellationToken::new()).call(get("/version?timeout=2s"), never).await;
        assert_eq!((response.status().as_u16(), start.elapsed()), (504, Duration::from_secs(2)));
    }

    #[tokio::test]
    async fn what_a_request_has_is_told_to_those_within() {
        for (uri, expected) in [
            ("/version?timeout=2s", Some(2)),
            ("/version", Some(REQUEST_SECONDS_MAX)),
            ("/api/v1/pods?watch=1&timeout=2s", None),
        ] {
            let next: Next = Box::new(move |request| {
                let allotted = request.extensions().get::<deadline::Allotted>().map(|allotted| allotted.0.as_secs());
                assert_eq!(allotted, expected, "{uri}");
                Box::pin(async { Response::new(body::empty()) })
            });
            assert_eq!(protect(&CancellationToken::new()).call(get(uri), next).await.status(), 200, "{uri}");
        }
    }

    #[tokio::test]
    async fn watches_end_when_the_server_drains() {
        let draining = CancellationToken::new();
        let next: Next = Box::new(|_| {
            Box::pin(async {
                let stream = futures::stream::pending::<Result<Frame<Bytes>, BoxError>>();
                Response::new(http_body_util::StreamBody::new(stream).boxed_unsync())
            })
        });
        let response = protect(&draining).call(get("/api/v1/pods?watch=1"), next).await;
        draining.cancel();
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
}
