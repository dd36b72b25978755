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

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// Where in an object a field is, such as `spec.containers[0].image`.
///
/// It is written out only when it is told. The names in it come from clients, and there may be many fields below a long
/// one.
#[derive(Clone, Default)]
pub struct Path(Option<Arc<Step>>);

struct Step {
    parent: Path,
    to: To,
}

enum To {
    Child(Box<str>),
    Element(usize),
    Key(Box<str>),
}

impl Path {
    /// A path of one name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        if name.is_empty() { Self::root() } else { Self::root().then(To::Child(name.into())) }
    }

    /// The object itself.
    #[must_use]
    pub const fn root() -> Self {
        Self(None)
    }

    /// A field below.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_none() { Self::new(name) } else { self.then(To::Child(name.into())) }
    }

    /// An element of a list.
    #[must_use]
    pub fn index(&self, at: usize) -> Self {
        self.then(To::Element(at))
    }

    /// A value of a map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.then(To::Key(key.into()))
    }

    fn then(&self, to: To) -> Self {
        Self(Some(Arc::new(Step { parent: self.clone(), to })))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps: Vec<&To> = Vec::new();
        let mut path = self;
        while let Some(step) = &path.0 {
            steps.push(&step.to);
            path = &step.parent;
        }
        if steps.is_empty() {
            return f.write_str("<nil>");
        }
        for (at, to) in steps.into_iter().rev().enumerate() {
            match to {
                To::Child(name) if at == 0 => f.write_str(name)?,
                To::Child(name) => write!(f, ".{name}")?,
                To::Element(at) => write!(f, "[{at}]")?,
                To::Key(key) => write!(f, "[{key}]")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({self})")
    }
}

/// Paths that read the same are the same.
impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Path {}

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
    let mut seen = HashSet::with_capacity(errors.len());
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.retain(|text| seen.insert(text.clone()));
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
    #[test]
    fn paths_are_written_as_upstream_writes_them() {
        assert_eq!(Path::root().to_string(), "<nil>");
        assert_eq!(Path::root().index(1).to_string(), "[1]");
        assert_eq!(Path::root().child("a").child("b").index(0).key("c/d").child("e").to_string(), "a.b[0][c/d].e");
        assert_eq!(Path::new("a.b"), Path::new("a").child("b"));
        assert_ne!(Path::new("a"), Path::root());
    }
}
