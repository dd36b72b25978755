//! The `Status` in which an API server answers errors: code, reason, message, details, as upstream words them.
//!
//! ```
//! use kubewright_api::status::Status;
//!
//! let status = Status::not_found("", "pods", "web-0");
//! assert_eq!((status.code, status.message.as_str()), (404, "pods \"web-0\" not found"));
//! ```
//!
//! Source: `staging/src/k8s.io/apimachinery/pkg/api/errors` of Kubernetes.

use serde::{Deserialize, Serialize};

use crate::field::{FieldError, aggregate};

/// An answer of the kind `Status`, version `v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Always `Status`.
    pub kind: String,
    /// Always `v1`.
    pub api_version: String,
    /// List metadata: how to go on with a list whose token is too old, and otherwise nothing.
    #[serde(default)]
    pub metadata: ListMeta,
    /// `Success` or `Failure`.
    pub status: String,
    /// What happened, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What happened, for programs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// On what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<StatusDetails>>,
    /// The HTTP status code; 0, and left out, in a success.
    #[serde(default, skip_serializing_if = "is_none")]
    pub code: u16,
}

/// The list metadata of a [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListMeta {
    /// A token with which the list goes on, as of another revision than it began.
    #[serde(default, rename = "continue", skip_serializing_if = "String::is_empty")]
    pub continue_token: String,
}

/// On what something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDetails {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its resource, or its kind when it is invalid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Fault by fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// After how many seconds to try again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
/// So many faults are told, and so many bytes of them: an object of some MB can have hundreds of thousands.
const FAULTS_MAX: usize = 1000;
const FAULTS_BYTES_MAX: usize = 1 << 20;

fn told(errors: &[FieldError]) -> &[FieldError] {
    let mut bytes = 0;
    let fits = |error: &&FieldError| {
        let fits = bytes < FAULTS_BYTES_MAX;
        bytes += error.to_string().len();
        fits
    };
    &errors[..errors.iter().take(FAULTS_MAX).take_while(fits).count()]
}

