//! Metrics of admission webhooks.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::{Half, text};
use crate::admission::Operation;
use crate::admission::matching::operation_name;
use crate::metrics::{Histograms, Named};

const SECONDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Greater codes are told as this one: webhooks must not fill the memory.
const CODE_MAX: u16 = 600;

/// A webhook in one of its two roles.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpenLabels {
    name: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    #[prometheus(flatten)]
    webhook: OpenLabels,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    #[prometheus(flatten)]
    call: CallLabels,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabels {
    #[prometheus(flatten)]
    webhook: OpenLabels,
    operation: &'static str,
    error_type: &'static str,
    rejection_code: u16,
}

/// What came of a webhook's call.
pub(in crate::admission) enum Called {
    /// It let the object in.
    Accepted,
    /// It refused, with that code.
    Refused(u16),
    /// It could not be called, or answered nonsense; the code tells how.
    Failed(u16),
    /// It must not be called.
    Forbidden,
}

#[derive(Clone)]
pub(in crate::admission) struct WebhookMetrics {
    durations: Histograms<CallLabels>,
    requests: Family<CodeLabels, Counter>,
    rejections: Family<RejectionLabels, Counter>,
    failed_open: Family<OpenLabels, Counter>,
}

impl WebhookMetrics {
    pub(super) fn new(named: &mut Named<'_>) -> Self {
        Self {
            durations: named.histograms(
                "webhook_admission_duration_seconds",
                "How long an admission webhook took",
                || Histogram::new(SECONDS),
            ),
            requests: named.counters("webhook_request", "Calls of admission webhooks by code"),
            rejections: named.counters("webhook_rejection_count", "Refusals by admission webhooks"),
            failed_open: named
                .counters("webhook_fail_open_count", "Failures of admission webhooks that let the request in"),
        }
    }

    pub(in crate::admission) fn called(
        &self,
        name: &str,
        half: Half,
        operation: Operation,
        ignores_failures: bool,
        outcome: &Called,
        took: Duration,
    ) {
        let webhook = OpenLabels { name: name.into(), r#type: half.of_webhook() };
        let operation = operation_name(operation);
        let rejected = match outcome {
            Called::Accepted => false,
            Called::Failed(_) => !ignores_failures,
            Called::Refused(_) | Called::Forbidden => true,
        };
        let call = CallLabels { webhook: webhook.clone(), operation, rejected: text(rejected) };
        self.durations.get_or_create(&call).observe(took.as_secs_f64());
        let code = match outcome {
            Called::Accepted => 200,
            Called::Refused(code) | Called::Failed(code) => (*code).min(CODE_MAX),
            Called::Forbidden => 0,
        };
        self.requests.get_or_create(&CodeLabels { call, code }).inc();
        let (error_type, rejection_code) = match outcome {
            Called::Accepted => return,
            Called::Failed(_) if ignores_failures => {
                self.failed_open.get_or_create(&webhook).inc();
                return;
            }
            Called::Failed(_) => ("calling_webhook_error", code),
            Called::Refused(_) => ("no_error", code),
            Called::Forbidden => ("apiserver_internal_error", 0),
        };
        self.rejections.get_or_create(&RejectionLabels { webhook, operation, error_type, rejection_code }).inc();
    }
}
