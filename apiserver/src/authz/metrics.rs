//! What is measured of authorization, under upstream's names.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::Decision;

const WEBHOOK_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const CONDITION_SECONDS: [f64; 7] = [0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    name: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    r#type: &'static str,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    r#type: &'static str,
    name: String,
    decision: &'static str,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// The metrics of authorization. Clones share them; they are shown once registered.
#[derive(Clone)]
pub struct AuthzMetrics {
    attempts: Family<ResultLabels, Counter>,
    durations: Durations<ResultLabels>,
    decisions: Family<DecisionLabels, Counter>,
    webhooks: Family<WebhookLabels, Counter>,
    webhook_durations: Durations<WebhookLabels>,
    failed_open: Family<WebhookLabels, Counter>,
    condition_durations: Durations<ConditionLabels>,
    condition_errors: Family<ConditionLabels, Counter>,
    condition_exclusions: Family<ConditionLabels, Counter>,
}

impl fmt::Debug for AuthzMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthzMetrics")
    }
}

impl Default for AuthzMetrics {
    fn default() -> Self {
        let durations: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let webhooks: fn() -> Histogram = || Histogram::new(WEBHOOK_SECONDS);
        let conditions: fn() -> Histogram = || Histogram::new(CONDITION_SECONDS);
        Self {
            attempts: Family::default(),
            durations: Family::new_with_constructor(durations),
            decisions: Family::default(),
            webhooks: Family::default(),
            webhook_durations: Family::new_with_constructor(webhooks),
            failed_open: Family::default(),
            condition_durations: Family::new_with_constructor(conditions),
            condition_errors: Family::default(),
            condition_exclusions: Family::default(),
        }
    }
}

impl AuthzMetrics {
    /// Metrics that this registry shows.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = &metrics;
        registry.register("authorization_attempts", "Authorization attempts by result", m.attempts.clone());
        registry.register("authorization_duration_seconds", "How long authorization took", m.durations.clone());
        registry.register(
            "apiserver_authorization_decisions",
            "Decisions that ended the chain, by the authorizer that made them",
            m.decisions.clone(),
        );
        let name = |rest: &str| format!("apiserver_authorization_{rest}");
        registry.register(name("webhook_evaluations"), "Round trips to authorization webhooks", m.webhooks.clone());
        registry.register(
            name("webhook_duration_seconds"),
            "Duration of round trips to authorization webhooks",
            m.webhook_durations.clone(),
        );
        registry.register(
            name("webhook_evaluations_fail_open"),
            "Failures of authorization webhooks after which others decided",
            m.failed_open.clone(),
        );
        registry.register(
            name("match_condition_evaluation_seconds"),
            "How long match conditions took",
            m.condition_durations.clone(),
        );
        registry.register(
            name("match_condition_evaluation_errors"),
            "Match conditions that failed",
            m.condition_errors.clone(),
        );
        registry.register(
            name("match_condition_exclusions"),
            "Requests that match conditions kept from a webhook",
            m.condition_exclusions.clone(),
        );
        metrics
    }

    /// A request was authorized or not.
    pub(crate) fn attempted(&self, decision: &Decision, took: Duration) {
        let result = match decision {
            Decision::Allow(_) => "allowed",
            Decision::Deny(_) => "denied",
            Decision::NoOpinion(_) => "no-opinion",
        };
        let labels = ResultLabels { result };
        self.attempts.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(super) fn decided(&self, kind: &'static str, name: &str, decision: &Decision) {
        let decision = match decision {
            Decision::Allow(_) => "allowed",
            Decision::Deny(_) => "denied",
            Decision::NoOpinion(_) => return,
        };
        self.decisions.get_or_create(&DecisionLabels { r#type: kind, name: name.into(), decision }).inc();
    }

    pub(super) fn webhook_answered(&self, name: &str, result: &'static str, took: Duration) {
        let labels = WebhookLabels { name: name.into(), result };
        self.webhooks.get_or_create(&labels).inc();
        self.webhook_durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(super) fn webhook_failed_open(&self, name: &str, result: &'static str) {
        self.failed_open.get_or_create(&WebhookLabels { name: name.into(), result }).inc();
    }

    pub(super) fn conditions_judged(&self, name: &str, outcome: &Result<bool, String>, took: Duration) {
        let labels = ConditionLabels { r#type: "Webhook", name: name.into() };
        self.condition_durations.get_or_create(&labels).observe(took.as_secs_f64());
        match outcome {
            Ok(true) => {}
            Ok(false) => {
                self.condition_exclusions.get_or_create(&labels).inc();
            }
            Err(_) => {
                self.condition_errors.get_or_create(&labels).inc();
            }
        }
    }
}
