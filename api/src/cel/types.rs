//! What the checker knows of a value.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type of the expression language.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Type {
    /// Anything: found out when the expression runs.
    Dyn,
    /// `null`
    Null,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A whole number without sign.
    Uint,
    /// A floating-point number.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A moment.
    Timestamp,
    /// A length of time.
    Duration,
    /// A type as a value.
    Type,
    /// A list.
    List(Arc<Self>),
    /// A map.
    Map(Arc<Self>, Arc<Self>),
    /// A value that may be missing.
    Optional(Arc<Self>),
    /// An object with known fields.
    Object(Arc<ObjectType>),
    /// A type of Kubernetes' libraries, by name, such as `kubernetes.Quantity`.
    Named(&'static str),
    /// Stands for any one type in a signature.
    #[doc(hidden)]
    Parameter(char),
}

/// An object type: its name and its fields, by the names that expressions use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectType {
    /// Its name in messages.
    pub name: String,
    /// Its fields.
    pub fields: BTreeMap<String, Type>,
}

impl Type {
    /// A list of these.
    #[must_use]
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    /// A map from strings to these.
    #[must_use]
    pub fn map(value: Self) -> Self {
        Self::Map(Arc::new(Self::String), Arc::new(value))
    }

    /// A value of that type that may be missing.
    #[must_use]
    pub fn optional(inner: Self) -> Self {
        Self::Optional(Arc::new(inner))
    }

    /// An object of that name with these fields.
    #[must_use]
    pub fn object(name: &str, fields: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        let fields = fields.into_iter().map(|(field, ty)| (field.to_owned(), ty)).collect();
        Self::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
    }

    /// An object that an expression makes with `Object{…}` or `Object.spec{…}`, by that name.
    #[must_use]
    pub fn made(name: &str) -> Self {
        Self::object(name, [])
    }

    /// An operation of a JSON patch, as an expression makes it with `JSONPatch{…}`.
    #[must_use]
    pub fn json_patch() -> Self {
        let text = || Self::String;
        Self::object("JSONPatch", [("op", text()), ("path", text()), ("from", text()), ("value", Self::Dyn)])
    }

    /// What expressions ask who may do what: `authorizer`.
    #[must_use]
    pub const fn authorizer() -> Self {
        Self::Named("kubernetes.authorization.Authorizer")
    }

    /// The type of a field, an element or a value, as far as it is known, for lazy JSON.
    pub(super) fn below(&self, field: Option<&str>) -> Option<&Self> {
        match (self, field) {
            (Self::Object(object), Some(field)) => object.fields.get(field),
            (Self::Map(_, value), Some(_)) => Some(value),
            (Self::List(element), None) => Some(element),
            (Self::Optional(inner), field) => inner.below(field),
            // Such as the claims of a token: what is below is of the same kind.
            (Self::Named(_), _) => Some(self),
            _ => None,
        }
    }

    pub(super) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::Type => f.write_str("type"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Named(name) => f.write_str(name),
            Self::Parameter(name) => write!(f, "{name}"),
        }
    }
}

/// The names under which properties that are no identifiers can be selected, as upstream escapes them. `None` if there
/// is none.
#[must_use]
pub fn escape_property(name: &str) -> Option<String> {
    let starts = name.chars().next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic());
    let fits = name.chars().all(|c| matches!(c, '_' | '.' | '-' | '/') || c.is_ascii_alphanumeric());
    if !starts || !fits {
        return None;
    }
    if KEYWORDS.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let escaped = name.replace("__", "__underscores__");
    Some(escaped.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__"))
}

/// The property that an escaped name stands for.
pub(super) fn unescape_property(name: &str) -> String {
    if !name.contains("__") {
        return name.to_owned();
    }
    let inner = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(keyword) = inner.filter(|inner| KEYWORDS.contains(inner)) {
        return keyword.to_owned();
    }
    let plain = name.replace("__dot__", ".").replace("__dash__", "-").replace("__slash__", "/");
    plain.replace("__underscores__", "__")
}

const KEYWORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_escaped_both_ways() {
        for (name, escaped) in [
            ("a", "a"),
            ("a.b-c/d", "a__dot__b__dash__c__slash__d"),
            ("a__b", "a__underscores__b"),
            ("namespace", "__namespace__"),
        ] {
            assert_eq!(escape_property(name).as_deref(), Some(escaped));
            assert_eq!(unescape_property(escaped), name);
        }
        assert_eq!(escape_property("4a"), None);
    }
}
