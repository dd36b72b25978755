//! At most so many requests run at once.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response};
use kubewright_api::status::Status;
use tokio::sync::Semaphore;

use super::{Next, Step, Terminated, info_of, is_long_running};
use crate::body::{self, Body};
use crate::request::{Context, SYSTEM_MASTERS};

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

    #[tokio::test]
    async fn one_too_many_is_told_to_come_back() {
        let answer = || -> Next { Box::new(|_| Box::pin(async { Response::new(body::empty()) })) };
        let limit = LimitInFlight::new(1, 0);
        assert_eq!(limit.call(Request::get("/version").body(body::empty()).unwrap(), answer()).await.status(), 200);
        let post = || Request::post("/api/v1/namespaces").body(body::empty()).unwrap();
        let refused = limit.call(post(), answer()).await;
        assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
        let mut master = post();
        let context = Context::new(crate::request::User::admin(), info_of(&master), jiff::Timestamp::UNIX_EPOCH);
        master.extensions_mut().insert(context);
        assert_eq!(limit.call(master, answer()).await.status(), 200);
        let watch = Request::get("/api/v1/pods?watch=1").body(body::empty()).unwrap();
        assert_eq!(LimitInFlight::new(0, 0).call(watch, answer()).await.status(), 200);
    }
}
