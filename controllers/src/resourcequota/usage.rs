//! What is used of a quota.

use kubewright_api::quantity::{Format, Quantity};
use kubewright_api::requests::{PodResources, QosClass, ResourceList, add};
use serde::Deserialize;
use serde_json::Value;

use crate::objects::{QuotaScope, ResourceQuota, Time};

/// What a pod says about what it uses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodUse {
    /// Its metadata, as far as it matters.
    pub metadata: PodUseMeta,
    /// What it asks for.
    pub spec: PodUseSpec,
    /// Whether it has ended.
    pub status: PodUseStatus,
}

/// Whether a pod is being deleted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodUseMeta {
    /// When its grace ends.
    pub deletion_timestamp: Option<Time>,
    /// How long its grace is, in seconds.
    pub deletion_grace_period_seconds: Option<i64>,
}

/// What a pod asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodUseSpec {
    /// Requests and limits.
    #[serde(flatten)]
    pub resources: PodResources,
    /// Set on pods that end by themselves.
    pub active_deadline_seconds: Option<i64>,
    /// Its priority class.
    pub priority_class_name: String,
    /// Which pods it wants to be near, or far from.
    pub affinity: Value,
}

/// Whether a pod has ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodUseStatus {
    /// Its phase.
    pub phase: String,
}

impl PodUse {
    /// Whether it counts: neither ended nor stuck on its way out.
    fn counts(&self, now: Time) -> bool {
        if matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return false;
        }
        let leaving = self.metadata.deletion_timestamp.zip(self.metadata.deletion_grace_period_seconds);
        leaving.is_none_or(|(at, grace)| now <= at.plus_seconds(grace))
    }

    fn is_in(&self, scope: &QuotaScope) -> bool {
        let best_effort = || self.spec.resources.qos_class() == QosClass::BestEffort;
        let ends = self.spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0);
        let class = Some(self.spec.priority_class_name.as_str()).filter(|class| !class.is_empty());
        match (scope.scope_name.as_str(), scope.operator.as_str()) {
            ("Terminating", _) => ends,
            ("NotTerminating", _) => !ends,
            ("BestEffort", _) => best_effort(),
            ("NotBestEffort", _) => !best_effort(),
            ("PriorityClass", _) => picks(scope, class.as_slice()),
            ("CrossNamespacePodAffinity", _) => looks_abroad(&self.spec.affinity),
            _ => false,
        }
    }

    fn usage(&self) -> ResourceList {
        let mut usage = ResourceList::from([("pods".to_owned(), Quantity::new(1, Format::DecimalSi))]);
        for (name, amount) in self.spec.resources.requests() {
            usage.insert(format!("requests.{name}"), amount);
            // An extended resource is limited as `requests.…` only.
            if !name.contains('/') {
                usage.insert(name, amount);
            }
        }
        for (name, amount) in self.spec.resources.limits() {
            usage.insert(format!("limits.{name}"), amount);
        }
        usage
    }
}

/// Whether a scope picks one of these names; none at all is like a name that it doesn't list.
fn picks(scope: &QuotaScope, names: &[&str]) -> bool {
    let listed = |name: &&str| scope.values.iter().any(|value| value == name);
    match scope.operator.as_str() {
        "In" => names.iter().any(listed),
        "NotIn" => names.is_empty() || names.iter().any(|name| !listed(name)),
        "DoesNotExist" => names.is_empty(),
        _ => !names.is_empty(),
    }
}

/// Whether an affinity is about pods of other namespaces.
fn looks_abroad(affinity: &Value) -> bool {
    let abroad = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|list| !list.is_empty()) || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let terms = |list: &str| affinity[*kind][list].as_array().cloned().unwrap_or_default();
        terms("requiredDuringSchedulingIgnoredDuringExecution").iter().any(abroad)
            || terms("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| abroad(&weighted["podAffinityTerm"]))
    })
}

/// Whether a quota with these scopes counts a claim. One that changes its class counts for both.
pub(super) fn counts_claim(scopes: &[QuotaScope], claim: &Value) -> bool {
    let status = &claim["status"];
    let classes = [
        &claim["spec"]["volumeAttributesClassName"],
        &status["currentVolumeAttributesClassName"],
        &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ];
    let names: Vec<&str> = classes.iter().filter_map(|name| name.as_str()).filter(|name| !name.is_empty()).collect();
    scopes.iter().all(|scope| scope.scope_name == "VolumeAttributesClass" && picks(scope, &names))
}

/// What is used of each resource that a quota limits, given its namespace's pods and counts of the other objects that its
/// scopes leave.
#[must_use]
pub fn used(quota: &ResourceQuota, pods: &[PodUse], counts: &ResourceList, now: Time) -> ResourceList {
    let scopes = quota.spec.all_scopes();
    let mut total = counts.clone();
    let counted = pods.iter().filter(|pod| pod.counts(now) && scopes.iter().all(|scope| pod.is_in(scope)));
    for pod in counted {
        add(&mut total, &pod.usage());
    }
    quota.spec.hard.keys().map(|name| (name.clone(), total.get(name).copied().unwrap_or(Quantity::ZERO))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(cpu: Option<&str>, change: Value) -> PodUse {
        let resources = cpu.map_or_else(|| json!({}), |cpu| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}));
        let mut pod = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        crate::plan::apply_merge_patch(&mut pod, &change);
        serde_json::from_value(pod).unwrap()
    }

    fn check(spec: Value, expected: &[(&str, &str)]) {
        let quota: ResourceQuota = serde_json::from_value(json!({"spec": spec})).unwrap();
        let pods = [
            pod(Some("500m"), json!({})),
            pod(Some("1"), json!({"spec": {"activeDeadlineSeconds": 5, "priorityClassName": "high"}})),
            pod(None, json!({})),
            pod(Some("4"), json!({"status": {"phase": "Succeeded"}})),
            pod(
                Some("8"),
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}}),
            ),
        ];
        let counts = ResourceList::from([("configmaps".to_owned(), Quantity::new(3, Format::DecimalSi))]);
        let used = used(&quota, &pods, &counts, "2026-01-02T00:00:00Z".parse().unwrap());
        let used: Vec<_> = used.iter().map(|(name, amount)| (name.clone(), amount.to_string())).collect();
        let used: Vec<_> = used.iter().map(|(name, amount)| (name.as_str(), amount.as_str())).collect();
        assert_eq!(used, expected);
    }

    #[test]
    fn pods_and_objects_are_counted() {
        let hard = json!({"hard": {"pods": "10", "cpu": "10", "requests.cpu": "10", "limits.cpu": "10", "memory": "1Gi", "configmaps": "5"}});
        check(
            hard,
            &[
                ("configmaps", "3"),
                ("cpu", "1500m"),
                ("limits.cpu", "1500m"),
                ("memory", "0"),
                ("pods", "3"),
                ("requests.cpu", "1500m"),
            ],
        );
    }

    #[test]
    fn scopes_choose_pods() {
        let pods = |scopes: Value| json!({"hard": {"pods": "10"}, "scopes": scopes});
        check(pods(json!(["BestEffort"])), &[("pods", "1")]);
        check(pods(json!(["NotBestEffort", "NotTerminating"])), &[("pods", "1")]);
        check(pods(json!(["Terminating"])), &[("pods", "1")]);
        let selector =
            json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]});
        check(json!({"hard": {"pods": "10"}, "scopeSelector": selector}), &[("pods", "1")]);
    }
}
