use std::sync::Arc;
use std::time::Duration;

use kubewright_api::requests::QosClass;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::capacity::{Disk, Memory, disk, memory};
use crate::config::EvictionThresholds;
use crate::events::EventTarget;
use crate::objects::Pod;
use crate::worker::Eviction;

/// How often memory and disk are looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// What the node is short of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressures {
    /// Memory.
    pub(crate) memory: bool,
    /// Disk space or inodes.
    pub(crate) disk: bool,
}

/// Which thresholds are passed, and what to say of it.
fn shortages(limits: &EvictionThresholds, memory: Memory, disk: Option<Disk>) -> (Pressures, String) {
    let mut pressures = Pressures::default();
    let mut message = String::new();
    if let Some(least) = limits.memory_available_bytes
        && memory.total > 0
        && memory.available < least
    {
        pressures.memory = true;
        message = format!(
            "The node was low on resource: memory. Threshold quantity: {}Mi, available: {}Ki.",
            least >> 20,
            memory.available >> 10
        );
    }
    if let Some(disk) = disk {
        #[allow(clippy::cast_precision_loss, reason = "shares of a disk need no precision")]
        let below = |have: u64, total: u64, share: Option<f64>| {
            total > 0 && share.is_some_and(|share| (have as f64) < total as f64 * share)
        };
        let space = below(disk.available, disk.total, limits.disk_available_share);
        let inodes = below(disk.inodes_free, disk.inodes, limits.inodes_free_share);
        if space || inodes {
            pressures.disk = true;
            let what = if space { "ephemeral-storage" } else { "inodes" };
            if message.is_empty() {
                message = format!("The node was low on resource: {what}.");
            }
        }
    }
    (pressures, message)
}

/// The pod to evict first: the least important, of the weakest class, that asks for least.
fn victim(pods: Vec<Arc<Pod>>) -> Option<Arc<Pod>> {
    let critical = |pod: &Pod| pod.spec.priority_class_name.starts_with("system-");
    let rank = |pod: &Arc<Pod>| {
        let resources = pod.resources();
        let class = match resources.qos_class() {
            QosClass::BestEffort => 0,
            QosClass::Burstable => 1,
            QosClass::Guaranteed => 2,
        };
        let memory = resources.requests().get("memory").map_or(0, kubewright_api::quantity::Quantity::value);
        (class, pod.spec.priority.unwrap_or(0), memory, pod.full_name())
    };
    pods.into_iter().filter(|pod| !critical(pod) && !pod.is_deleted()).min_by_key(rank)
}

/// Looks at memory and disk until cancelled. Tells what the node is short of, and has one pod end at a time while it is.
pub(crate) async fn watch_pressures(
    node: Arc<Context>,
    pressures: watch::Sender<Pressures>,
    cancel: CancellationToken,
) {
    let limits = node.config.eviction;
    let (mut memory_until, mut disk_until) = (None::<Instant>, None::<Instant>);
    let mut ticks = tokio::time::interval(INTERVAL);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        let (short, message) = shortages(&limits, memory(), disk(&node.config.root_dir));
        let now = Instant::now();
        let hold = |pressed: bool, until: &mut Option<Instant>| {
            if pressed {
                *until = Some(now + limits.transition_period);
            }
            until.is_some_and(|until| now < until)
        };
        let shown =
            Pressures { memory: hold(short.memory, &mut memory_until), disk: hold(short.disk, &mut disk_until) };
        pressures.send_if_modified(|current| {
            let changed = *current != shown;
            *current = shown;
            changed
        });
        if (short.memory || short.disk)
            && let Some(pod) = victim(node.pods.active())
        {
            tracing::warn!(pod = pod.full_name(), message, "evicting");
            node.recorder.warning(&EventTarget::pod(&pod), "Evicted", message.clone());
            let eviction = Eviction { reason: "Evicted".to_owned(), message, grace_seconds: 1 };
            node.pods.evict(pod.uid(), eviction);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn thresholds() {
        let limits = EvictionThresholds::default();
        let of = |available: u64, free: u64| {
            let disk = Disk { total: 100, available: free, inodes: 0, inodes_free: 0 };
            let (pressures, _) = shortages(&limits, Memory { total: 1 << 30, available }, Some(disk));
            (pressures.memory, pressures.disk)
        };
        assert_eq!(of(1 << 29, 50), (false, false));
        assert_eq!(of(1 << 20, 50), (true, false));
        assert_eq!(of(1 << 29, 9), (false, true));
        let never = shortages(&EvictionThresholds::never(), Memory { total: 1, available: 0 }, Some(Disk::default()));
        assert_eq!(never.0, Pressures::default());
    }

    #[test]
    fn the_least_important_goes_first() {
        let pod = |name: &str, spec: serde_json::Value| {
            Arc::new(serde_json::from_value::<Pod>(json!({"metadata": {"name": name}, "spec": spec})).unwrap())
        };
        let asks = |memory: &str| json!([{"name": "c", "resources": {"requests": {"memory": memory}}}]);
        let critical =
            pod("critical", json!({"priorityClassName": "system-node-critical", "containers": [{"name": "c"}]}));
        let burstable = pod("burstable", json!({"containers": asks("1Mi")}));
        let best_effort = pod("best-effort", json!({"containers": [{"name": "c"}], "priority": 10}));
        let first = |pods: Vec<Arc<Pod>>| victim(pods).map(|pod| pod.name().to_owned());
        assert_eq!(first(vec![critical.clone(), burstable.clone(), best_effort]).as_deref(), Some("best-effort"));
        assert_eq!(first(vec![critical.clone(), burstable]).as_deref(), Some("burstable"));
        assert_eq!(first(vec![critical]), None);
    }
}
