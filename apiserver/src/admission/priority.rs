//! `Priority`: turns the name of a priority class into a number.

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::Value;

use super::plugin::plugin;
use super::{Admission, AdmissionAttributes, Operation};
use crate::objects::{GroupResource, Objects};

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: GroupResource<'_> = GroupResource::new(GROUP, "priorityclasses");

plugin! {
    /// The plugin.
    Priority, objects: dyn Objects
}

impl Priority {
    /// Of several defaults, which only a race can make, the lowest counts.
    fn default_class(&self) -> Option<Value> {
        let classes = self.objects.cached_list(CLASSES, None);
        classes.into_iter().filter(|c| c["globalDefault"] == true).min_by_key(|c| c["value"].as_i64())
    }

    fn create_pod(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        let named = a.object["spec"].get("priorityClassName").and_then(Value::as_str).filter(|name| !name.is_empty());
        let class = match named {
            None => self.default_class(),
            Some(name) => {
                let found = self.objects.cached(CLASSES, "", name);
                Some(found.ok_or_else(|| a.forbidden(format!("no PriorityClass with name {name} was found")))?)
            }
        };
        let (name, priority, policy) = match &class {
            None => (None, 0, "PreemptLowerPriority"),
            Some(class) => (
                class["metadata"]["name"].as_str(),
                class["value"].as_i64().unwrap_or_default(),
                class["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority"),
            ),
        };
        let spec = &a.object["spec"];
        if let Some(given) = spec.get("priority").and_then(Value::as_i64).filter(|given| *given != priority) {
            return Err(a.forbidden(format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
            )));
        }
        if let Some(given) = spec.get("preemptionPolicy").and_then(Value::as_str).filter(|given| *given != policy) {
            return Err(a.forbidden(format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
            )));
        }
        let spec = &mut a.object["spec"];
        if let Some(name) = name {
            spec["priorityClassName"] = name.into();
        }
        spec["priority"] = priority.into();
        spec["preemptionPolicy"] = policy.into();
        Ok(())
    }
}

/// What was computed at creation stays when an update leaves it out.
fn keep_priority(a: &mut AdmissionAttributes<'_>) {
    let Some(old) = a.old else { return };
    for field in ["priority", "preemptionPolicy"] {
        if let Some(value) = old["spec"].get(field).filter(|_| a.object["spec"].get(field).is_none()) {
            a.object["spec"][field] = value.clone();
        }
    }
}

#[async_trait]
impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.writes("", "pods") || a.writes(GROUP, "priorityclasses")
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        match (a.resource, a.operation) {
            ("pods", Operation::Create) => self.create_pod(a),
            ("pods", _) => {
                keep_priority(a);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        if a.resource != "priorityclasses" || a.object["globalDefault"] != true {
            return Ok(());
        }
        let Some(default) = self.default_class() else { return Ok(()) };
        let name = default["metadata"]["name"].as_str().unwrap_or_default();
        if a.operation == Operation::Create || name != a.display_name() {
            return Err(
                a.forbidden(format!("PriorityClass {name} is already marked as default. Only one default can exist"))
            );
        }
        Ok(())
    }
}
