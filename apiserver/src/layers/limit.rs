//! Nothing unbounded comes in: how large a body may be, and how many requests run at once.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kubewright_api::status::Status;
use tokio::sync::Semaphore;

use super::{Next, Step, Terminated, info_of, is_long_running};
use crate::body::{self, Body};
use crate::request::{Context, SYSTEM_MASTERS};

/// Largest body of a request, in bytes: 3 MiB, as upstream.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Reads the body of every request that is not a connection, up to [`BODY_BYTES_MAX`], before the handlers see it.
#[derive(Clone, Copy, Debug)]
pub struct LimitBody {
    bytes_max: usize,
}

impl Default for LimitBody {
    fn default() -> Self {
        Self { bytes_max: BODY_BYTES_MAX }
    }
}

impl LimitBody {
    fn too_large(self) -> Response<Body> {
        body::status(&Status::too_large(&format!("limit is {}", self.bytes_max)))
    }
}

#[async_trait]
impl Step for LimitBody {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let connects = request.extensions().get::<Context>().is_some_and(|context| is_long_running(&context.info));
        if connects || matches!(*request.method(), Method::GET | Method::HEAD) {
            return next(request).await;
        }
        let (parts, body) = request.into_parts();
        let length = parts.headers.get(http::header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()).and_then(|value| value.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.bytes_max as u64) {
            return self.too_large();
        }
        match read(body, self.bytes_max).await {
            Ok(bytes) => next(Request::from_parts(parts, body::full(bytes))).await,
            Err(Unread::TooLarge) => self.too_large(),
            Err(Unread::Broken) => body::status(&Status::bad_request("the request's body could not be read")),
        }
    }
}

enum Unread {
    TooLarge,
    Broken,
}

async fn read(mut body: Body, bytes_max: usize) -> Result<Bytes, Unread> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unread::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(Unread::TooLarge);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes.freeze())
}

/// At most so many requests at once, counted apart for those that change something; long-running ones don't count, and
/// `system:masters` are always served.
#[derive(Clone, Debug)]
pub struct LimitInFlight {
    reading: Arc<Semaphore>,
    mutating: Arc<Semaphore>,
}

impl Default for LimitInFlight {
    fn default() -> Self {
        Self::new(400, 200)
    }
}

impl LimitInFlight {
    /// At most so many that read and so many that change something. Upstream's defaults are 400 and 200.
    #[must_use]
    pub fn new(reading_max: usize, mutating_max: usize) -> Self {
        Self { reading: Arc::new(Semaphore::new(reading_max)), mutating: Arc::new(Semaphore::new(mutating_max)) }
    }
}

#[async_trait]
impl Step for LimitInFlight {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let info = info_of(&request);
        if is_long_running(&info) {
            return next(request).await;
        }
        let reads = matches!(info.verb.as_str(), "get" | "list" | "head");
        let slots = if reads { &self.reading } else { &self.mutating };
        let Ok(_slot) = slots.try_acquire() else {
            // Whoever may do anything must be able to put an end to a crowd.
            if request.extensions().get::<Context>().is_some_and(|context| context.user.in_group(SYSTEM_MASTERS)) {
                return next(request).await;
            }
            let message = "Too many requests, please try again later.";
            let mut refused = body::status(&Status::too_many_requests(message, 1));
            refused.extensions_mut().insert(Terminated);
            return refused;
        };
        next(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Next {
        Box::new(|_| Box::pin(async { Response::new(body::empty()) }))
    }

    fn post(bytes: usize) -> Request<Body> {
        Request::post("/api/v1/namespaces").body(body::full(vec![b'x'; bytes])).unwrap()
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let limit = LimitBody { bytes_max: 10 };
        assert_eq!(limit.call(post(10), answer()).await.status(), 200);
        let refused = limit.call(post(11), answer()).await;
        assert_eq!(refused.status(), 413);
        let text = refused.into_body().collect().await.unwrap().to_bytes();
        let status: Status = serde_json::from_slice(&text).unwrap();
        assert_eq!(status.message, "Request entity too large: limit is 10");
    }

    #[tokio::test]
    async fn one_too_many_is_told_to_come_back() {
        let limit = LimitInFlight::new(1, 0);
        assert_eq!(limit.call(Request::get("/version").body(body::empty()).unwrap(), answer()).await.status(), 200);
        let refused = limit.call(post(0), answer()).await;
        assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
        let mut master = post(0);
        let info = crate::request::RequestInfo::parse(&Method::POST, "/api/v1/namespaces", None);
        let context = Context::new(crate::request::User::admin(), info, jiff::Timestamp::UNIX_EPOCH);
        master.extensions_mut().insert(context);
        assert_eq!(limit.call(master, answer()).await.status(), 200);
        let watch = Request::get("/api/v1/pods?watch=1").body(body::empty()).unwrap();
        assert_eq!(LimitInFlight::new(0, 0).call(watch, answer()).await.status(), 200);
    }
}
