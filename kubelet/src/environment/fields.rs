use std::net::IpAddr;

use k8s_openapi::api::core::v1::ResourceFieldSelector;
use kubewright_api::quantity::Quantity;
use kubewright_api::requests::ResourceList;

use crate::objects::{Container, Pod};

/// What a pod's fields say beyond the object itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldValues {
    /// The pod's addresses.
    pub pod_ips: Vec<IpAddr>,
    /// The node's addresses.
    pub host_ips: Vec<IpAddr>,
    /// What a container may use that has no limit of its own.
    pub allocatable: ResourceList,
}

/// A field that does not exist, or a resource that cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// No such field.
    #[error("unsupported fieldPath: {0}")]
    Path(String),
    /// No such resource.
    #[error("unsupported container resource : {0}")]
    Resource(String),
    /// The divisor is no quantity, or is zero.
    #[error("invalid divisor {0}")]
    Divisor(String),
}

fn join(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The value of one field of a pod.
///
/// # Errors
/// No such field.
pub fn pod_field(pod: &Pod, path: &str, values: &FieldValues) -> Result<String, FieldError> {
    let first = |addresses: &[IpAddr]| addresses.first().map(ToString::to_string).unwrap_or_default();
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => lines(pod.metadata.labels.iter().flatten()),
        "metadata.annotations" => lines(pod.metadata.annotations.iter().flatten()),
        "spec.nodeName" => pod.spec.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone(),
        "status.hostIP" => first(&values.host_ips),
        "status.hostIPs" => join(&values.host_ips),
        "status.podIP" => first(&values.pod_ips),
        "status.podIPs" => join(&values.pod_ips),
        _ => return keyed_field(pod, path).ok_or_else(|| FieldError::Path(path.to_owned())),
    })
}

/// `metadata.labels['key']` and `metadata.annotations['key']`; a missing key is an empty value.
fn keyed_field(pod: &Pod, path: &str) -> Option<String> {
    let (field, rest) = path.split_once("['")?;
    let key = rest.strip_suffix("']")?;
    let map = match field {
        "metadata.labels" => &pod.metadata.labels,
        "metadata.annotations" => &pod.metadata.annotations,
        _ => return None,
    };
    Some(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default())
}

/// `key="value"` lines, sorted, with values quoted as Go quotes them.
fn lines<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    pairs.map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

/// The value of one resource of a container, in units of the divisor, rounded up.
///
/// # Errors
/// No such resource, or a bad divisor.
pub fn container_resource(
    container: &Container,
    selector: &ResourceFieldSelector,
    values: &FieldValues,
) -> Result<String, FieldError> {
    let (list, name) =
        selector.resource.split_once('.').ok_or_else(|| FieldError::Resource(selector.resource.clone()))?;
    let known = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    let own = match list {
        "limits" if known => container.resources.limits.get(name).or_else(|| values.allocatable.get(name)),
        "requests" if known => container.resources.requests.get(name).or_else(|| container.resources.limits.get(name)),
        _ => return Err(FieldError::Resource(selector.resource.clone())),
    };
    let amount = own.copied().unwrap_or_default();
    let text = selector.divisor.as_ref().map_or("", |divisor| divisor.0.as_str());
    let bad = || FieldError::Divisor(text.to_owned());
    let divisor: Quantity = match text {
        "" | "0" => Quantity::from_millis(1000),
        text => text.parse().map_err(|_| bad())?,
    };
    let (amount, divisor) =
        if name == "cpu" { (amount.millis(), divisor.millis()) } else { (amount.value(), divisor.value()) };
    if divisor <= 0 {
        return Err(bad());
    }
    Ok((amount / divisor + i64::from(amount % divisor > 0)).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_of_a_pod() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a": "say \"x\"\n"}},
            "spec": {"serviceAccountName": "robot"}}))
        .unwrap();
        let values = FieldValues {
            pod_ips: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            ..FieldValues::default()
        };
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.uid", "u"),
            ("metadata.labels", "a=\"say \\\"x\\\"\\n\"\nb=\"2\""),
            ("metadata.labels['b']", "2"),
            ("metadata.annotations['none']", ""),
            ("spec.serviceAccountName", "robot"),
            ("status.podIP", "10.0.0.1"),
            ("status.podIPs", "10.0.0.1,fd00::1"),
            ("status.hostIP", ""),
        ] {
            assert_eq!(pod_field(&pod, path, &values).as_deref(), Ok(expected), "{path}");
        }
        assert!(pod_field(&pod, "status.phase", &values).is_err());
    }

    #[test]
    fn resources_of_a_container() {
        let container: Container = serde_json::from_value(json!({"name": "c",
            "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "64Mi"}}}))
        .unwrap();
        let values =
            FieldValues { allocatable: [("cpu".to_owned(), "2".parse().unwrap())].into(), ..FieldValues::default() };
        let check = |resource: &str, divisor: &str| {
            let selector: ResourceFieldSelector =
                serde_json::from_value(json!({"resource": resource, "divisor": divisor})).unwrap();
            container_resource(&container, &selector, &values)
        };
        for (resource, divisor, expected) in [
            ("requests.cpu", "0", "1"),
            ("requests.cpu", "1m", "250"),
            ("limits.cpu", "1", "2"),
            ("limits.memory", "1Mi", "64"),
            ("limits.memory", "", "67108864"),
            ("requests.memory", "1Mi", "64"),
        ] {
            assert_eq!(check(resource, divisor).as_deref(), Ok(expected), "{resource} {divisor}");
        }
        assert!(check("limits.color", "1").is_err());
    }
}
