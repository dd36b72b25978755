//! A webhook that decides who may do what: a `SubjectAccessReview` is posted to it, and its answer remembered for a
//! while.

mod conditions;
mod review;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(super) use conditions::MatchConditions;
pub(crate) use review::spec_of;

use super::config::{AuthorizationWebhookConfig, FailurePolicy};
use super::metrics::AuthzMetrics;
use super::{Attributes, Authorizer, Decision};
use crate::environment::Environment;
use crate::remote::{Remote, Reviewer};
use crate::ttl_cache::TtlCache;

/// Most answers that are remembered.
const ANSWERS_MAX: usize = 8192;
/// Of a request whose attributes are larger than this together, in bytes, nothing is remembered.
const ATTRIBUTES_BYTES_MAX: usize = 10_000;

/// Asks a webhook who may do what.
pub struct AuthorizationWebhook {
    config: AuthorizationWebhookConfig,
    reviewer: Reviewer,
    environment: Arc<dyn Environment>,
    metrics: AuthzMetrics,
    /// By a hash of the question.
    answers: TtlCache<[u8; 32], Decision>,
}

impl fmt::Debug for AuthorizationWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuthorizationWebhook").field(&self.config.name).finish()
    }
}

impl AuthorizationWebhook {
    pub(super) fn new(
        config: AuthorizationWebhookConfig,
        remote: Arc<dyn Remote>,
        environment: Arc<dyn Environment>,
        metrics: AuthzMetrics,
    ) -> Self {
        let reviewer = Reviewer { remote, kubeconfig: config.kubeconfig.clone(), timeout: config.timeout };
        Self { config, reviewer, environment, metrics, answers: TtlCache::new(ANSWERS_MAX) }
    }

    fn failed(&self) -> Decision {
        match self.config.failure_policy {
            FailurePolicy::NoOpinion => Decision::NoOpinion(String::new()),
            FailurePolicy::Deny => Decision::Deny(String::new()),
        }
    }

    async fn ask(&self, spec: Value, attributes: &Attributes) -> Decision {
        let version = if self.config.v1beta1 { "v1beta1" } else { "v1" };
        let question = spec.to_string();
        let review = json!({
            "apiVersion": format!("authorization.k8s.io/{version}"),
            "kind": "SubjectAccessReview",
            "metadata": {},
            "spec": review::in_version(spec, self.config.v1beta1),
        });
        let key: [u8; 32] = Sha256::digest(question).into();
        if let Some(known) = self.answers.get(&key, self.environment.now()) {
            return known;
        }
        let (name, started) = (&self.config.name, Instant::now());
        let outcome = self.reviewer.post(&review).await;
        let result = match &outcome {
            Ok(_) => "success",
            Err(error) if error.timed_out => "timeout",
            Err(_) => "error",
        };
        self.metrics.webhook_answered(name, result, started.elapsed());
        let decision = match outcome {
            Ok(answer) => review::read(&answer["status"]),
            Err(error) => {
                tracing::warn!(webhook = name, %error, "the authorization webhook gave no answer");
                if self.config.failure_policy == FailurePolicy::NoOpinion {
                    self.metrics.webhook_failed_open(name, result);
                }
                return self.failed();
            }
        };
        if bytes(attributes) < ATTRIBUTES_BYTES_MAX {
            let allowed = decision.is_allowed();
            let ttl = if allowed { self.config.authorized_ttl } else { self.config.unauthorized_ttl };
            self.answers.put(key, decision.clone(), self.environment.now(), ttl);
        }
        decision
    }
}

/// How large the part of a question is that the one who asks decides on.
fn bytes(a: &Attributes) -> usize {
    let texts = [&a.namespace, &a.verb, &a.group, &a.version, &a.resource, &a.subresource, &a.name, &a.path];
    texts.into_iter().map(String::len).sum()
}

#[async_trait]
impl Authorizer for AuthorizationWebhook {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let spec = spec_of(attributes);
        let started = Instant::now();
        let matches = self.config.conditions.judge(&spec);
        if !self.config.conditions.is_empty() {
            self.metrics.conditions_judged(&self.config.name, &matches, started.elapsed());
        }
        match matches {
            Ok(true) => self.ask(spec, attributes).await,
            Ok(false) => Decision::NoOpinion(String::new()),
            Err(reason) => {
                tracing::warn!(webhook = self.config.name, reason, "match conditions failed");
                self.failed()
            }
        }
    }

    fn cannot_list_rules(&self, _: &crate::request::User) -> Vec<String> {
        vec!["webhook authorizer does not support user rule resolution".into()]
    }
}
