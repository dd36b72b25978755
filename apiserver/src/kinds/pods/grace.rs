//! How long a pod gets to stop.

use serde_json::Value;

/// The seconds that a deletion waits: those asked for or the pod's own, none for a pod that isn't on a node or is done.
pub(crate) fn seconds(pod: &Value, requested: Option<i64>) -> Option<i64> {
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or_default();
    let wanted = requested.unwrap_or(own);
    let unbound = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let done = matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    Some(if unbound || done {
        0
    } else if wanted < 0 {
        1
    } else {
        wanted
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn periods() {
        let pod = |node: &str, phase: &str| json!({"spec": {"nodeName": node, "terminationGracePeriodSeconds": 30}, "status": {"phase": phase}});
        for (pod, requested, expected) in [
            (pod("n", "Running"), None, 30),
            (pod("n", "Running"), Some(5), 5),
            (pod("n", "Running"), Some(-5), 1),
            (pod("", "Pending"), None, 0),
            (pod("n", "Succeeded"), Some(9), 0),
        ] {
            assert_eq!(seconds(&pod, requested), Some(expected), "{pod}");
        }
    }
}
