//! The `scale` subresource of a definition.

use serde_json::Value;

use super::jsonpath::JsonPath;
use crate::registry::Scaling;

#[derive(Clone, Debug)]
pub(super) struct PathScale {
    pub(super) spec: JsonPath,
    pub(super) status: JsonPath,
    pub(super) selector: Option<JsonPath>,
}

impl PathScale {
    pub(super) fn read(scale: &Value) -> Option<Self> {
        let path = |field: &str| JsonPath::parse(scale[field].as_str().filter(|path| !path.is_empty())?).ok();
        Some(Self {
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
}
