//! The metrics of requests, and the series of those of one kind: looked up once, then only counted.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use http::Request;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry as MetricsRegistry;

use super::labels::{self, Answered, Ended, Resource, Target, Tried};
use crate::body::Body;
use crate::metrics::{Count, Histograms, Named};
use crate::registry::Registry;
use crate::request::RequestInfo;

/// Upper bounds in seconds; the first two are not among those of what a request takes without waiting for others.
const DURATIONS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// Upper bounds in seconds of what one step takes.
const FILTERS: [f64; 13] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0, 10.0, 15.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabels {
    pub(super) request_kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FilterLabels {
    filter: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeprecatedLabels {
    #[prometheus(flatten)]
    resource: Resource,
    subresource: String,
    removed_release: &'static str,
}

/// What is measured of requests; `/metrics` shows it. Clones share it.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: MetricsRegistry,
    families: Families,
    series: RwLock<HashMap<String, Arc<Series>>>,
    /// What is served.
    served: OnceLock<Weak<Registry>>,
}

struct Families {
    requests: Family<Answered, Counter>,
    terminations: Family<Ended, Counter>,
    durations: Histograms<Tried>,
    sli: Histograms<Target>,
    sizes: Histograms<Target>,
    long_running: Family<Target, Count>,
    in_flight: Family<KindLabels, Count>,
    deprecated: Family<DeprecatedLabels, Count>,
    events: Family<Resource, Counter>,
    event_sizes: Histograms<Resource>,
    filters: Histograms<FilterLabels>,
    #[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "nobody connects, but the name is there"))]
    handshake_errors: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::with_registry(MetricsRegistry::default())
    }
}

/// Whether it is shown at `/metrics/slis`.
fn is_sli(name: &str) -> bool {
    matches!(name, "kubernetes_healthcheck" | "kubernetes_healthchecks")
}

impl Families {
    fn new(registry: &mut MetricsRegistry) -> Self {
        let mut named = Named::new(registry, "apiserver_");
        let sli = || Histogram::new(DURATIONS[2..].iter().copied());
        Self {
            requests: named.counters("request", "Requests by verb, resource and code"),
            terminations: named.counters("request_terminations", "Requests that were ended in self-defence"),
            durations: named.histograms(
                "request_duration_seconds",
                "How long answers took, long-running requests aside",
                || Histogram::new(DURATIONS),
            ),
            sli: named.histograms(
                "request_sli_duration_seconds",
                "How long answers took without the time in queues and at webhooks, long-running requests aside",
                sli,
            ),
            sizes: named.histograms("response_sizes", "Bytes of the answers to those who read", || {
                Histogram::new(exponential_buckets(1000.0, 10.0, 7))
            }),
            long_running: named.counts("longrunning_requests", "Long-running requests under way"),
            in_flight: named.counts("current_inflight_requests", "Requests under way, by kind"),
            deprecated: named.counts("requested_deprecated_apis", "Deprecated APIs that were used"),
            filters: named.histograms(
                "request_filter_duration_seconds",
                "How long steps took before the next one",
                || Histogram::new(FILTERS),
            ),
            events: named.counters("watch_events", "Events sent to watchers"),
            event_sizes: named.histograms("watch_events_sizes", "Bytes of the events sent to watchers", || {
                Histogram::new(exponential_buckets(1024.0, 2.0, 8))
            }),
            handshake_errors: named.one(
                "tls_handshake_errors",
                "Connections whose TLS handshake failed",
                Counter::default(),
            ),
        }
    }
}

impl Metrics {
    /// Adds the server's own metrics to those that a registry already holds.
    #[must_use]
    pub fn with_registry(mut registry: MetricsRegistry) -> Self {
        let families = Families::new(&mut registry);
        let platform = crate::discovery::platform();
        // As `/version` tells them.
        let version = [
            ("major", "1"),
            ("minor", "36"),
            ("git_version", crate::discovery::GIT_VERSION),
            ("git_commit", ""),
            ("git_tree_state", ""),
            ("build_date", ""),
            ("go_version", ""),
            ("compiler", "rustc"),
            ("platform", &platform),
        ];
        // A gauge that is always one, as upstream has it: not every reader knows what an info is.
        let build: Family<Vec<(String, String)>, Gauge> = Family::default();
        build.get_or_create(&version.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()).set(1);
        registry.register("kubernetes_build_info", "The version that is built", build);
        Self(Arc::new(Inner { registry, families, series: RwLock::default(), served: OnceLock::new() }))
    }

    /// How long a step takes, by upstream's name for it.
    pub(crate) fn filter(&self, filter: &'static str) -> Histogram {
        self.0.families.filters.get_or_create(&FilterLabels { filter }).clone()
    }

    /// All metrics in Prometheus' text format, but those that [`render_slis`](Self::render_slis) shows.
    #[must_use]
    pub fn render(&self) -> String {
        crate::metrics::render(&self.0.registry, |name| !is_sli(name))
    }

    /// What tells how well the server is, in the same format.
    #[must_use]
    pub fn render_slis(&self) -> String {
        crate::metrics::render(&self.0.registry, is_sli)
    }

    /// Knows what is served there, beside what is built in.
    pub(crate) fn follow(&self, registry: &Arc<Registry>) {
        let _ = self.0.served.set(Arc::downgrade(registry));
    }

    /// A connection's TLS handshake failed.
    #[cfg(feature = "serve")]
    pub(crate) fn handshake_failed(&self) {
        self.0.families.handshake_errors.inc();
    }

    pub(super) fn in_flight(&self, request_kind: &'static str) -> Count {
        self.0.families.in_flight.get_or_create(&KindLabels { request_kind }).clone()
    }

