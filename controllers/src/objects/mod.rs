//! The objects controllers read, each with only the fields they need: a pod takes a few hundred bytes here.
//!
//! They are decoded straight from the server's JSON and never written back; changes travel as merge patches.

mod batch;
mod certificate;
mod core;
mod kind;
mod labels;
mod meta;
mod network;
mod node;
mod pod;
mod policy;
mod template;
mod time;
mod workload;

pub use batch::*;
pub use certificate::*;
pub use core::*;
pub(crate) use kind::collection_path;
pub use kind::{Kind, kinds};
pub use labels::Labels;
pub use meta::{Meta, ObjectKey, OwnerReference};
pub use network::*;
pub use node::*;
pub use pod::*;
pub use policy::*;
pub use template::{Template, template_hash};
pub use time::Time;
pub use workload::*;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};

/// An object that can be watched and cached.
pub trait Object: DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static {
    /// What it is and where it is served.
    const KIND: Kind;

    /// Its metadata.
    fn meta(&self) -> &Meta;

    /// Which objects are watched, as a field selector; all if it is empty.
    const FIELD_SELECTOR: &'static str = "";

    /// A value by which the cache finds it quickly, such as a pod's node.
    fn index(&self) -> Option<&str> {
        None
    }
}

/// Declares [`Object`] for types with a field `metadata`.
macro_rules! objects {
    ($($type:ty => $kind:expr),* $(,)?) => {$(
        impl $crate::objects::Object for $type {
            const KIND: $crate::objects::Kind = $kind;
            fn meta(&self) -> &$crate::objects::Meta {
                &self.metadata
            }
        }
    )*};
}
pub(crate) use objects;

/// Reads `null` as the default value, which some servers write for empty lists.
pub(crate) fn null_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A condition of an object's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// What it tells about.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The generation it was computed for.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// When it was last seen (jobs and nodes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Time>,
    /// When it was last updated (deployments).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Time>,
    /// When a node last reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_time: Option<Time>,
    /// When `status` last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Why, in one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Condition {
    /// A condition without times.
    #[must_use]
    pub fn new(kind: &str, status: bool, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            status: if status { "True" } else { "False" }.to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Whether its status is `True`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// The condition of that type.
#[must_use]
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}
