//! What is measured of issuers' tokens and keys, under upstream's names. Issuers are told by hashes of their URLs.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::identity::{apiserver_id_hash, hash};
use crate::metrics::{Count, Histograms, Named, Number};

const SECONDS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LatencyLabels {
    result: &'static str,
    jwt_issuer_hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    result: &'static str,
    jwt_issuer_hash: String,
    apiserver_id_hash: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeySetLabels {
    jwt_issuer_hash: String,
    apiserver_id_hash: &'static str,
    hash: String,
}

/// The metrics of issuers. Clones share them.
#[derive(Clone)]
pub(crate) struct JwtMetrics {
    latency: Histograms<LatencyLabels>,
    fetched: Family<FetchLabels, Number>,
    key_sets: Family<KeySetLabels, Count>,
}

impl fmt::Debug for JwtMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtMetrics")
    }
}

const fn result(well: bool) -> &'static str {
    if well { "success" } else { "failure" }
}

impl JwtMetrics {
    /// Metrics that this registry shows.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let mut named = Named::new(registry, "apiserver_authentication_jwt_authenticator_");
        Self {
            latency: named
                .histograms("latency_seconds", "How long it took to check tokens", || Histogram::new(SECONDS)),
            fetched: named.numbers("jwks_fetch_last_timestamp_seconds", "When keys were last fetched, or were not"),
            key_sets: named.counts("jwks_fetch_last_key_set_info", "The keys that were last fetched, by their hash"),
        }
    }

    /// A token of that issuer was checked.
    pub(super) fn checked(&self, issuer: &str, well: bool, took: Duration) {
        let labels = LatencyLabels { result: result(well), jwt_issuer_hash: hash(issuer) };
        self.latency.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The issuer's keys were fetched at that time, if there are any, or could not be.
    pub(super) fn fetched(&self, issuer: &str, keys: Option<&[u8]>, before: Option<&[u8]>, now: Timestamp) {
        let of = |keys: &[u8]| KeySetLabels {
            jwt_issuer_hash: hash(issuer),
            apiserver_id_hash: apiserver_id_hash(),
            hash: hash(keys),
        };
        let labels = FetchLabels {
            result: result(keys.is_some()),
            jwt_issuer_hash: hash(issuer),
            apiserver_id_hash: apiserver_id_hash(),
        };
        self.fetched.get_or_create(&labels).set(now.as_duration().as_secs_f64());
        let Some(keys) = keys else { return };
        if let Some(before) = before.filter(|before| *before != keys) {
            self.key_sets.remove(&of(before));
        }
        self.key_sets.get_or_create(&of(keys)).set(1);
    }
}