fn is_none(code: &u16) -> bool {
    *code == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// One cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCause {
    /// For programs, such as `FieldValueInvalid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field's path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// `pods`, or `deployments.apps`: how messages name a resource.
#[must_use]
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl Status {
    /// A failure with that code, reason and message.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: "Status".into(),
            api_version: "v1".into(),
            metadata: ListMeta::default(),
            status: "Failure".into(),
            message: message.into(),
            reason: reason.into(),
            details: None,
            code,
        }
    }

    /// A success, as deletes answer it, about the object that was deleted.
    #[must_use]
    pub fn success(group: &str, resource: &str, name: &str, uid: &str) -> Self {
        let mut status = Self::failure(200, "", "").about(group, resource, name);
        status.status = "Success".into();
        status.details.get_or_insert_default().uid = uid.into();
        status.code = 0;
        status
    }

    /// Says which object it is about.
    #[must_use]
    pub fn about(mut self, group: &str, resource: &str, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.group = group.into();
        details.kind = resource.into();
        details.name = name.into();
        self
    }

    /// Says after how many seconds to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// Adds a cause.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = StatusCause { reason: reason.into(), message: message.into(), field: field.into() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// 404: no such object.
    #[must_use]
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(group, resource));
        Self::failure(404, "NotFound", message).about(group, resource, name)
    }

    /// 404: no such path.
    #[must_use]
    pub fn no_such_path() -> Self {
        let mut status = Self::failure(404, "NotFound", "the server could not find the requested resource");
        status.details = Some(Box::default());
        status
    }

    /// 409: the name is taken.
    #[must_use]
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(group, resource));
        Self::failure(409, "AlreadyExists", message).about(group, resource, name)
    }

    /// 409: someone else changed the object first, or a precondition failed; `why` says which.
    #[must_use]
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(group, resource));
        Self::failure(409, "Conflict", message).about(group, resource, name)
    }

    /// 422: the object breaks these rules. `kind` and `group` are the object's kind and group. Of many faults only the
    /// first are told: a thousand, or a MiB.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let errors = told(errors);
        let mut message = format!("{} {name:?} is invalid", qualified(group, kind));
        if !errors.is_empty() {
            message.push_str(&format!(": {}", aggregate(errors)));
        }
        let status = Self::failure(422, "Invalid", message).about(group, kind, name);
        errors
            .iter()
            .fold(status, |status, error| status.with_cause(error.kind.cause(), error.body(), &error.path.to_string()))
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 401: nobody knows who asks.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 403: who asks may not. `why` is what authorizer or admission said; a resource or name that isn't known is empty.
    #[must_use]
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = match (resource, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{} is forbidden: {why}", qualified(group, resource)),
            _ => format!("{} {name:?} is forbidden: {why}", qualified(group, resource)),
        };
        Self::failure(403, "Forbidden", message).about(group, resource, name)
    }

    /// 405: the resource doesn't take that verb.
    #[must_use]
    pub fn method_not_supported(group: &str, resource: &str, action: &str) -> Self {
        let message = format!("{action} is not supported on resources of kind {:?}", qualified(group, resource));
        Self::failure(405, "MethodNotAllowed", message).about(group, resource, "")
    }

    /// 405: the path doesn't take that method.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut status = Self::failure(405, "MethodNotAllowed", message);
        status.details = Some(Box::default());
        status
    }

    /// 406: none of these media types can be had.
    #[must_use]
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::failure(406, "NotAcceptable", message)
    }

    /// 406: the path knows no such media types at all, but these representations.
    #[must_use]
    pub fn no_such_representation(available: &[&str]) -> Self {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {}", available.join(", "));
        let mut status = Self::failure(406, "NotAcceptable", message);
        status.details = Some(Box::default());
        status
    }

    /// 415: the path knows no such media type.
    #[must_use]
    pub fn no_such_media_type() -> Self {
        let mut status = Self::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        status.details = Some(Box::default());
        status
    }

    /// 415: the body's media type isn't taken.
    #[must_use]
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {list}");
        Self::failure(415, "UnsupportedMediaType", message)
    }

    /// 410: the resource version or the continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 413: the body is over a limit.
    pub fn too_large(message: &str) -> Self {
        Self::failure(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"))
    }

    /// 429: slow down, and try again after so many seconds.
    #[must_use]
    pub fn too_many_requests(message: &str, retry_seconds: u32) -> Self {
        Self::failure(429, "TooManyRequests", message).retry_after(retry_seconds)
    }

    /// 500: our fault.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        let message = format!("Internal error occurred: {error}");
        Self::failure(500, "InternalError", message).with_cause("", error.to_string(), "")
    }

    /// 503: not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// 504: it took too long.
    #[must_use]
    pub fn timeout(message: &str, retry_seconds: u32) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {message}")).retry_after(retry_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn messages_are_upstreams() {
        for (status, code, message) in [
            (Status::already_exists("apps", "deployments", "a"), 409, "deployments.apps \"a\" already exists"),
            (Status::forbidden("", "pods", "", "no"), 403, "pods is forbidden: no"),
            (Status::forbidden("", "", "", "no"), 403, "forbidden: no"),
            (
                Status::method_not_supported("", "pods", "patch"),
                405,
                "patch is not supported on resources of kind \"pods\"",
            ),
        ] {
            assert_eq!((status.code, status.message.as_str()), (code, message));
        }
    }

    #[test]
    fn an_invalid_object_lists_its_causes() {
        let path = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&path, -1, "must be greater than or equal to 0");
        let status = Status::invalid("apps", "Deployment", "a", &[error]);
        let text =
            "Deployment.apps \"a\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
        assert_eq!(status.message, text);
        let cause = &status.details.as_ref().unwrap().causes[0];
        assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldValueInvalid", "spec.replicas"));
        let wire = serde_json::to_value(&status).unwrap();
        assert_eq!(serde_json::from_value::<Status>(wire).unwrap(), status);
    }
    #[test]
    fn of_many_faults_the_first_are_told() {
        let path = Path::new("spec").child(&"x".repeat(10_000));
        let faults = |count: usize| -> Vec<FieldError> {
            (0..count).map(|at| FieldError::required(&path.index(at), "")).collect()
        };
        let told = |count: usize| Status::invalid("", "Pod", "p", &faults(count)).details.unwrap().causes.len();
        assert_eq!((told(1), told(100), told(100_000)), (1, 100, 105));
        let short: Vec<FieldError> =
            (0..100_000).map(|at| FieldError::required(&Path::new("a").index(at), "")).collect();
        assert_eq!(Status::invalid("", "Pod", "p", &short).details.unwrap().causes.len(), FAULTS_MAX);
    }
}
