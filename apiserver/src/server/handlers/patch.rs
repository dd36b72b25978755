//! Patch, in all its media types.

use http::{Request, Response, StatusCode};
use kubewright_api::field::{FieldError, Path};
use kubewright_api::schema::Type;
use kubewright_api::status::Status;
use serde_json::Value;

use super::super::query::{Query, invalid, options_json};
use super::{Handler, content_type, field_manager};
use crate::body::Body;
use crate::environment::time;
use crate::object::decode::Unfit;
use crate::object::said::{self, Misnamed};
use crate::object::typed::Schema;
use crate::object::{self, decode, parse};
use crate::patch;
use crate::patch::managed::{Manager, Operation};
use crate::patch::{declared, restore};
use crate::registry::UpdateRules;

const MEDIA_TYPES_OF_OTHERS: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// A patch, read but not applied.
pub(super) enum Patch {
    Json(Vec<u8>),
    /// As all below, with the fields that it says twice.
    Merge(parse::Parsed),
    Strategic(parse::Parsed, &'static Type),
    /// What a manager wants.
    Apply(parse::Parsed),
}

impl Patch {
    pub(super) fn read(content_type: &str, body: &[u8], schema: &Schema) -> Result<Self, Status> {
        match (content_type.split(';').next().unwrap_or_default().trim(), schema.built_in()) {
            ("application/json-patch+json", _) => Ok(Self::Json(body.to_vec())),
            ("application/merge-patch+json", _) => {
                Ok(Self::Merge(document(parse::json(body), "error decoding patch: ")?))
            }
            ("application/strategic-merge-patch+json", Some(ty)) => {
                Ok(Self::Strategic(document(parse::json(body), "")?, ty))
            }
            ("application/apply-patch+yaml", _) => {
                Ok(Self::Apply(document(parse::yaml(body), "error decoding YAML: ")?))
            }
            // There is no strategic merge without the strategies of built-in types.
            (_, None) => Err(Status::unsupported_media_type(&MEDIA_TYPES_OF_OTHERS)),
            _ => Err(Status::no_such_media_type()),
        }
    }

    /// Applies any patch but server-side apply, which is merged here without owners.
    pub(super) fn apply(&self, current: &Value) -> Result<Value, Status> {
        let patched = match self {
            Self::Json(patch) => patch::json(current, patch)?,
            Self::Merge(patch) | Self::Apply(patch) => patch::merge(current, &patch.value),
            Self::Strategic(patch, ty) => patch::strategic(current, &patch.value, ty)?,
        };
        if patched.is_object() {
            return Ok(patched);
        }
        Err(Status::failure(422, "Invalid", "the server rejected our request due to an error in our request"))
    }

    /// The fields that the patch says twice.
    pub(super) fn duplicates(&self) -> &[String] {
        match self {
            Self::Json(_) => &[],
            Self::Merge(patch) | Self::Strategic(patch, _) | Self::Apply(patch) => &patch.duplicates,
        }
    }

    /// What is said of a patch that makes something of `current` that isn't of the expected type.
    pub(super) fn unfit(&self, current: &Value, unfit: &Unfit, expected: &decode::Expected<'_>) -> Status {
        let made = || self.apply(current).unwrap_or_default();
        match (self, unfit) {
            (Self::Apply(_), Unfit::Fields(error)) => {
                let error = error.trim_start_matches("strict decoding error: ");
                Status::bad_request(format!("error strict decoding YAML: error converting YAML to JSON: {error}"))
            }
            (Self::Apply(_), Unfit::Type(_)) => unfit.refused(expected),
            (Self::Strategic(patch, ty), Unfit::Type(error)) => {
                let error = restore::fault(ty, &made()).unwrap_or_else(|| error.clone());
                makes_no_object(restore::printed(&patch.value), error)
            }
            (Self::Strategic(patch, _), Unfit::Fields(error)) => {
                makes_no_object(restore::printed(&patch.value), error.as_str())
            }
            (_, Unfit::Type(error) | Unfit::Fields(error)) => makes_no_object(made().to_string(), error.as_str()),
        }
    }
}

/// 422 about a patch, or about what it made: upstream names no object in it.
fn makes_no_object(shown: String, error: impl Into<String>) -> Status {
    let mut status = Status::invalid("", "", "", &[FieldError::invalid(&Path::new("patch"), shown, error)]);
    status.details.get_or_insert_default().kind.clear();
    status
}

/// What a patch made must still be of its kind.
fn check_kind(patched: &Value, expected: &decode::Expected<'_>) -> Result<(), Status> {
    if expected.must_be_said {
        return said::check(patched, expected, || patched.to_string()).map_err(|fault| match fault {
            Misnamed::Unreadable(error) => makes_no_object(patched.to_string(), error),
            Misnamed::Version(version) if version.is_empty() => {
                Status::internal("Object 'apiVersion' is missing in 'object has no apiVersion field'")
            }
            Misnamed::Version(_) | Misnamed::Kind(_) => said::refused(patched, expected),
        });
    }
    decode::check_kind(patched, expected).map_err(|status| {
        let handled = format!("cannot be handled as a {}: ", expected.kind);
        let error = status.message.split_once(&handled).map_or(&*status.message, |(_, error)| error);
        makes_no_object(patched.to_string(), error)
    })
}

fn document(parsed: Result<parse::Parsed, String>, doing: &str) -> Result<parse::Parsed, Status> {
    let fault = |error: String| Status::bad_request(format!("{doing}{error}"));
    let parsed = parsed.map_err(fault)?;
    if parsed.value.is_object() {
        return Ok(parsed);
    }
    let found = parse::go_kind(&parsed.value);
    Err(fault(format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}")))
}

impl Handler<'_> {
    pub(super) async fn patch(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query());
        let representation = self.representation(&parts.headers, &query, false)?;
        let dry_run = query.dry_run("PatchOptions")?;
        let validation = query.field_validation("PatchOptions")?;
        let bytes = self.body(body).await?;
        let expected = self.expected();
        let patch = Patch::read(content_type(&parts.headers), &bytes, &expected.schema)?;
        let force = applier_rules(&query, matches!(patch, Patch::Apply(_)))?;
        let options = options_json("PatchOptions", &query);
        let manager = field_manager(&query, &parts.headers);
        let call = self.call(self.name(), &options, dry_run, &manager);
        let now = time(self.context.now);
        // An object of the request's version, as the patch makes it of one.
        let patched = |current: Option<Value>| {
            let mut patched = match (&patch, &current) {
                (Patch::Apply(config), current) => {
                    let manager = Manager {
                        name: &manager,
                        operation: Operation::Apply,
                        subresource: call.subresource,
                        api_version: &self.served.api_version,
                        time: &now,
                        status: self.served.info.subresource("status").is_some(),
                    };
                    self.applied(current.as_ref(), &config.value, &expected, &manager, force)?
                }
                (patch, Some(current)) => patch.apply(current)?,
                (_, None) => return Err(call.not_found()),
            };
            if matches!(patch, Patch::Json(_) | Patch::Merge(_)) {
                check_kind(&patched, &expected)?;
            }
            let shaped = decode::shape(&mut patched, patch.duplicates(), &expected, validation, &self.context.warnings);
            let before = || current.as_ref().unwrap_or(&Value::Null);
            shaped.map_err(|unfit| patch.unfit(before(), &unfit, &expected))?;
            self.check_named(&patched)?;
            Ok(patched)
        };
        let applies = matches!(patch, Patch::Apply(_));
        let create = applies && call.subresource.is_empty();
        let rules = UpdateRules { create, manages_fields: applies, ..UpdateRules::default() };
        let change = |current: Option<&Value>| {
            let current = current.map(|current| match self.served.webhook {
                Some(_) => current.clone(),
                None => self.served.to_served(current.clone()),
            });
            patched(current).map(|patched| self.written_form(patched))
        };
        let (written, created) = self.core.registry.update(&call, &change, rules).await?;
        let code = if created { StatusCode::CREATED } else { StatusCode::OK };
        Ok(representation.object(code, self.shown(written).await?))
    }

