//! Taints that say what a node's conditions say.

use kubewright_api::taint::{Taint, TaintEffect};
use serde_json::json;

use crate::objects::{Node, Time, condition};
use crate::plan::{Action, Plan};

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Which taint each condition brings, at which status.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// Brings a node's `NoSchedule` taints in line with its conditions.
#[must_use]
pub fn condition_taints(node: &Node) -> Plan {
    let mut plan = Plan::nothing();
    let holds = |kind: &str, status: &str| condition(&node.status.conditions, kind).is_some_and(|c| c.status == status);
    let mut wanted: Vec<&str> =
        BY_CONDITION.iter().filter(|(kind, status, _)| holds(kind, status)).map(|(_, _, key)| *key).collect();
    if node.spec.unschedulable {
        wanted.push(UNSCHEDULABLE);
    }
    let ours = |taint: &&Taint| {
        taint.effect == TaintEffect::NoSchedule
            && (taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key))
    };
    let held: Vec<&str> = node.spec.taints.iter().filter(ours).map(|taint| taint.key.as_str()).collect();
    if wanted.iter().all(|key| held.contains(key)) && held.iter().all(|key| wanted.contains(key)) {
        return plan;
    }
    let kept = node.spec.taints.iter().filter(|taint| !ours(taint) || wanted.contains(&taint.key.as_str())).cloned();
    let added = wanted.iter().filter(|key| !held.contains(key)).map(|key| taint(key, TaintEffect::NoSchedule, None));
    plan.push(set(node, kept.chain(added).collect()));
    plan
}

fn taint(key: &str, effect: TaintEffect, added: Option<Time>) -> Taint {
    Taint { key: key.to_owned(), value: String::new(), effect, time_added: added.map(|time| time.to_string()) }
}

fn set(node: &Node, taints: Vec<Taint>) -> Action {
    Action::patch(node, "", json!({"spec": {"taints": taints}}))
}

/// Whether a node bears that taint, which makes pods leave.
pub(super) fn evicts(node: &Node, key: &str) -> bool {
    node.spec.taints.iter().any(|taint| taint.key == key && taint.effect == TaintEffect::NoExecute)
}

/// Gives a node exactly that one of the taints that make pods leave a lost node, or none; `None` if it is so already.
pub(super) fn set_eviction(node: &Node, wanted: Option<&str>, now: Time) -> Option<Action> {
    let ours =
        |taint: &Taint| taint.effect == TaintEffect::NoExecute && (taint.key == NOT_READY || taint.key == UNREACHABLE);
    let right = |taint: &Taint| wanted == Some(taint.key.as_str());
    let has = wanted.is_none_or(|key| evicts(node, key));
    if has && !node.spec.taints.iter().any(|taint| ours(taint) && !right(taint)) {
        return None;
    }
    let mut taints: Vec<Taint> =
        node.spec.taints.iter().filter(|taint| !ours(taint) || right(taint)).cloned().collect();
    if let Some(key) = wanted.filter(|_| !has) {
        taints.push(taint(key, TaintEffect::NoExecute, Some(now)));
    }
    Some(set(node, taints))
}
