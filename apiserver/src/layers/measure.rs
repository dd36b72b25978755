//! Counts, times and sizes of requests, under upstream's metric names.

mod families;
mod labels;

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use prometheus_client::metrics::histogram::Histogram;

pub use families::Metrics;
pub(crate) use families::WatchMeter;

use super::{Next, Step, Terminated, info_of, is_long_running};
use crate::body::{Body, BoxError};
use crate::metrics::Count;
use crate::request::Warnings;

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

/// Takes itself off a gauge when dropped, also when the request is given up.
struct Running(Count);

impl Running {
    fn start(gauge: Count) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[async_trait]
impl Step for Measure {
    async fn call(&self, mut request: Request<Body>, next: Next) -> Response<Body> {
        let info = info_of(&request);
        let series = self.metrics.series(&request, &info);
        let long_running = is_long_running(&info);
        let running = match &series.long_running {
            Some(gauge) if long_running => Running::start(gauge.clone()),
            _ => {
                let reads = matches!(info.verb.as_str(), "get" | "list" | "head");
                Running::start(self.metrics.in_flight(if reads { "readOnly" } else { "mutating" }))
            }
        };
        // What is noted on the way is read here when the answer comes back.
        let notes = Warnings::default();
        request.extensions_mut().insert(notes.clone());
        if let Some(meter) = &series.watch {
            request.extensions_mut().insert(meter.clone());
        }
        let started = Instant::now();
        let response = next(request).await;
        series.took(started.elapsed(), notes.waited());
        self.metrics.answered(&series, response.status().as_u16());
        if response.extensions().get::<Terminated>().is_some() {
            self.metrics.terminated(&series, response.status().as_u16());
        }
        if notes.is_deprecated() {
            self.metrics.deprecated(&series);
        }
        // What is long-running runs until its body ends, and how large a list is shows while it is sent.
        let size = series.size.clone();
        if !long_running && size.is_none() {
            return response;
        }
        let running = long_running.then_some(running);
        response.map(|inner| Measured { inner, bytes: 0, size, _running: running }.boxed_unsync())
    }
}

/// A body whose size is told when it ends.
struct Measured {
    inner: Body,
    bytes: usize,
    size: Option<Histogram>,
    _running: Option<Running>,
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.bytes += frame.data_ref().map_or(0, Bytes::len);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Measured {
    #[allow(clippy::cast_precision_loss, reason = "sizes need no last byte")]
    fn drop(&mut self) {
        if let Some(size) = &self.size {
            size.observe(self.bytes as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;

    async fn ask(metrics: &Metrics, uri: &str, then: impl Fn(&Request<Body>) + Send + 'static) {
        let answer: Next = Box::new(move |request| {
            then(&request);
            Box::pin(async { Response::new(body::full("12345")) })
        });
        let request = Request::get(uri).body(body::empty()).unwrap();
        let response = Measure::new(metrics.clone()).call(request, answer).await;
        response.into_body().collect().await.unwrap();
    }

    #[tokio::test]
    async fn requests_are_counted_under_upstreams_names() {
        let metrics = Metrics::default();
        for uri in ["/api/v1/namespaces/a/pods", "/api/v1/namespaces/a/nonsense", "/nonsense"] {
            ask(&metrics, uri, |_| {}).await;
        }
        ask(&metrics, "/api/v1/namespaces/a/endpoints/b", |request| {
            let notes = request.extensions().get::<Warnings>().unwrap();
            notes.deprecated("it is old");
            notes.waited_for(std::time::Duration::from_secs(3600));
        })
        .await;
        ask(&metrics, "/api/v1/pods?watch=true", |request| {
            request.extensions().get::<WatchMeter>().unwrap().sent(2000)
        })
        .await;
        let text = metrics.render();
        for line in [
            "apiserver_request_total{code=\"200\",dry_run=\"\",verb=\"LIST\",group=\"\",version=\"v1\",resource=\"pods\",\
             subresource=\"\",scope=\"namespace\",component=\"apiserver\"} 1",
            "apiserver_response_sizes_sum{verb=\"LIST\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",\
             scope=\"namespace\",component=\"apiserver\"} 5.0",
            "apiserver_requested_deprecated_apis{group=\"\",version=\"v1\",resource=\"endpoints\",subresource=\"\",\
             removed_release=\"\"} 1",
            "apiserver_request_sli_duration_seconds_sum{verb=\"GET\",group=\"\",version=\"v1\",resource=\"endpoints\",\
             subresource=\"\",scope=\"resource\",component=\"apiserver\"} 0.0",
            "apiserver_watch_events_total{group=\"\",version=\"v1\",resource=\"pods\"} 1",
            "apiserver_watch_events_sizes_sum{group=\"\",version=\"v1\",resource=\"pods\"} 2000.0",
            "apiserver_longrunning_requests{verb=\"WATCH\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",\
             scope=\"cluster\",component=\"apiserver\"} 0",
            "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("nonsense"));
    }
}
