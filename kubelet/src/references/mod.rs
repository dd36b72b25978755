//! ConfigMaps and Secrets: which a pod refers to, and a cache that watches just those.

mod cache;

pub use cache::{ObjectCache, ObjectKey};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;

use crate::objects::{Container, Pod};

/// A kind of object with keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl ObjectKind {
    /// Its name as the API writes it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        })
    }
}

/// Keys and values of a ConfigMap or a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyedData {
    values: BTreeMap<String, Vec<u8>>,
    /// Keys of `binaryData`: they make files, never variables.
    files_only: BTreeSet<String>,
    /// The Secret's type; empty for a ConfigMap.
    kind: String,
}

impl KeyedData {
    /// Text values.
    #[must_use]
    pub fn text<const N: usize>(values: [(&str, &str); N]) -> Self {
        let values = values.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
        Self { values: values.into(), ..Self::default() }
    }

    /// Values of a Secret.
    #[must_use]
    pub fn binary<const N: usize>(values: [(&str, Vec<u8>); N]) -> Self {
        Self { values: values.map(|(key, value)| (key.to_owned(), value)).into(), ..Self::default() }
    }

    /// Every key and value.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    /// The value of a key.
    #[must_use]
    pub fn file(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// The keys and values that can be variables.
    pub fn variables(&self) -> impl Iterator<Item = (&str, String)> {
        let text = self.files().filter(|(key, _)| !self.files_only.contains(*key));
        text.map(|(key, value)| (key, String::from_utf8_lossy(value).into_owned()))
    }

    /// The value of a key that can be a variable.
    #[must_use]
    pub fn variable(&self, key: &str) -> Option<String> {
        let value = self.values.get(key).filter(|_| !self.files_only.contains(key))?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The Secret's type; empty for a ConfigMap.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }
}

impl From<core::ConfigMap> for KeyedData {
    fn from(object: core::ConfigMap) -> Self {
        let text = object.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
        let binary: BTreeMap<_, _> = object.binary_data.into_iter().flatten().map(|(key, v)| (key, v.0)).collect();
        let files_only = binary.keys().cloned().collect();
        Self { values: text.chain(binary).collect(), files_only, kind: String::new() }
    }
}

impl From<core::Secret> for KeyedData {
    fn from(object: core::Secret) -> Self {
        let values = object.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect();
        Self { values, files_only: BTreeSet::new(), kind: object.type_.unwrap_or_default() }
    }
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It has this.
    Found(Arc<KeyedData>),
    /// There is none of that name.
    Missing,
    /// It was not read yet.
    Unknown,
}

/// The ConfigMaps and Secrets that a pod refers to, by kind and name.
#[must_use]
pub fn references(pod: &Pod) -> BTreeSet<(ObjectKind, String)> {
    let mut found = BTreeSet::new();
    let mut add = |kind, name: &str| {
        if !name.is_empty() {
            found.insert((kind, name.to_owned()));
        }
    };
    let spec = &pod.spec;
    let ephemeral = spec.ephemeral_containers.iter().map(|ephemeral| &ephemeral.container);
    for container in spec.containers.iter().chain(&spec.init_containers).chain(ephemeral) {
        of_container(container, &mut add);
    }
    for secret in &spec.image_pull_secrets {
        add(ObjectKind::Secret, &secret.name);
    }
    for volume in &spec.volumes {
        if let Some(map) = &volume.config_map {
            add(ObjectKind::ConfigMap, &map.name);
        }
        if let Some(secret) = &volume.secret {
            add(ObjectKind::Secret, &secret.secret_name);
        }
        let sources = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
        for source in sources.into_iter().flatten() {
            if let Some(map) = &source.config_map {
                add(ObjectKind::ConfigMap, &map.name);
            }
            if let Some(secret) = &source.secret {
                add(ObjectKind::Secret, &secret.name);
            }
        }
    }
    found
}

fn of_container(container: &Container, add: &mut impl FnMut(ObjectKind, &str)) {
    for from in &container.env_from {
        if let Some(map) = &from.config_map_ref {
            add(ObjectKind::ConfigMap, &map.name);
        }
        if let Some(secret) = &from.secret_ref {
            add(ObjectKind::Secret, &secret.name);
        }
    }
    for from in container.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
        if let Some(map) = &from.config_map_key_ref {
            add(ObjectKind::ConfigMap, &map.name);
        }
        if let Some(secret) = &from.secret_key_ref {
            add(ObjectKind::Secret, &secret.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_every_reference_once() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "a", "envFrom": [{"configMapRef": {"name": "m1"}}, {"secretRef": {"name": "s1"}}],
                "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "m1", "key": "k"}}}]}],
            "initContainers": [{"name": "i", "env": [
                {"name": "Y", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}}]}],
            "volumes": [{"name": "v1", "configMap": {"name": "m2"}}, {"name": "v2", "secret": {"secretName": "s3"}},
                {"name": "v3", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}},
                    {"secret": {"name": "s4"}}, {"serviceAccountToken": {"path": "token"}}]}}]}}))
        .unwrap();
        let names: Vec<_> = references(&pod).into_iter().map(|(kind, name)| format!("{kind}/{name}")).collect();
        assert_eq!(
            names.join(" "),
            "configmap/kube-root-ca.crt configmap/m1 configmap/m2 secret/pull secret/s1 secret/s2 secret/s3 secret/s4"
        );
    }
}