    /// Server-side apply: the object as the manager wants it, with the owners noted.
    fn applied(
        &self,
        current: Option<&Value>,
        config: &Value,
        expected: &decode::Expected<'_>,
        manager: &Manager<'_>,
        force: bool,
    ) -> Result<Value, Status> {
        let mut config = config.clone();
        let given = |field: &str| config[field].as_str().unwrap_or_default();
        if (given("apiVersion"), given("kind")) != (expected.api_version, expected.kind) {
            let version = if given("apiVersion").contains('/') { "" } else { "/" };
            let shown = format!("{version}{}, Kind={}", given("apiVersion"), given("kind"));
            return Err(Status::bad_request(format!("invalid object type: {shown}")));
        }
        self.check_declared(&config, expected)?;
        self.check_identity(&config)?;
        let version = object::meta_str(&config, "resourceVersion").to_owned();
        let uid = object::uid(&config).to_owned();
        object::metadata_mut(&mut config).insert("name".into(), self.name().into());
        if let Some(current) = current
            && !version.is_empty()
            && version != object::meta_str(current, "resourceVersion")
        {
            let info = &self.served.info;
            let why = "the object has been modified; please apply your changes to the latest version and try again";
            return Err(Status::conflict(&info.group, &info.plural, self.name(), why));
        }
        let mut applied = patch::apply::apply(current, &config, &expected.schema, manager, force)?;
        if !uid.is_empty() {
            object::metadata_mut(&mut applied).insert("uid".into(), uid.into());
        }
        Ok(applied)
    }
}

impl Handler<'_> {
    /// What is applied is merged by the schema, and so has no fields that the schema lacks, whatever the request says
    /// of unknown fields.
    fn check_declared(&self, config: &Value, expected: &decode::Expected<'_>) -> Result<(), Status> {
        let faults = match expected.schema.built_in() {
            Some(ty) => declared::faults(ty, config),
            None => {
                let unknown = decode::unknown_fields(config, expected);
                unknown.iter().map(|path| format!(".{path}: field not declared in schema")).collect()
            }
        };
        let told = match faults.as_slice() {
            [] => return Ok(()),
            [fault] => fault.clone(),
            faults => format!("errors:\n  {}", faults.join("\n  ")),
        };
        let info = &self.served.info;
        let object = format!(
            "{}/{}; {}/{}, Kind={}",
            object::namespace(config),
            object::name(config),
            info.group,
            info.version,
            info.kind
        );
        Err(Status::failure(500, "", format!("failed to create typed patch object ({object}): {told}")))
    }
}

/// Server-side apply needs a manager and may force; nothing else may.
fn applier_rules(query: &Query, applies: bool) -> Result<bool, Status> {
    let force = !query.get("force").is_empty();
    if applies && query.get("fieldManager").is_empty() {
        let path = Path::new("fieldManager");
        return Err(invalid("PatchOptions", &[FieldError::required(&path, "is required for apply patch")]));
    }
    if !applies && force {
        let path = Path::new("force");
        return Err(invalid(
            "PatchOptions",
            &[FieldError::forbidden(&path, "may not be specified for non-apply patch")],
        ));
    }
    Ok(applies && query.flag("force"))
}
