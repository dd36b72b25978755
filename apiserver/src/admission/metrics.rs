//! What is measured of admission plugins and webhooks, under upstream's names.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kubewright_api::status::Status;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::matching::operation_name;
use super::{Admission, AdmissionAttributes, Operation};

const PLUGIN_SECONDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const WEBHOOK_SECONDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

/// Which half of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Mutating,
    Validating,
}

impl Half {
    /// The plugins' word for it.
    const fn of_plugin(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validate",
        }
    }

    /// The webhooks' word for it.
    const fn of_webhook(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validating",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    name: &'static str,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    code: u16,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabels {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    error_type: &'static str,
    rejection_code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpenLabels {
    name: String,
    r#type: &'static str,
}

/// The metrics of admission. Clones share them; they are shown once registered.
#[derive(Clone)]
pub struct AdmissionMetrics {
    plugins: Family<PluginLabels, Histogram, fn() -> Histogram>,
    webhooks: Family<WebhookLabels, Histogram, fn() -> Histogram>,
    requests: Family<CodeLabels, Counter>,
    // Counters that are shown as gauges: upstream's names lack the `_total` that counters end in here.
    rejections: Family<RejectionLabels, Gauge>,
    failed_open: Family<OpenLabels, Gauge>,
}

impl fmt::Debug for AdmissionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdmissionMetrics")
    }
}

impl Default for AdmissionMetrics {
    fn default() -> Self {
        let plugins: fn() -> Histogram = || Histogram::new(PLUGIN_SECONDS);
        let webhooks: fn() -> Histogram = || Histogram::new(WEBHOOK_SECONDS);
        Self {
            plugins: Family::new_with_constructor(plugins),
            webhooks: Family::new_with_constructor(webhooks),
            requests: Family::default(),
            rejections: Family::default(),
            failed_open: Family::default(),
        }
    }
}

/// What came of a webhook's call.
pub(super) enum Called {
    /// It let the object in.
    Accepted,
    /// It refused, with that code.
    Refused(u16),
    /// It could not be called, or answered nonsense.
    Failed,
    /// It must not be called.
    Forbidden(u16),
}

const fn text(rejected: bool) -> &'static str {
    if rejected { "true" } else { "false" }
}

impl AdmissionMetrics {
    /// Metrics that this registry shows.
    pub fn new(registry: &mut Registry) -> Self {
        let m = Self::default();
        let name = |rest: &str| format!("apiserver_admission_{rest}");
        registry.register(
            name("controller_admission_duration_seconds"),
            "How long an admission plugin took",
            m.plugins.clone(),
        );
        registry.register(
            name("webhook_admission_duration_seconds"),
            "How long an admission webhook took",
            m.webhooks.clone(),
        );
        registry.register(name("webhook_request"), "Calls of admission webhooks by code", m.requests.clone());
        registry.register(name("webhook_rejection_count"), "Refusals by admission webhooks", m.rejections.clone());
        registry.register(
            name("webhook_fail_open_count"),
            "Failures of admission webhooks that let the request in",
            m.failed_open.clone(),
        );
        m
    }

    /// That plugin, measured.
    #[must_use]
    pub fn measured(&self, inner: Arc<dyn Admission>) -> Arc<dyn Admission> {
        Arc::new(Measured { inner, metrics: self.clone(), histograms: Default::default() })
    }

    pub(super) fn called(
        &self,
        name: &str,
        half: Half,
        operation: Operation,
        ignores_failures: bool,
        outcome: &Called,
        took: Duration,
    ) {
        let (kind, operation) = (half.of_webhook(), operation_name(operation));
        let rejected = match outcome {
            Called::Accepted => false,
            Called::Failed => !ignores_failures,
            Called::Refused(_) | Called::Forbidden(_) => true,
        };
        let labels = WebhookLabels { name: name.into(), r#type: kind, operation, rejected: text(rejected) };
        self.webhooks.get_or_create(&labels).observe(took.as_secs_f64());
        let code = match outcome {
            Called::Accepted => 200,
            Called::Refused(code) | Called::Forbidden(code) => *code,
            Called::Failed => 500,
        };
        let code = CodeLabels { name: name.into(), r#type: kind, operation, code, rejected: text(rejected) };
        self.requests.get_or_create(&code).inc();
        if matches!(outcome, Called::Failed) && ignores_failures {
            self.failed_open.get_or_create(&OpenLabels { name: name.into(), r#type: kind }).inc();
        }
        let (error_type, rejection_code) = match outcome {
            Called::Accepted => return,
            Called::Failed if ignores_failures => return,
            Called::Failed => ("calling_webhook_error", 0),
            Called::Refused(code) => ("no_error", (*code).min(600)),
            Called::Forbidden(_) => ("apiserver_internal_error", 0),
        };
        let labels = RejectionLabels { name: name.into(), r#type: kind, operation, error_type, rejection_code };
        self.rejections.get_or_create(&labels).inc();
    }
}

/// A plugin whose time is taken.
struct Measured {
    inner: Arc<dyn Admission>,
    metrics: AdmissionMetrics,
    /// By half, operation and outcome: looked up once.
    histograms: [OnceLock<Histogram>; 16],
}

impl Measured {
    fn observe(&self, half: Half, operation: Operation, rejected: bool, took: Duration) {
        let at = (half as usize) * 8 + (operation as usize) * 2 + usize::from(rejected);
        let histogram = self.histograms[at].get_or_init(|| {
            let labels = PluginLabels {
                name: self.inner.name(),
                r#type: half.of_plugin(),
                operation: operation_name(operation),
                rejected: text(rejected),
            };
            self.metrics.plugins.get_or_create(&labels).clone()
        });
        histogram.observe(took.as_secs_f64());
    }
}

#[async_trait]
impl Admission for Measured {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn handles(&self, attributes: &AdmissionAttributes<'_>) -> bool {
        self.inner.handles(attributes)
    }

    async fn admit(&self, attributes: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        let (started, operation) = (Instant::now(), attributes.operation);
        let outcome = self.inner.admit(attributes).await;
        self.observe(Half::Mutating, operation, outcome.is_err(), started.elapsed());
        outcome
    }

    async fn validate(&self, attributes: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let started = Instant::now();
        let outcome = self.inner.validate(attributes).await;
        self.observe(Half::Validating, attributes.operation, outcome.is_err(), started.elapsed());
        outcome
    }
}
