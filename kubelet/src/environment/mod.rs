//! What a container finds in its environment: variables of its spec, of ConfigMaps and Secrets, about its pod and
//! about services; and `$(NAME)` in arguments.

mod expand;
mod fields;
mod services;

pub use expand::expand;
pub use fields::{FieldError, FieldValues, container_resource, pod_field};
pub use services::service_variables;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use kubewright_runtime_shim::KeyValue;

use crate::objects::{Container, Pod, Service};
use crate::references::{Fetched, KeyedData, ObjectKind};

/// Why a container's environment cannot be made. The container then waits with `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// An object that it names does not exist.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: ObjectKind,
        /// Its name.
        name: String,
    },
    /// An object that it names has not been read yet.
    #[error("failed to sync {kind} cache: timed out waiting for the condition")]
    NotSynced {
        /// `configmap` or `secret`.
        kind: ObjectKind,
    },
    /// The object lacks the key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}", kind = .kind.title())]
    NoSuchKey {
        /// `configmap` or `secret`.
        kind: ObjectKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A field that it names does not exist.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Everything besides pod and container that an environment follows from.
pub struct Sources<'a> {
    /// ConfigMaps and Secrets of the pod's namespace.
    pub object: &'a dyn Fn(ObjectKind, &str) -> Fetched,
    /// Services of the pod's namespace, and `kubernetes` of `default`.
    pub services: &'a [Service],
    /// Addresses and so on.
    pub fields: &'a FieldValues,
}

impl std::fmt::Debug for Sources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("services", &self.services.len()).finish_non_exhaustive()
    }
}

impl Sources<'_> {
    /// The object, or `None` when it is missing and may be.
    fn fetch(
        &self,
        kind: ObjectKind,
        name: &str,
        optional: bool,
    ) -> Result<Option<std::sync::Arc<KeyedData>>, EnvironmentError> {
        match (self.object)(kind, name) {
            Fetched::Found(data) => Ok(Some(data)),
            Fetched::Missing if optional => Ok(None),
            Fetched::Missing => Err(EnvironmentError::NotFound { kind, name: name.to_owned() }),
            Fetched::Unknown => Err(EnvironmentError::NotSynced { kind }),
        }
    }
}

/// A container's variables: services' first, then those of whole objects, then its own; a later one wins.
///
/// # Errors
/// What is missing.
pub fn environment(pod: &Pod, container: &Container, sources: &Sources<'_>) -> Result<Vec<KeyValue>, EnvironmentError> {
    let links = pod.spec.enable_service_links.unwrap_or(true);
    let services = service_variables(sources.services, pod.namespace(), links);
    let mut order: Vec<String> = services.iter().map(|(name, _)| name.clone()).collect();
    let mut values: BTreeMap<String, String> = services.into_iter().collect();
    let mut set = |values: &mut BTreeMap<String, String>, name: &str, value: String| {
        if values.insert(name.to_owned(), value).is_some() {
            order.retain(|earlier| earlier != name);
        }
        order.push(name.to_owned());
    };
    for from in &container.env_from {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(map), _) => (ObjectKind::ConfigMap, &map.name, map.optional),
            (None, Some(secret)) => (ObjectKind::Secret, &secret.name, secret.optional),
            (None, None) => continue,
        };
        let Some(data) = sources.fetch(kind, name, optional.unwrap_or(false))? else {
            continue;
        };
        for (key, value) in data.variables() {
            let name = format!("{prefix}{key}");
            if !name.contains('=') && name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
                set(&mut values, &name, value);
            }
        }
    }
    for variable in &container.env {
        let value = match &variable.value_from {
            Some(from) => match value_from(pod, container, from, sources)? {
                Some(value) => value,
                None => continue,
            },
            None => expand(variable.value.as_deref().unwrap_or_default(), |name| values.get(name).map(String::as_str)),
        };
        set(&mut values, &variable.name, value);
    }
    Ok(order.into_iter().map(|name| KeyValue::new(name.clone(), values.remove(&name).unwrap_or_default())).collect())
}

