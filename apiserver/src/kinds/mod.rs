//! What each built-in kind adds to the generic registry: defaults, rules, selectable fields, columns.

#![allow(dead_code, unused_imports, reason = "shared rules come before the kinds that use them")]

mod autoscalers;
mod config;
mod edit;
mod endpoints;
mod events;
mod jobs;
mod kind;
mod namespaces;
mod networking;
mod nodes;
mod pods;
mod podspec;
mod policies;
mod quotas;
mod rbac;
mod read;
mod same;
mod services;
mod storage;
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
        ("", "limitranges") => &quotas::LIMIT_RANGES,
        ("", "persistentvolumeclaims") => &storage::PERSISTENT_VOLUME_CLAIMS,
        ("", "persistentvolumes") => &storage::PERSISTENT_VOLUMES,
        ("", "resourcequotas") => &quotas::RESOURCE_QUOTAS,
        ("autoscaling", "horizontalpodautoscalers") => &autoscalers::HORIZONTAL_POD_AUTOSCALERS,
        ("networking.k8s.io", "ingressclasses") => &networking::INGRESS_CLASSES,
        ("networking.k8s.io", "ingresses") => &networking::INGRESSES,
        ("networking.k8s.io", "ipaddresses") => &networking::IP_ADDRESSES,
        ("networking.k8s.io", "networkpolicies") => &networking::NETWORK_POLICIES,
        ("networking.k8s.io", "servicecidrs") => &networking::SERVICE_CIDRS,
        ("node.k8s.io", "runtimeclasses") => &policies::RUNTIME_CLASSES,
        ("policy", "poddisruptionbudgets") => &policies::POD_DISRUPTION_BUDGETS,
        ("rbac.authorization.k8s.io", "clusterrolebindings") => &rbac::CLUSTER_ROLE_BINDINGS,
        ("rbac.authorization.k8s.io", "clusterroles") => &rbac::CLUSTER_ROLES,
        ("rbac.authorization.k8s.io", "rolebindings") => &rbac::ROLE_BINDINGS,
        ("rbac.authorization.k8s.io", "roles") => &rbac::ROLES,
        ("scheduling.k8s.io", "priorityclasses") => &policies::PRIORITY_CLASSES,
        ("storage.k8s.io", "csidrivers") => &storage::CSI_DRIVERS,
        ("storage.k8s.io", "csinodes") => &storage::CSI_NODES,
        ("storage.k8s.io", "csistoragecapacities") => &storage::CSI_STORAGE_CAPACITIES,
        ("storage.k8s.io", "storageclasses") => &storage::STORAGE_CLASSES,
        ("storage.k8s.io", "volumeattachments") => &storage::VOLUME_ATTACHMENTS,
        ("storage.k8s.io", "volumeattributesclasses") => &storage::VOLUME_ATTRIBUTES_CLASSES,
        _ => &PLAIN,
    }
}

/// A `LabelSelector` in an object as the text of a selector.
pub(crate) fn label_selector_text(selector: &Value) -> String {
    validate::labels::as_selector(&read::Field::of(selector)).to_string()
}
