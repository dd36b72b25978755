//! `LimitRanger`: containers get the namespace's default requests and limits, and stay within its bounds.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use kubewright_api::quantity::Quantity;
use kubewright_api::requests::PodResources;
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::plugin::plugin;
use super::{Admission, AdmissionAttributes, Operation};
use crate::objects::{GroupResource, Objects};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

type Amounts = BTreeMap<String, Quantity>;

plugin! {
    /// The plugin.
    LimitRanger, objects: dyn Objects
}

impl LimitRanger {
    /// The items of all limit ranges of the namespace.
    fn limits(&self, a: &AdmissionAttributes<'_>) -> Result<Vec<Value>, Status> {
        let ranges = GroupResource::core("limitranges");
        self.objects.readable(ranges, Some(a.namespace))?;
        let ranges = self.objects.cached_list(ranges, Some(a.namespace));
        let limits = ranges.iter().flat_map(|range| range["spec"]["limits"].as_array().cloned().unwrap_or_default());
        Ok(limits.collect())
    }
}

fn amounts(value: &Value) -> Amounts {
    let entries = value.as_object().into_iter().flatten();
    let parse = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    };
    entries.filter_map(|(name, value)| Some((name.clone(), parse(value)?))).collect()
}

/// Fills in what a container leaves out; gives what was set, as the annotation words it.
fn set_defaults(container: &mut Value, prefix: &str, limits: &[Value]) -> Vec<String> {
    let mut said = Vec::new();
    for (from, to, word) in [("defaultRequest", "requests", "request"), ("default", "limits", "limit")] {
        let mut set = Vec::new();
        for limit in limits.iter().filter(|limit| limit["type"] == "Container") {
            for (name, value) in limit[from].as_object().into_iter().flatten() {
                let missing = container.pointer(&format!("/resources/{to}")).and_then(|own| own.get(name)).is_none();
                if missing {
                    container["resources"][to][name] = value.clone();
                    set.push(name.clone());
                }
            }
        }
        if !set.is_empty() {
            set.sort_unstable();
            let name = container["name"].as_str().unwrap_or_default();
            said.push(format!("{} {word} for {prefix} {name}", set.join(", ")));
        }
    }
    said
}

fn default_pod(pod: &mut Value, limits: &[Value]) {
    let mut said = Vec::new();
    for (list, prefix) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            said.extend(set_defaults(container, prefix, limits));
        }
    }
    if !said.is_empty() {
        let text = format!("LimitRanger plugin set: {}", said.join("; "));
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = json!({});
        }
        pod["metadata"]["annotations"][ANNOTATION] = text.into();
    }
}

fn check_min(kind: &str, name: &str, min: &Quantity, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let what = format!("minimum {name} usage per {kind} is {min}");
    match (requests.get(name), limits.get(name)) {
        (None, _) => Some(format!("{what}.  No request is specified")),
        (Some(request), _) if request < min => Some(format!("{what}, but request is {request}")),
        (_, Some(limit)) if limit < min => Some(format!("{what}, but limit is {limit}")),
        _ => None,
    }
}

fn check_max(kind: &str, name: &str, max: &Quantity, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let what = format!("maximum {name} usage per {kind} is {max}");
    match (requests.get(name), limits.get(name)) {
        (_, None) => Some(format!("{what}.  No limit is specified")),
        (_, Some(limit)) if limit > max => Some(format!("{what}, but limit is {limit}")),
        (Some(request), _) if request > max => Some(format!("{what}, but request is {request}")),
        _ => None,
    }
}

fn check_ratio(kind: &str, name: &str, ratio: &Quantity, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let what = format!("{name} max limit to request ratio per {kind} is {ratio}");
    let nonzero = |list: &Amounts| list.get(name).copied().filter(|amount| !amount.is_zero());
    let Some(request) = nonzero(requests) else {
        return Some(format!("{what}, but no request is specified or request is 0"));
    };
    let Some(limit) = nonzero(limits) else {
        return Some(format!("{what}, but no limit is specified or limit is 0"));
    };
    // Thousandths are exact, where they fit; parts of floating-point numbers are not.
    let fits = |amount: &Quantity| amount.value() <= i64::MAX / 1000;
    let (found, most) = if [&request, &limit, ratio].into_iter().all(fits) {
        (quotient(limit.millis(), request.millis()), ratio.millis())
    } else {
        (quotient(limit.value(), request.value()), ratio.value().saturating_mul(1000))
    };
    #[allow(clippy::cast_precision_loss, reason = "ratios are small")]
    let exceeds = found * 1000.0 > most as f64;
    exceeds.then(|| format!("{what}, but provided ratio is {found:.6}"))
}

#[allow(clippy::cast_precision_loss, reason = "as upstream compares them")]
fn quotient(limit: i64, request: i64) -> f64 {
    limit as f64 / request as f64
}

fn check_bounds(kind: &str, limit: &Value, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, min) in amounts(&limit["min"]) {
        faults.extend(check_min(kind, &name, &min, requests, limits));
    }
    for (name, max) in amounts(&limit["max"]) {
        faults.extend(check_max(kind, &name, &max, requests, limits));
    }
    for (name, ratio) in amounts(&limit["maxLimitRequestRatio"]) {
        faults.extend(check_ratio(kind, &name, &ratio, requests, limits));
    }
    faults
}

