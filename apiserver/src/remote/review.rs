//! Posting a review (a `TokenReview`, a `SubjectAccessReview`) to a webhook, and reading the answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::Value;

use super::{Kubeconfig, Remote, RemoteError};

/// How often a call is tried that fails in a passing way.
const TRIES: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReviewError {
    /// For the log.
    pub(crate) reason: String,
    /// Whether the time ran out.
    pub(crate) timed_out: bool,
    passing: bool,
}

impl fmt::Display for ReviewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// A webhook that answers reviews.
pub(crate) struct Reviewer {
    pub(crate) remote: Arc<dyn Remote>,
    pub(crate) kubeconfig: Kubeconfig,
    /// How long one try may take.
    pub(crate) timeout: Duration,
}

impl Reviewer {
    /// Posts the review and gives the answer. What fails in a passing way (429, 500, 504) is tried again, ever later.
    pub(crate) async fn post(&self, review: &Value) -> Result<Value, ReviewError> {
        let body = Bytes::from(review.to_string());
        let mut delay = FIRST_DELAY;
        let mut tried = 1;
        loop {
            match self.once(body.clone()).await {
                Err(error) if error.passing && tried < TRIES => tokio::time::sleep(delay).await,
                outcome => return outcome,
            }
            tried += 1;
            delay = delay.mul_f64(1.5);
        }
    }

    async fn once(&self, body: Bytes) -> Result<Value, ReviewError> {
        let failed = |reason: String, passing| ReviewError { reason, timed_out: false, passing };
        let Kubeconfig { target, authorization } = &self.kubeconfig;
        let path = target.url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(body)
            .map_err(|error| failed(error.to_string(), false))?;
        if let Some(authorization) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        let url = &target.url;
        let answer = match tokio::time::timeout(self.timeout, self.remote.send(target, request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error @ RemoteError::Configuration { .. })) => return Err(failed(error.to_string(), false)),
            Ok(Err(error)) => return Err(failed(format!("Post {url:?}: {error}"), false)),
            Err(_) => {
                let reason = format!("Post {url:?}: context deadline exceeded");
                return Err(ReviewError { reason, timed_out: true, passing: false });
            }
        };
        let status = answer.status();
        if !status.is_success() {
            let passing =
                [StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::GATEWAY_TIMEOUT];
            let reason = format!("Post {url:?}: the server answered {status}");
            let timed_out = status == StatusCode::GATEWAY_TIMEOUT;
            return Err(ReviewError { reason, timed_out, passing: passing.contains(&status) });
        }
        let parsed: Result<Value, _> = serde_json::from_slice(answer.body());
        let answer = parsed.map_err(|error| failed(format!("Post {url:?}: the answer is no JSON: {error}"), false))?;
        if !answer["status"].is_object() {
            return Err(failed(format!("Post {url:?}: the answer has no status"), false));
        }
        Ok(answer)
    }
}
