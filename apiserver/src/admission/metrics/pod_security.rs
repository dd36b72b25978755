//! What is measured of Pod Security, under upstream's names.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::admission::{AdmissionAttributes, Operation};
use crate::metrics::Named;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    request_operation: &'static str,
    resource: &'static str,
    subresource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvaluationLabels {
    decision: &'static str,
    policy_level: String,
    policy_version: String,
    mode: &'static str,
    #[prometheus(flatten)]
    request: RequestLabels,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    fatal: &'static str,
    #[prometheus(flatten)]
    request: RequestLabels,
}

/// One evaluation of one mode.
pub(in crate::admission) struct Evaluation {
    /// `enforce`, `audit` or `warn`.
    pub(in crate::admission) mode: &'static str,
    pub(in crate::admission) level: String,
    /// `latest`, a version, or `future`.
    pub(in crate::admission) version: String,
    pub(in crate::admission) allowed: bool,
}

/// Clones share them.
#[derive(Clone)]
pub(in crate::admission) struct PodSecurityMetrics {
    evaluations: Family<EvaluationLabels, Counter>,
    exemptions: Family<RequestLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
}

fn labels(a: &AdmissionAttributes<'_>) -> RequestLabels {
    let resource = match (a.group, a.resource) {
        ("", "pods") => "pod",
        ("", "namespaces") => "namespace",
        _ => "controller",
    };
    let request_operation = if a.operation == Operation::Create { "create" } else { "update" };
    RequestLabels { request_operation, resource, subresource: a.subresource.to_owned() }
}

impl PodSecurityMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let mut named = Named::new(registry, "pod_security_");
        Self {
            evaluations: named.counters("evaluations", "Policies that requests were held against"),
            exemptions: named.counters("exemptions", "Requests that nobody looks at"),
            errors: named.counters("errors", "Requests that could not be held against their policy as it is meant"),
        }
    }

    pub(in crate::admission) fn evaluated(&self, a: &AdmissionAttributes<'_>, evaluation: Evaluation) {
        let decision = if evaluation.allowed { "allow" } else { "deny" };
        let (policy_level, policy_version) = (evaluation.level, evaluation.version);
        let labels =
            EvaluationLabels { decision, policy_level, policy_version, mode: evaluation.mode, request: labels(a) };
        self.evaluations.get_or_create(&labels).inc();
    }

    pub(in crate::admission) fn exempted(&self, a: &AdmissionAttributes<'_>) {
        self.exemptions.get_or_create(&labels(a)).inc();
    }

    /// `fatal`: so that nothing was held against anything.
    pub(in crate::admission) fn failed(&self, a: &AdmissionAttributes<'_>, fatal: bool) {
        let labels = ErrorLabels { fatal: super::text(fatal), request: labels(a) };
        self.errors.get_or_create(&labels).inc();
    }
}
