//! From a request's body to an object: format, kind, fields.

use kubewright_api::schema;
use kubewright_api::status::Status;
use serde_json::Value;

use super::order::in_order;
use super::said::{self, Misnamed};
use super::typed::Schema;
use super::{parse, schema as check};
use crate::custom;
use crate::request::Warnings;

/// What Go first decodes of any object.
const HEAD: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// What to do about unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Nothing.
    Ignore,
    /// Warn of them.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter.
    ///
    /// # Errors
    /// Some other text; the error is the value.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" | "Warn" => Ok(Self::Warn),
            "Ignore" => Ok(Self::Ignore),
            "Strict" => Ok(Self::Strict),
            other => Err(other.to_owned()),
        }
    }
}

/// In what a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// The media types that bodies may have.
pub const MEDIA_TYPES: [&str; 2] = ["application/json", "application/yaml"];

impl Format {
    /// Reads a content type; none means JSON.
    ///
    /// # Errors
    /// 415 for others.
    pub fn of_content_type(content_type: &str) -> Result<Self, Status> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "" | "application/json" => Ok(Self::Json),
            "application/yaml" => Ok(Self::Yaml),
            _ => Err(Status::unsupported_media_type(&MEDIA_TYPES)),
        }
    }
}

/// The kind that a body shall be of.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// API version, such as `apps/v1`.
    pub api_version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Its schema.
    pub schema: Schema,
    /// Whether it must name its kind and version, as custom resources must.
    pub must_be_said: bool,
}

impl<'a> Expected<'a> {
    /// A kind of the built-in schema.
    #[must_use]
    pub fn new(api_version: &'a str, kind: &'a str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { api_version, kind, schema: schema::of_kind(group, version, kind).into(), must_be_said: false }
    }

    /// A kind of that schema.
    #[must_use]
    pub fn of(api_version: &'a str, kind: &'a str, schema: &Schema) -> Self {
        Self { api_version, kind, schema: schema.clone(), must_be_said: false }
    }

    fn version(&self) -> &'a str {
        self.api_version.rsplit('/').next().unwrap_or_default()
    }
}

/// Decodes a body into an object of that kind.
///
/// # Errors
/// 400 with upstream's words.
pub fn object(
    body: &[u8],
    format: Format,
    expected: &Expected<'_>,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<Value, Status> {
    let parsed = match format {
        Format::Json => {
            parse::json(body).map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))
        }
        Format::Yaml => parse::yaml(body),
    };
    let parsed = parsed.map_err(|error| unrecognized(expected, &error, body))?;
    let mut value = parsed.value;
    if value.is_null() {
        value = Value::Object(serde_json::Map::new());
    }
    if !value.is_object() {
        let found = parse::go_kind(&value);
        let error = format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type {HEAD}"
        );
        return Err(unrecognized(expected, &error, body));
    }
    if expected.must_be_said {
        said::check(&value, expected, || String::from_utf8_lossy(body).into_owned()).map_err(|fault| match fault {
            Misnamed::Unreadable(error) => unrecognized(expected, &error, body),
            Misnamed::Version(version) => other_version(&version, expected),
            Misnamed::Kind(_) => said::refused(&value, expected),
        })?;
    } else {
        check_kind(&value, expected)?;
    }
    value["apiVersion"] = expected.api_version.into();
    value["kind"] = expected.kind.into();
    let shaped = faults(&mut value, &parsed.duplicates, expected).and_then(|mut faults| {
        if format == Format::Json && faults.len() > 1 && expected.schema.built_in().is_some() {
            faults = in_order(body, faults);
        }
        judge(faults, validation, warnings)
    });
    shaped.map_err(|unfit| unfit.refused(expected))?;
    Ok(value)
}

/// The fields of a document that its type doesn't have; none if it isn't of that type at all.
#[must_use]
pub fn unknown_fields(value: &Value, expected: &Expected<'_>) -> Vec<String> {
    let (mut unknown, mut probe) = (Vec::new(), value.clone());
    let checked = match &expected.schema {
        Schema::BuiltIn(ty) => check::normalize(ty, &mut probe, &mut unknown),
        Schema::Custom(schema) => custom::take_shape(&mut probe, schema, &mut unknown),
        Schema::Unknown => Ok(()),
    };
    if checked.is_ok() { unknown } else { Vec::new() }
}

/// Why an object is not of its type, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A value is of a wrong type.
    Type(String),
    /// It has fields that its type lacks, or some twice, and that shall not be.
    Fields(String),
}

impl Unfit {
    /// What is wrong.
    #[must_use]
    pub fn error(&self) -> &str {
        match self {
            Self::Type(error) | Self::Fields(error) => error,
        }
    }

    /// 400, saying of which kind it is not.
    #[must_use]
    pub fn refused(&self, expected: &Expected<'_>) -> Status {
        let (kind, version, error) = (expected.kind, expected.version(), self.error());
        Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
    }
}

/// Holds an object that was put together (by a patch, say) against its type.
///
/// # Errors
/// It is not of that type.
pub fn shape(
    value: &mut Value,
    duplicates: &[String],
    expected: &Expected<'_>,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<(), Unfit> {
    judge(faults(value, duplicates, expected)?, validation, warnings)
}

