//! One call of one webhook, and what its failure means.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, header};
use kubewright_api::names;
use kubewright_api::status::Status;
use serde_json::Value;

use super::hook::Hook;
use super::review::{self, Verdict};
use crate::admission::AdmissionAttributes;
use crate::admission::AdmissionMetrics;
use crate::admission::matching::Seen;
#[cfg(feature = "traces")]
use crate::admission::matching::operation_name;
use crate::admission::metrics::{Called, Half};
use crate::environment::{self, Environment};
use crate::objects::Objects;
use crate::remote::{self, Credentials, Remote, RemoteError};

/// What webhooks are called with.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) objects: Arc<dyn Objects>,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) remote: Arc<dyn Remote>,
    pub(super) turn: Arc<AtomicUsize>,
    pub(super) metrics: AdmissionMetrics,
    /// What is shown to which webhook.
    pub(super) credentials: Credentials,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}

/// Why a webhook's call counts against the request.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be called, or answered nonsense: the failure policy decides. The code is for metrics.
    Call { why: String, code: u16 },
    /// It must not be called: the request is refused whatever the policy.
    Refused(Status),
}

impl Caller {
    /// Calls it and reads the answer.
    pub(super) async fn call(
        &self,
        hook: &Hook,
        a: &AdmissionAttributes<'_>,
        seen: &Seen,
        mutating: bool,
    ) -> Result<Verdict, Failure> {
        let started = Instant::now();
        let exchange = self.exchange(hook, a, seen, mutating);
        #[cfg(feature = "traces")]
        let exchange = traced(hook, a, mutating, exchange);
        let outcome = exchange.await;
        let half = if mutating { Half::Mutating } else { Half::Validating };
        let called = match &outcome {
            Ok(verdict) if verdict.allowed => Called::Accepted,
            Ok(verdict) => Called::Refused(review::refusal(&hook.name, verdict.status.clone()).code),
            Err(Failure::Call { code, .. }) => Called::Failed(*code),
            Err(Failure::Refused(_)) => Called::Forbidden,
        };
        let took = started.elapsed();
        a.warnings.waited_for(took);
        self.metrics.webhooks().called(&hook.name, half, a.operation, hook.ignores_failures, &called, took);
        outcome
    }

    async fn exchange(
        &self,
        hook: &Hook,
        a: &AdmissionAttributes<'_>,
        seen: &Seen,
        mutating: bool,
    ) -> Result<Verdict, Failure> {
        if a.dry_run && !hook.safe_to_try {
            let why = format!("admission webhook {:?} does not support dry run", hook.name);
            return Err(Failure::Refused(Status::bad_request(why)));
        }
        let uid = environment::new_uid(&*self.environment);
        let Some(version) = review::version(hook) else {
            let why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            return Err(Failure::Call { why: format!("could not create admission objects: {why}"), code: 400 });
        };
        let review = review::ask(a, seen, version, &uid, &*self.objects).await.map_err(Failure::Refused)?;
        let body = Bytes::from(review.to_string());
        let answered = |code: u16, why: String| Failure::Call { why: format!("failed to call webhook: {why}"), code };
        let called = |why: String| answered(503, why);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (mut target, shown) = remote::of_client_config(&hook.client, &*self.objects, turn)
            .map_err(|why| Failure::Call { why: format!("could not get REST client: {why}"), code: 500 })?;
        let path = target.url.path_and_query().map_or("/", |path| path.as_str());
        let joint = if path.contains('?') { '&' } else { '?' };
        let uri = format!("{path}{joint}timeout={}s", hook.timeout.as_secs());
        let shown = format!("{shown}{joint}timeout={}s", hook.timeout.as_secs());
        let request = Request::post(uri).header(header::CONTENT_TYPE, "application/json");
        let request = request.header(header::ACCEPT, "application/json").body(body);
        let mut request = request.map_err(|error| called(error.to_string()))?;
        let host = target.url.host().unwrap_or_default();
        if let Some(credential) = self.credentials.of(host, target.url.port_u16().unwrap_or(443)) {
            if let Some(authorization) = &credential.authorization {
                request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
            }
            target.identity.clone_from(&credential.identity);
        }
        let answer = tokio::time::timeout(hook.timeout, self.remote.send(&target, request)).await;
        let answer = match answer {
            Err(_) => return Err(called(format!("Post {shown:?}: context deadline exceeded"))),
            Ok(Err(RemoteError::Configuration { problem })) => return Err(called(problem)),
            Ok(Err(error)) => return Err(called(format!("Post {shown:?}: {error}"))),
            Ok(Ok(answer)) => answer,
        };
        if !answer.status().is_success() {
            let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
            let why = match body["message"].as_str() {
                Some(message) => message.to_owned(),
                None if answer.status() == 404 => "the server could not find the requested resource".to_owned(),
                None => {
                    format!("an error on the server ({}) has prevented the request from succeeding", answer.status())
                }
            };
            return Err(answered(answer.status().as_u16(), why));
        }
        let verdict = review::read(answer.body(), version, &uid, mutating)
            .map_err(|why| Failure::Call { why: format!("received invalid webhook response: {why}"), code: 503 })?;
        for (key, value) in &verdict.annotations {
            // As in upstream's audit log, whose keys are a name, one slash and a key.
            if key.contains('/') || !names::dns1123_subdomain(&hook.name).is_empty() {
                tracing::warn!(webhook = hook.name, key, "an annotation's key has an invalid format");
                continue;
            }
            a.warnings.annotate(format!("{}/{key}", hook.name), value.clone());
        }
        verdict.warnings.iter().for_each(|warning| a.warnings.add(warning.clone()));
        Ok(verdict)
    }
}

/// A call inside a span, as upstream names it.
#[cfg(feature = "traces")]
async fn traced<T>(hook: &Hook, a: &AdmissionAttributes<'_>, mutating: bool, exchange: impl Future<Output = T>) -> T {
    use opentelemetry::KeyValue;
    let name = if mutating { "Call mutating webhook" } else { "Call validating webhook" };
    let attributes = || {
        vec![
            KeyValue::new("configuration", hook.configuration.clone()),
            KeyValue::new("webhook", hook.name.clone()),
            KeyValue::new("resource", format!("{}/{}, Resource={}", a.group, a.version, a.resource)),
            KeyValue::new("subresource", a.subresource.to_owned()),
            KeyValue::new("operation", operation_name(a.operation)),
        ]
    };
    crate::traces::within(name, attributes, exchange).await
}

/// What clients hear of a call that failed and counts.
pub(super) fn failed_closed(hook: &Hook, why: &str) -> Status {
    Status::internal(format!("failed calling webhook {:?}: {why}", hook.name))
}
