//! What a pod's spec and status say together.

use kubewright_api::requests::{PodResources, QosClass};
use serde::Deserialize;
use serde_json::Value;

/// The quality-of-service class of a pod by its spec.
pub(crate) fn qos_class(pod: &Value) -> &'static str {
    match PodResources::deserialize(&pod["spec"]).map(|resources| resources.qos_class()) {
        Ok(QosClass::Guaranteed) => "Guaranteed",
        Ok(QosClass::Burstable) => "Burstable",
        Ok(QosClass::BestEffort) | Err(_) => "BestEffort",
    }
}