/// Brings an object into the form of its type, and tells of fields that the type lacks and of those that are there twice.
fn faults(value: &mut Value, duplicates: &[String], expected: &Expected<'_>) -> Result<Vec<String>, Unfit> {
    let mut unknown = Vec::new();
    let checked = match &expected.schema {
        Schema::BuiltIn(ty) => check::normalize(ty, value, &mut unknown),
        Schema::Custom(schema) => custom::take_shape(value, schema, &mut unknown),
        Schema::Unknown => custom::take_shape(value, &custom::Structural::anything(), &mut unknown),
    };
    checked.map_err(Unfit::Type)?;
    let unknown = unknown.iter().map(|path| format!("unknown field {path:?}"));
    Ok(duplicates.iter().cloned().chain(unknown).collect())
}

/// Refuses faults, or warns of them.
fn judge(faults: Vec<String>, validation: FieldValidation, warnings: &Warnings) -> Result<(), Unfit> {
    match validation {
        FieldValidation::Strict if !faults.is_empty() => {
            // Go's parser of YAML tells of all lines in one error.
            let (lines, others): (Vec<&String>, Vec<&String>) =
                faults.iter().partition(|fault| fault.starts_with("line "));
            let lines = lines.iter().map(|line| format!("\n  {line}")).collect::<String>();
            let lines = (!lines.is_empty()).then(|| format!("yaml: unmarshal errors:{lines}"));
            let told: Vec<&str> = lines.iter().map(String::as_str).chain(others.iter().map(|s| s.as_str())).collect();
            return Err(Unfit::Fields(format!("strict decoding error: {}", told.join(", "))));
        }
        FieldValidation::Warn => faults.into_iter().for_each(|fault| warnings.add(fault)),
        _ => {}
    }
    Ok(())
}

/// Checks that a document is of that kind, as far as it says.
///
/// # Errors
/// 400 with upstream's words.
pub fn check_kind(value: &Value, expected: &Expected<'_>) -> Result<(), Status> {
    let given = |field: &str| value[field].as_str().filter(|text| !text.is_empty());
    let kind = given("kind").unwrap_or(expected.kind);
    let api_version = given("apiVersion").unwrap_or(expected.api_version);
    if kind == expected.kind && api_version != expected.api_version {
        return Err(other_version(api_version, expected));
    }
    if kind != expected.kind {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let own = |group: &str| match group.split('.').next() {
            None | Some("") => "core".to_owned(),
            Some(package) => package.to_owned(),
        };
        let error = if schema::of_kind(group, version, kind).is_some() {
            let package = own(expected.api_version.split_once('/').map_or("", |(group, _)| group));
            format!("converting ({version}.{kind}) to ({package}.{}): unknown conversion", expected.kind)
        } else {
            format!("no kind {kind:?} is registered for version {api_version:?} at this path")
        };
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: {error}",
            expected.kind
        )));
    }
    Ok(())
}

fn other_version(found: &str, expected: &Expected<'_>) -> Status {
    Status::bad_request(format!(
        "the API version in the data ({found}) does not match the expected API version ({})",
        expected.api_version
    ))
}

fn unrecognized(expected: &Expected<'_>, error: &str, body: &[u8]) -> Status {
    let kind = expected.kind;
    let summary = summary(body);
    Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {error} ({summary})"))
}

/// The beginning of a body: text of what looks like JSON, bytes of everything else.
fn summary(body: &[u8]) -> String {
    const LENGTH: usize = 30;
    let cut = body.len() > LENGTH;
    let head = &body[..body.len().min(LENGTH)];
    let text = match head.first() {
        None => return "<empty>".into(),
        Some(b'{') => String::from_utf8_lossy(head).into_owned(),
        Some(_) => head.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if cut { format!("{text} ...") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &str, validation: FieldValidation) -> Result<Value, Status> {
        let warnings = Warnings::default();
        object(body.as_bytes(), Format::Json, &Expected::new("v1", "ConfigMap"), validation, &warnings)
    }

    #[test]
    fn bad_bodies_are_refused_in_upstreams_words() {
        for (body, message) in [
            (
                r#"{"kind":"ConfigMap","apiVersion":"v1","x":1,"data":{"a":"1","a":"2"}}"#,
                "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"x\", \
                 duplicate field \"data.a\"",
            ),
            (
                r#"{"kind":"ConfigMap","apiVersion":"v2"}"#,
                "the API version in the data (v2) does not match the expected API version (v1)",
            ),
            (
                "nonsense",
                "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json \
                 parse error: invalid character 'o' in literal null (expecting 'u') (6e6f6e73656e7365)",
            ),
        ] {
            let status = decode(body, FieldValidation::Strict).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (400, message));
        }
    }

    #[test]
    fn kind_and_version_may_be_left_out() {
        let value = decode(r#"{"metadata":{"name":"a"},"x":1}"#, FieldValidation::Ignore).unwrap();
        assert_eq!(value, serde_json::json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } }));
    }
}
