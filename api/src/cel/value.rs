//! Values. JSON is read where it lies: a field is looked at when an expression looks at it.

mod access;
mod order;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::functions::format::NamedFormat;
use super::functions::semver::Semver;
use super::functions::urls::Url;
use super::types::{Type, unescape_property};
use super::{EvalError, time};
use crate::quantity::Quantity;

/// Text: borrowed from the object that is looked at, or made by an expression.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// Out of an object.
    Borrowed(&'a str),
    /// Made.
    Shared(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

const CLAIMS_NAME: &str = "kubernetes.claims";
/// Marks JSON that came with a token, and all below it.
static CLAIMS: Type = Type::Named(CLAIMS_NAME);

/// The property of that name. Among claims an escaped name stands for the plain one.
fn property<'a>(map: &'a serde_json::Map<String, Json>, name: &str, ty: Option<&Type>) -> Option<&'a Json> {
    match ty {
        Some(Type::Named(CLAIMS_NAME)) => map.get(&unescape_property(name)),
        _ => map.get(name),
    }
}

/// What a map goes by. Whole numbers are equal whether signed or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Text.
    String(String),
}

/// Something that the embedder lends to expressions, such as an authorizer: read and called from them.
pub trait Host<'a>: Send + Sync {
    /// Its type's name.
    fn type_name(&self) -> &'static str;

    /// A field; `None` if it has no such.
    fn field(&self, name: &str, budget: &mut super::Budget) -> Option<Result<Value<'a>, EvalError>> {
        let _ = (name, budget);
        None
    }

    /// A call of a member function; `None` if it has no such.
    fn call(&self, function: &str, args: &[Value<'a>]) -> Option<Result<Value<'a>, EvalError>> {
        let _ = (function, args);
        None
    }
}

/// A value of the expression language.
#[derive(Clone)]
#[non_exhaustive]
pub enum Value<'a> {
    /// `null`
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number without sign.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    String(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A moment.
    Timestamp(Timestamp),
    /// A length of time.
    Duration(SignedDuration),
    /// A list that an expression made.
    List(Arc<Vec<Self>>),
    /// A map that an expression made.
    Map(Arc<BTreeMap<Key, Self>>),
    /// An object that an expression made, such as `Object.spec{replicas: 1}`: its type's name and its fields.
    Object(Arc<str>, Arc<BTreeMap<Key, Self>>),
    /// A map that gives the second value for every name that it lacks, but doesn't contain it.
    MapOr(Arc<BTreeMap<Key, Self>>, Arc<Self>),
    /// A list or an object out of JSON, with its type if that is known.
    Json(&'a Json, Option<&'a Type>),
    /// A type.
    Type(Arc<str>),
    /// A value that may be missing.
    Optional(Option<Arc<Self>>),
    /// An IP address.
    Ip(IpAddr),
    /// An address range: an address and the length of its prefix.
    Cidr(IpAddr, u8),
    /// A URL.
    Url(Arc<Url>),
    /// A quantity.
    Quantity(Quantity),
    /// A semantic version.
    Semver(Arc<Semver>),
    /// A named format.
    Format(&'static NamedFormat),
    /// Something that the embedder lends.
    Host(Arc<dyn Host<'a> + 'a>),
}

impl<'a> Value<'a> {
    /// Text that was made.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Shared(text.into()))
    }

    /// A list.
    #[must_use]
    pub fn list(values: Vec<Self>) -> Self {
        Self::List(Arc::new(values))
    }

    /// A map by names.
    pub fn map(entries: impl IntoIterator<Item = (String, Self)>) -> Self {
        Self::Map(Arc::new(entries.into_iter().map(|(name, value)| (Key::String(name), value)).collect()))
    }

    /// A semantic version.
    ///
    /// # Errors
    /// The text is none, and why.
    pub fn semver(text: &str) -> Result<Self, EvalError> {
        Semver::parse(text).map(|version| Self::Semver(Arc::new(version))).map_err(EvalError::new)
    }

    /// A value that is there.
    #[must_use]
    pub fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// JSON of an unknown type: whole numbers are ints, all others doubles.
    #[must_use]
    pub fn json(json: &'a Json) -> Self {
        Self::typed(json, None)
    }

    /// JSON that came with a token: all numbers are doubles, and properties are found under their escaped names too
    /// (`claims.example__dot__com`), as upstream shows the claims of a token to expressions.
    #[must_use]
    pub fn claims(json: &'a Json) -> Self {
        Self::typed(json, Some(&CLAIMS))
    }

    /// JSON of a type, which tells times, durations, bytes and kinds of numbers.
    #[must_use]
    pub fn typed(json: &'a Json, ty: Option<&'a Type>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(truth) => Self::Bool(*truth),
            Json::Number(number) => match (number.as_i64(), ty) {
                (_, Some(Type::Double | Type::Named(CLAIMS_NAME))) | (None, _) => {
                    Self::Double(number.as_f64().unwrap_or(f64::NAN))
                }
                (Some(whole), _) => Self::Int(whole),
            },
            Json::String(text) => match ty {
                Some(Type::Timestamp) => match time::timestamp(text) {
                    Some(at) => Self::Timestamp(at),
                    None => Self::String(Text::Borrowed(text)),
                },
                Some(Type::Duration) => match time::duration(text) {
                    Some(length) => Self::Duration(length),
                    None => Self::String(Text::Borrowed(text)),
                },
                Some(Type::Bytes) => {
                    use base64::Engine;
                    match base64::engine::general_purpose::STANDARD.decode(text) {
                        Ok(bytes) => Self::Bytes(bytes.into()),
                        Err(_) => Self::String(Text::Borrowed(text)),
                    }
                }
                _ => Self::String(Text::Borrowed(text)),
            },
            Json::Array(_) | Json::Object(_) => Self::Json(json, ty),
        }
    }

    /// Whether objects made in it have the names of the fields that they are in: that of `spec` in an `Object` is
    /// `Object.spec`.
    ///
    /// # Errors
    /// Which do not, in upstream's words.
    pub fn check_names(&self) -> Result<(), String> {
        let mut faults = Vec::new();
        if let Self::Object(name, _) = self {
            self.misnamed(name, &mut faults);
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }

    fn misnamed(&self, path: &str, faults: &mut Vec<String>) {
        match self {
            Self::Object(name, fields) => {
                if **name != *path {
                    faults.push(format!(
                        "unexpected type name {name:?}, expected {path:?}, which matches field name path from root \
                         Object type"
                    ));
                }
                for (field, value) in fields.iter() {
                    if let Key::String(field) = field {
                        value.misnamed(&format!("{path}.{field}"), faults);
                    }
                }
            }
            Self::List(values) => values.iter().for_each(|value| value.misnamed(path, faults)),
            Self::Map(entries) => entries.values().for_each(|value| value.misnamed(path, faults)),
            _ => {}
        }
    }

    /// The value as JSON, where it has a counterpart.
    #[must_use]
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(truth) => (*truth).into(),
            Self::Int(number) => (*number).into(),
            Self::Uint(number) => (*number).into(),
            Self::Double(number) => (*number).into(),
            Self::String(text) => (**text).into(),
            Self::Bytes(bytes) => {
                use base64::Engine;
                base64::engine::general_purpose::STANDARD.encode(bytes).into()
            }
            Self::Timestamp(at) => at.to_string().into(),
            Self::Duration(length) => time::seconds_text(*length).into(),
            Self::List(values) => Json::Array(values.iter().map(Self::to_json).collect::<Option<_>>()?),
            Self::Map(entries) | Self::MapOr(entries, _) | Self::Object(_, entries) => {
                let entry = |(key, value): (&Key, &Self)| match key {
                    Key::String(key) => Some((key.clone(), value.to_json()?)),
                    _ => None,
                };
                Json::Object(entries.iter().map(entry).collect::<Option<_>>()?)
            }
            Self::Json(json, _) => (*json).clone(),
            Self::Quantity(quantity) => quantity.to_string().into(),
            _ => return None,
        })
    }

    /// The type's name, as `type(x)` shows it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::List(_) | Self::Json(Json::Array(_), _) => "list",
            Self::Map(_) | Self::MapOr(..) | Self::Json(..) => "map",
            Self::Object(..) => "object",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Host(host) => host.type_name(),
        }
    }
}

impl Key {
    pub(super) fn value<'a>(&self) -> Value<'a> {
        match self {
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(number) => match i64::try_from(*number) {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Uint(u64::try_from(*number).unwrap_or(u64::MAX)),
            },
            Self::String(text) => Value::text(text.as_str()),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.to_json()) {
            (_, Some(json)) => write!(f, "{json}"),
            (Self::Type(name), None) => f.write_str(name),
            (Self::Ip(address), None) => write!(f, "{address}"),
            (Self::Cidr(address, prefix), None) => write!(f, "{address}/{prefix}"),
            (Self::Optional(Some(value)), None) => write!(f, "optional({value:?})"),
            (Self::Optional(None), None) => f.write_str("optional.none()"),
            (value, None) => f.write_str(value.type_name()),
        }
    }
}
