//! An object in the watch cache: its bytes and what selectors look at.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kubewright_api::selector::{FieldSelector, LabelSelector, Labels};
use kubewright_api::status::Status;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::object::{codec, protobuf};
use crate::registry::storage::Storage;

/// One state of one object.
#[derive(Debug)]
pub(crate) struct Cached {
    /// `{ns}/{name}` or `{name}`.
    pub(crate) path: Box<str>,
    pub(crate) revision: u64,
    /// The object in its stored version with its resource version.
    pub(crate) bytes: Bytes,
    splice_offset: usize,
    labels: Box<[(String, String)]>,
    fields: Box<[String]>,
    /// The same in protobuf, without an envelope, once someone asked for it.
    protobuf: OnceLock<Bytes>,
}

impl Cached {
    pub(crate) fn new(
        storage: &Storage,
        object: &Value,
        stored: &[u8],
        path: &str,
        revision: u64,
    ) -> Result<Self, Status> {
        let labels = object["metadata"]["labels"].as_object();
        let text = |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap_or_default().to_owned());
        let strategy = &*storage.strategy;
        let fields = 0..strategy.selectable_paths().len();
        let bytes = storage.splice(stored, revision)?;
        Ok(Self {
            path: path.into(),
            revision,
            splice_offset: storage.offset_in(&bytes),
            bytes,
            labels: labels.into_iter().flatten().map(text).collect(),
            fields: fields.map(|at| strategy.selectable_value(at, object).into_owned()).collect(),
            protobuf: OnceLock::new(),
        })
    }

    /// The same without decoding the object, where it is stored as it is served and selectors look at nothing but its
    /// labels; `None` where that is not so.
    pub(crate) fn without_decoding(storage: &Storage, stored: &[u8], path: &str, revision: u64) -> Option<Self> {
        /// What selectors look at.
        #[derive(Deserialize)]
        struct Lean<'a> {
            #[serde(borrow)]
            metadata: LeanMetadata<'a>,
        }
        #[derive(Deserialize)]
        struct LeanMetadata<'a> {
            #[serde(borrow, default)]
            labels: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
        }
        let bytes = storage.splice_as_stored(stored, revision)?;
        if !storage.strategy.selectable_paths().is_empty() {
            return None;
        }
        let lean: Lean<'_> = serde_json::from_slice(stored).ok()?;
        let labels = lean.metadata.labels.into_iter().flatten();
        Some(Self {
            path: path.into(),
            revision,
            splice_offset: storage.offset_in(&bytes),
            bytes,
            labels: labels.map(|(key, value)| (key.into_owned(), value.into_owned())).collect(),
            fields: Box::default(),
            protobuf: OnceLock::new(),
        })
    }

    /// What is known of an object that can't be read.
    pub(super) fn unreadable(path: &str, revision: u64) -> Self {
        Self {
            path: path.into(),
            revision,
            bytes: Bytes::new(),
            splice_offset: 0,
            labels: Box::default(),
            fields: Box::default(),
            protobuf: OnceLock::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        name_in(&self.path)
    }

    pub(crate) fn namespace(&self) -> &str {
        namespace_in(&self.path)
    }

    /// The object.
    pub(crate) fn decode(&self) -> Result<Value, Status> {
        serde_json::from_slice(&self.bytes).map_err(Status::internal)
    }

    /// The object in protobuf without an envelope, encoded for the first who needs it and shared by all.
    pub(crate) fn protobuf(&self, storage: &Storage) -> Result<Bytes, Status> {
        if let Some(bytes) = self.protobuf.get() {
            return Ok(bytes.clone());
        }
        let ty = storage.schema.built_in();
        let ty = ty.ok_or_else(|| Status::internal(format!("{} has no protobuf encoding", storage.info.kind)))?;
        let bytes = protobuf::message(ty, &self.decode()?).map_err(Status::internal)?;
        Ok(self.protobuf.get_or_init(|| bytes.into()).clone())
    }

    /// What [`protobuf`](Self::protobuf) made; nothing before.
    pub(crate) fn encoded(&self) -> &[u8] {
        self.protobuf.get().map_or(&[][..], |bytes| &bytes[..])
    }

    /// The same state as of another revision: how deletions carry the last state there was.
    pub(crate) fn at(&self, revision: u64) -> Self {
        Self {
            path: self.path.clone(),
            revision,
            bytes: codec::resplice(&self.bytes, self.splice_offset, self.revision, revision),
            splice_offset: self.splice_offset,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            protobuf: OnceLock::new(),
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.path.len() + 128
    }
}

/// The name in `{ns}/{name}` or `{name}`.
pub(super) fn name_in(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The namespace in `{ns}/{name}`; nothing in `{name}`.
pub(super) fn namespace_in(path: &str) -> &str {
    path.split_once('/').map_or("", |(namespace, _)| namespace)
}

impl Labels for Cached {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Set,
    Deleted,
    /// It has a new state, which can't be read.
    Unreadable,
}

/// A change in the cache's history.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) kind: ChangeKind,
    /// The new state; of a deletion the last state, as of the deletion's revision; of what can't be read its path alone.
    pub(crate) object: Arc<Cached>,
    pub(crate) prev: Option<Arc<Cached>>,
    /// When it came, to tell when it is old.
    pub(crate) at: Instant,
    /// The event as a line of a watch, encoded by the first watcher that needs it and shared by all.
    pub(crate) line: OnceLock<Bytes>,
    /// The same in protobuf.
    pub(crate) frame: OnceLock<Bytes>,
}

impl Change {
    pub(super) fn new(revision: u64, kind: ChangeKind, object: Arc<Cached>, prev: Option<Arc<Cached>>) -> Self {
        Self { revision, kind, object, prev, at: Instant::now(), line: OnceLock::new(), frame: OnceLock::new() }
    }
}

/// What a list or a watch asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// `{ns}/` or nothing.
    pub(crate) path_prefix: String,
    pub(crate) name: Option<String>,
    pub(crate) labels: LabelSelector,
    /// Fields by their place among the kind's selectable fields, beside name and namespace.
    pub(crate) fields: FieldSelector,
    pub(crate) field_names: Arc<[String]>,
}

impl Selection {
    /// Whether an object at that path may be selected, whatever else it is.
    pub(crate) fn may_hold(&self, path: &str) -> bool {
        let named = self.fields.exact("metadata.name").is_none_or(|name| name_in(path) == name);
        named && self.is_within(path)
    }

    fn is_within(&self, path: &str) -> bool {
        path.starts_with(self.path_prefix.as_str()) && self.name.as_ref().is_none_or(|name| name_in(path) == name)
    }

    pub(crate) fn matches(&self, cached: &Cached) -> bool {
        self.is_within(&cached.path)
            && (self.labels.is_everything() || self.labels.matches(cached))
            && self.fields.matches(|path| match path {
                "metadata.name" => Some(cached.name()),
                "metadata.namespace" => Some(cached.namespace()),
                path => {
                    let at = self.field_names.iter().position(|field| field == path)?;
                    cached.fields.get(at).map(String::as_str)
                }
            })
    }

    /// Whether it selects by more than the namespace.
    pub(crate) fn is_selective(&self) -> bool {
        self.name.is_some() || !self.labels.is_everything() || !self.fields.is_empty()
    }
}
