//! What is measured of levels and flow schemas, under upstream's names.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::demand::{Bounds, Observed};
use super::queues::Progress;
use crate::metrics::{Count, Histograms, Named, Number};

const LENGTHS: [f64; 8] = [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const WATCHES: [f64; 6] = [0.0, 1.0, 10.0, 100.0, 1000.0, 10_000.0];
const SEATS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];
const WAITS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExecutionLabels {
    priority_level: String,
    flow_schema: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BoundLabels {
    priority_level: String,
    bound: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EpochLabels {
    priority_level: String,
    success: &'static str,
}

/// The metrics of all levels.
#[derive(Clone)]
pub struct FairnessMetrics {
    dispatched: Family<SchemaLabels, Counter>,
    rejected: Family<RejectLabels, Counter>,
    waits: Histograms<WaitLabels>,
    executions: Histograms<ExecutionLabels>,
    lengths: Histograms<SchemaLabels>,
    watches: Histograms<SchemaLabels>,
    estimates: Histograms<SchemaLabels>,
    fair_fraction: Number,
    executing: Family<SchemaLabels, Count>,
    executing_seats: Family<SchemaLabels, Count>,
    queued: Family<SchemaLabels, Count>,
    queued_seats: Family<SchemaLabels, Count>,
    by_level: Arc<[(&'static str, Family<LevelLabels, Number>)]>,
    next: Family<BoundLabels, Number>,
    discounted: Family<BoundLabels, Number>,
    epochs: Family<EpochLabels, Counter>,
    unfit: Family<SchemaLabels, Counter>,
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
    /// How long what is no watch ran, and how long watches took to begin.
    ran: (Histogram, Histogram),
    lengths: Histogram,
    watches: Histogram,
    estimates: Histogram,
    executing: (Count, Count),
    queued: (Count, Count),
    unfit: Counter,
}

impl Meter {
    /// It was a request's turn, and too few seats were free.
    pub(super) fn unfit(&self) {
        self.unfit.inc();
    }

    pub(super) fn dispatched(&self, waited: Duration) {
        self.dispatched.inc();
        self.executed.observe(waited.as_secs_f64());
    }

    /// A request is over, or a watch has begun, after that time.
    pub(super) fn ran(&self, is_watch: bool, took: Duration) {
        let histogram = if is_watch { &self.ran.1 } else { &self.ran.0 };
        histogram.observe(took.as_secs_f64());
    }

    /// A request came into a queue that has so many now.
    #[allow(clippy::cast_precision_loss, reason = "queues are short")]
    pub(super) fn enqueued(&self, length: usize) {
        self.lengths.observe(length as f64);
    }

    /// So many watches hear of what a request changes.
    #[allow(clippy::cast_precision_loss, reason = "a rough number will do")]
    pub(super) fn heard_by(&self, watches: usize) {
        self.watches.observe(watches as f64);
    }

    /// A request is expected to take so many seats.
    #[allow(clippy::cast_precision_loss, reason = "seats are few")]
    pub(super) fn estimated(&self, seats: usize) {
        self.estimates.observe(seats as f64);
    }

    /// A request runs on so many seats until what is given is dropped.
    pub(super) fn runs(&self, seats: usize) -> Counted {
        Counted::new(&self.executing, seats)
    }

    /// A request waits for so many seats until what is given is dropped.
    pub(super) fn waits(&self, seats: usize) -> Counted {
        Counted::new(&self.queued, seats)
    }
}

/// A request and its seats, counted until this is dropped.
pub(super) struct Counted {
    gauges: (Count, Count),
    seats: i64,
}

impl Counted {
    fn new(gauges: &(Count, Count), seats: usize) -> Self {
        let seats = i64::try_from(seats).unwrap_or(i64::MAX);
        gauges.0.inc();
        gauges.1.inc_by(seats);
        Self { gauges: gauges.clone(), seats }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauges.0.dec();
        self.gauges.1.dec_by(self.seats);
    }
}

impl FairnessMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let mut named = Named::new(registry, "apiserver_flowcontrol_");
        let by_level = [
            ("nominal_limit_seats", "Nominal number of execution seats"),
            ("lower_limit_seats", "Lower bound on the number of execution seats"),
            ("upper_limit_seats", "Upper bound on the number of execution seats"),
            ("current_limit_seats", "Number of execution seats at present"),
            ("demand_seats_high_watermark", "High watermark of demand over the last adjustment period"),
            ("demand_seats_average", "Time-weighted average of demand over the last adjustment period"),
            ("demand_seats_stdev", "Time-weighted standard deviation of demand over the last adjustment period"),
            ("demand_seats_smoothed", "Smoothed demand"),
            ("target_seats", "Seats that a level would get if there were enough"),
            ("current_r", "Virtual time at the last adjustment, in seat-seconds"),
            ("dispatch_r", "Virtual time when a request was last let run out of a queue, in seat-seconds"),
            ("latest_s", "Where that request stood in virtual time, in seat-seconds"),
        ];
        Self {
            by_level: by_level.map(|(name, help)| (name, named.numbers(name, help))).into(),
            dispatched: named.counters("dispatched_requests", "Requests that were let run"),
            rejected: named.counters("rejected_requests", "Requests that were turned away"),
            waits: named.histograms("request_wait_duration_seconds", "How long requests waited for their turn", || {
                Histogram::new(WAITS)
            }),
            executions: named
                .histograms("request_execution_seconds", "How long requests ran", || Histogram::new(WAITS)),
            lengths: named.histograms("request_queue_length_after_enqueue", "Queues as requests found them", || {
                Histogram::new(LENGTHS)
            }),
            watches: named
                .histograms("watch_count_samples", "Watches that hear of what is changed", || Histogram::new(WATCHES)),
            estimates: named.histograms("work_estimated_seats", "Seats that requests were expected to take", || {
                Histogram::new(SEATS)
            }),
            fair_fraction: named.one("seat_fair_frac", "How much of its target a level gets", Number::default()),
            executing: named.counts("current_executing_requests", "Requests that run now"),
            executing_seats: named.counts("current_executing_seats", "Seats that are taken now"),
            queued: named.counts("current_inqueue_requests", "Requests that wait now"),
            queued_seats: named.counts("current_inqueue_seats", "Seats that are waited for now"),
            next: named
                .numbers("next_s_bounds", "Least and greatest place of what is next in a queue, in seat-seconds"),
            discounted: named
                .numbers("next_discounted_s_bounds", "The same, less what is expected of what runs, in seat-seconds"),
            epochs: named.counters("epoch_advance", "How often virtual time began anew"),
            unfit: named.counters(
                "request_dispatch_no_accommodation",
                "Requests whose turn it was while too few seats were free",
            ),
        }
    }

    pub(super) fn meter(&self, level: &str, schema: &str) -> Meter {
        let labels = SchemaLabels { priority_level: level.to_owned(), flow_schema: schema.to_owned() };
        let (priority_level, flow_schema) = (level.to_owned(), schema.to_owned());
        let waited = WaitLabels { priority_level, flow_schema, execute: "true" };
        Meter {
            dispatched: self.dispatched.get_or_create(&labels).clone(),
            executed: self.waits.get_or_create(&waited).clone(),
            ran: (self.execution(&labels, "regular"), self.execution(&labels, "watch")),
            lengths: self.lengths.get_or_create(&labels).clone(),
            watches: self.watches.get_or_create(&labels).clone(),
            estimates: self.estimates.get_or_create(&labels).clone(),
            executing: gauges(&self.executing, &self.executing_seats, &labels),
            queued: gauges(&self.queued, &self.queued_seats, &labels),
            unfit: self.unfit.get_or_create(&labels).clone(),
        }
    }

    fn execution(&self, of: &SchemaLabels, r#type: &'static str) -> Histogram {
        let (priority_level, flow_schema) = (of.priority_level.clone(), of.flow_schema.clone());
        self.executions.get_or_create(&ExecutionLabels { priority_level, flow_schema, r#type }).clone()
    }

    /// Levels get that part of their targets.
    pub(super) fn shared(&self, fair_fraction: f64) {
        self.fair_fraction.set(fair_fraction);
    }

    pub(super) fn rejected(&self, level: &str, schema: &str, reason: &'static str, waited: Duration) {
        let (priority_level, flow_schema) = (level.to_owned(), schema.to_owned());
        let wait = WaitLabels { priority_level, flow_schema, execute: "false" };
        self.waits.get_or_create(&wait).observe(waited.as_secs_f64());
        let WaitLabels { priority_level, flow_schema, .. } = wait;
        self.rejected.get_or_create(&RejectLabels { priority_level, flow_schema, reason }).inc();
    }

    /// What a level may have of the server's seats, and what it has now.
    #[allow(clippy::cast_precision_loss, reason = "seats are few")]
    pub(super) fn limited(&self, level: &str, bounds: Bounds, limit: usize) {
        self.set(level, |name| match name {
            "nominal_limit_seats" => Some(bounds.nominal as f64),
            "lower_limit_seats" => Some(bounds.min as f64),
            "upper_limit_seats" => Some(bounds.max as f64),
            "current_limit_seats" => Some(limit as f64),
            _ => None,
        });
    }

    /// What was asked of a level since the last adjustment.
    pub(super) fn adjusted(&self, level: &str, seen: Observed, target: f64) {
        self.set(level, |name| match name {
            "demand_seats_high_watermark" => Some(seen.high),
            "demand_seats_average" => Some(seen.average),
            "demand_seats_stdev" => Some(seen.deviation),
            "demand_seats_smoothed" => Some(seen.smoothed),
            "target_seats" => Some(target),
            _ => None,
        });
    }

    /// Where a level stands in virtual time.
    pub(super) fn progressed(&self, level: &str, progress: Progress) {
        self.set(level, |name| match name {
            "current_r" => Some(progress.r),
            "dispatch_r" => Some(progress.dispatched.0),
            "latest_s" => Some(progress.dispatched.1),
            _ => None,
        });
        for (family, values) in [(&self.next, progress.next), (&self.discounted, progress.discounted)] {
            for (bound, value) in ["min", "max"].into_iter().zip(values) {
                family.get_or_create(&BoundLabels { priority_level: level.to_owned(), bound }).set(value);
            }
        }
        let labels = EpochLabels { priority_level: level.to_owned(), success: "true" };
        self.epochs.get_or_create(&labels).inc_by(progress.epochs);
    }

    fn set(&self, level: &str, value: impl Fn(&str) -> Option<f64>) {
        let labels = LevelLabels { priority_level: level.to_owned() };
        for (name, family) in self.by_level.iter() {
            if let Some(value) = value(name) {
                family.get_or_create(&labels).set(value);
            }
        }
    }
}

fn gauges(
    requests: &Family<SchemaLabels, Count>,
    seats: &Family<SchemaLabels, Count>,
    labels: &SchemaLabels,
) -> (Count, Count) {
    (requests.get_or_create(labels).clone(), seats.get_or_create(labels).clone())
}
