//! Calls of other servers, with the trace's context in their headers.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

use super::*;
use crate::remote::{Remote, RemoteError, Target};

/// A way to other servers that takes the trace along.
pub(crate) struct TracedRemote {
    inner: Arc<dyn Remote>,
    traces: Traces,
}

impl TracedRemote {
    pub(crate) fn new(inner: Arc<dyn Remote>, traces: Traces) -> Self {
        Self { inner, traces }
    }
}

#[async_trait]
impl Remote for TracedRemote {
    async fn send(&self, target: &Target, mut request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        let method = request.method().to_string();
        let attributes = vec![
            KeyValue::new("http.method", method.clone()),
            KeyValue::new("http.url", target.url.to_string()),
            KeyValue::new("net.peer.name", target.url.host().unwrap_or_default().to_owned()),
        ];
        let span = self.traces.child(|| format!("HTTP {method}"), SpanKind::Client, attributes);
        // Also a trace that is not sampled is one.
        if let Some(context) = span.clone().or_else(|| CURRENT.try_with(|(_, span)| span.clone()).ok()) {
            self.traces.propagator.inject_context(&context, &mut Headers(request.headers_mut()));
        }
        let outcome = self.inner.send(target, request).await;
        if let (Some(span), Ok(answer)) = (&span, &outcome) {
            span.span().set_attribute(KeyValue::new("http.status_code", i64::from(answer.status().as_u16())));
        }
        end(span, outcome.as_ref().err().map(ToString::to_string));
        outcome
    }
}
