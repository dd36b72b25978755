//! A value's place in the schema: what its fields and elements are, and how they merge.

use kubewright_api::schema::{Field, Shape, Topology, Type};
use serde_json::Value;

/// What is known of a value. Without a schema, objects merge field by field and lists are units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Typed {
    shape: Option<&'static Shape>,
    object: Option<&'static Type>,
    topology: Option<Topology>,
}

impl Typed {
    /// Nothing is known.
    const UNKNOWN: Self = Self { shape: None, object: None, topology: None };

    /// A whole object of that type.
    pub(super) fn root(ty: Option<&'static Type>) -> Self {
        Self { shape: None, object: ty, topology: None }
    }

    fn of_field(field: &'static Field) -> Self {
        Self::of(&field.shape, field.topology)
    }

    fn of(shape: &'static Shape, topology: Topology) -> Self {
        let object = shape.as_type();
        let atomic = object.is_some_and(|ty| ty.atomic) || matches!(shape, Shape::Opaque);
        Self { shape: Some(shape), object, topology: Some(if atomic { Topology::Atomic } else { topology }) }
    }

    /// A field of an object, or a value of a map.
    pub(super) fn field(&self, name: &str) -> Self {
        if let Some(ty) = self.object {
            return ty.field(name).map_or(Self::UNKNOWN, Self::of_field);
        }
        match self.shape {
            Some(Shape::Map(inner)) => Self::of(inner, Topology::Granular),
            _ => Self::UNKNOWN,
        }
    }

    /// An element of a list.
    pub(super) fn element(&self) -> Self {
        match self.shape {
            Some(Shape::Array(inner)) => Self::of(inner, Topology::Granular),
            _ => Self::UNKNOWN,
        }
    }

    /// How a value of this type merges.
    pub(super) fn merges(&self, value: &Value) -> Merges {
        match (value, self.topology) {
            (Value::Object(_), Some(Topology::Atomic)) => Merges::AsUnit,
            (Value::Object(_), _) => Merges::ByField,
            (Value::Array(_), Some(Topology::ListMap(keys))) => Merges::ByKeys(keys),
            (Value::Array(_), Some(Topology::ListSet)) => Merges::ByValue,
            _ => Merges::AsUnit,
        }
    }

    /// Whether it is a map from free keys, as opposed to an object with known fields.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.shape, Some(Shape::Map(_)))
    }
}

/// How a value merges with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merges {
    AsUnit,
    ByField,
    ByKeys(&'static [&'static str]),
    ByValue,
}
