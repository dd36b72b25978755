//! Options of requests, out of their query strings.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::selector::{FieldSelector, LabelSelector};
use kubewright_api::status::Status;
use serde_json::{Value, json};

use crate::object::decode::FieldValidation;
use crate::request::{is_true, query_pairs};
use crate::table::IncludeObject;

/// How long the name of a field manager may be.
const MANAGER_BYTES_MAX: usize = 128;

/// A query string. Of a parameter that is given twice the first counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        Self(query_pairs(query.unwrap_or_default()))
    }

    pub(super) fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str())
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.0.iter().find(|(name, _)| name == key).is_some_and(|(_, value)| is_true(value))
    }

    fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        match self.get(key) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        }
    }

    pub(super) fn field_validation(&self, kind: &str) -> Result<FieldValidation, Status> {
        FieldValidation::parse(self.get("fieldValidation")).map_err(|value| {
            let path = Path::new("fieldValidation");
            invalid(kind, &[FieldError::not_supported(&path, value, &["", "Ignore", "Strict", "Warn"])])
        })
    }

    /// Checks the name of the field manager.
    fn check_manager(&self, kind: &str) -> Result<(), Status> {
        let (manager, path) = (self.get("fieldManager"), Path::new("fieldManager"));
        if manager.len() > MANAGER_BYTES_MAX {
            return Err(invalid(kind, &[FieldError::too_long(&path, MANAGER_BYTES_MAX)]));
        }
        match manager.chars().find(|c| c.is_control()) {
            Some(_) => {
                Err(invalid(kind, &[FieldError::invalid(&path, manager, "should only contain printable characters")]))
            }
            None => Ok(()),
        }
    }

    /// Whether nothing shall be stored.
    pub(super) fn dry_run(&self, kind: &str) -> Result<bool, Status> {
        self.check_manager(kind)?;
        dry_run(self.all("dryRun"), kind)
    }

    pub(super) fn include_object(&self) -> Result<IncludeObject, Status> {
        match self.get("includeObject") {
            "" | "Metadata" => Ok(IncludeObject::Metadata),
            "None" => Ok(IncludeObject::None),
            "Object" => Ok(IncludeObject::Object),
            _ => Err(Status::bad_request(
                "unrecognized includeObject value: allowed values are None, Metadata, or Object",
            )),
        }
    }
}

/// Reads the values of `dryRun`.
pub(super) fn dry_run<'a>(values: impl Iterator<Item = &'a str>, kind: &str) -> Result<bool, Status> {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|value| *value != "All") {
        return Err(invalid(kind, &[FieldError::not_supported(&Path::new("dryRun"), values, &["All"])]));
    }
    Ok(!values.is_empty())
}

/// 422 about options.
pub(super) fn invalid(kind: &str, errors: &[FieldError]) -> Status {
    Status::invalid("meta.k8s.io", kind, "", errors)
}

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Exact,
    NotOlderThan,
}

/// What lists, watches and deletions of collections ask for.
#[derive(Clone, Debug)]
pub(super) struct ListOptions {
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
    pub(super) limit: usize,
    pub(super) continue_token: String,
    pub(super) resource_version: Option<u64>,
    pub(super) version_match: Option<Match>,
    pub(super) bookmarks: bool,
    pub(super) send_initial_events: Option<bool>,
    pub(super) timeout_seconds: Option<u64>,
}

impl ListOptions {
    pub(super) fn parse(query: &Query, watch: bool) -> Result<Self, Status> {
        let bad = |error: kubewright_api::selector::ParseError| Status::bad_request(error.to_string());
        let version = query.get("resourceVersion");
        let limit = query.number("limit")?.unwrap_or(0);
        let initial = query.get("sendInitialEvents");
        let options = Self {
            labels: LabelSelector::parse(query.get("labelSelector")).map_err(bad)?,
            fields: FieldSelector::parse(query.get("fieldSelector")).map_err(bad)?,
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token: query.get("continue").to_owned(),
            resource_version: parse_version(version)?,
            version_match: parse_match(query.get("resourceVersionMatch"))?,
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: (!initial.is_empty()).then(|| is_true(initial)),
            timeout_seconds: query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok()),
        };
        let faults = options.faults(watch, version);
        if !faults.is_empty() {
            return Err(invalid("ListOptions", &faults));
        }
        if !watch && !options.continue_token.is_empty() && options.resource_version.is_some_and(|version| version != 0)
        {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        Ok(options)
    }

    fn faults(&self, watch: bool, version: &str) -> FieldErrors {
        let mut faults = FieldErrors::new();
        let path = Path::new("resourceVersionMatch");
        if watch {
            let initial = Path::new("sendInitialEvents");
            if self.send_initial_events.is_some() && self.version_match.is_none() {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                faults.push(FieldError::forbidden(&path, why));
            }
            if self.version_match.is_some() && self.send_initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                faults.push(FieldError::forbidden(&path, why));
            }
            if self.version_match == Some(Match::Exact) {
                faults.push(FieldError::not_supported(&path, "Exact", &["NotOlderThan"]));
            }
            if !self.continue_token.is_empty() {
                faults.push(FieldError::forbidden(&initial, "sendInitialEvents is forbidden for continue"));
            }
            return faults;
        }
        if self.send_initial_events.is_some() {
            let why = "sendInitialEvents is forbidden for list";
            faults.push(FieldError::forbidden(&Path::new("sendInitialEvents"), why));
        }
        if self.version_match.is_some() {
            if version.is_empty() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                faults.push(FieldError::forbidden(&path, why));
            }
            if !self.continue_token.is_empty() {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                faults.push(FieldError::forbidden(&path, why));
            }
            if self.version_match == Some(Match::Exact) && version == "0" {
                let why = "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"";
                faults.push(FieldError::forbidden(&path, why));
            }
        }
        faults
    }
}

pub(super) fn parse_version(text: &str) -> Result<Option<u64>, Status> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            let why = format!("Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
            Status::bad_request(format!("invalid resource version: resourceVersion: {why}"))
        }),
    }
}

fn parse_match(text: &str) -> Result<Option<Match>, Status> {
    match text {
        "" => Ok(None),
        "Exact" => Ok(Some(Match::Exact)),
        "NotOlderThan" => Ok(Some(Match::NotOlderThan)),
        other => {
            let path = Path::new("resourceVersionMatch");
            Err(invalid("ListOptions", &[FieldError::not_supported(&path, other, &["Exact", "NotOlderThan", ""])]))
        }
    }
}

/// The options of a write as admission sees them.
pub(super) fn options_json(kind: &str, query: &Query) -> Value {
    let mut options = json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" });
    for field in ["fieldManager", "fieldValidation"] {
        if !query.get(field).is_empty() {
            options[field] = query.get(field).into();
        }
    }
    let dry: Vec<&str> = query.all("dryRun").collect();
    if !dry.is_empty() {
        options["dryRun"] = dry.into();
    }
    options
}
