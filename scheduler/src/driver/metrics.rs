//! Numbers about scheduling, under upstream's names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use super::metric_list::{ALL, About, bounds};

/// Labels of a number: names and values.
pub type MetricLabels<'a> = &'a [(&'static str, &'a str)];

/// Takes numbers down. All names are upstream's, without the prefix `scheduler_`.
pub trait Metrics: Send + Sync + 'static {
    /// Something happened so many times more.
    fn count(&self, name: &'static str, labels: MetricLabels<'_>, by: u64);

    /// Something is so much now.
    fn set(&self, name: &'static str, labels: MetricLabels<'_>, value: u64);

    /// Something took so long, in seconds, or came to so many.
    fn observe(&self, name: &'static str, labels: MetricLabels<'_>, value: f64);
}

/// Takes nothing down.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMetrics;

impl Metrics for NoMetrics {
    fn count(&self, _: &'static str, _: MetricLabels<'_>, _: u64) {}
    fn set(&self, _: &'static str, _: MetricLabels<'_>, _: u64) {}
    fn observe(&self, _: &'static str, _: MetricLabels<'_>, _: f64) {}
}

type Key = (&'static str, String);

#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: Vec<u64>,
    sum: f64,
    count: u64,
}

#[derive(Debug, Default)]
struct Taken {
    counters: BTreeMap<Key, u64>,
    gauges: BTreeMap<Key, u64>,
    histograms: BTreeMap<Key, Histogram>,
}

/// Keeps numbers, and writes them as Prometheus reads them.
#[derive(Debug, Default)]
pub struct MetricsRegistry(Mutex<Taken>);

fn key(name: &'static str, labels: MetricLabels<'_>) -> Key {
    let mut text = String::new();
    for (label, value) in labels {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{}{label}=\"{value}\"", if text.is_empty() { "" } else { "," });
    }
    (name, text)
}

impl MetricsRegistry {
    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All numbers, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let taken = self.taken();
        let mut text = String::new();
        for About { name, help, buckets } in ALL {
            let kind = match buckets {
                Some(_) => "histogram",
                None if name.ends_with("_total") => "counter",
                None => "gauge",
            };
            let mut lines = String::new();
            let plain = taken.counters.iter().chain(&taken.gauges).filter(|((own, _), _)| own == name);
            for ((_, labels), value) in plain {
                let _ = writeln!(lines, "scheduler_{name}{} {value}", braced(labels));
            }
            for ((_, labels), histogram) in taken.histograms.iter().filter(|((own, _), _)| own == name) {
                write_histogram(&mut lines, name, labels, histogram);
            }
            if !lines.is_empty() {
                let _ = write!(text, "# HELP scheduler_{name} {help}\n# TYPE scheduler_{name} {kind}\n{lines}");
            }
        }
        text
    }
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn write_histogram(lines: &mut String, name: &str, labels: &str, histogram: &Histogram) {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut below = 0;
    for (bound, count) in bounds(name).zip(&histogram.counts) {
        below += count;
        let _ = writeln!(lines, "scheduler_{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}");
    }
    let Histogram { sum, count, .. } = histogram;
    let _ = writeln!(lines, "scheduler_{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
    let labels = braced(labels);
    let _ = writeln!(lines, "scheduler_{name}_sum{labels} {sum}\nscheduler_{name}_count{labels} {count}");
}

impl Metrics for MetricsRegistry {
    fn count(&self, name: &'static str, labels: MetricLabels<'_>, by: u64) {
        *self.taken().counters.entry(key(name, labels)).or_default() += by;
    }

    fn set(&self, name: &'static str, labels: MetricLabels<'_>, value: u64) {
        self.taken().gauges.insert(key(name, labels), value);
    }

    fn observe(&self, name: &'static str, labels: MetricLabels<'_>, value: f64) {
        let mut taken = self.taken();
        let histogram = taken.histograms.entry(key(name, labels)).or_default();
        histogram.counts.resize(bounds(name).count(), 0);
        if let Some(at) = bounds(name).position(|bound| value <= bound) {
            histogram.counts[at] += 1;
        }
        histogram.sum += value;
        histogram.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_prometheus_reads_them() {
        let metrics = MetricsRegistry::default();
        let labels: MetricLabels<'_> = &[("profile", "a\"b"), ("result", "scheduled")];
        metrics.count("schedule_attempts_total", labels, 2);
        metrics.count("schedule_attempts_total", labels, 1);
        metrics.set("pending_pods", &[("queue", "active")], 7);
        metrics.observe("preemption_victims", &[], 3.0);
        metrics.observe("preemption_victims", &[], 500.0);
        let text = metrics.render();
        let has = |line: &str| assert!(text.lines().any(|own| own == line), "{line} is not in:\n{text}");
        has("# TYPE scheduler_schedule_attempts_total counter");
        has("scheduler_schedule_attempts_total{profile=\"a\\\"b\",result=\"scheduled\"} 3");
        has("# TYPE scheduler_pending_pods gauge");
        has("scheduler_pending_pods{queue=\"active\"} 7");
        has("scheduler_preemption_victims_bucket{le=\"2\"} 0");
        has("scheduler_preemption_victims_bucket{le=\"4\"} 1");
        has("scheduler_preemption_victims_bucket{le=\"+Inf\"} 2");
        has("scheduler_preemption_victims_sum 503");
        has("scheduler_preemption_victims_count 2");
        assert!(!text.contains("cache_size"), "what was never taken down is left out");
    }
}
