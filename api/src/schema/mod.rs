//! The structure of every built-in type: fields, types, list types and merge keys, as published in
//! Kubernetes 1.36's OpenAPI document.
//!
//! Decoding, strict field validation, strategic merge patch, server-side apply and OpenAPI publishing all read this
//! one table.
//!
//! ```
//! use kubewright_api::schema;
//!
//! let service = schema::of_kind("", "v1", "Service").unwrap();
//! let ports = service.field("spec").unwrap().shape.as_type().unwrap().field("ports").unwrap();
//! assert_eq!(ports.topology, schema::Topology::ListMap(&["port", "protocol"]));
//! ```

mod generated;

/// One object type, such as `io.k8s.api.core.v1.Pod`.
#[derive(Debug)]
pub struct Type {
    /// The definition's name in the OpenAPI document.
    pub name: &'static str,
    /// Whether server-side apply treats a value of this type as one unit.
    pub atomic: bool,
    /// The fields, sorted by name.
    pub fields: &'static [Field],
}

impl Type {
    /// The field of that JSON name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let at = self.fields.binary_search_by(|field| field.name.cmp(name)).ok()?;
        Some(&self.fields[at])
    }

    /// The name without its package: `Pod` for `io.k8s.api.core.v1.Pod`, as Go and so upstream's messages call it.
    #[must_use]
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

/// A field of a [`Type`].
#[derive(Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Whether the published schema requires it.
    pub required: bool,
    /// How server-side apply merges it.
    pub topology: Topology,
    /// How a strategic merge patch merges it.
    pub patch: Patch,
}

/// What a value looks like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    String,
    /// A string holding base64.
    Bytes,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A floating-point number.
    Number,
    /// True or false.
    Boolean,
    /// A whole number of 32 bits, or a string.
    IntOrString,
    /// A [quantity](crate::quantity::Quantity): a string, accepted as a number too.
    Quantity,
    /// An RFC 3339 time with seconds.
    Time,
    /// An RFC 3339 time with microseconds.
    MicroTime,
    /// Any JSON value: raw extensions, embedded schemas, managed fields.
    Opaque,
    /// An object of the type at that place in the table; read it with [`Shape::as_type`].
    Object(u16),
    /// A list.
    Array(&'static Self),
    /// A map from strings.
    Map(&'static Self),
}

impl Shape {
    /// The object type, if this is an object with known fields.
    #[must_use]
    pub fn as_type(&self) -> Option<&'static Type> {
        match self {
            Self::Object(at) => Some(&generated::TYPES[usize::from(*at)]),
            _ => None,
        }
    }

    /// What a list or a map holds.
    #[must_use]
    pub fn element(&self) -> Option<&'static Self> {
        match self {
            Self::Array(inner) | Self::Map(inner) => Some(inner),
            _ => None,
        }
    }

    /// The Go type that upstream's decoder names in its errors.
    #[must_use]
    pub fn go_name(&self) -> &'static str {
        match self {
            Self::String | Self::Time | Self::MicroTime | Self::Quantity => "string",
            Self::Bytes => "[]uint8",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Number => "float64",
            Self::Boolean => "bool",
            Self::IntOrString => "intstr.IntOrString",
            Self::Opaque => "runtime.RawExtension",
            Self::Object(_) => self.as_type().map_or("", Type::short_name),
            Self::Array(_) => "[]",
            Self::Map(_) => "map[string]",
        }
    }
}

/// How server-side apply merges a field (`x-kubernetes-list-type`, `x-kubernetes-map-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Field by field, key by key; a scalar is simply replaced.
    Granular,
    /// As one unit, with one owner.
    Atomic,
    /// A list of distinct scalars, each owned alone.
    ListSet,
    /// A list of objects told apart by these fields.
    ListMap(&'static [&'static str]),
}

/// How a strategic merge patch treats a field (`x-kubernetes-patch-strategy`, `x-kubernetes-patch-merge-key`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Lists are merged instead of replaced.
    pub merge: bool,
    /// Keys that the patch does not name are dropped when `$retainKeys` says so.
    pub retain_keys: bool,
    /// What tells the objects of a merged list apart; `None` for a list of scalars.
    pub key: Option<&'static str>,
}

/// The type of a kind; the group of the core kinds is empty.
#[must_use]
pub fn of_kind(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    let at = generated::KINDS.binary_search_by(|row| (row.0, row.1, row.2).cmp(&(group, version, kind))).ok()?;
    Some(&generated::TYPES[usize::from(generated::KINDS[at].3)])
}

/// The type of that definition name, such as `io.k8s.api.core.v1.Pod`.
#[must_use]
pub fn of_name(name: &str) -> Option<&'static Type> {
    let at = generated::TYPES.binary_search_by(|ty| ty.name.cmp(name)).ok()?;
    Some(&generated::TYPES[at])
}

/// Every type, sorted by definition name.
#[must_use]
pub fn types() -> &'static [Type] {
    &generated::TYPES
}

/// The kinds that a definition is published for, as group, version and kind.
pub fn kinds_of(ty: &Type) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let name = ty.name;
    let rows = generated::KINDS.iter();
    rows.filter(move |row| generated::TYPES[usize::from(row.3)].name == name).map(|row| (row.0, row.1, row.2))
}

const fn t(name: &'static str, atomic: bool, fields: &'static [Field]) -> Type {
    Type { name, atomic, fields }
}

const fn f(name: &'static str, shape: Shape) -> Field {
    let patch = Patch { merge: false, retain_keys: false, key: None };
    Field { name, shape, required: false, topology: Topology::Granular, patch }
}

/// The words in which the generated table is written.
impl Field {
    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn atomic(mut self) -> Self {
        self.topology = Topology::Atomic;
        self
    }

    const fn set(mut self) -> Self {
        self.topology = Topology::ListSet;
        self
    }

    const fn list_map(mut self, keys: &'static [&'static str]) -> Self {
        self.topology = Topology::ListMap(keys);
        self
    }

    const fn merge(mut self, key: &'static str) -> Self {
        self.patch.merge = true;
        self.patch.key = if key.is_empty() { None } else { Some(key) };
        self
    }

    const fn retain_keys(mut self) -> Self {
        self.patch.retain_keys = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_so_that_lookups_find_everything() {
        assert!(types().is_sorted_by(|a, b| a.name < b.name));
        assert!(types().iter().all(|ty| ty.fields.is_sorted_by(|a, b| a.name < b.name)));
        assert!(generated::KINDS.is_sorted_by(|a, b| (a.0, a.1, a.2) < (b.0, b.1, b.2)));
    }

    #[test]
    fn a_pods_containers_are_merged_by_name() {
        let pod = of_kind("", "v1", "Pod").unwrap();
        let containers = pod.field("spec").unwrap().shape.as_type().unwrap().field("containers").unwrap();
        assert!(containers.required);
        assert_eq!(containers.topology, Topology::ListMap(&["name"]));
        assert_eq!(containers.patch.key, Some("name"));
        assert_eq!(containers.shape.element().unwrap().as_type().unwrap().short_name(), "Container");
    }
}
