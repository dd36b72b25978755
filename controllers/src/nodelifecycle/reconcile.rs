//! What must be done about all nodes, given what is known about them from before.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::health::{Health, silent_conditions};
use super::taints::{NOT_READY, UNREACHABLE, evicts, set_eviction};
use super::zones::{Gate, Limits, ZoneState, zone_of};
use crate::objects::{Lease, Node, Pod, Time, condition};
use crate::plan::{Action, Event, Note, Plan, Reference};

const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// All nodes and what belongs to them.
pub struct Observed<'a> {
    /// The nodes.
    pub nodes: Vec<Arc<Node>>,
    /// A node's lease.
    pub lease: &'a dyn Fn(&str) -> Option<Arc<Lease>>,
    /// A node's pods.
    pub pods: &'a dyn Fn(&str) -> Vec<Arc<Pod>>,
    /// How long nodes may be silent and how fast they are given up.
    pub limits: &'a Limits,
}

impl std::fmt::Debug for Observed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observed").field("nodes", &self.nodes).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub struct Memory {
    nodes: BTreeMap<String, (String, Health)>,
    gates: BTreeMap<String, Gate>,
    /// Whether at the last look no node of any zone was ready.
    all_lost: bool,
}

/// What must be done about all nodes.
#[must_use]
pub fn reconcile(observed: &Observed<'_>, memory: &mut Memory, now: Time) -> Plan {
    let mut plan = Plan::nothing();
    forget_gone(observed, memory, &mut plan);
    let mut statuses: BTreeMap<&str, String> = BTreeMap::new();
    for node in &observed.nodes {
        let name = node.metadata.name.as_str();
        let known = memory.nodes.get(name).filter(|(uid, _)| *uid == node.metadata.uid).map(|(_, health)| health);
        if known.is_none() {
            let text = format!("Node {name} event: Registered Node {name} in Controller");
            plan.event(Reference::to(node.as_ref()), Note::normal("RegisteredNode", text));
        }
        let mut health = Health::observe(known, node, (observed.lease)(name).as_deref(), now);
        let silent = health.is_silent(observed.limits, now);
        let status = status_of(node, silent);
        if silent {
            let conditions = silent_conditions(node, now);
            if conditions != node.status.conditions {
                plan.patch(node.as_ref(), "status", json!({"status": {"conditions": conditions}}));
            }
        }
        if health.was_ready && status != "True" {
            let text = format!("Node {name} status is now: NodeNotReady");
            plan.event(Reference::to(node.as_ref()), Note::normal("NodeNotReady", text));
        }
        // A kubelet that still reports knows its pods; of a silent one nobody else can tell that they don't serve.
        if silent || (health.was_ready && status == "False") {
            mark_pods_not_ready(&(observed.pods)(name), &mut plan, now);
        }
        health.was_ready = status == "True";
        memory.nodes.insert(name.to_owned(), (node.metadata.uid.clone(), health));
        statuses.insert(name, status);
    }
    taint(observed, memory, &statuses, &mut plan, now);
    plan
}

/// The status of a node's condition `Ready`; empty if it never had one and may still get it.
fn status_of(node: &Node, silent: bool) -> String {
    let ready = condition(&node.status.conditions, "Ready");
    if silent { "Unknown".to_owned() } else { ready.map_or_else(String::new, |ready| ready.status.clone()) }
}

fn forget_gone(observed: &Observed<'_>, memory: &mut Memory, plan: &mut Plan) {
    memory.nodes.retain(|name, (uid, _)| {
        let stays = observed.nodes.iter().any(|node| node.metadata.name == *name);
        if !stays {
            let mut gone = Node::default();
            gone.metadata.name.clone_from(name);
            gone.metadata.uid.clone_from(uid);
            let text = format!("Node {name} event: Removing Node {name} from Controller");
            let note = Note::normal("RemovingNode", text);
            plan.push(Action::Event(Event { regarding: Reference::to(&gone), note }));
        }
        stays
    });
}

fn mark_pods_not_ready(pods: &[Arc<Pod>], plan: &mut Plan, now: Time) {
    for pod in pods.iter().filter(|pod| pod.ready()) {
        let mut conditions = pod.status.conditions.clone();
        for ready in conditions.iter_mut().filter(|held| held.kind == "Ready") {
            ready.status = "False".to_owned();
            ready.last_transition_time = Some(now.truncated());
        }
        plan.patch(pod.as_ref(), "status", json!({"status": {"conditions": conditions}}));
        plan.event(Reference::to(pod.as_ref()), Note::warning("NodeNotReady", "Node is not ready"));
    }
}

/// Taints lost nodes so that their pods leave, and frees those that came back.
fn taint(observed: &Observed<'_>, memory: &mut Memory, statuses: &BTreeMap<&str, String>, plan: &mut Plan, now: Time) {
    let mut zones: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let status = |node: &Node| statuses.get(node.metadata.name.as_str()).map_or("", String::as_str);
    for node in observed.nodes.iter().filter(|node| !node.metadata.labels.contains(EXCLUDED)) {
        let (ready, not_ready) = zones.entry(zone_of(node)).or_default();
        *(if status(node) == "True" { ready } else { not_ready }) += 1;
    }
    let state = |zone: &str| {
        let (ready, not_ready) = zones.get(zone).copied().unwrap_or_default();
        (ZoneState::of(ready, not_ready, observed.limits), ready + not_ready)
    };
    let all_lost = !zones.is_empty() && zones.keys().all(|zone| state(zone).0 == ZoneState::FullDisruption);
    if memory.all_lost && !all_lost {
        // It was rather we who were cut off: every node gets its full time again.
        memory.nodes.values_mut().for_each(|(_, health)| health.last_sign = now);
    }
    memory.all_lost = all_lost;
    memory.gates.retain(|zone, _| zones.contains_key(zone));
    for node in &observed.nodes {
        let wanted = match status(node) {
            "True" => None,
            _ if all_lost => None,
            "False" => Some(NOT_READY),
            "Unknown" => Some(UNREACHABLE),
            _ => continue,
        };
        let Some(action) = set_eviction(node, wanted, now) else { continue };
        // Exchanging one taint for the other is no new eviction and needs not wait.
        let tainted = evicts(node, NOT_READY) || evicts(node, UNREACHABLE);
        let zone = zone_of(node);
        let (state, size) = state(&zone);
        let free = wanted.is_none() || tainted;
        if free || memory.gates.entry(zone).or_default().pass(state.rate(size, observed.limits), now) {
            plan.push(action);
        }
    }
}
