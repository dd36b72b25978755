//! What a pod has to do with the node that it is on: `PodTopologyLabels`, `PodResizeValidator` and
//! `NodeDeclaredFeatureValidator`.

use async_trait::async_trait;
use kubewright_api::quantity::Quantity;
use kubewright_api::requests::PodResources;
use kubewright_api::status::Status;
use serde_json::{Map, Value};

use super::plugin::plugin;
use super::{Admission, AdmissionAttributes, Operation};
use crate::object::metadata_mut;
use crate::objects::{GroupResource, Objects};

/// What pods learn of where their node is.
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

fn node(objects: &dyn Objects, name: &str) -> Option<Value> {
    objects.cached(GroupResource::core("nodes"), "", name)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

plugin! {
    /// `PodTopologyLabels`: a pod that gets a node gets the node's zone and region as labels.
    PodTopologyLabels, objects: dyn Objects
}

#[async_trait]
impl Admission for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        let target = (a.group, a.resource, a.subresource);
        a.operation == Operation::Create && matches!(target, ("", "pods", "" | "binding"))
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        let target = &a.object["target"];
        let name = match a.subresource {
            "" => text(&a.object["spec"]["nodeName"]),
            _ if text(&target["kind"]) == "Node" => text(&target["name"]),
            _ => "",
        };
        // A pod of a node that isn't known (yet) is no fault of its own.
        let Some(node) = Some(name).filter(|name| !name.is_empty()).and_then(|name| node(&*self.objects, name)) else {
            return Ok(());
        };
        let labels = TOPOLOGY.iter().filter_map(|key| {
            let value = node["metadata"]["labels"].get(*key)?;
            Some(((*key).to_owned(), value.clone()))
        });
        let labels: Vec<(String, Value)> = labels.collect();
        if !labels.is_empty() {
            let own = metadata_mut(&mut a.object).entry("labels").or_insert_with(|| Value::Object(Map::new()));
            if own.is_null() {
                *own = Value::Object(Map::new());
            }
            if let Some(own) = own.as_object_mut() {
                own.extend(labels);
            }
        }
        Ok(())
    }
}

/// A change of the specification of a pod that has a node: its node's name.
fn changed_on<'a>(a: &'a AdmissionAttributes<'_>) -> Option<&'a str> {
    let old = a.old?;
    let name = text(&a.object["spec"]["nodeName"]);
    (!name.is_empty() && a.object["spec"] != old["spec"]).then_some(name)
}

plugin! {
    /// `PodResizeValidator`: nobody resizes a pod beyond its node, or on a node that can't.
    PodResizeValidator, objects: dyn Objects
}

impl PodResizeValidator {
    fn check(pod: &Value, node: &Value) -> Result<(), (String, &'static str)> {
        let name = text(&node["metadata"]["name"]);
        if let Some(system) =
            node["metadata"]["labels"]["kubernetes.io/os"].as_str().filter(|system| *system != "linux")
        {
            let why = format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
            return Err((why, "UnsupportedPlatform"));
        }
        let requests = serde_json::from_value::<PodResources>(pod["spec"].clone()).unwrap_or_default().requests();
        let allocatable = |resource: &str| {
            let amount = node["status"]["allocatable"][resource].as_str().and_then(|text| text.parse().ok());
            amount.unwrap_or_default()
        };
        type Shown = (&'static str, fn(&Quantity) -> i64);
        let shown: [Shown; 2] = [("cpu", Quantity::millis), ("memory", Quantity::value)];
        let over = shown.into_iter().filter_map(|(resource, number)| {
            let (wanted, there) = (requests.get(resource).copied().unwrap_or_default(), allocatable(resource));
            let told = || format!("{resource}, requested: {}, allocatable: {}", number(&wanted), number(&there));
            (wanted > there).then(told)
        });
        let over: Vec<String> = over.collect();
        if over.is_empty() {
            return Ok(());
        }
        Err((format!("node didn't have enough allocatable resources: {}", over.join("; ")), "NodeCapacity"))
    }
}

#[async_trait]
impl Admission for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.operation == Operation::Update && (a.group, a.resource, a.subresource) == ("", "pods", "resize")
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let Some(name) = changed_on(a) else { return Ok(()) };
        let node = node(&*self.objects, name).ok_or_else(|| a.forbidden(format!("node {name:?} not found")))?;
        Self::check(&a.object, &node).map_err(|(why, cause)| a.forbidden(why).with_cause(cause, "", ""))
    }
}

