//! `DefaultTolerationSeconds`: a pod outlives its node's silence by five minutes, unless it says otherwise.

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::{Admission, AdmissionAttributes};

const SECONDS: i64 = 300;
const CONDITIONS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// The plugin.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultTolerationSeconds;

fn add_tolerations(pod: &mut Value) {
    for key in CONDITIONS {
        let tolerations = pod["spec"].get("tolerations").and_then(Value::as_array);
        let is = |value: &Value, wanted: &str| value.as_str().is_none_or(|text| text.is_empty() || text == wanted);
        let tolerated =
            tolerations.is_some_and(|list| list.iter().any(|t| is(&t["key"], key) && is(&t["effect"], "NoExecute")));
        if tolerated {
            continue;
        }
        let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
        match pod["spec"]["tolerations"].as_array_mut() {
            Some(list) => list.push(toleration),
            None => pod["spec"]["tolerations"] = json!([toleration]),
        }
    }
}

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.writes("", "pods")
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        add_tolerations(&mut a.object);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(tolerations: Value) -> usize {
        let mut pod = json!({"spec": {"tolerations": tolerations}});
        add_tolerations(&mut pod);
        pod["spec"]["tolerations"].as_array().unwrap().len()
    }

    #[test]
    fn only_what_is_missing_is_added() {
        assert_eq!(keys(Value::Null), 2);
        assert_eq!(keys(json!([{"operator": "Exists"}])), 1);
        assert_eq!(keys(json!([{"key": CONDITIONS[0], "operator": "Exists", "effect": "NoExecute"}])), 2);
        assert_eq!(keys(json!([{"key": CONDITIONS[0], "operator": "Exists", "effect": "NoSchedule"}])), 3);
    }
}