    /// The series of requests such as this one.
    pub(super) fn series(&self, request: &Request<Body>, info: &RequestInfo) -> Arc<Series> {
        let scope = labels::scope(info);
        let verb = labels::verb(request, info, scope);
        let dry_run = labels::dry_run(request.uri().query().unwrap_or_default());
        let key = |resource: &Resource, subresource: &str| {
            let Resource { group, version, resource } = resource;
            format!("{verb}\n{scope}\n{dry_run}\n{group}\n{version}\n{resource}\n{subresource}")
        };
        let asked = match info.is_resource_request {
            true => Resource {
                group: info.api_group.clone(),
                version: info.api_version.clone(),
                resource: info.resource.clone(),
            },
            false => Resource::default(),
        };
        let (resource, subresource) = (asked, info.subresource.as_str());
        let known = key(&resource, subresource);
        if let Some(series) = self.known(&known) {
            return series;
        }
        let (resource, subresource) = match &info.is_resource_request {
            true if self.is_served(&resource, subresource) => (resource, subresource),
            // The names of checks are no names of anyone's.
            false if matches!(info.path.as_str(), "/livez" | "/readyz" | "/healthz") => (resource, info.path.as_str()),
            _ => (Resource::default(), ""),
        };
        let key = key(&resource, subresource);
        let subresource = subresource.to_owned();
        let target = Target { verb, resource, subresource, scope, component: "apiserver" };
        let mut all = self.0.series.write().unwrap_or_else(PoisonError::into_inner);
        let series = all.entry(key).or_insert_with(|| Arc::new(self.make(Tried { dry_run, target })));
        Arc::clone(series)
    }

    fn known(&self, key: &str) -> Option<Arc<Series>> {
        self.0.series.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn is_served(&self, asked: &Resource, subresource: &str) -> bool {
        let Resource { group, version, resource } = asked;
        if let Some(built_in) = kubewright_api::resources::find(group, version, resource) {
            return subresource.is_empty() || built_in.subresource(subresource).is_some();
        }
        let served = self.0.served.get().and_then(Weak::upgrade);
        let served = served.and_then(|registry| registry.served(group, version, resource));
        served.is_some_and(|served| subresource.is_empty() || served.info.subresource(subresource).is_some())
    }

    fn make(&self, tried: Tried) -> Series {
        let all = &self.0.families;
        let Tried { dry_run, target } = &tried;
        let reads = matches!(target.verb, "GET" | "LIST");
        let watch = (target.verb == "WATCH").then(|| WatchMeter {
            events: all.events.get_or_create(&target.resource).clone(),
            sizes: all.event_sizes.get_or_create(&target.resource).clone(),
        });
        let long_running = watch.is_some() || target.verb == "CONNECT";
        Series {
            long_running: long_running.then(|| all.long_running.get_or_create(target).clone()),
            duration: (!long_running).then(|| all.durations.get_or_create(&tried).clone()),
            sli: (!long_running && dry_run.is_empty()).then(|| all.sli.get_or_create(target).clone()),
            size: reads.then(|| all.sizes.get_or_create(target).clone()),
            watch,
            codes: Mutex::default(),
            tried,
        }
    }

    pub(super) fn answered(&self, series: &Series, code: u16) {
        let mut codes = series.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = codes.iter().find(|(known, _)| *known == code) {
            counter.inc();
            return;
        }
        let answered = Answered { code, tried: series.tried.clone() };
        let counter = self.0.families.requests.get_or_create(&answered).clone();
        counter.inc();
        codes.push((code, counter));
    }

    /// A request was ended in self-defence.
    pub(super) fn terminated(&self, series: &Series, code: u16) {
        let ended = Ended { code, target: series.tried.target.clone() };
        self.0.families.terminations.get_or_create(&ended).inc();
    }

    /// A request was not answered in time.
    pub(in crate::layers) fn timed_out(&self, request: &Request<Body>, info: &RequestInfo) {
        self.terminated(&self.series(request, info), http::StatusCode::GATEWAY_TIMEOUT.as_u16());
    }

    /// Notes that a deprecated API was used.
    pub(super) fn deprecated(&self, series: &Series) {
        let Target { resource, subresource, .. } = &series.tried.target;
        let (resource, subresource) = (resource.clone(), subresource.clone());
        let labels = DeprecatedLabels { resource, subresource, removed_release: "" };
        self.0.families.deprecated.get_or_create(&labels).set(1);
    }
}

/// The series of one kind of request.
pub(super) struct Series {
    tried: Tried,
    pub(super) long_running: Option<Count>,
    duration: Option<Histogram>,
    sli: Option<Histogram>,
    pub(super) size: Option<Histogram>,
    pub(super) watch: Option<WatchMeter>,
    codes: Mutex<Vec<(u16, Counter)>>,
}

impl Series {
    /// An answer took so long, and that much of it was spent waiting for others.
    pub(super) fn took(&self, all: Duration, waited: Duration) {
        if let Some(duration) = &self.duration {
            duration.observe(all.as_secs_f64());
        }
        if let Some(sli) = &self.sli {
            sli.observe(all.saturating_sub(waited).as_secs_f64());
        }
    }
}

/// Counts the events that a watcher is sent; in the extensions of its request.
#[derive(Clone, Debug)]
pub(crate) struct WatchMeter {
    events: Counter,
    sizes: Histogram,
}

impl WatchMeter {
    /// One event of so many bytes.
    #[allow(clippy::cast_precision_loss, reason = "sizes need no last byte")]
    pub(crate) fn sent(&self, bytes: usize) {
        self.events.inc();
        self.sizes.observe(bytes as f64);
    }
}
