//! One stored resource: its keys, its form in the store, its place in the watch cache.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kubewright_api::status::Status;
use kubewright_store::{Entry, Key};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::cache::ResourceCache;
use super::info::ResourceInfo;
use super::strategy::{CommitHook, Strategy};
use crate::custom::{self, ConversionWebhook};
use crate::object::codec;
use crate::object::convert::Conversion;
use crate::object::typed::Schema;

/// A strategy of the built-in tables, or one that was made.
#[derive(Clone)]
pub(crate) enum AnyStrategy {
    BuiltIn(&'static dyn Strategy),
    Made(Arc<dyn Strategy>),
}

impl Deref for AnyStrategy {
    type Target = dyn Strategy;

    fn deref(&self) -> &(dyn Strategy + 'static) {
        match self {
            Self::BuiltIn(strategy) => *strategy,
            Self::Made(strategy) => &**strategy,
        }
    }
}

impl From<&'static dyn Strategy> for AnyStrategy {
    fn from(strategy: &'static dyn Strategy) -> Self {
        Self::BuiltIn(strategy)
    }
}

impl From<Arc<dyn Strategy>> for AnyStrategy {
    fn from(strategy: Arc<dyn Strategy>) -> Self {
        Self::Made(strategy)
    }
}

/// One stored resource.
pub(crate) struct Storage {
    /// The resource at the version in which it is stored.
    pub(crate) info: Arc<ResourceInfo>,
    pub(crate) api_version: String,
    pub(crate) schema: Schema,
    pub(crate) strategy: AnyStrategy,
    /// `/registry/{group}/{resource}/`.
    pub(crate) prefix: String,
    /// How stored bytes begin, up to where the resource version belongs.
    head: String,
    pub(crate) hook: OnceLock<Arc<dyn CommitHook>>,
    pub(crate) cache: Arc<ResourceCache>,
    /// Objects may be stored in other versions, and only a webhook can convert them: they are read as they are.
    pub(crate) mixed: bool,
}

/// One resource at one version, as requests name it.
pub(crate) struct Served {
    pub(crate) info: Arc<ResourceInfo>,
    pub(crate) api_version: String,
    pub(crate) conversion: Option<Conversion>,
    pub(crate) schema: Schema,
    strategy: AnyStrategy,
    pub(crate) storage: Arc<Storage>,
    /// Whether a definition defines it: its objects say their kind and version, for no type says it for them.
    pub(crate) defined: bool,
    /// The schema as it is published, of what isn't built in.
    pub(crate) published: Option<Arc<Value>>,
    /// Cancelled when the version is no longer served out of that cache: its watches end.
    pub(crate) gone: CancellationToken,
    /// Converts between versions, where the definition says so.
    pub(crate) webhook: Option<Arc<ConversionWebhook>>,
    /// With a webhook: the resource in its stored version.
    pub(crate) home: Option<Arc<Self>>,
}

impl Storage {
    pub(crate) fn new(info: Arc<ResourceInfo>, strategy: AnyStrategy, schema: Schema) -> Self {
        let group = if info.group.is_empty() { "core" } else { &*info.group };
        let api_version = info.api_version();
        Self {
            strategy,
            schema,
            prefix: format!("/registry/{group}/{}/", info.plural),
            head: codec::head(&api_version, &info.kind),
            info,
            api_version,
            hook: OnceLock::new(),
            cache: Arc::new(ResourceCache::new()),
            mixed: false,
        }
    }

    /// `{group or core}/{resource}`
    pub(crate) fn feed_prefix(&self) -> &str {
        &self.prefix["/registry/".len()..self.prefix.len() - 1]
    }

    /// What follows the prefix in the key of an object, and what the cache goes by: `{ns}/{name}` or `{name}`.
    pub(crate) fn path_of(&self, namespace: &str, name: &str) -> String {
        if self.info.namespaced() { format!("{namespace}/{name}") } else { name.to_owned() }
    }

    pub(crate) fn key_of(&self, namespace: &str, name: &str) -> Key {
        Key::from(format!("{}{}", self.prefix, self.path_of(namespace, name)))
    }

