//! Whether a node still gives signs of life.

use crate::nodelifecycle::Limits;
use crate::objects::{Condition, Lease, Node, Time, condition};

/// What is known about a node's signs of life, by our own clock: the node's may differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// When the last sign was seen.
    pub last_sign: Time,
    heartbeat: Option<Time>,
    has_ready: bool,
    renewed: Option<Time>,
    /// Whether the node was ready when it was last looked at.
    pub(super) was_ready: bool,
}

impl Health {
    /// Takes note of what a node and its lease show now.
    pub fn observe(known: Option<&Self>, node: &Node, lease: Option<&Lease>, now: Time) -> Self {
        let ready = condition(&node.status.conditions, "Ready");
        let renewed = lease.and_then(|lease| lease.spec.renew_time);
        let mut health = match known {
            Some(known) => known.clone(),
            // A node that never reported has had since its creation to do so.
            None if ready.is_none() => {
                Self { last_sign: node.metadata.creation_timestamp.unwrap_or(now), ..Self::default() }
            }
            None => Self { last_sign: now, ..Self::default() },
        };
        let heartbeat = ready.and_then(|ready| ready.last_heartbeat_time);
        if known.is_some() && (health.has_ready != ready.is_some() || health.heartbeat != heartbeat) {
            health.last_sign = now;
        }
        // A lease seen for the first time counts as a sign, as upstream counts it.
        if renewed > health.renewed {
            health.last_sign = now;
        }
        health.has_ready = ready.is_some();
        health.heartbeat = heartbeat;
        health.renewed = renewed;
        health
    }

    /// Whether the node has been silent for too long.
    #[must_use]
    pub fn is_silent(&self, limits: &Limits, now: Time) -> bool {
        let grace = if self.has_ready { limits.monitor_grace } else { limits.startup_grace };
        now > self.last_sign + grace
    }
}

/// The conditions of a silent node: unknown, as far as the node itself reports them.
pub(super) fn silent_conditions(node: &Node, now: Time) -> Vec<Condition> {
    let mut conditions = node.status.conditions.clone();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let unknown = |reason: &str, message: &str| Condition {
            kind: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Some(now.truncated()),
            ..Condition::default()
        };
        match conditions.iter_mut().find(|held| held.kind == kind) {
            Some(held) if held.status == "Unknown" => {}
            Some(held) => {
                let heartbeat = held.last_heartbeat_time;
                *held = unknown("NodeStatusUnknown", "Kubelet stopped posting node status.");
                held.last_heartbeat_time = heartbeat;
            }
            None => conditions.push(Condition {
                last_heartbeat_time: node.metadata.creation_timestamp,
                ..unknown("NodeStatusNeverUpdated", "Kubelet never posted node status.")
            }),
        }
    }
    conditions
}
