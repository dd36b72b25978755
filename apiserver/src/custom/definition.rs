//! From a CustomResourceDefinition to what the registry serves.

use std::sync::Arc;

use kubewright_api::resources::Scope;
use serde_json::Value;

use super::conditions;
use super::strategy::CustomStrategy;
use crate::object::typed::Schema;
use crate::registry::cache::Limits;
use crate::registry::storage::{Served, Storage};
use crate::registry::{ResourceInfo, Strategy, Text};

/// What a definition makes the registry serve.
pub(crate) struct Definition {
    /// `{group}/{plural}`, as keys write it.
    pub(crate) prefix: String,
    pub(crate) storage: Arc<Storage>,
    /// Every version that is served.
    pub(crate) served: Vec<Arc<Served>>,
    /// What of the object decides this.
    pub(crate) fingerprint: String,
}

/// While its definition goes, nothing new of a kind comes.
const TERMINATING_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Definition {
    /// Reads a definition; `None` as long as it isn't established.
    pub(crate) fn of(object: &Value, limits: Limits) -> Option<Self> {
        if !conditions::is_true(object, conditions::ESTABLISHED) {
            return None;
        }
        let (spec, names) = (&object["spec"], &object["status"]["acceptedNames"]);
        let terminating = object["metadata"]["deletionTimestamp"].is_string();
        let versions = spec["versions"].as_array()?;
        let mut storage = None;
        for version in versions.iter().filter(|version| version["storage"] == true) {
            let (info, schema, strategy) = read_version(spec, names, version, terminating);
            let made = Storage::new(info, strategy.into(), Schema::Custom(schema));
            made.cache.set_limits(limits);
            storage = Some(Arc::new(made));
        }
        let storage = storage?;
        let served = versions.iter().filter(|version| version["served"] == true).map(|version| {
            let (info, schema, strategy) = read_version(spec, names, version, terminating);
            let storage = Arc::clone(&storage);
            let mut served = Served::new(info, None, Schema::Custom(schema), strategy.into(), storage);
            served.published = Some(Arc::new(version["schema"]["openAPIV3Schema"].clone()));
            Arc::new(served)
        });
        Some(Self {
            prefix: storage.feed_prefix().to_owned(),
            served: served.collect(),
            storage,
            fingerprint: format!("{spec}{names}{terminating}"),
        })
    }
}

fn read_version(
    spec: &Value,
    names: &Value,
    version: &Value,
    terminating: bool,
) -> (Arc<ResourceInfo>, Arc<super::Structural>, Arc<dyn Strategy>) {
    let text = |value: &Value| -> Text { value.as_str().unwrap_or_default().to_owned().into() };
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect();
    let (group, name) = (&spec["group"], &version["name"]);
    let mut info = ResourceInfo::new(&text(group), &text(name), &text(&names["kind"]));
    info.plural = text(&names["plural"]);
    info.singular = text(&names["singular"]);
    info.list_kind = text(&names["listKind"]);
    info.short_names = texts(&names["shortNames"]);
    info.categories = texts(&names["categories"]);
    info.scope = if spec["scope"] == "Namespaced" { Scope::Namespaced } else { Scope::Cluster };
    if terminating {
        info.verbs = TERMINATING_VERBS;
    }
    if version["deprecated"] == true {
        let default = format!("{} {} is deprecated", info.api_version(), info.kind);
        info.deprecation = Some(version["deprecationWarning"].as_str().map_or(default, str::to_owned));
    }
    if version["subresources"].get("status").is_some() {
        info = info.with_status();
    }
    if version["subresources"].get("scale").is_some() {
        info = info.with_scale();
    }
    let schema = Arc::new(super::Structural::read(&version["schema"]["openAPIV3Schema"]));
    let strategy = Arc::new(CustomStrategy::read(version, Arc::clone(&schema)));
    (Arc::new(info), schema, strategy)
}
