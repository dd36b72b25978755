//! The objects that a server makes when it starts: system namespaces, the bootstrap policy, priority classes, and the
//! `kubernetes` Service that leads to the server itself.

pub(crate) mod extension_authentication;
pub(crate) mod flow_control;
pub mod rbac;

use std::net::{IpAddr, SocketAddr};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kubewright_api::status::Status;
use serde_json::{Value, json};

use crate::allocate::AddressRange;
use crate::objects::{GroupResource, Objects};

/// Objects that are written at the same time, so that they share the store's syncs.
const CONCURRENCY: usize = 64;
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What the objects say.
#[derive(Clone, Debug)]
pub struct BootstrapConfig {
    /// The range of cluster IPs; its first address is the `kubernetes` Service's.
    pub service_addresses: AddressRange,
    /// Where pods reach the server, if it serves them.
    pub advertise: Option<SocketAddr>,
    /// The port of the `kubernetes` Service; upstream's is 443.
    pub service_port: u16,
    /// Whether roles and bindings are wanted.
    pub with_policy: bool,
    /// The day since when uses of long-lived tokens are noted, if none was written down yet.
    pub now: Timestamp,
}

/// Makes what is missing and mends what differs.
///
/// # Errors
/// What the store answers.
pub async fn run(objects: &dyn Objects, config: &BootstrapConfig) -> Result<(), Status> {
    let namespaces = NAMESPACES.map(|name| {
        let labels = json!({"kubernetes.io/metadata.name": name});
        let metadata = json!({"name": name, "labels": labels});
        ("", "namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
    });
    ensure_all(objects, namespaces.into()).await?;
    let mut wanted: Vec<(&str, &str, Value)> = Vec::new();
    let policy = if config.with_policy { rbac::policy() } else { Vec::new() };
    for part in policy {
        wanted.push((crate::authz::rbac::GROUP, part.resource, part.object));
    }
    for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)] {
        wanted.push(("scheduling.k8s.io", "priorityclasses", priority_class(name, value)));
    }
    wanted.push(("networking.k8s.io", "servicecidrs", service_cidr(&config.service_addresses)));
    for namespace in NAMESPACES {
        // A controller makes one in every namespace; in these they are there from the start.
        let metadata = json!({"name": "default", "namespace": namespace});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        wanted.push(("", "serviceaccounts", account));
    }
    wanted.extend(flow_control::wanted());
    ensure_all(objects, wanted).await?;
    token_tracking(objects, config).await?;
    kubernetes_service(objects, config).await
}

/// Since when the last use of long-lived tokens is noted in their Secrets: what whoever clears away unused ones goes by.
async fn token_tracking(objects: &dyn Objects, config: &BootstrapConfig) -> Result<(), Status> {
    const NAME: &str = "kube-apiserver-legacy-service-account-token-tracking";
    let place = GroupResource::core("configmaps");
    if !objects.serves(place) {
        return Ok(());
    }
    let today = config.now.strftime("%Y-%m-%d").to_string();
    let Some(mut found) = objects.cached(place, "kube-system", NAME) else {
        let metadata = json!({"name": NAME, "namespace": "kube-system"});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"since": today}});
        return ignore(objects.create(place, map).await, "AlreadyExists");
    };
    if found["data"]["since"].as_str().is_some_and(|since| since.parse::<jiff::civil::Date>().is_ok()) {
        return Ok(());
    }
    if !found["data"].is_object() {
        found["data"] = json!({});
    }
    found["data"]["since"] = today.into();
    ignore(objects.update(place, found).await, "Conflict")
}

/// Creates what is missing of these: group, resource, object.
pub(crate) async fn ensure_all(objects: &dyn Objects, wanted: Vec<(&str, &str, Value)>) -> Result<(), Status> {
    let ensured = wanted.into_iter().map(|(group, resource, object)| ensure(objects, group, resource, object));
    stream::iter(ensured).buffer_unordered(CONCURRENCY).try_collect().await
}

