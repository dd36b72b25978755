//! What is measured of levels and flow schemas, under upstream's names.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::demand::{Bounds, Observed};
use super::levels::Levels;

const WAITS: [f64; 14] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    priority_level: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SchemaLabels {
    priority_level: String,
    flow_schema: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectLabels {
    priority_level: String,
    flow_schema: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitLabels {
    priority_level: String,
    flow_schema: String,
    execute: &'static str,
}

fn histogram() -> Histogram {
    Histogram::new(WAITS)
}

type Numbers = Family<LevelLabels, Gauge<f64, AtomicU64>>;

/// The metrics of all levels.
#[derive(Clone)]
pub struct FairnessMetrics {
    dispatched: Family<SchemaLabels, Counter>,
    rejected: Family<RejectLabels, Counter>,
    waits: Family<WaitLabels, Histogram, fn() -> Histogram>,
    executing: Family<SchemaLabels, Gauge<i64, AtomicI64>>,
    queued: Family<SchemaLabels, Gauge<i64, AtomicI64>>,
    by_level: Arc<[(&'static str, Numbers)]>,
    levels: Arc<OnceLock<Weak<Levels>>>,
}

impl fmt::Debug for FairnessMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FairnessMetrics")
    }
}

/// The metrics of one flow schema.
#[derive(Clone)]
pub(super) struct Meter {
    dispatched: Counter,
    executed: Histogram,
    pub(super) executing: Gauge<i64, AtomicI64>,
    pub(super) queued: Gauge<i64, AtomicI64>,
}

impl Meter {
    pub(super) fn dispatched(&self, waited: Duration) {
        self.dispatched.inc();
        self.executed.observe(waited.as_secs_f64());
    }
}

/// What is in use of a level.
pub(super) struct LevelReading {
    pub(super) name: String,
    pub(super) seats_in_use: usize,
    pub(super) seats_waiting: usize,
    pub(super) limit: usize,
}

impl FairnessMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let named = |name: &str| format!("apiserver_flowcontrol_{name}");
        let by_level: Arc<[(&'static str, Numbers)]> = [
            ("nominal_limit_seats", "Nominal number of execution seats"),
            ("lower_limit_seats", "Lower bound on the number of execution seats"),
            ("upper_limit_seats", "Upper bound on the number of execution seats"),
            ("current_limit_seats", "Number of execution seats at present"),
            ("demand_seats_high_watermark", "High watermark of demand over the last adjustment period"),
            ("demand_seats_average", "Time-weighted average of demand over the last adjustment period"),
            ("demand_seats_stdev", "Time-weighted standard deviation of demand over the last adjustment period"),
            ("demand_seats_smoothed", "Smoothed demand"),
        ]
        .map(|(name, help)| {
            let family = Numbers::default();
            registry.register(named(name), help, family.clone());
            (name, family)
        })
        .into();
        let metrics = Self {
            dispatched: Family::default(),
            rejected: Family::default(),
            waits: Family::new_with_constructor(histogram as fn() -> Histogram),
            executing: Family::default(),
            queued: Family::default(),
            by_level,
            levels: Arc::default(),
        };
        registry.register(named("dispatched_requests"), "Requests that were let run", metrics.dispatched.clone());
        registry.register(named("rejected_requests"), "Requests that were turned away", metrics.rejected.clone());
        let waited = "How long requests waited for their turn";
        registry.register(named("request_wait_duration_seconds"), waited, metrics.waits.clone());
        registry.register(named("current_executing_requests"), "Requests that run now", metrics.executing.clone());
        registry.register(named("current_inqueue_requests"), "Requests that wait now", metrics.queued.clone());
        registry.register_collector(Box::new(metrics.clone()));
        metrics
    }

    /// Tells of these levels too.
    pub(super) fn follow(&self, levels: &Arc<Levels>) {
        let _ = self.levels.set(Arc::downgrade(levels));
    }

    pub(super) fn meter(&self, level: &str, schema: &str) -> Meter {
        let labels = SchemaLabels { priority_level: level.to_owned(), flow_schema: schema.to_owned() };
        let (priority_level, flow_schema) = (level.to_owned(), schema.to_owned());
        let waited = WaitLabels { priority_level, flow_schema, execute: "true" };
        Meter {
            dispatched: self.dispatched.get_or_create(&labels).clone(),
            executed: self.waits.get_or_create(&waited).clone(),
            executing: self.executing.get_or_create(&labels).clone(),
            queued: self.queued.get_or_create(&labels).clone(),
        }
    }

    pub(super) fn rejected(&self, level: &str, schema: &str, reason: &'static str, waited: Duration) {
        let (priority_level, flow_schema) = (level.to_owned(), schema.to_owned());
        let wait = WaitLabels { priority_level, flow_schema, execute: "false" };
        self.waits.get_or_create(&wait).observe(waited.as_secs_f64());
        let WaitLabels { priority_level, flow_schema, .. } = wait;
        self.rejected.get_or_create(&RejectLabels { priority_level, flow_schema, reason }).inc();
    }

    #[allow(clippy::cast_precision_loss, reason = "seats are few")]
    pub(super) fn adjusted(&self, level: &str, bounds: Bounds, limit: usize, seen: Observed) {
        let labels = LevelLabels { priority_level: level.to_owned() };
        for (name, family) in self.by_level.iter() {
            let value = match *name {
                "nominal_limit_seats" => bounds.nominal as f64,
                "lower_limit_seats" => bounds.min as f64,
                "upper_limit_seats" => bounds.max as f64,
                "current_limit_seats" => limit as f64,
                "demand_seats_high_watermark" => seen.high,
                "demand_seats_average" => seen.average,
                "demand_seats_stdev" => seen.deviation,
                _ => seen.smoothed,
            };
            family.get_or_create(&labels).set(value);
        }
    }
}

impl Collector for FairnessMetrics {
    #[allow(clippy::cast_possible_wrap, reason = "seats are few")]
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(levels) = self.levels.get().and_then(Weak::upgrade) else { return Ok(()) };
        let readings = levels.readings();
        type Read = fn(&LevelReading) -> usize;
        let gauges: [(&str, &str, Read); 3] = [
            ("current_executing_seats", "Seats that are taken now", |level| level.seats_in_use),
            ("current_inqueue_seats", "Seats that are waited for now", |level| level.seats_waiting),
            ("request_concurrency_limit", "Seats that may be taken now", |level| level.limit),
        ];
        for (name, help, read) in gauges {
            let name = format!("apiserver_flowcontrol_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for level in &readings {
                let labels = LevelLabels { priority_level: level.name.clone() };
                ConstGauge::new(read(level) as i64).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
