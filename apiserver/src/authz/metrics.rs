//! What is measured of authorization, under upstream's names.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::Decision;
use crate::metrics::{Histograms, Named};

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

/// The metrics of authorization. Clones share them; they are shown once registered.
#[derive(Clone)]
pub struct AuthzMetrics {
    attempts: Family<ResultLabels, Counter>,
    durations: Histograms<ResultLabels>,
    decisions: Family<DecisionLabels, Counter>,
    webhooks: Family<WebhookLabels, Counter>,
    webhook_durations: Histograms<WebhookLabels>,
    failed_open: Family<WebhookLabels, Counter>,
    condition_durations: Histograms<ConditionLabels>,
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
        Self::new(&mut Registry::default())
    }
}

impl AuthzMetrics {
    /// Metrics that this registry shows.
    pub fn new(registry: &mut Registry) -> Self {
        let mut all = Named::new(registry, "authorization_");
        let attempts = all.counters("attempts", "Authorization attempts by result");
        let durations = all.histograms("duration_seconds", "How long authorization took", || {
            Histogram::new(exponential_buckets(0.001, 2.0, 15))
        });
        let mut named = Named::new(registry, "apiserver_authorization_");
        let webhook_durations = || Histogram::new(WEBHOOK_SECONDS);
        let condition_durations = || Histogram::new(CONDITION_SECONDS);
        Self {
            attempts,
            durations,
            decisions: named.counters("decisions", "Decisions that ended the chain, by the authorizer that made them"),
            webhooks: named.counters("webhook_evaluations", "Round trips to authorization webhooks"),
            webhook_durations: named.histograms(
                "webhook_duration_seconds",
                "Duration of round trips to authorization webhooks",
                webhook_durations,
            ),
            failed_open: named.counters(
                "webhook_evaluations_fail_open",
                "Failures of authorization webhooks after which others decided",
            ),
            condition_durations: named.histograms(
                "match_condition_evaluation_seconds",
                "How long match conditions took",
                condition_durations,
            ),
            condition_errors: named.counters("match_condition_evaluation_errors", "Match conditions that failed"),
            condition_exclusions: named
                .counters("match_condition_exclusions", "Requests that match conditions kept from a webhook"),
        }
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
