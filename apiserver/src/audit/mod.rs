//! The audit log: who asked for what, when, and what came of it.
//!
//! A [`AuditPolicy`] says at which [`Level`] which requests are logged; the [`AuditRequests`] step makes the events,
//! [`AuditObjects`] adds what was sent; a [`Sink`] takes them, in the background and in batches. A request never waits
//! longer for the log than [`AuditConfig::wait_max`]; events that find no room are counted and lost. Secrets and
//! tokens in objects are masked.

mod event;
mod log;
mod mask;
mod metrics;
mod policy;
mod queue;
mod step;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use event::{Event, Stage};
pub use log::{LogConfig, LogSink};
pub(crate) use metrics::AuditMetrics;
pub use policy::{AuditPolicy, Level, PolicyError};
pub use queue::{Auditor, Sink, SinkError};
pub use step::{AuditObjects, AuditRequests};
pub(crate) use step::{impersonated, refused_identity};
pub use webhook::WebhookSink;

/// What is logged, and where to.
pub struct AuditConfig {
    /// Which requests, and how much of them.
    pub policy: AuditPolicy,
    /// Where events go.
    pub sinks: Vec<Box<dyn Sink>>,
    /// How long a request may wait for room in the queue (default: not at all).
    pub wait_max: Duration,
    /// How many events wait for each sink at most (default: 10,000).
    pub queue_max: usize,
    /// How many bytes they may come to as JSON (default: 64 MiB): one event may hold a request and its answer.
    pub queue_bytes_max: usize,
    /// How many events are written at once at most (default: 400).
    pub batch_max: usize,
    /// How long events are collected for sinks whose writes are dear ([`Sink::collects`]; default: a second).
    pub batch_wait: Duration,
}

impl AuditConfig {
    /// Logs so, to nowhere yet.
    #[must_use]
    pub fn new(policy: AuditPolicy) -> Self {
        Self {
            policy,
            sinks: Vec::new(),
            wait_max: Duration::ZERO,
            queue_max: 10_000,
            queue_bytes_max: 64 << 20,
            batch_max: 400,
            batch_wait: Duration::from_secs(1),
        }
    }

    /// Logs to that sink too.
    #[must_use]
    pub fn sink(mut self, sink: impl Sink) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }
}

impl fmt::Debug for AuditConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditConfig")
            .field("policy", &self.policy)
            .field("sinks", &self.sinks.len())
            .finish_non_exhaustive()
    }
}

/// An auditor that may not be there.
pub(crate) type MaybeAuditor = Option<Arc<Auditor>>;
