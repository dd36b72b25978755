//! How fast nodes of a zone are given up, so that a fault of the network doesn't empty a whole zone.

use std::time::Duration;

use crate::manager::Config;
use crate::objects::{Node, Time};

/// How long nodes may be silent and how fast they are given up.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How long a node may be silent.
    pub monitor_grace: Duration,
    /// How long a new node may be silent at first.
    pub startup_grace: Duration,
    /// How many nodes a second are given up in a healthy zone.
    pub rate: f64,
    /// The same in a large zone most of whose nodes are gone.
    pub secondary_rate: f64,
    /// From which share of gone nodes on a zone counts as disturbed.
    pub unhealthy: f64,
    /// From how many nodes on a zone counts as large.
    pub large: usize,
}

impl Limits {
    /// What the settings say.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            monitor_grace: config.node_monitor_grace_period,
            startup_grace: config.node_startup_grace_period,
            rate: config.node_eviction_rate,
            secondary_rate: config.secondary_node_eviction_rate,
            unhealthy: config.unhealthy_zone_threshold,
            large: config.large_cluster_size_threshold,
        }
    }
}

/// How a zone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneState {
    /// Most of its nodes are ready.
    Normal,
    /// Many of its nodes are not ready.
    PartialDisruption,
    /// None of its nodes is ready.
    FullDisruption,
}

impl ZoneState {
    /// How a zone with so many nodes ready and not ready is.
    #[must_use]
    pub fn of(ready: usize, not_ready: usize, limits: &Limits) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "counts of nodes are far below 2^52")]
        let share = not_ready as f64 / (ready + not_ready).max(1) as f64;
        match () {
            () if ready == 0 && not_ready > 0 => Self::FullDisruption,
            () if not_ready > 2 && share >= limits.unhealthy => Self::PartialDisruption,
            () => Self::Normal,
        }
    }

    /// How many nodes of a zone of that size are given up a second.
    #[must_use]
    pub fn rate(self, size: usize, limits: &Limits) -> f64 {
        match self {
            Self::Normal | Self::FullDisruption => limits.rate,
            Self::PartialDisruption if size > limits.large => limits.secondary_rate,
            Self::PartialDisruption => 0.0,
        }
    }
}

/// The region and zone of a node.
pub(super) fn zone_of(node: &Node) -> String {
    let label = |key: &str| node.metadata.labels.get(key).unwrap_or("");
    format!("{}:\0:{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

/// Lets one node pass at a time, at a rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gate {
    last: Option<Time>,
}

impl Gate {
    /// Whether one more may pass now.
    pub(super) fn pass(&mut self, rate: f64, now: Time) -> bool {
        if rate <= 0.0 {
            return false;
        }
        let pause = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
        let open = self.last.is_none_or(|last| now.since(last) >= pause);
        if open {
            self.last = Some(now);
        }
        open
    }
}
