//! `TaintNodesByCondition`: a new node takes no pods before it is known to be ready.

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::json;

use super::{Admission, AdmissionAttributes};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The plugin.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaintNodesByCondition;

#[async_trait]
impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.creates("", "nodes")
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        if !a.object["spec"].is_object() {
            a.object["spec"] = json!({});
        }
        let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
        match a.object["spec"]["taints"].as_array_mut() {
            Some(taints) if taints.iter().any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule") => {}
            Some(taints) => taints.push(taint),
            None => a.object["spec"]["taints"] = json!([taint]),
        }
        Ok(())
    }
}
