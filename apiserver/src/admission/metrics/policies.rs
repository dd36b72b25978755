//! Metrics of admission policies, and of the conditions of policies and webhooks.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Half;
use crate::admission::Operation;
use crate::admission::conditions::{Judged, Outcome};
use crate::admission::matching::operation_name;
use crate::metrics::{Histograms, Named};

const CHECK_SECONDS: [f64; 5] = [0.000_000_5, 0.001, 0.01, 0.1, 1.0];
const CONDITION_SECONDS: [f64; 7] = [0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25];

/// The word for a policy that has conditions.
pub(in crate::admission) const POLICY: &str = "policy";
/// The word for a webhook that has conditions.
pub(in crate::admission) const WEBHOOK: &str = "webhook";

/// What was wrong with an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum ErrorType {
    /// Nothing.
    None,
    /// It makes no sense.
    Compile,
    /// It cost too much.
    Budget,
    /// It gave none, or nothing that could be used.
    Invalid,
}

impl ErrorType {
    /// What that error's text tells; also that a rule was just not kept is invalid, as upstream has it.
    pub(in crate::admission) fn of(error: &str) -> Self {
        match error {
            error if error.starts_with("compilation") => Self::Compile,
            error if error.contains("actual cost limit exceeded") => Self::Budget,
            _ => Self::Invalid,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::None => "no_error",
            Self::Compile => "compile_error",
            Self::Budget => "out_of_budget",
            Self::Invalid => "invalid_error",
        }
    }
}

/// What was done about a rule of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum Enforcement {
    /// Nothing: its failure is ignored.
    Allow,
    /// The request is refused.
    Deny,
    /// It is noted in the audit log.
    Audit,
    /// The client is warned.
    Warn,
}

impl Enforcement {
    const fn text(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Audit => "audit",
            Self::Warn => "warn",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    policy: String,
    policy_binding: String,
    error_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EnforcedLabels {
    #[prometheus(flatten)]
    check: CheckLabels,
    enforcement_action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    name: String,
    kind: &'static str,
    r#type: &'static str,
    operation: &'static str,
}

#[derive(Clone)]
pub(in crate::admission) struct PolicyMetrics {
    validating: (Family<EnforcedLabels, Counter>, Histograms<EnforcedLabels>),
    mutating: (Family<CheckLabels, Counter>, Histograms<CheckLabels>),
    condition_durations: Histograms<ConditionLabels>,
    condition_errors: Family<ConditionLabels, Counter>,
    condition_exclusions: Family<ConditionLabels, Counter>,
}

impl PolicyMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let seconds = || Histogram::new(CHECK_SECONDS);
        let (checks, took) = ("Checks of policies by what came of them", "How long checks of policies took");
        let mut named = Named::new(registry, "apiserver_validating_admission_policy_");
        let durations = named.histograms("check_duration_seconds", took, seconds);
        let validating = (named.counters("check", checks), durations);
        let mut named = Named::new(registry, "apiserver_mutating_admission_policy_");
        let durations = named.histograms("check_duration_seconds", took, seconds);
        let mutating = (named.counters("check", checks), durations);
        let mut named = Named::new(registry, "apiserver_admission_match_condition_");
        Self {
            validating,
            mutating,
            condition_durations: named.histograms("evaluation_seconds", "How long match conditions took", || {
                Histogram::new(CONDITION_SECONDS)
            }),
            condition_errors: named.counters("evaluation_errors", "Match conditions that failed"),
            condition_exclusions: named.counters("exclusions", "Requests that match conditions kept out"),
        }
    }

    /// A rule of a validating policy was not kept, or could not be.
    pub(in crate::admission) fn validated(
        &self,
        policy: &str,
        binding: &str,
        error: ErrorType,
        enforcement: Enforcement,
        took: Duration,
    ) {
        let check = CheckLabels { policy: policy.into(), policy_binding: binding.into(), error_type: error.text() };
        let labels = EnforcedLabels { check, enforcement_action: enforcement.text() };
        self.validating.0.get_or_create(&labels).inc();
        self.validating.1.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A mutation of a policy was made, or could not be.
    pub(in crate::admission) fn mutated(&self, policy: &str, binding: &str, error: ErrorType, took: Duration) {
        let labels = CheckLabels { policy: policy.into(), policy_binding: binding.into(), error_type: error.text() };
        self.mutating.0.get_or_create(&labels).inc();
        self.mutating.1.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The conditions of a webhook or policy were judged.
    pub(in crate::admission) fn judged(
        &self,
        (kind, name): (&'static str, &str),
        half: Half,
        operation: Operation,
        judged: &Judged,
        took: Duration,
    ) {
        // As upstream, which has one word for policies of both halves.
        let r#type = if kind == POLICY { Half::Validating.of_plugin() } else { half.of_webhook() };
        let labels = ConditionLabels { name: name.into(), kind, r#type, operation: operation_name(operation) };
        self.condition_durations.get_or_create(&labels).observe(took.as_secs_f64());
        if judged.errors > 0 {
            self.condition_errors.get_or_create(&labels).inc_by(judged.errors);
        }
        if kind == WEBHOOK && judged.outcome == Outcome::Skips {
            self.condition_exclusions.get_or_create(&labels).inc();
        }
    }
}
