//! What is measured of the audit log, under upstream's names.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Level;
use crate::metrics::Named;

/// What gives up events for which there is no room, in upstream's words.
pub(super) const BUFFERED: &str = "buffered";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    plugin: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    level: &'static str,
}

/// The metrics of the audit log. Clones share them.
#[derive(Clone)]
pub(crate) struct AuditMetrics {
    events: Counter,
    errors: Family<PluginLabels, Counter>,
    levels: Family<LevelLabels, Counter>,
}

impl fmt::Debug for AuditMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditMetrics")
    }
}

impl AuditMetrics {
    /// Metrics that this registry shows.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let mut named = Named::new(registry, "apiserver_audit_");
        // No request is refused for the log's sake: it stays at zero, and who watches it finds it.
        named.one("requests_rejected", "Requests refused because of the audit log", Counter::<u64>::default());
        Self {
            events: named.one("event", "Events made and handed to the log", Counter::default()),
            errors: named.counters("error", "Events that were lost, by what lost them"),
            levels: named.counters("level", "Requests by the level at which they are logged"),
        }
    }

    pub(super) fn event(&self) {
        self.events.inc();
    }

    pub(super) fn lost(&self, plugin: &'static str, events: u64) {
        self.errors.get_or_create(&PluginLabels { plugin }).inc_by(events);
    }

    pub(super) fn level(&self, level: Level) {
        self.levels.get_or_create(&LevelLabels { level: level.as_str() }).inc();
    }
}
