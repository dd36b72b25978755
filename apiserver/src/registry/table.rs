//! Which resources there are: the built-in ones that were chosen, and those that objects define while the server runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard};

use kubewright_api::resources;
use serde_json::Value;
use tokio::sync::watch;

use super::cache::Limits;
use super::info::ResourceInfo;
use super::storage::{Served, Storage};
use super::strategy::Strategy;
use crate::custom::Definition;
use crate::kinds;
use crate::object::convert;
use crate::object::typed::Schema;

/// Built-in resources, made once for all servers of the process.
static BUILT_IN: LazyLock<Vec<Arc<ResourceInfo>>> =
    LazyLock::new(|| resources::built_in().iter().map(|row| Arc::new(row.into())).collect());

/// A resource of the embedder's own: what it is called, how it behaves, which schema it has.
#[derive(Clone)]
#[non_exhaustive]
pub struct OwnResource {
    /// Its names.
    pub info: ResourceInfo,
    /// Its behaviour.
    pub strategy: Arc<dyn Strategy>,
    /// Its schema, an OpenAPI schema as in a CustomResourceDefinition; without one, objects may have any fields.
    pub schema: Option<Value>,
}

impl OwnResource {
    /// A resource of those names with that behaviour.
    #[must_use]
    pub fn new(info: ResourceInfo, strategy: Arc<dyn Strategy>) -> Self {
        Self { info, strategy, schema: None }
    }

    /// The same, with a schema: unknown fields are dropped, defaults filled in, values checked.
    #[must_use]
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self
    }
}

/// Which resources a server starts with.
#[derive(Clone, Default)]
pub(crate) struct Choice {
    /// `None` for all that are built in; otherwise those, as `{group}/{plural}`.
    pub(crate) built_in: Option<Vec<String>>,
    pub(crate) own: Vec<OwnResource>,
}

impl Choice {
    fn takes(&self, info: &ResourceInfo) -> bool {
        self.built_in.as_ref().is_none_or(|chosen| chosen.contains(&format!("{}/{}", info.group, info.plural)))
    }
}

#[derive(Default)]
struct Tables {
    /// By `{group}/{version}/{resource}`.
    served: HashMap<String, Arc<Served>>,
    /// By `{group}/{resource}`.
    storages: BTreeMap<String, Arc<Storage>>,
    /// By `{group or core}/{resource}`, as keys write it.
    by_prefix: HashMap<String, Arc<Storage>>,
    /// What discovery shows, in no order.
    infos: Vec<Arc<ResourceInfo>>,
    /// By the name of the defining object.
    defined: HashMap<String, Definition>,
    /// Counts changes, so that who made a document of it knows when to make another.
    generation: u64,
}

/// The resources of a server.
pub(crate) struct Resources {
    tables: RwLock<Tables>,
    limits: Limits,
    changed: watch::Sender<()>,
}

/// What became of a definition.
pub(crate) enum Redefined {
    /// Nothing that matters changed.
    Same,
    /// It is to be served so, once its cache is filled.
    New(Definition),
    /// It is no longer served.
    Gone,
}

