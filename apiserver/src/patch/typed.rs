//! A value's place in the schema: what its fields and elements are, and how they merge.

use kubewright_api::schema::{self, Field, Shape, Topology, Type};
use serde_json::Value;

use crate::custom::{ListType, Structural};
use crate::object::typed::Schema;

/// What is known of a value. Without a schema, objects merge field by field and lists are units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Typed<'s> {
    node: Node<'s>,
    topology: Option<Topology>,
}

#[derive(Clone, Copy, Debug)]
enum Node<'s> {
    Unknown,
    /// A whole object.
    Object(&'static Type),
    Shape(&'static Shape),
    /// A value of a definition's schema, and whether it is a whole resource.
    Custom(&'s Structural, bool),
}

fn object_meta() -> Option<&'static Type> {
    schema::of_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
}

impl<'s> Typed<'s> {
    /// Nothing is known.
    const UNKNOWN: Self = Self { node: Node::Unknown, topology: None };

    /// A whole object of that schema.
    pub(super) fn root(schema: &'s Schema) -> Self {
        let node = match schema {
            Schema::BuiltIn(ty) => Node::Object(ty),
            Schema::Custom(schema) => Node::Custom(schema, true),
            Schema::Unknown => return Self::UNKNOWN,
        };
        Self { node, topology: None }
    }

    fn of_field(field: &'static Field) -> Self {
        Self::of(&field.shape, field.topology)
    }

    fn of(shape: &'static Shape, topology: Topology) -> Self {
        let atomic = shape.as_type().is_some_and(|ty| ty.atomic) || matches!(shape, Shape::Opaque);
        Self { node: Node::Shape(shape), topology: Some(if atomic { Topology::Atomic } else { topology }) }
    }

    fn object(&self) -> Option<&'static Type> {
        match self.node {
            Node::Object(ty) => Some(ty),
            Node::Shape(shape) => shape.as_type(),
            _ => None,
        }
    }

    /// A field of an object, or a value of a map.
    pub(super) fn field(&self, name: &str) -> Self {
        if let Some(ty) = self.object() {
            return ty.field(name).map_or(Self::UNKNOWN, Self::of_field);
        }
        match self.node {
            Node::Shape(Shape::Map(inner)) => Self::of(inner, Topology::Granular),
            Node::Custom(schema, root) if name == "metadata" && (root || schema.embedded) => {
                object_meta().map_or(Self::UNKNOWN, |ty| Self { node: Node::Object(ty), topology: None })
            }
            Node::Custom(schema, _) => schema
                .field(name)
                .map_or(Self::UNKNOWN, |field| Self { node: Node::Custom(field, false), topology: None }),
            _ => Self::UNKNOWN,
        }
    }

    /// An element of a list.
    pub(super) fn element(&self) -> Self {
        match self.node {
            Node::Shape(Shape::Array(inner)) => Self::of(inner, Topology::Granular),
            Node::Custom(schema, _) => match schema.items.as_deref() {
                Some(items) => Self { node: Node::Custom(items, false), topology: None },
                None => Self::UNKNOWN,
            },
            _ => Self::UNKNOWN,
        }
    }

    /// How a value of this type merges.
    pub(super) fn merges(&self, value: &Value) -> Merges<'s> {
        if let Node::Custom(schema, _) = self.node {
            return match (value, &schema.list) {
                (Value::Object(_), _) if schema.atomic_map => Merges::AsUnit,
                (Value::Object(_), _) => Merges::ByField,
                (Value::Array(_), ListType::Map(keys)) => Merges::ByKeys(Keys::Custom(keys, schema.items.as_deref())),
                (Value::Array(_), ListType::Set) => Merges::ByValue,
                _ => Merges::AsUnit,
            };
        }
        match (value, self.topology) {
            (Value::Object(_), Some(Topology::Atomic)) => Merges::AsUnit,
            (Value::Object(_), _) => Merges::ByField,
            (Value::Array(_), Some(Topology::ListMap(keys))) => Merges::ByKeys(Keys::BuiltIn(keys)),
            (Value::Array(_), Some(Topology::ListSet)) => Merges::ByValue,
            _ => Merges::AsUnit,
        }
    }

    /// Whether the type has a field of that name, and it is not one of many values that a map may hold.
    pub(super) fn names(&self, name: &str) -> bool {
        if let Some(ty) = self.object() {
            return ty.field(name).is_some();
        }
        match self.node {
            Node::Custom(schema, root) => {
                schema.properties.contains_key(name)
                    || ((root || schema.embedded) && matches!(name, "apiVersion" | "kind" | "metadata"))
            }
            _ => false,
        }
    }

    /// Whether that field of a built-in object is there even if nothing is in it: so it is with what upstream keeps as a
    /// part of the object, and not as something the object refers to.
    pub(super) fn is_part(&self, name: &str) -> bool {
        let Some(ty) = self.object() else { return false };
        let Some(field) = ty.field(name) else { return false };
        field.required
            || field.shape.as_type().is_some()
                && (["metadata", "spec", "status"].contains(&name) || PARTS.contains(&(ty.short_name(), name)))
    }
}

