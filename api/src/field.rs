//! Faults of an object's fields: where, which rule, with which value, in upstream's words.
//!
//! ```
//! use kubewright_api::field::{FieldError, Path};
//!
//! let path = Path::new("spec").child("containers").index(0).child("image");
//! assert_eq!(FieldError::required(&path, "").to_string(), "spec.containers[0].image: Required value");
//! ```
//!
//! Source: `staging/src/k8s.io/apimachinery/pkg/util/validation/field` of Kubernetes.

use std::fmt;

use serde_json::Value;

/// Where in an object a field is, such as `spec.containers[0].image`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

impl Path {
    /// A path of one name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The object itself.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// A field below.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An element of a list.
    #[must_use]
    pub fn index(&self, at: usize) -> Self {
        Self(format!("{}[{at}]", self.0))
    }

    /// A value of a map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// Which kind of rule a field breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// It must be given.
    Required,
    /// It occurs twice.
    Duplicate,
    /// It is malformed or out of bounds.
    Invalid,
    /// It is not among the values allowed.
    NotSupported,
    /// It may not be set here, or not be changed.
    Forbidden,
    /// It is too long; the value isn't repeated.
    TooLong,
    /// It has too many elements.
    TooMany,
    /// It names something that doesn't exist.
    NotFound,
    /// It has the wrong type.
    TypeInvalid,
    /// The check itself failed.
    Internal,
}

impl FaultKind {
    /// The machine-readable cause in a `Status`.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }
}

/// One fault of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where.
    pub path: Path,
    /// Which kind of rule.
    pub kind: FaultKind,
    /// The rule, in words; may be empty.
    pub detail: String,
    /// The bad value, where upstream repeats it.
    pub value: Option<Value>,
}

impl FieldError {
    fn new(path: &Path, kind: FaultKind, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { path: path.clone(), kind, detail: detail.into(), value }
    }

    /// It must be given.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(path, FaultKind::Required, None, detail)
    }

    /// It occurs twice.
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(path, FaultKind::Duplicate, Some(value.into()), "")
    }

    /// It is malformed or out of bounds.
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(path, FaultKind::Invalid, Some(value.into()), detail)
    }

    /// It is not among the values allowed.
    pub fn not_supported(path: &Path, value: impl Into<Value>, allowed: &[&str]) -> Self {
        let mut allowed = allowed.to_vec();
        allowed.sort_unstable();
        Self::not_supported_in_order(path, value, &allowed)
    }

    /// The same, with the values in the given order.
    pub fn not_supported_in_order(path: &Path, value: impl Into<Value>, allowed: &[&str]) -> Self {
        let list: Vec<String> = allowed.iter().map(|value| format!("{value:?}")).collect();
        Self::new(path, FaultKind::NotSupported, Some(value.into()), format!("supported values: {}", list.join(", ")))
    }

    /// It may not be set here, or not be changed.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(path, FaultKind::Forbidden, None, detail)
    }

    /// It is longer than so many bytes.
    pub fn too_long(path: &Path, bytes_max: usize) -> Self {
        let unit = if bytes_max == 1 { "byte" } else { "bytes" };
        Self::new(path, FaultKind::TooLong, None, format!("may not be more than {bytes_max} {unit}"))
    }

    /// It has more elements than allowed.
    pub fn too_many(path: &Path, actual: usize, items_max: usize) -> Self {
        let unit = if items_max == 1 { "item" } else { "items" };
        Self::new(path, FaultKind::TooMany, Some(actual.into()), format!("must have at most {items_max} {unit}"))
    }

    /// It names something that doesn't exist.
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(path, FaultKind::NotFound, Some(value.into()), "")
    }

    /// It has the wrong type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(path, FaultKind::TypeInvalid, Some(value.into()), detail)
    }

    /// The message without the path, as a `Status` cause carries it.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if let Some(value) = &self.value {
            match value {
                Value::String(value) => text.push_str(&format!(": {value:?}")),
                value => text.push_str(&format!(": {value}")),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(&format!(": {}", self.detail));
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// The faults of an object.
pub type FieldErrors = Vec<FieldError>;

/// How upstream joins several faults: alone as it is, several in brackets, each once.
#[must_use]
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_read_as_upstreams() {
        let path = Path::new("spec").child("ports").index(2);
        for (error, text) in [
            (FieldError::invalid(&path, -1, "too small"), "spec.ports[2]: Invalid value: -1: too small"),
            (FieldError::invalid(&path.key("a/b"), "x", ""), "spec.ports[2][a/b]: Invalid value: \"x\""),
            (FieldError::duplicate(&path, "x"), "spec.ports[2]: Duplicate value: \"x\""),
            (FieldError::too_long(&path, 63), "spec.ports[2]: Too long: may not be more than 63 bytes"),
            (
                FieldError::not_supported(&path, "x", &["b", "a"]),
                "spec.ports[2]: Unsupported value: \"x\": supported values: \"a\", \"b\"",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
        let errors = [FieldError::required(&path, ""), FieldError::required(&path.child("x"), "y")];
        assert_eq!(aggregate(&errors), "[spec.ports[2]: Required value, spec.ports[2].x: Required value: y]");
    }
}