impl Resources {
    pub(crate) fn new(choice: &Choice, limits: Limits) -> Self {
        let mut tables = Tables::default();
        for info in BUILT_IN.iter().filter(|info| choice.takes(info)) {
            if info.has_verb("list") && info.has_verb("create") {
                tables.add_built_in(info, limits);
            }
            tables.infos.push(Arc::clone(info));
        }
        for own in &choice.own {
            tables.add_own(own, limits);
        }
        Self { tables: RwLock::new(tables), limits, changed: watch::Sender::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn served(&self, group: &str, version: &str, resource: &str) -> Option<Arc<Served>> {
        self.read().served.get(&format!("{group}/{version}/{resource}")).cloned()
    }

    /// The resource of a kind that is served at that version.
    pub(crate) fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<ResourceInfo>> {
        let tables = self.read();
        let found =
            tables.infos.iter().find(|info| info.kind == kind && info.group == group && info.version == version);
        found.cloned()
    }

    /// Versions and kinds of a custom resource.
    pub(crate) fn custom_versions(&self, group: &str, resource: &str) -> Vec<(String, String)> {
        let tables = self.read();
        let of_resource = |served: &&Arc<Served>| {
            let info = &served.info;
            info.plural == resource && info.group == group && served.schema.custom().is_some()
        };
        let mut versions: Vec<_> = tables.served.values().filter(of_resource).map(|served| &served.info).collect();
        versions.sort_by(|a, b| a.version.cmp(&b.version));
        versions.into_iter().map(|info| (info.version.to_string(), info.kind.to_string())).collect()
    }

    pub(crate) fn storage(&self, group: &str, resource: &str) -> Option<Arc<Storage>> {
        self.read().storages.get(&format!("{group}/{resource}")).cloned()
    }

    /// The storage whose keys begin so.
    pub(crate) fn of_prefix(&self, prefix: &str) -> Option<Arc<Storage>> {
        self.read().by_prefix.get(prefix).cloned()
    }

    pub(crate) fn storages(&self) -> Vec<(String, Arc<Storage>)> {
        self.read().by_prefix.iter().map(|(prefix, storage)| (prefix.clone(), Arc::clone(storage))).collect()
    }

    /// What is served, and the count of changes up to it.
    pub(crate) fn infos(&self) -> (Vec<Arc<ResourceInfo>>, u64) {
        let tables = self.read();
        (tables.infos.clone(), tables.generation)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.read().generation
    }

    /// Schemas of what isn't built in, by group, version and plural name.
    pub(crate) fn published_schema(&self, group: &str, version: &str, resource: &str) -> Option<Arc<Value>> {
        self.served(group, version, resource)?.published.clone()
    }

    /// What an object that defines a resource changes; `None` for a deleted one.
    pub(crate) fn redefine(&self, name: &str, object: Option<&Value>) -> Redefined {
        let tables = self.read();
        let known = tables.defined.get(name);
        let made = object.and_then(|object| Definition::of(object, self.limits, known));
        match (made, known) {
            (Some(made), Some(known)) if made.fingerprint == known.fingerprint => Redefined::Same,
            // What is built in or the embedder's own stays.
            (Some(made), None) if tables.by_prefix.contains_key(&made.prefix) => Redefined::Same,
            (Some(made), _) => Redefined::New(made),
            (None, Some(_)) => Redefined::Gone,
            (None, None) => Redefined::Same,
        }
    }

    /// Serves a definition, or ends serving it.
    pub(crate) fn install(&self, name: &str, definition: Option<Definition>) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = tables.defined.remove(name) {
            tables.remove(&old);
            old.end_watches(definition.as_ref());
            if let Some(definition) = &definition {
                definition.storage.cache.inherit(&old.storage.cache);
            }
        }
        if let Some(definition) = definition {
            tables.insert(&definition);
            tables.defined.insert(name.to_owned(), definition);
        }
        tables.generation += 1;
        drop(tables);
        self.changed.send_replace(());
    }

    /// Tells of changes of what is served.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The names of the objects that define resources.
    pub(crate) fn defined(&self) -> Vec<String> {
        self.read().defined.keys().cloned().collect()
    }
}

fn served_key(info: &ResourceInfo) -> String {
    format!("{}/{}/{}", info.group, info.version, info.plural)
}

impl Tables {
    fn add_built_in(&mut self, info: &Arc<ResourceInfo>, limits: Limits) {
        let shared = convert::storage_of(&info.group, &info.version, &info.plural);
        let home = match shared {
            Some(((group, version), _)) => BUILT_IN
                .iter()
                .find(|other| other.group == group && other.version == version && other.plural == info.plural)
                .unwrap_or(info),
            None => info,
        };
        let key = format!("{}/{}", home.group, home.plural);
        let storage = Arc::clone(self.storages.entry(key).or_insert_with(|| {
            let strategy = kinds::strategy(&home.group, &home.plural);
            let ty = kubewright_api::schema::of_kind(&home.group, &home.version, &home.kind);
            let storage = Storage::new(Arc::clone(home), strategy.into(), ty.into());
            storage.cache.set_limits(limits);
            Arc::new(storage)
        }));
        self.by_prefix.insert(storage.feed_prefix().to_owned(), Arc::clone(&storage));
        let ty = kubewright_api::schema::of_kind(&info.group, &info.version, &info.kind);
        let conversion = shared.map(|(_, conversion)| conversion);
        // What shares its storage with another group may still be held to rules of its own.
        let strategy = kinds::strategy(&info.group, &info.plural);
        let served = Served::new(Arc::clone(info), conversion, ty.into(), strategy.into(), storage);
        self.served.insert(served_key(info), Arc::new(served));
    }

    fn add_own(&mut self, own: &OwnResource, limits: Limits) {
        let info = Arc::new(own.info.clone());
        let schema = own.schema.as_ref().map_or(Schema::Unknown, Schema::read);
        let strategy = crate::custom::with_schema(Arc::clone(&own.strategy), &schema);
        let storage = Storage::new(Arc::clone(&info), strategy.clone().into(), schema.clone());
        storage.cache.set_limits(limits);
        let storage = Arc::new(storage);
        let mut served = Served::new(Arc::clone(&info), None, schema, strategy.into(), Arc::clone(&storage));
        served.published = own.schema.clone().map(Arc::new);
        self.storages.insert(format!("{}/{}", info.group, info.plural), Arc::clone(&storage));
        self.by_prefix.insert(storage.feed_prefix().to_owned(), storage);
        self.served.insert(served_key(&info), Arc::new(served));
        self.infos.push(info);
    }

    fn insert(&mut self, definition: &Definition) {
        let storage = &definition.storage;
        self.storages.insert(format!("{}/{}", storage.info.group, storage.info.plural), Arc::clone(storage));
        self.by_prefix.insert(definition.prefix.clone(), Arc::clone(storage));
        for served in &definition.served {
            self.served.insert(served_key(&served.info), Arc::clone(served));
            self.infos.push(Arc::clone(&served.info));
        }
    }

    fn remove(&mut self, definition: &Definition) {
        let storage = &definition.storage;
        self.storages.remove(&format!("{}/{}", storage.info.group, storage.info.plural));
        self.by_prefix.remove(&definition.prefix);
        for served in &definition.served {
            self.served.remove(&served_key(&served.info));
            self.infos.retain(|info| !Arc::ptr_eq(info, &served.info));
        }
    }
}