fn value_from(
    pod: &Pod,
    container: &Container,
    from: &core::EnvVarSource,
    sources: &Sources<'_>,
) -> Result<Option<String>, EnvironmentError> {
    if let Some(field) = &from.field_ref {
        return Ok(Some(pod_field(pod, &field.field_path, sources.fields)?));
    }
    if let Some(resource) = &from.resource_field_ref {
        let named = resource.container_name.as_deref().filter(|name| !name.is_empty());
        let container = named.and_then(|name| pod.spec.container(name)).unwrap_or(container);
        return Ok(Some(container_resource(container, resource, sources.fields)?));
    }
    let (kind, name, key, optional) = match (&from.config_map_key_ref, &from.secret_key_ref) {
        (Some(map), _) => (ObjectKind::ConfigMap, &map.name, &map.key, map.optional),
        (None, Some(secret)) => (ObjectKind::Secret, &secret.name, &secret.key, secret.optional),
        (None, None) => return Ok(Some(String::new())),
    };
    let optional = optional.unwrap_or(false);
    let Some(data) = sources.fetch(kind, name, optional)? else {
        return Ok(None);
    };
    match data.variable(key) {
        Some(value) => Ok(Some(value)),
        None if optional => Ok(None),
        None => Err(EnvironmentError::NoSuchKey {
            kind,
            namespace: pod.namespace().to_owned(),
            name: name.clone(),
            key: key.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn object(kind: ObjectKind, name: &str) -> Fetched {
        match (kind, name) {
            (ObjectKind::ConfigMap, "settings") => {
                Fetched::Found(Arc::new(KeyedData::text([("COLOR", "red"), ("A", "1")])))
            }
            (ObjectKind::Secret, "keys") => {
                Fetched::Found(Arc::new(KeyedData::binary([("token", b"s3cret".to_vec())])))
            }
            (_, "slow") => Fetched::Unknown,
            _ => Fetched::Missing,
        }
    }

    fn check(container: serde_json::Value) -> Result<String, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": [container]}}))
        .unwrap();
        let fields = FieldValues::default();
        let sources = Sources { object: &object, services: &[], fields: &fields };
        let variables = environment(&pod, &pod.spec.containers[0], &sources).map_err(|error| error.to_string())?;
        Ok(variables.iter().map(|v| format!("{}={}", v.key, v.value)).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn values_come_from_everywhere_and_later_ones_win() {
        let container = json!({"name": "c",
            "envFrom": [{"configMapRef": {"name": "settings"}}, {"prefix": "S_", "secretRef": {"name": "keys"}},
                {"configMapRef": {"name": "none", "optional": true}}],
            "env": [
                {"name": "A", "value": "2"},
                {"name": "B", "value": "$(A)-$(COLOR)-$(NONE)-$$(A)"},
                {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "COLOR"}}},
                {"name": "D", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "none", "optional": true}}},
                {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]});
        assert_eq!(check(container).unwrap(), "COLOR=red S_token=s3cret A=2 B=2-red-$(NONE)-$(A) C=red E=web F=n1");
    }

    #[test]
    fn what_is_missing_is_named() {
        let from = |source: serde_json::Value| check(json!({"name": "c", "env": [{"name": "X", "valueFrom": source}]}));
        assert_eq!(
            from(json!({"configMapKeyRef": {"name": "none", "key": "k"}})).unwrap_err(),
            "configmap \"none\" not found"
        );
        assert_eq!(
            from(json!({"secretKeyRef": {"name": "keys", "key": "k"}})).unwrap_err(),
            "couldn't find key k in Secret ns/keys"
        );
        assert!(from(json!({"secretKeyRef": {"name": "slow", "key": "k"}})).unwrap_err().contains("failed to sync"));
        assert!(from(json!({"fieldRef": {"fieldPath": "spec.color"}})).is_err());
    }
}
