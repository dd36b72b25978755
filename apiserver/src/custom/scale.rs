//! The `scale` subresource of a definition.

use serde_json::Value;

use super::jsonpath::JsonPath;
use crate::registry::Scaling;

#[derive(Clone, Debug)]
pub(super) struct PathScale {
    /// The path of the wanted replicas, as it is written.
    pub(super) spec_text: String,
    pub(super) spec: JsonPath,
    pub(super) status: JsonPath,
    pub(super) selector: Option<JsonPath>,
}

impl PathScale {
    pub(super) fn read(scale: &Value) -> Option<Self> {
        let path = |field: &str| JsonPath::parse(scale[field].as_str().filter(|path| !path.is_empty())?).ok();
        Some(Self {
            spec_text: scale["specReplicasPath"].as_str()?.to_owned(),
            spec: path("specReplicasPath")?,
            status: path("statusReplicasPath")?,
            selector: path("labelSelectorPath"),
        })
    }
}

impl Scaling for PathScale {
    fn replicas(&self, object: &Value) -> i64 {
        self.spec.first(object).and_then(Value::as_i64).unwrap_or(0)
    }

    fn set_replicas(&self, object: &mut Value, replicas: i64) {
        self.spec.set(object, replicas.into());
    }

    fn current_replicas(&self, object: &Value) -> i64 {
        self.status.first(object).and_then(Value::as_i64).unwrap_or(0)
    }

    fn selector(&self, object: &Value) -> String {
        let found = self.selector.as_ref().and_then(|path| path.first(object));
        found.and_then(Value::as_str).unwrap_or_default().to_owned()
    }
    /// Who scales by what is told must not be told of zero replicas where nothing is said.
    fn missing_replicas(&self, object: &Value) -> Option<&str> {
        let found = self.spec.first(object).is_some_and(Value::is_i64);
        (!found).then_some(self.spec_text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replicas_that_are_not_there_are_not_zero() {
        let paths = json!({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"});
        let scale = PathScale::read(&paths).unwrap();
        for (object, missing) in [
            (json!({"spec": {"size": 0}}), None),
            (json!({"spec": {}}), Some(".spec.size")),
            (json!({"spec": {"size": "3"}}), Some(".spec.size")),
        ] {
            assert_eq!(scale.missing_replicas(&object), missing, "{object}");
        }
    }
}