/// Creates an object, or brings one that updates itself back to what it must at least say.
async fn ensure(objects: &dyn Objects, group: &str, resource: &str, wanted: Value) -> Result<(), Status> {
    let place = GroupResource::new(group, resource);
    if !objects.serves(place) {
        return Ok(());
    }
    let text = |field: &str| wanted["metadata"][field].as_str().unwrap_or_default();
    let Some(mut found) = objects.cached(place, text("namespace"), text("name")) else {
        return ignore(objects.create(place, wanted).await, "AlreadyExists");
    };
    let automatic = found["metadata"]["annotations"][AUTO_UPDATE] == "true";
    if !automatic || !(extend(&mut found, &wanted, "rules") | extend(&mut found, &wanted, "subjects")) {
        return Ok(());
    }
    // Someone else's change is as good a reason to look again at the next start.
    ignore(objects.update(place, found).await, "Conflict")
}

fn ignore(result: Result<Value, Status>, reason: &str) -> Result<(), Status> {
    match result {
        Err(status) if status.reason != reason => Err(status),
        _ => Ok(()),
    }
}

/// Adds the elements that a list lacks; tells whether it lacked any.
fn extend(found: &mut Value, wanted: &Value, list: &str) -> bool {
    let Some(wanted) = wanted[list].as_array() else { return false };
    if !found[list].is_array() {
        found[list] = json!([]);
    }
    let Some(own) = found[list].as_array_mut() else { return false };
    let missing: Vec<Value> = wanted.iter().filter(|element| !own.contains(element)).cloned().collect();
    own.extend(missing.iter().cloned());
    !missing.is_empty()
}

fn priority_class(name: &str, value: i64) -> Value {
    let what = if name.contains("node") { "the node" } else { "the cluster" };
    json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
        "description": format!("For pods that {what} cannot do without."), "preemptionPolicy": "PreemptLowerPriority",
    })
}

fn service_cidr(range: &AddressRange) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [range.to_string()]},
    })
}

/// The Service by which pods find the server, and its endpoint.
async fn kubernetes_service(objects: &dyn Objects, config: &BootstrapConfig) -> Result<(), Status> {
    let Some(advertise) = config.advertise else { return Ok(()) };
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": config.service_addresses.first().to_string(),
            "ports": [{"name": "https", "port": config.service_port, "protocol": "TCP", "targetPort": advertise.port()}],
        },
    });
    replace(objects, GroupResource::core("services"), service, "spec").await?;
    let family = if matches!(advertise.ip(), IpAddr::V4(_)) { "IPv4" } else { "IPv6" };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family,
        "endpoints": [{"addresses": [advertise.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": advertise.port(), "protocol": "TCP"}],
    });
    replace_slice(objects, slice).await?;
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": advertise.ip().to_string()}],
            "ports": [{"name": "https", "port": advertise.port(), "protocol": "TCP"}],
        }],
    });
    replace(objects, GroupResource::core("endpoints"), endpoints, "subsets").await
}

/// Creates an object, or sets that part of it.
async fn replace(objects: &dyn Objects, place: GroupResource<'_>, wanted: Value, part: &str) -> Result<(), Status> {
    if !objects.serves(place) {
        return Ok(());
    }
    let Some(mut found) = objects.cached(place, "default", "kubernetes") else {
        return ignore(objects.create(place, wanted).await, "AlreadyExists");
    };
    let differs = match (&wanted[part], &mut found[part]) {
        (Value::Object(wanted), Value::Object(found)) => {
            let differs = wanted.iter().any(|(name, value)| found.get(name) != Some(value));
            found.extend(wanted.clone());
            differs
        }
        (wanted, found) => {
            let differs = wanted != found;
            *found = wanted.clone();
            differs
        }
    };
    if differs { ignore(objects.update(place, found).await, "Conflict") } else { Ok(()) }
}

/// The address type of a slice can't change, so a slice of the other family makes way.
async fn replace_slice(objects: &dyn Objects, wanted: Value) -> Result<(), Status> {
    let place = GroupResource::new("discovery.k8s.io", "endpointslices");
    if let Some(found) = objects.cached(place, "default", "kubernetes")
        && found["addressType"] != wanted["addressType"]
    {
        ignore(objects.delete(place, "default", "kubernetes").await, "NotFound")?;
    }
    let ports = wanted.clone();
    replace(objects, place, wanted, "endpoints").await?;
    replace(objects, place, ports, "ports").await
}