fn check_pod(pod: &Value, limits: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    for limit in limits {
        match limit["type"].as_str() {
            Some("Container") => {
                for list in ["containers", "initContainers"] {
                    for container in pod["spec"][list].as_array().into_iter().flatten() {
                        let (requests, limits) =
                            (amounts(&container["resources"]["requests"]), amounts(&container["resources"]["limits"]));
                        faults.extend(check_bounds("Container", limit, &requests, &limits));
                    }
                }
            }
            Some("Pod") => {
                let Ok(mut resources) = serde_json::from_value::<PodResources>(pod["spec"].clone()) else { continue };
                // What a pod asks for is limited, and not what its runtime adds.
                resources.overhead.clear();
                let list = |list: kubewright_api::requests::ResourceList| list.into_iter().collect();
                let (requests, limits) = (list(resources.requests()), list(resources.limits()));
                faults.extend(check_bounds("Pod", limit, &requests, &limits));
            }
            _ => {}
        }
    }
    faults
}

fn check_claim(claim: &Value, limits: &[Value]) -> Vec<String> {
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    let mut faults = Vec::new();
    for limit in limits.iter().filter(|limit| limit["type"] == "PersistentVolumeClaim") {
        for (name, min) in amounts(&limit["min"]) {
            faults.extend(check_min("PersistentVolumeClaim", &name, &min, &requests, &Amounts::new()));
        }
        for (name, max) in amounts(&limit["max"]) {
            let what = format!("maximum {name} usage per PersistentVolumeClaim is {max}");
            match requests.get(&name) {
                None => faults.push(format!("{what}.  No request is specified")),
                Some(request) if *request > max => faults.push(format!("{what}, but request is {request}")),
                Some(_) => {}
            }
        }
    }
    faults
}

#[async_trait]
impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        let deleted = a.old.is_some_and(|old| old["metadata"]["deletionTimestamp"].is_string());
        let resizes =
            a.group.is_empty() && (a.resource, a.subresource, a.operation) == ("pods", "resize", Operation::Update);
        !deleted && (a.creates("", "pods") || a.writes("", "persistentvolumeclaims") || resizes)
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        if a.resource == "pods" {
            let limits = self.limits(a)?;
            if !limits.is_empty() {
                default_pod(&mut a.object, &limits);
            }
        }
        Ok(())
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let limits = self.limits(a)?;
        let mut faults =
            if a.resource == "pods" { check_pod(&a.object, &limits) } else { check_claim(&a.object, &limits) };
        let mut told = BTreeSet::new();
        // What several containers lack is told once.
        faults.retain(|fault| told.insert(fault.clone()));
        match faults.as_slice() {
            [] => Ok(()),
            [fault] => Err(a.forbidden(fault)),
            faults => Err(a.forbidden(format!("[{}]", faults.join(", ")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Vec<Value> {
        vec![json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m", "memory": "1Gi"},
                    "min": {"cpu": "100m"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}})]
    }

    fn pod(resources: Value) -> Value {
        json!({"metadata": {}, "spec": {"containers": [{"name": "a", "resources": resources}]}})
    }

    #[test]
    fn what_is_left_out_is_filled_in_and_told() {
        let mut pod = pod(json!({"requests": {"cpu": "1"}}));
        default_pod(&mut pod, &limits());
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(resources, &json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1"}}));
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: memory request for container a; cpu limit for container a"
        );
        assert!(pod["spec"].get("initContainers").is_none());
    }

    #[test]
    fn bounds_are_checked_in_upstreams_words() {
        let check = |requests: &str, limit: &str| {
            check_pod(&pod(json!({"requests": {"cpu": requests}, "limits": {"cpu": limit}})), &limits())
        };
        assert!(check("500m", "1").is_empty());
        assert_eq!(check("50m", "150m"), ["minimum cpu usage per Container is 100m, but request is 50m"]);
        assert_eq!(check("1", "3"), ["maximum cpu usage per Container is 2, but limit is 3"]);
        assert_eq!(
            check("200m", "1"),
            ["cpu max limit to request ratio per Container is 3, but provided ratio is 5.000000"]
        );
        assert!(check_pod(&pod(json!({})), &limits())[0].ends_with("No request is specified"));
        // Exactly three times.
        assert!(check("300m", "900m").is_empty());
        assert!(check("0", "1").iter().any(|fault| fault.ends_with("no request is specified or request is 0")));
    }

    #[test]
    fn pods_are_limited_as_a_whole_without_their_overhead() {
        let limits = vec![json!({"type": "Pod", "max": {"cpu": "2"}, "min": {"memory": "1Gi"}})];
        let whole = |overhead: Value, init: Value| {
            json!({"spec": {"overhead": overhead, "initContainers": init, "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"cpu": "1"}}},
                {"name": "b", "resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"cpu": "1"}}},
            ]}})
        };
        assert_eq!(check_pod(&whole(json!({"cpu": "1"}), json!([])), &limits), Vec::<String>::new());
        let sidecar = json!([{"name": "i", "restartPolicy": "Always", "resources": {"limits": {"cpu": "1m"}}}]);
        assert_eq!(
            check_pod(&whole(json!(null), sidecar), &limits),
            ["maximum cpu usage per Pod is 2, but limit is 2001m"]
        );
        let first = json!([{"name": "i", "resources": {"limits": {"cpu": "3"}}}]);
        assert_eq!(check_pod(&whole(json!(null), first), &limits), ["maximum cpu usage per Pod is 2, but limit is 3"]);
    }

    #[test]
    fn claims_are_limited_by_what_they_request() {
        let limits =
            vec![json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}})];
        let check = |storage: Value| check_claim(&json!({"spec": {"resources": {"requests": storage}}}), &limits);
        assert!(check(json!({"storage": "1Gi"})).is_empty());
        assert_eq!(
            check(json!({"storage": "1Mi"})),
            ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]
        );
        assert_eq!(
            check(json!({"storage": "3Gi"})),
            ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]
        );
        assert_eq!(check(json!({})).len(), 2);
    }
}