plugin! {
    /// `NodeDeclaredFeatureValidator`: a running pod is changed only in ways that its node says it can follow.
    NodeDeclaredFeatureValidator, objects: dyn Objects
}

impl NodeDeclaredFeatureValidator {
    /// What a node must declare so that the change works.
    fn needs(pod: &Value, old: &Value) -> Vec<&'static str> {
        let mut needs = Vec::new();
        let (new, old) = (&pod["spec"], &old["spec"]);
        let resources = |spec: &Value| spec["resources"].clone();
        if resources(new) != resources(old) {
            needs.push("InPlacePodLevelResourcesVerticalScaling");
        }
        let containers = |spec: &Value| spec["initContainers"].as_array().cloned().unwrap_or_default();
        let resized = containers(old)
            .iter()
            .zip(&containers(new))
            .any(|(old, new)| old["restartPolicy"] != "Always" && old["resources"] != new["resources"]);
        if resized {
            needs.push("InPlacePodVerticalScalingInitContainers");
        }
        needs
    }
}

#[async_trait]
impl Admission for NodeDeclaredFeatureValidator {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        let target = (a.group, a.resource, a.subresource);
        a.operation == Operation::Update && matches!(target, ("", "pods", "" | "resize"))
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let (Some(name), Some(old)) = (changed_on(a), a.old) else { return Ok(()) };
        let mut needs = Self::needs(&a.object, old);
        if needs.is_empty() {
            return Ok(());
        }
        let node = node(&*self.objects, name).ok_or_else(|| a.forbidden(format!("node {name:?} not found")))?;
        let declared = node["status"]["declaredFeatures"].as_array().cloned().unwrap_or_default();
        needs.retain(|feature| !declared.iter().any(|own| own == feature));
        if needs.is_empty() {
            return Ok(());
        }
        let features = needs.join(", ");
        Err(a.forbidden(format!("pod update requires features {features} which are not available on node {name:?}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_grows_within_its_node() {
        let node = |system: &str| {
            json!({"metadata": {"name": "n", "labels": {"kubernetes.io/os": system}},
                "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}})
        };
        let pod = |cpu: &str, memory: &str| json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": memory}}}]}});
        let told = |pod: &Value, node: &Value| PodResizeValidator::check(pod, node).err();
        assert_eq!(told(&pod("2", "4Gi"), &node("linux")), None);
        let mut unlabelled = node("linux");
        unlabelled["metadata"]["labels"] = Value::Null;
        assert_eq!(told(&pod("1", "1Gi"), &unlabelled), None);
        let (why, cause) = told(&pod("2500m", "5Gi"), &node("linux")).unwrap();
        assert_eq!(
            (why.as_str(), cause),
            (
                "node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000; memory, \
                 requested: 5368709120, allocatable: 4294967296",
                "NodeCapacity"
            )
        );
        let (why, cause) = told(&pod("1", "1Gi"), &node("windows")).unwrap();
        assert_eq!(
            (why.as_str(), cause),
            ("pod resize is only supported on linux nodes, node \"n\" is \"windows\"", "UnsupportedPlatform")
        );
    }

    #[test]
    fn changes_need_features() {
        let pod = |pod_level: Value, init: Value, always: bool| {
            let policy = if always { json!("Always") } else { Value::Null };
            json!({"spec": {"resources": pod_level, "initContainers": [{"resources": init, "restartPolicy": policy}]}})
        };
        let (small, large) = (json!({"requests": {"cpu": "1"}}), json!({"requests": {"cpu": "2"}}));
        let needs = |new: &Value, old: &Value| NodeDeclaredFeatureValidator::needs(new, old);
        let old = pod(Value::Null, small.clone(), false);
        assert!(needs(&old, &old).is_empty());
        assert_eq!(needs(&pod(large.clone(), small.clone(), false), &old), ["InPlacePodLevelResourcesVerticalScaling"]);
        assert_eq!(needs(&pod(Value::Null, large.clone(), false), &old), ["InPlacePodVerticalScalingInitContainers"]);
        let sidecar = pod(Value::Null, small, true);
        assert!(needs(&pod(Value::Null, large, true), &sidecar).is_empty());
    }
}
