//! The fields of Services and EndpointSlices that rules depend on, and no others: what a node keeps in memory.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};

use super::Protocol;

/// The metadata that rules depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// The namespace.
    #[serde(default)]
    pub namespace: String,
    /// The name.
    #[serde(default)]
    pub name: String,
    /// Labels; a slice's `kubernetes.io/service-name` says whose it is.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Which.
    #[serde(default)]
    pub metadata: Meta,
    /// What it wants.
    #[serde(default)]
    pub spec: ServiceSpec,
}

/// What a Service wants. Fields have the meaning of `io.k8s.api.core.v1.ServiceSpec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are the API's own")]
pub struct ServiceSpec {
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default, rename = "clusterIP")]
    pub cluster_ip: String,
    #[serde(default, rename = "clusterIPs", deserialize_with = "null_is_default")]
    pub cluster_ips: Vec<String>,
    #[serde(default, rename = "externalIPs", deserialize_with = "null_is_default")]
    pub external_ips: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub ports: Vec<ServicePort>,
    #[serde(default)]
    pub session_affinity: String,
    #[serde(default)]
    pub session_affinity_config: Option<AffinityConfig>,
    #[serde(default)]
    pub internal_traffic_policy: Option<String>,
    #[serde(default)]
    pub external_traffic_policy: Option<String>,
}

/// How long a client stays with its endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AffinityConfig {
    #[serde(default)]
    pub(crate) client_ip: Option<ClientIp>,
}

/// How long a client's address stays with its endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientIp {
    #[serde(default)]
    pub(crate) timeout_seconds: Option<u32>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Its name; may be empty when it is the only one.
    #[serde(default)]
    pub name: String,
    /// The port that clients use.
    pub port: u16,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// The port on every node's address; 0 or missing for none.
    #[serde(default)]
    pub node_port: PortNumber,
}

/// A port number that may be missing.
pub type PortNumber = Option<u16>;

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Which.
    #[serde(default)]
    pub metadata: Meta,
    /// `IPv4` or `IPv6`.
    #[serde(default)]
    pub address_type: String,
    /// The endpoints.
    #[serde(default, deserialize_with = "null_is_default")]
    pub endpoints: Vec<Endpoint>,
    /// The ports that all of them serve.
    #[serde(default, deserialize_with = "null_is_default")]
    pub ports: Vec<EndpointPort>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its addresses; only the first is used, as upstream says.
    #[serde(default, deserialize_with = "null_is_default")]
    pub addresses: Vec<String>,
    /// What it can do now.
    #[serde(default, deserialize_with = "null_is_default")]
    pub conditions: Conditions,
    /// The node it runs on.
    #[serde(default)]
    pub node_name: Option<String>,
    /// For whom it is meant.
    #[serde(default)]
    pub hints: Option<EndpointHints>,
}

impl Endpoint {
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.addresses.first()?.parse().ok()
    }

    /// Ready unless said otherwise.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.conditions.ready.unwrap_or(true)
    }

    /// Still serving while it ends.
    #[must_use]
    pub fn is_serving_terminating(&self) -> bool {
        self.conditions.terminating == Some(true) && self.conditions.serving.unwrap_or_else(|| self.is_ready())
    }
}

/// What an endpoint can do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the API's own")]
pub struct Conditions {
    #[serde(default)]
    pub ready: Option<bool>,
    #[serde(default)]
    pub serving: Option<bool>,
    #[serde(default)]
    pub terminating: Option<bool>,
}

/// For whom an endpoint is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointHints {
    /// Zones whose nodes should use it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub for_zones: Vec<NamedHint>,
    /// Nodes that should use it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub for_nodes: Vec<NamedHint>,
}

/// A zone or node by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedHint {
    /// The name.
    pub name: String,
}

/// A port that the endpoints of a slice serve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPort {
    /// The name of the Service's port.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// The number; a port without one is not served.
    #[serde(default)]
    pub port: PortNumber,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
