//! One stored resource: its keys, its form in the store, its place in the watch cache.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kubewright_api::resources::Resource;
use kubewright_api::schema::{self, Type};
use kubewright_api::status::Status;
use kubewright_store::{Entry, Key};
use serde_json::Value;

use super::cache::ResourceCache;
use super::strategy::{CommitHook, Strategy};
use crate::object::codec;
use crate::object::convert::Conversion;

/// One stored resource.
pub(crate) struct Storage {
    /// The resource at the version in which it is stored.
    pub(crate) info: &'static Resource,
    pub(crate) api_version: String,
    pub(crate) ty: Option<&'static Type>,
    pub(crate) strategy: &'static dyn Strategy,
    /// `/registry/{group}/{resource}/`.
    pub(crate) prefix: String,
    /// How stored bytes begin, up to where the resource version belongs.
    head: String,
    pub(crate) hook: OnceLock<Arc<dyn CommitHook>>,
    pub(crate) cache: ResourceCache,
}

/// One resource at one version, as requests name it.
pub(crate) struct Served {
    pub(crate) info: &'static Resource,
    pub(crate) api_version: String,
    pub(crate) conversion: Option<Conversion>,
    pub(crate) storage: Arc<Storage>,
}

impl Storage {
    pub(crate) fn new(info: &'static Resource, strategy: &'static dyn Strategy) -> Self {
        let group = if info.group.is_empty() { "core" } else { info.group };
        let api_version = info.api_version();
        Self {
            info,
            strategy,
            ty: schema::of_kind(info.group, info.version, info.kind),
            prefix: format!("/registry/{group}/{}/", info.plural),
            head: codec::head(&api_version, info.kind),
            api_version,
            hook: OnceLock::new(),
            cache: ResourceCache::new(),
        }
    }

    /// What follows the prefix in the key of an object, and what the cache goes by: `{ns}/{name}` or `{name}`.
    pub(crate) fn path_of(&self, namespace: &str, name: &str) -> String {
        if self.info.namespaced() { format!("{namespace}/{name}") } else { name.to_owned() }
    }

    pub(crate) fn key_of(&self, namespace: &str, name: &str) -> Key {
        Key::from(format!("{}{}", self.prefix, self.path_of(namespace, name)))
    }

    /// Stored bytes with the resource version in them. What someone else wrote in another form is put into ours.
    pub(crate) fn splice(&self, stored: &[u8], revision: u64) -> Result<Bytes, Status> {
        if stored.starts_with(self.head.as_bytes()) {
            return Ok(codec::splice(stored, self.head.len(), revision));
        }
        let mut object = codec::decode(stored, revision).map_err(Status::internal)?;
        object["apiVersion"] = self.api_version.as_str().into();
        object["kind"] = self.info.kind.into();
        Ok(codec::splice(&codec::encode(&object), self.head.len(), revision))
    }

    /// Where in bytes the resource version is.
    pub(crate) fn splice_offset(&self) -> usize {
        self.head.len()
    }

    /// The object in an entry of the store.
    pub(crate) fn decode(&self, entry: &Entry) -> Result<Value, Status> {
        codec::decode(&entry.value, entry.mod_revision.get())
            .map_err(|error| Status::internal(format!("the stored object {} cannot be decoded: {error}", entry.key)))
    }
}

impl Served {
    /// Whether requests speak the version in which the resource is stored.
    pub(crate) const fn is_natural(&self) -> bool {
        self.conversion.is_none()
    }

    pub(crate) fn to_storage(&self, object: Value) -> Value {
        match self.conversion {
            Some(conversion) => (conversion.to_storage)(object),
            None => object,
        }
    }

    pub(crate) fn to_served(&self, object: Value) -> Value {
        match self.conversion {
            Some(conversion) => (conversion.from_storage)(object),
            None => object,
        }
    }

    pub(crate) fn strategy(&self) -> &'static dyn Strategy {
        self.storage.strategy
    }
}
