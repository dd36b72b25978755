//! What is measured of authentication, under upstream's names.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::metrics::{Count, Histograms, Named};

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
    #[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "nobody shows one, but the name is there"))]
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
    #[cfg(feature = "serve")]
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

/// The metrics of answers about tokens that are remembered. Clones share them; they are shown once registered.
#[derive(Clone)]
pub struct TokenCacheMetrics {
    requests: Family<StatusLabels, Counter>,
    durations: Histograms<StatusLabels>,
    fetches: Family<StatusLabels, Counter>,
    active: Family<StatusLabels, Count>,
}

impl fmt::Debug for TokenCacheMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCacheMetrics")
    }
}

impl Default for TokenCacheMetrics {
    fn default() -> Self {
        Self::new(&mut Registry::default())
    }
}

impl TokenCacheMetrics {
    /// Metrics that this registry shows.
    pub fn new(registry: &mut Registry) -> Self {
        let mut named = Named::new(registry, "authentication_token_cache_");
        Self {
            requests: named.counters("request", "Tokens that were looked up, by whether the answer was remembered"),
            durations: named.histograms("request_duration_seconds", "How long looking tokens up took", || {
                Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
            }),
            fetches: named.counters("fetch", "Questions about tokens, by whether they were answered"),
            active: named.counts("active_fetch_count", "Questions about tokens under way, and who waits for another's"),
        }
    }

    /// A token was looked up.
    pub(super) fn looked_up(&self, remembered: bool, took: Duration) {
        let labels = StatusLabels { status: if remembered { "hit" } else { "miss" } };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A question was answered, or not.
    pub(super) fn fetched(&self, answered: bool) {
        self.fetches.get_or_create(&StatusLabels { status: if answered { "ok" } else { "error" } }).inc();
    }

    /// Someone asks, or waits for who asks the same, until what is given is dropped.
    pub(super) fn asks(&self, waits_for_another: bool) -> Asks {
        let status = if waits_for_another { "blocked" } else { "in_flight" };
        let gauge = self.active.get_or_create(&StatusLabels { status }).clone();
        gauge.inc();
        Asks(gauge)
    }
}

/// One who asks, counted until this is dropped.
pub(super) struct Asks(Count);

impl Drop for Asks {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A few names that every cluster has; all others are one, or whoever asks would fill the memory.
fn known(username: &str) -> &'static str {
    const NAMES: [&str; 5] = ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"];
    NAMES.into_iter().find(|name| *name == username).unwrap_or("other")
}
