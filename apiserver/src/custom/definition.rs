//! From a CustomResourceDefinition to what the registry serves.

use std::sync::Arc;

use kubewright_api::resources::Scope;
use serde_json::Value;

use super::conditions;
use super::conversion::ConversionWebhook;
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
    /// What becomes of the cache there was.
    pub(crate) cache: CacheUse,
    /// The schema that stored objects are read by.
    stored_schema: Value,
    webhook: Option<Arc<ConversionWebhook>>,
    /// What of the object decides this.
    pub(crate) fingerprint: String,
}

/// How a changed definition comes by its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheUse {
    /// It needs a new one: there was none, or objects are stored in another version or selected by other fields.
    New,
    /// It goes on with the one there was.
    Same,
    /// It goes on with the one there was, once its objects are read by the new schema.
    Renewed,
}

/// While its definition goes, nothing new of a kind comes.
const TERMINATING_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Definition {
    /// Reads a definition; `None` as long as it isn't established. Where the one there was serves the same objects, its
    /// cache, its watches and its observers go on.
    pub(crate) fn of(object: &Value, limits: Limits, known: Option<&Self>) -> Option<Self> {
        if !conditions::is_true(object, conditions::ESTABLISHED) {
            return None;
        }
        let (spec, names) = (&object["spec"], &object["status"]["acceptedNames"]);
        let terminating = object["metadata"]["deletionTimestamp"].is_string();
        let versions = spec["versions"].as_array()?;
        let webhook = ConversionWebhook::read(&spec["conversion"]).map(Arc::new);
        let mut storage = None;
        for version in versions.iter().filter(|version| version["storage"] == true) {
            let (info, schema, strategy) = read_version(spec, names, version, terminating);
            let made = Storage::new(info, strategy.into(), Schema::Custom(schema));
            made.cache.set_limits(limits);
            storage = Some((made, version["schema"]["openAPIV3Schema"].clone()));
        }
        let (mut storage, stored_schema) = storage?;
        let mut cache = CacheUse::New;
        storage.mixed = webhook.is_some();
        if let Some(known) = known.filter(|known| known.webhook == webhook && shares_cache(&known.storage, &storage)) {
            storage.cache = Arc::clone(&known.storage.cache);
            cache = if known.stored_schema == stored_schema { CacheUse::Same } else { CacheUse::Renewed };
        }
        let storage = Arc::new(storage);
        let home = webhook.as_ref().and_then(|webhook| {
            let version = versions.iter().find(|version| version["storage"] == true)?;
            let (info, schema, strategy) = read_version(spec, names, version, terminating);
            let mut home = Served::new(info, None, Schema::Custom(schema), strategy.into(), Arc::clone(&storage));
            (home.webhook, home.defined) = (Some(Arc::clone(webhook)), true);
            Some(Arc::new(home))
        });
        let served = versions.iter().filter(|version| version["served"] == true).map(|version| {
            let (info, schema, strategy) = read_version(spec, names, version, terminating);
            let storage = Arc::clone(&storage);
            let mut served = Served::new(info, None, Schema::Custom(schema), strategy.into(), storage);
            served.published = Some(Arc::new(version["schema"]["openAPIV3Schema"].clone()));
            (served.webhook, served.home, served.defined) = (webhook.clone(), home.clone(), true);
            if let Some(before) = known.filter(|_| cache != CacheUse::New).and_then(|known| known.version(&served)) {
                served.gone = before.gone.clone();
            }
            Arc::new(served)
        });
        let served = served.collect();
        Some(Self {
            prefix: storage.feed_prefix().to_owned(),
            served,
            storage,
            fingerprint: format!("{spec}{names}{terminating}"),
            cache,
            stored_schema,
            webhook,
        })
    }

    /// The same version as it was served.
    fn version(&self, other: &Served) -> Option<&Arc<Served>> {
        self.served.iter().find(|served| served.info.version == other.info.version)
    }

    /// Ends the watches of versions that are not served out of the same cache any more.
    pub(crate) fn end_watches(&self, next: Option<&Self>) {
        let next = next.filter(|next| Arc::ptr_eq(&next.storage.cache, &self.storage.cache));
        for served in &self.served {
            if next.is_none_or(|next| next.version(served).is_none()) {
                served.gone.cancel();
            }
        }
    }
}

/// Whether what is cached for one is right for the other, but for the schema.
fn shares_cache(one: &Storage, other: &Storage) -> bool {
    one.prefix == other.prefix
        && one.api_version == other.api_version
        && one.info.kind == other.info.kind
        && one.strategy.selectable_paths() == other.strategy.selectable_paths()
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
