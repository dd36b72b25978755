//! `RuntimeClass`: a pod gets its class's overhead and scheduling constraints.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::{Admission, AdmissionAttributes};
use crate::objects::{GroupResource, Objects};

/// The plugin.
pub struct RuntimeClass {
    objects: Arc<dyn Objects>,
}

impl fmt::Debug for RuntimeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuntimeClass")
    }
}

impl RuntimeClass {
    /// Looks classes up there.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Self { objects }
    }

    fn class(&self, a: &AdmissionAttributes<'_>) -> Result<Value, Status> {
        let Some(name) = a.object["spec"].get("runtimeClassName").and_then(Value::as_str) else {
            return Ok(Value::Null);
        };
        let found = self.objects.cached(GroupResource::new("node.k8s.io", "runtimeclasses"), "", name);
        found.ok_or_else(|| a.forbidden(format!("pod rejected: RuntimeClass {name:?} not found")))
    }
}

fn is_set(overhead: Option<&Value>) -> bool {
    overhead.and_then(Value::as_object).is_some_and(|overhead| !overhead.is_empty())
}

#[async_trait]
impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.creates("", "pods")
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        let class = self.class(a)?;
        let overhead = &class["overhead"]["podFixed"];
        if class["overhead"].is_object() {
            let given = a.object["spec"].get("overhead");
            if is_set(given) && given != Some(overhead) {
                return Err(a.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
            }
            a.object["spec"]["overhead"] = overhead.clone();
        }
        for (key, value) in class["scheduling"]["nodeSelector"].as_object().into_iter().flatten() {
            let own = a.object["spec"].get("nodeSelector").and_then(|own| own.get(key));
            if let Some(own) = own.filter(|own| *own != value) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                return Err(a.forbidden(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    text(value),
                    text(own)
                )));
            }
            a.object["spec"]["nodeSelector"][key] = value.clone();
        }
        for toleration in class["scheduling"]["tolerations"].as_array().into_iter().flatten() {
            if a.object["spec"].get("tolerations").is_none() {
                a.object["spec"]["tolerations"] = json!([]);
            }
            let list = a.object["spec"]["tolerations"].as_array_mut();
            if let Some(list) = list.filter(|list| !list.contains(toleration)) {
                list.push(toleration.clone());
            }
        }
        Ok(())
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let class = self.class(a)?;
        let given = a.object["spec"].get("overhead");
        if class["overhead"].is_object() {
            if given != Some(&class["overhead"]["podFixed"]) {
                return Err(a.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
            }
        } else if is_set(given) {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(a.forbidden(why));
        }
        Ok(())
    }
}
