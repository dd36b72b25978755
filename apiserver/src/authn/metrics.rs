//! What is measured of authentication, under upstream's names.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::metrics::{Histograms, Named};

/// Half an hour, one, two, six and twelve hours, one, two, four and seven days, one, three and six months, a year.
const CERTIFICATES: [f64; 14] = [
    0.0,
    1800.0,
    3600.0,
    7200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];

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
    attempts: Family<ResultLabels, Counter>,
    durations: Histograms<ResultLabels>,
    users: Family<NameLabels, Counter>,
    certificates: Histogram,
}

impl fmt::Debug for AuthnMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthnMetrics")
    }
}

impl Default for AuthnMetrics {
    fn default() -> Self {
        Self::new(&mut Registry::default())
    }
}

impl AuthnMetrics {
    /// Metrics that this registry shows.
    pub fn new(registry: &mut Registry) -> Self {
        let mut named = Named::new(registry, "");
        Self {
            attempts: named.counters("authentication_attempts", "Authenticated attempts by result"),
            durations: named.histograms("authentication_duration_seconds", "How long authentication took", || {
                Histogram::new(exponential_buckets(0.001, 2.0, 15))
            }),
            users: named.counters("authenticated_user_requests", "Authenticated requests by user"),
            certificates: named.one(
                "apiserver_client_certificate_expiration_seconds",
                "How long the certificates were still valid that clients showed",
                Histogram::new(CERTIFICATES),
            ),
        }
    }

    /// A client's certificate was believed, which is valid for so many seconds more.
    #[allow(clippy::cast_precision_loss, reason = "a rough number will do")]
    pub(crate) fn certificate(&self, seconds_left: i64) {
        self.certificates.observe(seconds_left as f64);
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
