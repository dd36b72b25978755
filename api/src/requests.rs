//! What a pod asks for: the effective requests and limits of all its containers together, and its quality of service.
//!
//! [`PodResources`] is what a pod's spec says about resources and nothing else; decode it from the spec's JSON.
//!
//! ```
//! use kubewright_api::requests::PodResources;
//!
//! let spec = r#"{"containers":[{"name":"a","resources":{"requests":{"cpu":"200m"}}}],
//!                "initContainers":[{"name":"i","resources":{"requests":{"cpu":"1"}}}]}"#;
//! let pod: PodResources = serde_json::from_str(spec)?;
//! assert_eq!(pod.requests()["cpu"].to_string(), "1"); // the init container runs first, and alone
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::quantity::Quantity;

/// Amounts by resource name (`cpu`, `memory`, `nvidia.com/gpu`, …).
pub type ResourceList = BTreeMap<String, Quantity>;

/// Requests and limits of a container, or of a pod as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRequirements {
    /// What is set aside for it.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: ResourceList,
    /// What it may use at most.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: ResourceList,
}

/// What one container's spec says about resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerResources {
    /// The container's name.
    #[serde(default)]
    pub name: String,
    /// Its requests and limits.
    #[serde(default)]
    pub resources: ResourceRequirements,
    /// `Always` on an init container makes it a sidecar, which runs on beside the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<String>,
}

impl ContainerResources {
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

/// What a pod's spec says about resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodResources {
    /// The containers that run side by side.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub containers: Vec<ContainerResources>,
    /// The containers that run first, one by one, and the sidecars among them.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<ContainerResources>,
    /// What running the pod costs beside its containers.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub overhead: ResourceList,
    /// Pod-level requests and limits, which win over the containers' for cpu, memory and huge pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The quality-of-service class of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QosClass {
    /// No container asks for cpu or memory.
    BestEffort,
    /// Some ask.
    Burstable,
    /// Every container's cpu and memory have limits equal to their requests.
    Guaranteed,
}

impl PodResources {
    /// The effective requests: the larger of what runs side by side and of each init container beside the sidecars
    /// started before it; pod-level requests in place of that; overhead on top.
    #[must_use]
    pub fn requests(&self) -> ResourceList {
        self.effective(|resources| &resources.requests)
    }

    /// The effective limits, by the same rule.
    #[must_use]
    pub fn limits(&self) -> ResourceList {
        self.effective(|resources| &resources.limits)
    }

    fn effective(&self, of: fn(&ResourceRequirements) -> &ResourceList) -> ResourceList {
        let mut total = ResourceList::new();
        for container in &self.containers {
            add(&mut total, of(&container.resources));
        }
        let mut sidecars = ResourceList::new();
        let mut highest_init = ResourceList::new();
        for container in &self.init_containers {
            let own = of(&container.resources);
            if container.is_sidecar() {
                add(&mut total, own);
                add(&mut sidecars, own);
                raise(&mut highest_init, &sidecars);
            } else {
                let mut beside = own.clone();
                add(&mut beside, &sidecars);
                raise(&mut highest_init, &beside);
            }
        }
        raise(&mut total, &highest_init);
        if let Some(pod) = &self.resources {
            let supported = of(pod).iter().filter(|(name, _)| is_pod_level(name));
            total.extend(supported.map(|(name, amount)| (name.clone(), *amount)));
        }
        add(&mut total, &self.overhead);
        total
    }

    /// The quality-of-service class, computed as upstream computes it.
    #[must_use]
    pub fn qos_class(&self) -> QosClass {
        let pod_level =
            self.resources.as_ref().filter(|r| r.requests.keys().chain(r.limits.keys()).any(|n| is_pod_level(n)));
        let parts: Vec<&ResourceRequirements> = match pod_level {
            Some(resources) => vec![resources],
            None => self.containers.iter().chain(&self.init_containers).map(|c| &c.resources).collect(),
        };
        let asked = |list: &ResourceList, name: &str| list.get(name).copied().filter(|amount| amount.signum() > 0);
        let mut guaranteed = true;
        let mut best_effort = true;
        for part in parts {
            for name in ["cpu", "memory"] {
                let (request, limit) = (asked(&part.requests, name), asked(&part.limits, name));
                best_effort &= request.is_none() && limit.is_none();
                guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
            }
        }
        match (best_effort, guaranteed) {
            (true, _) => QosClass::BestEffort,
            (false, true) => QosClass::Guaranteed,
            (false, false) => QosClass::Burstable,
        }
    }
}

fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Adds every amount of `more` to `list`.
pub fn add(list: &mut ResourceList, more: &ResourceList) {
    for (name, amount) in more {
        match list.get_mut(name) {
            Some(sum) => *sum += *amount,
            None => drop(list.insert(name.clone(), *amount)),
        }
    }
}

/// Raises every amount of `list` to at least that of `other`.
pub fn raise(list: &mut ResourceList, other: &ResourceList) {
    for (name, amount) in other {
        match list.get_mut(name) {
            Some(own) if *own >= *amount => {}
            Some(own) => *own = *amount,
            None => drop(list.insert(name.clone(), *amount)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: serde_json::Value) -> PodResources {
        serde_json::from_value(json).unwrap()
    }

    fn cpu(amount: &str) -> serde_json::Value {
        serde_json::json!({"requests": {"cpu": amount}})
    }

    #[test]
    fn sidecars_count_beside_what_runs_after_them() {
        let pod = pod(serde_json::json!({
            "containers": [{"name": "a", "resources": cpu("1")}, {"name": "b", "resources": cpu("500m")}],
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": cpu("200m")},
                {"name": "i", "resources": cpu("2")},
            ],
            "overhead": {"cpu": "50m"},
        }));
        assert_eq!(pod.requests()["cpu"].millis(), 2250);
    }

    #[test]
    fn pod_level_requests_win() {
        let pod = pod(serde_json::json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "example.com/gpu": 1}}}],
            "resources": {"requests": {"cpu": "3", "example.com/gpu": 7}},
        }));
        assert_eq!(pod.requests()["cpu"].millis(), 3000);
        assert_eq!(pod.requests()["example.com/gpu"].value(), 1);
    }

    #[test]
    fn quality_of_service() {
        let of =
            |resources| pod(serde_json::json!({"containers": [{"name": "a", "resources": resources}]})).qos_class();
        assert_eq!(of(serde_json::json!({})), QosClass::BestEffort);
        assert_eq!(of(cpu("1")), QosClass::Burstable);
        assert_eq!(of(serde_json::json!({"limits": {"cpu": 1}})), QosClass::Burstable);
        let both = serde_json::json!({"cpu": 1, "memory": "1Gi"});
        assert_eq!(of(serde_json::json!({"limits": both})), QosClass::Guaranteed);
        assert_eq!(of(serde_json::json!({"limits": both, "requests": both})), QosClass::Guaranteed);
    }
}
