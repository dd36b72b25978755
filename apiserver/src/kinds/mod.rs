//! What each built-in kind adds to the generic registry: defaults, rules, selectable fields, columns.

mod admission;
mod autoscalers;
mod certificates;
mod components;
mod config;
mod devices;
mod edit;
mod endpoints;
mod events;
mod extensions;
mod flowcontrol;
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

pub(crate) use admission::{namespace_type, request_type};
use kind::Kind;
pub(crate) use kind::Part;
use serde_json::Value;

use crate::registry::Strategy;

/// A kind that needs nothing of its own.
static PLAIN: Kind = Kind { ..Kind::PLAIN };

/// The strategy of a built-in resource.
#[must_use]
pub fn strategy(group: &str, resource: &str) -> &'static dyn Strategy {
    match (group, resource) {
        ("", "events") => &events::EVENTS,
        ("", "componentstatuses") => &components::COMPONENT_STATUSES,
        ("", "configmaps") => &config::CONFIG_MAPS,
        ("", "endpoints") => &endpoints::ENDPOINTS,
        ("", "limitranges") => &quotas::LIMIT_RANGES,
        ("", "namespaces") => &namespaces::NAMESPACES,
        ("", "nodes") => &nodes::NODES,
        ("", "persistentvolumeclaims") => &storage::PERSISTENT_VOLUME_CLAIMS,
        ("", "persistentvolumes") => &storage::PERSISTENT_VOLUMES,
        ("", "pods") => &pods::PODS,
        ("", "podtemplates") => &workloads::POD_TEMPLATES,
        ("", "replicationcontrollers") => &workloads::REPLICATION_CONTROLLERS,
        ("", "resourcequotas") => &quotas::RESOURCE_QUOTAS,
        ("", "secrets") => &config::SECRETS,
        ("", "serviceaccounts") => &config::SERVICE_ACCOUNTS,
        ("", "services") => &services::SERVICES,
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies") => &admission::MUTATING_POLICIES,
        ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings") => &admission::MUTATING_POLICY_BINDINGS,
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations") => &admission::MUTATING_WEBHOOKS,
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => &admission::VALIDATING_POLICIES,
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => &admission::VALIDATING_POLICY_BINDINGS,
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations") => &admission::VALIDATING_WEBHOOKS,
        ("apiextensions.k8s.io", "customresourcedefinitions") => &extensions::CUSTOM_RESOURCE_DEFINITIONS,
        ("apiregistration.k8s.io", "apiservices") => &extensions::API_SERVICES,
        ("apps", "controllerrevisions") => &workloads::CONTROLLER_REVISIONS,
        ("apps", "daemonsets") => &workloads::DAEMON_SETS,
        ("apps", "deployments") => &workloads::DEPLOYMENTS,
        ("apps", "replicasets") => &workloads::REPLICA_SETS,
        ("apps", "statefulsets") => &workloads::STATEFUL_SETS,
        ("autoscaling", "horizontalpodautoscalers") => &autoscalers::HORIZONTAL_POD_AUTOSCALERS,
        ("batch", "cronjobs") => &jobs::CRON_JOBS,
        ("batch", "jobs") => &jobs::JOBS,
        ("certificates.k8s.io", "certificatesigningrequests") => &certificates::CERTIFICATE_SIGNING_REQUESTS,
        ("coordination.k8s.io", "leases") => &config::LEASES,
        ("events.k8s.io", "events") => &events::STRICT_EVENTS,
        ("discovery.k8s.io", "endpointslices") => &endpoints::ENDPOINT_SLICES,
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &flowcontrol::FLOW_SCHEMAS,
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => &flowcontrol::PRIORITY_LEVELS,
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
        ("resource.k8s.io", "deviceclasses") => &devices::DEVICE_CLASSES,
        ("resource.k8s.io", "resourceclaims") => &devices::RESOURCE_CLAIMS,
        ("resource.k8s.io", "resourceclaimtemplates") => &devices::RESOURCE_CLAIM_TEMPLATES,
        ("resource.k8s.io", "resourceslices") => &devices::RESOURCE_SLICES,
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

#[cfg(test)]
mod tests;
