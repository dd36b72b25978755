//! Namespaces, service accounts, config maps, claims, and objects of which only the metadata counts.

use serde::Deserialize;

use super::{Condition, Kind, Meta, Object, kinds, null_default, objects};

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Metadata.
    pub metadata: Meta,
    /// Its finalizers.
    pub spec: NamespaceSpec,
    /// What it is.
    pub status: NamespaceStatus,
}

/// Finalizers of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NamespaceSpec {
    /// What must be done before it may go.
    #[serde(deserialize_with = "null_default")]
    pub finalizers: Vec<String>,
}

/// What a namespace is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NamespaceStatus {
    /// `Active` or `Terminating`.
    pub phase: String,
    /// Conditions.
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<Condition>,
}

/// A service account of the name `default`; others are not watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    /// Metadata.
    pub metadata: Meta,
}

/// A config map of the name `kube-root-ca.crt`; others are not watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConfigMap {
    /// Metadata.
    pub metadata: Meta,
    /// Its entries.
    pub data: RootCaData,
}

/// The entry `ca.crt` of a config map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RootCaData {
    /// Certificates in PEM.
    #[serde(rename = "ca.crt")]
    pub ca: Option<String>,
}

/// A persistent volume claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeClaim {
    /// Metadata.
    pub metadata: Meta,
}

/// A persistent volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PersistentVolume {
    /// Metadata.
    pub metadata: Meta,
    /// Whether a claim is bound to it.
    pub status: PersistentVolumeStatus,
}

/// How a persistent volume is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeStatus {
    /// `Pending`, `Available`, `Bound`, `Released` or `Failed`.
    pub phase: String,
}

/// A cluster role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterRole {
    /// Metadata.
    pub metadata: Meta,
    /// What it allows.
    #[serde(deserialize_with = "null_default")]
    pub rules: Vec<serde_json::Value>,
    /// Where its rules come from, if from other roles.
    pub aggregation_rule: Option<AggregationRule>,
}

/// Where a cluster role's rules come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AggregationRule {
    /// Cluster roles whose rules it gets.
    #[serde(deserialize_with = "null_default")]
    pub cluster_role_selectors: Vec<kubewright_api::selector::LabelSelector>,
}

objects!(
    Namespace => kinds::NAMESPACE,
    PersistentVolume => kinds::PERSISTENT_VOLUME,
    PersistentVolumeClaim => kinds::PERSISTENT_VOLUME_CLAIM,
    ClusterRole => kinds::CLUSTER_ROLE,
);

impl Object for ServiceAccount {
    const KIND: Kind = kinds::SERVICE_ACCOUNT;
    const FIELD_SELECTOR: &'static str = "metadata.name=default";
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Object for ConfigMap {
    const KIND: Kind = kinds::CONFIG_MAP;
    const FIELD_SELECTOR: &'static str = "metadata.name=kube-root-ca.crt";
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