/// The optional fields that are parts of their object, beside every kind's `metadata`, `spec` and `status`.
const PARTS: [(&str, &str); 26] = [
    ("AllocationResult", "devices"),
    ("Container", "resources"),
    ("ContainerStatus", "lastState"),
    ("ContainerStatus", "state"),
    ("CustomResourceDefinitionStatus", "acceptedNames"),
    ("DaemonSetSpec", "updateStrategy"),
    ("DeploymentSpec", "strategy"),
    ("Endpoint", "conditions"),
    ("EphemeralContainer", "resources"),
    ("Event", "deprecatedSource"),
    ("Event", "regarding"),
    ("Event", "source"),
    ("IngressServiceBackend", "port"),
    ("IngressStatus", "loadBalancer"),
    ("LimitedPriorityLevelConfiguration", "limitResponse"),
    ("NetworkPolicySpec", "podSelector"),
    ("NodeDaemonEndpoints", "kubeletEndpoint"),
    ("NodeStatus", "daemonEndpoints"),
    ("NodeStatus", "nodeInfo"),
    ("PersistentVolumeClaimSpec", "resources"),
    ("PodTemplate", "template"),
    ("ReplicaSetSpec", "template"),
    ("ResourceClaimSpec", "devices"),
    ("SelfSubjectReviewStatus", "userInfo"),
    ("ServiceStatus", "loadBalancer"),
    ("StatefulSetSpec", "updateStrategy"),
];

/// How a value merges with another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Merges<'s> {
    AsUnit,
    ByField,
    ByKeys(Keys<'s>),
    ByValue,
}

/// The fields that tell elements of a list apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys<'s> {
    BuiltIn(&'static [&'static str]),
    Custom(&'s [String], Option<&'s Structural>),
}

impl Keys<'_> {
    /// Names and values of an element's keys, with their defaults where they are missing.
    pub(super) fn of(&self, element: &Value) -> Vec<(String, Value)> {
        let given = |key: &str| element.get(key).filter(|value| !value.is_null()).cloned();
        match self {
            // A missing `protocol` is TCP, its default wherever it is a key.
            Self::BuiltIn(keys) => {
                let value = |key: &str| given(key).or_else(|| (key == "protocol").then(|| "TCP".into()));
                keys.iter().filter_map(|key| Some(((*key).to_owned(), value(key)?))).collect()
            }
            Self::Custom(keys, items) => {
                let default = |key: &str| items.and_then(|items| items.properties.get(key)?.default.clone());
                keys.iter().filter_map(|key| Some((key.clone(), given(key).or_else(|| default(key))?))).collect()
            }
        }
    }
}
