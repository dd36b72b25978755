//! Metadata that scheduling looks at.

use serde::{Deserialize, Deserializer};

use super::{Labels, Name, Time};

/// An object's identity, labels and owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Its name.
    pub name: Name,
    /// Its namespace; empty for cluster-scoped objects.
    pub namespace: Name,
    /// Its identity over all time.
    pub uid: Name,
    /// Which version of it this is.
    pub resource_version: Name,
    /// Which version of its spec this is.
    pub generation: Option<i64>,
    /// Its labels.
    pub labels: Labels,
    /// When it was created.
    #[serde(deserialize_with = "time")]
    pub creation_timestamp: Option<Time>,
    /// When it was asked to go.
    #[serde(deserialize_with = "time")]
    pub deletion_timestamp: Option<Time>,
    /// Who owns it.
    #[serde(deserialize_with = "super::wire::null_is_default")]
    pub owner_references: Vec<OwnerReference>,
}

impl Meta {
    /// The owner that manages it.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

/// A reference to an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// Group and version.
    pub api_version: Name,
    /// Kind.
    pub kind: Name,
    /// Name.
    pub name: Name,
    /// Identity.
    pub uid: Name,
    /// Whether it is the managing one.
    #[serde(deserialize_with = "super::wire::null_is_default")]
    pub controller: bool,
}

/// Whether one version of an object is older than another. Versions that are no numbers tell nothing.
pub(crate) fn is_older(version: &str, than: &str) -> bool {
    match (version.parse::<u128>(), than.parse::<u128>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}

/// Reads an RFC 3339 time; null, the empty string and what cannot be read are none.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    Ok(Option::<Name>::deserialize(deserializer)?.and_then(|text| text.parse().ok()))
}