    /// Stored bytes with the resource version in them. What was written in another form is put into ours: by someone
    /// else, in another version, or under another schema.
    pub(crate) fn splice(&self, stored: &[u8], revision: u64) -> Result<Bytes, Status> {
        if let Some(bytes) = self.splice_as_stored(stored, revision) {
            return Ok(bytes);
        }
        let object = self.read(stored, revision).map_err(Status::internal)?;
        let encoded = codec::encode(&object);
        Ok(codec::splice(&encoded, self.offset_in(&encoded), revision))
    }

    /// The same of what is stored in our form already; `None` of everything else.
    pub(crate) fn splice_as_stored(&self, stored: &[u8], revision: u64) -> Option<Bytes> {
        let is_ours = self.schema.custom().is_none() && stored.starts_with(self.head.as_bytes());
        is_ours.then(|| codec::splice(stored, self.head.len(), revision))
    }

    /// The object in stored bytes.
    pub(crate) fn read(&self, stored: &[u8], revision: u64) -> Result<Value, serde_json::Error> {
        let mut object = codec::decode(stored, revision)?;
        if self.mixed && object["apiVersion"] != self.api_version.as_str() {
            return Ok(object);
        }
        if let Some(schema) = self.schema.custom() {
            custom::renew(&mut object, schema);
        }
        object["apiVersion"] = self.api_version.as_str().into();
        object["kind"] = (*self.info.kind).into();
        Ok(object)
    }

    /// Where in bytes the resource version is.
    pub(crate) fn offset_in(&self, bytes: &[u8]) -> usize {
        if self.mixed { codec::metadata_offset(bytes) } else { self.head.len() }
    }

    /// The object in an entry of the store.
    ///
    /// # Errors
    /// 500: it is encrypted still, or it is no object.
    pub(crate) fn decode(&self, entry: &Entry) -> Result<Value, Status> {
        check_decrypted(entry)?;
        self.read(&entry.value, entry.mod_revision.get())
            .map_err(|error| Status::internal(format!("the stored object {} cannot be decoded: {error}", entry.key)))
    }
}

/// 500 for a value that is encrypted still.
pub(super) fn check_decrypted(entry: &Entry) -> Result<(), Status> {
    if !entry.value.starts_with(b"k8s:enc:") {
        return Ok(());
    }
    let mut why = "identity transformer tried to read encrypted data".to_owned();
    #[cfg(feature = "encryption")]
    if let Some(reason) = crate::encryption::why_unreadable(&entry.value) {
        why = reason;
    }
    why.insert_str(0, &format!("unable to transform key {:?}: ", entry.key.to_string()));
    Err(Status::internal(why))
}

impl Served {
    pub(crate) fn new(
        info: Arc<ResourceInfo>,
        conversion: Option<Conversion>,
        schema: Schema,
        strategy: AnyStrategy,
        storage: Arc<Storage>,
    ) -> Self {
        let gone = CancellationToken::new();
        Self {
            api_version: info.api_version(),
            info,
            conversion,
            schema,
            strategy,
            storage,
            defined: false,
            published: None,
            gone,
            webhook: None,
            home: None,
        }
    }

    /// Whether requests speak the version in which the resource is stored.
    pub(crate) fn is_natural(&self) -> bool {
        self.conversion.is_none() && self.webhook.is_none() && self.api_version == self.storage.api_version
    }

    pub(crate) fn to_storage(&self, mut object: Value) -> Value {
        if let Some(conversion) = self.conversion {
            return (conversion.to_storage)(object);
        }
        if !self.is_natural() {
            object["apiVersion"] = self.storage.api_version.as_str().into();
        }
        object
    }

    pub(crate) fn to_served(&self, mut object: Value) -> Value {
        if let Some(conversion) = self.conversion {
            return (conversion.from_storage)(object);
        }
        if !self.is_natural() {
            object["apiVersion"] = self.api_version.as_str().into();
            if let Some(schema) = self.schema.custom() {
                custom::renew(&mut object, schema);
            }
        }
        object
    }

    pub(crate) fn strategy(&self) -> &dyn Strategy {
        &*self.strategy
    }
}
