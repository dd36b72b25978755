//! What is measured of authentication, under upstream's names.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabels {
    username: &'static str,
}

/// The metrics of authentication. Clones share them; they are shown once registered.
#[derive(Clone)]
pub struct AuthnMetrics {
    // Counters that are shown as gauges: upstream's names lack the `_total` that counters end in here.
    attempts: Family<ResultLabels, Gauge>,
    durations: Family<ResultLabels, Histogram, fn() -> Histogram>,
    users: Family<NameLabels, Gauge>,
}

impl fmt::Debug for AuthnMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthnMetrics")
    }
}

impl Default for AuthnMetrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        Self {
            attempts: Family::default(),
            durations: Family::new_with_constructor(histogram),
            users: Family::default(),
        }
    }
}

impl AuthnMetrics {
    /// Metrics that this registry shows.
    pub fn new(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("authentication_attempts", "Authenticated attempts by result", m.attempts.clone());
        registry.register("authentication_duration_seconds", "How long authentication took", m.durations.clone());
        registry.register("authenticated_user_requests", "Authenticated requests by user", m.users.clone());
        m
    }

    /// Someone's credentials were looked at; the name of who it is, if that could be told.
    pub(crate) fn attempted(&self, username: Option<&str>, took: Duration) {
        let labels = ResultLabels { result: if username.is_some() { "success" } else { "failure" } };
        self.attempts.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        if let Some(username) = username {
            self.users.get_or_create(&NameLabels { username: known(username) }).inc();
        }
    }
}

/// A few names that every cluster has; all others are one, or whoever asks would fill the memory.
fn known(username: &str) -> &'static str {
    const NAMES: [&str; 5] = ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"];
    NAMES.into_iter().find(|name| *name == username).unwrap_or("other")
}
