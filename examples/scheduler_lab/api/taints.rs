//! Rules that taint devices: a kind that upstream's API servers serve on demand alone, and so ours has it from here.

use std::sync::Arc;

use kubewright::api::field::{FieldError, FieldErrors, Path};
use kubewright::apiserver::registry::{OwnResource, ResourceInfo, Strategy};
use serde_json::Value;

pub(super) const KIND: &str = "DeviceTaintRule";
pub(super) const PATH: &str = "/apis/resource.k8s.io/v1beta2/devicetaintrules";

struct DeviceTaintRules;

impl Strategy for DeviceTaintRules {
    fn validate(&self, rule: &Value) -> FieldErrors {
        let taint = Path::new("spec").child("taint");
        let missing = |name: &&str| rule["spec"]["taint"][name].as_str().unwrap_or_default().is_empty();
        let required = |name: &str| FieldError::required(&taint.child(name), "a taint needs it");
        ["key", "effect"].iter().filter(|name| missing(name)).map(|name| required(name)).collect()
    }
}

pub(super) fn resource() -> OwnResource {
    OwnResource::new(ResourceInfo::new("resource.k8s.io", "v1beta2", KIND).cluster(), Arc::new(DeviceTaintRules))
}
