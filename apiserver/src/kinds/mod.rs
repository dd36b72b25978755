//! What each built-in kind adds to the generic registry: defaults, rules, selectable fields, columns.

#![allow(dead_code, unused_imports, reason = "shared rules come before the kinds that use them")]

mod config;
mod edit;
mod endpoints;
mod events;
mod jobs;
mod kind;
mod namespaces;
mod nodes;
mod pods;
mod podspec;
mod read;
mod same;
mod services;
pub mod validate;
mod workloads;

use kind::{Kind, Part, empty_status};
use serde_json::Value;

use crate::registry::Strategy;

/// A kind that needs nothing of its own.
static PLAIN: Kind = Kind { ..Kind::PLAIN };

/// A kind with a spec and generations.
static WITH_SPEC: Kind = Kind { generation: true, ..Kind::PLAIN };

/// A kind with a spec, generations and a status.
static WITH_STATUS: Kind =
    Kind { generation: true, status: Some(empty_status), subresources: &[("status", &Part::STATUS)], ..Kind::PLAIN };

/// The strategy of a built-in resource.
#[must_use]
pub fn strategy(group: &str, resource: &str) -> &'static dyn Strategy {
    match (group, resource) {
        ("", "configmaps") => &config::CONFIG_MAPS,
        ("", "endpoints") => &endpoints::ENDPOINTS,
        ("" | "events.k8s.io", "events") => &events::EVENTS,
        ("", "namespaces") => &namespaces::NAMESPACES,
        ("", "nodes") => &nodes::NODES,
        ("", "pods") => &pods::PODS,
        ("", "secrets") => &config::SECRETS,
        ("", "serviceaccounts") => &config::SERVICE_ACCOUNTS,
        ("", "services") => &services::SERVICES,
        ("coordination.k8s.io", "leases") => &config::LEASES,
        ("discovery.k8s.io", "endpointslices") => &endpoints::ENDPOINT_SLICES,
        ("", "podtemplates") => &workloads::POD_TEMPLATES,
        ("", "replicationcontrollers") => &workloads::REPLICATION_CONTROLLERS,
        ("apps", "controllerrevisions") => &workloads::CONTROLLER_REVISIONS,
        ("apps", "daemonsets") => &workloads::DAEMON_SETS,
        ("apps", "deployments") => &workloads::DEPLOYMENTS,
        ("apps", "replicasets") => &workloads::REPLICA_SETS,
        ("apps", "statefulsets") => &workloads::STATEFUL_SETS,
        ("batch", "cronjobs") => &jobs::CRON_JOBS,
        ("batch", "jobs") => &jobs::JOBS,
        ("networking.k8s.io", "networkpolicies") => &WITH_SPEC,
        ("policy" | "autoscaling", _) => &WITH_STATUS,
        _ => &PLAIN,
    }
}

/// A `LabelSelector` in an object as the text of a selector.
pub(crate) fn label_selector_text(selector: &Value) -> String {
    validate::labels::as_selector(&read::Field::of(selector)).to_string()
}
