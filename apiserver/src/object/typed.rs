//! The schema of an object: of a built-in kind, of a definition, or none.

use std::sync::Arc;

use kubewright_api::schema::Type;
use serde_json::Value;

use crate::custom::Structural;

/// A schema.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Schema {
    /// Nothing is known: any fields will do.
    #[default]
    Unknown,
    /// A built-in kind's.
    BuiltIn(&'static Type),
    /// A definition's.
    Custom(Arc<Structural>),
}

impl Schema {
    /// Reads an OpenAPI schema.
    #[must_use]
    pub fn read(schema: &Value) -> Self {
        Self::Custom(Arc::new(Structural::read(schema)))
    }

    /// The built-in type, if it is one.
    #[must_use]
    pub const fn built_in(&self) -> Option<&'static Type> {
        match self {
            Self::BuiltIn(ty) => Some(*ty),
            _ => None,
        }
    }

    /// The definition's schema, if it is one.
    #[must_use]
    pub fn custom(&self) -> Option<&Structural> {
        match self {
            Self::Custom(schema) => Some(schema),
            _ => None,
        }
    }
}

impl From<Option<&'static Type>> for Schema {
    fn from(ty: Option<&'static Type>) -> Self {
        ty.map_or(Self::Unknown, Self::BuiltIn)
    }
}
