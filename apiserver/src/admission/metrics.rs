//! What is measured of admission, under upstream's names.

mod pod_security;
mod policies;
mod webhooks;

pub(super) use pod_security::{Evaluation, PodSecurityMetrics};
pub(super) use policies::{Enforcement, ErrorType, POLICY, WEBHOOK};
pub(super) use webhooks::Called;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kubewright_api::status::Status;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::matching::operation_name;
use super::{Admission, AdmissionAttributes, Operation};
use crate::metrics::{Histograms, Named};
use policies::PolicyMetrics;
use webhooks::WebhookMetrics;

const SECONDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];

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
    #[prometheus(flatten)]
    step: StepLabels,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

/// The metrics of admission. Clones share them; they are shown once registered.
#[derive(Clone)]
pub struct AdmissionMetrics {
    plugins: Histograms<PluginLabels>,
    steps: Histograms<StepLabels>,
    webhooks: WebhookMetrics,
    policies: PolicyMetrics,
    pod_security: PodSecurityMetrics,
}

impl fmt::Debug for AdmissionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdmissionMetrics")
    }
}

impl Default for AdmissionMetrics {
    fn default() -> Self {
        Self::new(&mut Registry::default())
    }
}

const fn text(rejected: bool) -> &'static str {
    if rejected { "true" } else { "false" }
}

impl AdmissionMetrics {
    /// Metrics that this registry shows.
    pub fn new(registry: &mut Registry) -> Self {
        let mut named = Named::new(registry, "apiserver_admission_");
        let seconds = || Histogram::new(SECONDS);
        let plugins = "controller_admission_duration_seconds";
        Self {
            plugins: named.histograms(plugins, "How long an admission plugin took", seconds),
            steps: named.histograms("step_admission_duration_seconds", "How long all plugins took together", seconds),
            webhooks: WebhookMetrics::new(&mut named),
            policies: PolicyMetrics::new(registry),
            pod_security: PodSecurityMetrics::new(registry),
        }
    }

    /// That plugin, measured.
    #[must_use]
    pub fn measured(&self, inner: Arc<dyn Admission>) -> Arc<dyn Admission> {
        let plugins = self.plugins.clone();
        let name = inner.name();
        let observe = move |step| plugins.get_or_create(&PluginLabels { name, step }).clone();
        Arc::new(Measured { inner, histogram: Box::new(observe), known: Default::default() })
    }

    /// Those plugins as one, measured together.
    #[must_use]
    pub(crate) fn together(&self, plugins: Vec<Arc<dyn Admission>>) -> Arc<dyn Admission> {
        let steps = self.steps.clone();
        let observe = move |step| steps.get_or_create(&step).clone();
        Arc::new(Measured { inner: Arc::new(All(plugins)), histogram: Box::new(observe), known: Default::default() })
    }

    pub(super) const fn webhooks(&self) -> &WebhookMetrics {
        &self.webhooks
    }

    pub(super) const fn pod_security(&self) -> &PodSecurityMetrics {
        &self.pod_security
    }

    pub(super) const fn policies(&self) -> &PolicyMetrics {
        &self.policies
    }
}

/// All plugins as one.
struct All(Vec<Arc<dyn Admission>>);

#[async_trait]
impl Admission for All {
    fn name(&self) -> &'static str {
        "all"
    }

    fn handles(&self, _: &AdmissionAttributes<'_>) -> bool {
        true
    }

    async fn admit(&self, attributes: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        super::admit(&self.0, attributes).await
    }

    async fn validate(&self, attributes: &AdmissionAttributes<'_>) -> Result<(), Status> {
        super::validate(&self.0, attributes).await
    }
}

/// A plugin whose time is taken.
struct Measured {
    inner: Arc<dyn Admission>,
    histogram: Box<dyn Fn(StepLabels) -> Histogram + Send + Sync>,
    /// By half, operation and outcome: looked up once.
    known: [OnceLock<Histogram>; 16],
}

impl Measured {
    fn observe(&self, half: Half, operation: Operation, rejected: bool, took: Duration) {
        let at = (half as usize) * 8 + (operation as usize) * 2 + usize::from(rejected);
        let histogram = self.known[at].get_or_init(|| {
            let operation = operation_name(operation);
            (self.histogram)(StepLabels { r#type: half.of_plugin(), operation, rejected: text(rejected) })
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
