//! How metrics are made, and how `/metrics` is written: in Prometheus' text format, version 0.0.4, as upstream does.
//!
//! The registry writes OpenMetrics, where every counter's name ends in `_total`. The older format has counters of any name,
//! and upstream has some; and there the `TYPE` line has the name that the samples have.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Histograms by their labels.
pub(crate) type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
/// A gauge of whole numbers.
pub(crate) type Count = Gauge<i64, AtomicI64>;
/// A gauge of numbers.
pub(crate) type Number = Gauge<f64, AtomicU64>;

/// Labels of a metric.
pub(crate) trait Labels: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static {}
impl<L: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static> Labels for L {}

/// Makes and registers metrics whose names begin alike.
pub(crate) struct Named<'a> {
    registry: &'a mut Registry,
    prefix: &'static str,
}

impl<'a> Named<'a> {
    /// Those whose names begin so.
    pub(crate) fn new(registry: &'a mut Registry, prefix: &'static str) -> Self {
        Self { registry, prefix }
    }

    /// Registers one; gives it.
    pub(crate) fn one<M>(&mut self, name: &str, help: &str, metric: M) -> M
    where
        M: Clone + Debug + EncodeMetric + Send + Sync + 'static,
    {
        self.registry.register(format!("{}{name}", self.prefix), help, metric.clone());
        metric
    }

    fn family<L, M, C>(&mut self, name: &str, help: &str, family: Family<L, M, C>) -> Family<L, M, C>
    where
        L: Labels,
        M: EncodeMetric + TypedMetric + Send + Sync + 'static,
        C: MetricConstructor<M> + Clone + Send + Sync + 'static,
        Family<L, M, C>: Debug,
    {
        self.one(name, help, family)
    }

    /// Counters by their labels; `_total` is added to the name.
    pub(crate) fn counters<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, Counter> {
        self.family(name, help, Family::default())
    }

    /// Gauges of whole numbers by their labels.
    pub(crate) fn counts<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, Count> {
        self.family(name, help, Family::default())
    }

    /// Gauges by their labels.
    pub(crate) fn numbers<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, Number> {
        self.family(name, help, Family::default())
    }

    /// Histograms by their labels.
    pub(crate) fn histograms<L: Labels>(&mut self, name: &str, help: &str, make: fn() -> Histogram) -> Histograms<L> {
        self.family(name, help, Family::new_with_constructor(make))
    }
}

/// The media type of the page.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upstream's counters whose names do not end in `_total`.
const COUNTERS_WITHOUT_TOTAL: [&str; 4] = [
    "apiserver_admission_webhook_fail_open_count",
    "apiserver_admission_webhook_rejection_count",
    "authenticated_user_requests",
    "authentication_attempts",
];

/// What of the registry is wanted, by its name (a counter's without `_total`).
pub(crate) fn render(registry: &Registry, wanted: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = prometheus_client::encoding::text::encode_registry(&mut text, registry);
    plain(&text, wanted)
}

/// OpenMetrics as the older format has it.
fn plain(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut page = String::with_capacity(text.len() + (text.len() >> 6));
    let mut help = None;
    // The name of the counter whose samples follow, if it loses its end.
    let mut shortened = None;
    let mut shown = true;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            shown = wanted(name);
            if !shown {
                continue;
            }
            let without = COUNTERS_WITHOUT_TOTAL.contains(&name);
            let end = if kind == "counter" && !without { "_total" } else { "" };
            let kind = if kind == "unknown" { "untyped" } else { kind };
            for part in ["# HELP ", name, end, " ", help.unwrap_or_default(), "\n# TYPE ", name, end, " ", kind] {
                page.push_str(part);
            }
            page.push('\n');
            shortened = without.then_some(name);
        } else if shown && !line.starts_with('#') {
            let rest = shortened.and_then(|name| Some((name, line.strip_prefix(name)?.strip_prefix("_total")?)));
            match rest {
                Some((name, rest)) => {
                    page.push_str(name);
                    page.push_str(rest);
                }
                None => page.push_str(line),
            }
            page.push('\n');
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn counters_are_counters_whatever_their_names() {
        let mut registry = Registry::default();
        let (ending, without, gauge) = (Counter::<u64>::default(), Counter::<u64>::default(), Gauge::<i64>::default());
        registry.register("requests", "Requests", ending.clone());
        registry.register("authentication_attempts", "Attempts", without.clone());
        registry.register("size", "Size", gauge.clone());
        ending.inc();
        without.inc_by(2);
        gauge.set(3);
        assert_eq!(
            render(&registry, |_| true),
            "# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total 1\n\
             # HELP authentication_attempts Attempts.\n# TYPE authentication_attempts counter\n\
             authentication_attempts 2\n# HELP size Size.\n# TYPE size gauge\nsize 3\n"
        );
        let some = "# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total 1\n";
        assert_eq!(render(&registry, |name| name == "requests"), some);
    }
}
