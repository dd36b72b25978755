//! What the core lets be seen, as upstream's metrics.

use std::sync::Arc;

use super::Clock;
use super::metrics::Metrics;
use crate::framework::{Hint, Observer, Seen};
use crate::object::Time;

/// Brings the driver's clock to the core, and takes down what is seen.
pub(super) struct Instruments {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<dyn Metrics>,
}

impl Observer for Instruments {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn observe(&self, seen: Seen<'_>) {
        let Self { metrics, .. } = self;
        match seen {
            Seen::ExtensionPoint { point, status, profile, seconds } => {
                let labels = [("extension_point", point), ("profile", profile), ("status", status)];
                metrics.observe("framework_extension_point_duration_seconds", &labels, seconds);
            }
            Seen::Plugin { plugin, point, status, seconds } => {
                let labels = [("extension_point", point), ("plugin", plugin), ("status", status)];
                metrics.observe("plugin_execution_duration_seconds", &labels, seconds);
            }
            Seen::Hint { plugin, event, hint, seconds } => {
                let hint = if hint == Hint::Queue { "Queue" } else { "QueueSkip" };
                let labels = [("event", &*event.to_string()), ("hint", hint), ("plugin", plugin)];
                metrics.observe("queueing_hint_execution_duration_seconds", &labels, seconds);
            }
            Seen::Handled { event, seconds } => {
                metrics.observe("event_handling_duration_seconds", &[("event", &event.to_string())], seconds);
            }
            Seen::Queued { queue, cause } => {
                metrics.count("queue_incoming_pods_total", &[("event", &cause.to_string()), ("queue", queue)], 1);
            }
            Seen::PermitWait { status, seconds } => {
                metrics.observe("permit_wait_duration_seconds", &[("result", status)], seconds);
            }
            Seen::NodeHint { hinted, profile, seconds } => {
                let (found, result) = if hinted { ("hint", "hint_used") } else { ("no_hint", "no_hint") };
                metrics.observe("get_node_hint_duration_seconds", &[("hinted", found), ("profile", profile)], seconds);
                metrics.count("batch_attempts_total", &[("profile", profile), ("result", result)], 1);
            }
            Seen::Kept { profile, seconds } => {
                metrics.observe("store_schedule_results_duration_seconds", &[("profile", profile)], seconds);
            }
            Seen::Flushed { profile, reason } => {
                metrics.count("batch_cache_flushed_total", &[("profile", profile), ("reason", reason)], 1);
            }
        }
    }
}
