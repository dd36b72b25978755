//! `autoscaling/v1` over `autoscaling/v2`: the CPU target is one metric of many; what version 1 has no field for
//! travels in annotations.

use serde_json::{Value, json};

use super::Conversion;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

pub(super) const CONVERSION: Conversion = Conversion { to_storage, from_storage, field: |path| path };

fn to_storage(mut hpa: Value) -> Value {
    hpa["apiVersion"] = "autoscaling/v2".into();
    let mut metrics = take_annotation(&mut hpa, METRICS).and_then(as_list).unwrap_or_default();
    if let Some(percent) = take(&mut hpa, "spec", "targetCPUUtilizationPercentage") {
        let target = json!({ "type": "Utilization", "averageUtilization": percent });
        metrics.push(json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } }));
    }
    let mut current = take_annotation(&mut hpa, CURRENT_METRICS).and_then(as_list).unwrap_or_default();
    if let Some(percent) = take(&mut hpa, "status", "currentCPUUtilizationPercentage") {
        let utilization = json!({ "averageUtilization": percent });
        current.push(json!({ "type": "Resource", "resource": { "name": "cpu", "current": utilization } }));
    }
    let conditions = take_annotation(&mut hpa, CONDITIONS).and_then(as_list).unwrap_or_default();
    if let Some(behavior) = take_annotation(&mut hpa, BEHAVIOR) {
        hpa["spec"]["behavior"] = behavior;
    }
    for (part, field, list) in
        [("spec", "metrics", metrics), ("status", "currentMetrics", current), ("status", "conditions", conditions)]
    {
        if !list.is_empty() {
            hpa[part][field] = list.into();
        }
    }
    drop_empty_annotations(&mut hpa);
    hpa
}

fn from_storage(mut hpa: Value) -> Value {
    hpa["apiVersion"] = "autoscaling/v1".into();
    let metrics = take(&mut hpa, "spec", "metrics").and_then(as_list).unwrap_or_default();
    let (cpu, others) = split(metrics, |metric| {
        let target = &metric["resource"]["target"];
        (metric["resource"]["name"] == "cpu").then(|| target["averageUtilization"].clone())
    });
    if let Some(percent) = cpu {
        hpa["spec"]["targetCPUUtilizationPercentage"] = percent;
    }
    annotate(&mut hpa, METRICS, others);
    let current = take(&mut hpa, "status", "currentMetrics").and_then(as_list).unwrap_or_default();
    let (cpu, _) = split(current.clone(), |metric| {
        (metric["resource"]["name"] == "cpu").then(|| metric["resource"]["current"]["averageUtilization"].clone())
    });
    if let Some(percent) = cpu {
        hpa["status"]["currentCPUUtilizationPercentage"] = percent;
    }
    annotate(&mut hpa, CURRENT_METRICS, current);
    let conditions = take(&mut hpa, "status", "conditions").and_then(as_list).unwrap_or_default();
    annotate(&mut hpa, CONDITIONS, conditions);
    if let Some(behavior) = take(&mut hpa, "spec", "behavior") {
        hpa["metadata"]["annotations"][BEHAVIOR] = behavior.to_string().into();
    }
    hpa
}

/// Takes the first CPU utilization out of a list of metrics.
fn split(metrics: Vec<Value>, cpu: impl Fn(&Value) -> Option<Value>) -> (Option<Value>, Vec<Value>) {
    let (mut found, mut others) = (None, Vec::new());
    for metric in metrics {
        match cpu(&metric).filter(|percent| percent.is_number()) {
            Some(percent) if found.is_none() => found = Some(percent),
            _ => others.push(metric),
        }
    }
    (found, others)
}

fn as_list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        _ => None,
    }
}

fn take(object: &mut Value, part: &str, field: &str) -> Option<Value> {
    object.get_mut(part)?.as_object_mut()?.remove(field)
}

fn take_annotation(object: &mut Value, key: &str) -> Option<Value> {
    let annotation = object["metadata"].get_mut("annotations")?.as_object_mut()?.remove(key)?;
    serde_json::from_str(annotation.as_str()?).ok()
}

fn drop_empty_annotations(object: &mut Value) {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata
        && metadata.get("annotations").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
    {
        metadata.remove("annotations");
    }
}

fn annotate(object: &mut Value, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        object["metadata"]["annotations"][key] = Value::Array(list).to_string().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let v2 = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "h" },
            "spec": {
                "maxReplicas": 3,
                "metrics": [
                    { "type": "Pods", "pods": { "metric": { "name": "m" } } },
                    { "type": "Resource", "resource": { "name": "cpu", "target":
                        { "type": "Utilization", "averageUtilization": 80 } } },
                ],
            },
        });
        let v1 = from_storage(v2.clone());
        assert_eq!(v1["spec"], json!({ "maxReplicas": 3, "targetCPUUtilizationPercentage": 80 }));
        assert!(v1["metadata"]["annotations"][METRICS].is_string());
        assert_eq!(to_storage(v1), v2);
    }
}
