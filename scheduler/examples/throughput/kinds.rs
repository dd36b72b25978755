//! The kinds of pods that are measured.

use kubewright_scheduler::testing::{PodMaker, pod};

/// The kinds of pods that are measured, as in upstream's `scheduler_perf`.
pub(crate) fn kinds() -> Vec<(&'static str, PodMaker)> {
    let asks = || pod("p").requests(&[("cpu", "100m"), ("memory", "500Mi")]).labels(&[("app", "x")]);
    let term =
        serde_json::json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}});
    let far = serde_json::json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let near_term = serde_json::json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}});
    let near = serde_json::json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near_term]}});
    let spread = serde_json::json!({"maxSkew": 5, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}}});
    let mut wish = spread.clone();
    wish["whenUnsatisfiable"] = "ScheduleAnyway".into();
    let wishes = serde_json::json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["zone-1"]}]}}]}});
    let zones = serde_json::json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["zone-1", "zone-2"]}]}]}}});
    vec![
        ("basic", asks()),
        ("in two of the zones", asks().affinity(zones)),
        ("prefers a zone", asks().affinity(wishes)),
        ("spread over zones", asks().spread(&[spread])),
        ("spread over zones if possible", asks().spread(&[wish])),
        ("near others", asks().affinity(near)),
        ("far from others", asks().affinity(far)),
    ]
}
