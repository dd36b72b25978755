//! A webhook that is asked who may do what: how it is reached, when, and what its failure means.

use std::path::Path as FilePath;
use std::time::Duration;

use jiff::SignedDuration;
use kubewright_api::field::{FieldError, FieldErrors, Path};

use super::file;
use crate::authz::webhook::MatchConditions;
use crate::cel::parse_duration;
use crate::remote::Kubeconfig;

const AUTHORIZED_TTL: SignedDuration = SignedDuration::from_secs(300);
const UNAUTHORIZED_TTL: SignedDuration = SignedDuration::from_secs(30);
const TIMEOUT_MAX: SignedDuration = SignedDuration::from_secs(30);
const CONDITIONS_MAX: usize = 64;

/// What it means if a webhook gives no sound answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Others decide.
    NoOpinion,
    /// The request is refused.
    Deny,
}

/// A webhook.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuthorizationWebhookConfig {
    /// By which metrics and logs tell it.
    pub name: String,
    /// Where it is, and the credentials for it.
    pub kubeconfig: Kubeconfig,
    /// Whether `v1beta1` is posted and not `v1`.
    pub v1beta1: bool,
    /// How long a yes is remembered; zero for not at all.
    pub authorized_ttl: SignedDuration,
    /// How long anything else is remembered; zero for not at all.
    pub unauthorized_ttl: SignedDuration,
    /// How long one call may take.
    pub timeout: Duration,
    /// What it means if it gives no sound answer.
    pub failure_policy: FailurePolicy,
    /// For which requests it is asked.
    pub(in crate::authz) conditions: MatchConditions,
}

pub(super) fn check(
    name: &str,
    file: &file::Webhook,
    path: &Path,
    faults: &mut FieldErrors,
) -> Option<AuthorizationWebhookConfig> {
    let before = faults.len();
    let timeout = timeout(file.timeout.as_deref(), &path.child("timeout"), faults);
    let authorized = ttl(file.authorized_ttl.as_deref(), AUTHORIZED_TTL, &path.child("authorizedTTL"), faults);
    let unauthorized = ttl(file.unauthorized_ttl.as_deref(), UNAUTHORIZED_TTL, &path.child("unauthorizedTTL"), faults);
    let at = path.child("subjectAccessReviewVersion");
    match file.subject_access_review_version.as_str() {
        "v1" | "v1beta1" => {}
        "" => faults.push(FieldError::required(&at, "")),
        other => faults.push(FieldError::not_supported(&at, other, &["v1", "v1beta1"])),
    }
    let at = path.child("matchConditionSubjectAccessReviewVersion");
    match file.match_condition_subject_access_review_version.as_str() {
        "v1" => {}
        "" if file.match_conditions.is_empty() => {}
        "" => faults.push(FieldError::required(&at, "required if match conditions are specified")),
        other => faults.push(FieldError::not_supported(&at, other, &["v1"])),
    }
    let at = path.child("failurePolicy");
    let failure_policy = match file.failure_policy.as_str() {
        "NoOpinion" => FailurePolicy::NoOpinion,
        "Deny" => FailurePolicy::Deny,
        other => {
            faults.push(match other {
                "" => FieldError::required(&at, ""),
                other => FieldError::not_supported(&at, other, &["NoOpinion", "Deny"]),
            });
            FailurePolicy::Deny
        }
    };
    let kubeconfig = connection(&file.connection_info, &path.child("connectionInfo"), faults);
    let conditions = conditions(&file.match_conditions, &path.child("matchConditions"), faults);
    if faults.len() > before {
        return None;
    }
    let kept = |ttl, keep: Option<bool>| if keep.unwrap_or(true) { ttl } else { SignedDuration::ZERO };
    Some(AuthorizationWebhookConfig {
        name: name.to_owned(),
        kubeconfig: kubeconfig?,
        v1beta1: file.subject_access_review_version == "v1beta1",
        authorized_ttl: kept(authorized, file.cache_authorized_requests),
        unauthorized_ttl: kept(unauthorized, file.cache_unauthorized_requests),
        timeout: timeout.unsigned_abs(),
        failure_policy,
        conditions,
    })
}

fn duration(text: &str, path: &Path, faults: &mut FieldErrors) -> Option<SignedDuration> {
    let parsed = parse_duration(text);
    if parsed.is_none() {
        faults.push(FieldError::invalid(path, text, "must be a duration, such as 3s or 5m0s"));
    }
    parsed
}

fn timeout(text: Option<&str>, path: &Path, faults: &mut FieldErrors) -> SignedDuration {
    let Some(text) = text else {
        faults.push(FieldError::required(path, ""));
        return SignedDuration::ZERO;
    };
    let Some(timeout) = duration(text, path, faults) else { return SignedDuration::ZERO };
    if timeout.is_zero() {
        faults.push(FieldError::required(path, ""));
    } else if timeout > TIMEOUT_MAX || timeout.is_negative() {
        faults.push(FieldError::invalid(path, text, "must be > 0s and <= 30s"));
    }
    timeout
}

fn ttl(text: Option<&str>, default: SignedDuration, path: &Path, faults: &mut FieldErrors) -> SignedDuration {
    let parsed = text.and_then(|text| duration(text, path, faults)).filter(|ttl| !ttl.is_zero());
    let ttl = parsed.unwrap_or(default);
    if ttl.is_negative() {
        faults.push(FieldError::invalid(path, text.unwrap_or_default(), "must be > 0s"));
    }
    ttl
}

fn connection(file: &file::ConnectionInfo, path: &Path, faults: &mut FieldErrors) -> Option<Kubeconfig> {
    let (kind, named) = (path.child("type"), path.child("kubeConfigFile"));
    let given = file.kube_config_file.as_deref().filter(|name| !name.is_empty());
    let fault = match (file.r#type.as_str(), given) {
        ("", _) => FieldError::required(&kind, ""),
        // An API server can't be its own judge.
        ("InClusterConfig", _) => {
            FieldError::invalid(&kind, "InClusterConfig", "is not allowed here: use KubeConfigFile")
        }
        ("KubeConfigFile", None) => FieldError::required(&named, ""),
        ("KubeConfigFile", Some(name)) if !FilePath::new(name).is_absolute() => {
            FieldError::invalid(&named, name, "must be an absolute path")
        }
        ("KubeConfigFile", Some(name)) => match std::fs::metadata(name) {
            Err(error) => FieldError::invalid(&named, name, format!("error loading file: {error}")),
            Ok(about) if !about.is_file() => FieldError::invalid(&named, name, "must be a regular file"),
            Ok(_) => match Kubeconfig::load(FilePath::new(name)) {
                Ok(kubeconfig) => return Some(kubeconfig),
                Err(error) => FieldError::invalid(&named, name, error.problem),
            },
        },
        (other, _) => FieldError::not_supported(&kind, other, &["InClusterConfig", "KubeConfigFile"]),
    };
    faults.push(fault);
    None
}

fn conditions(list: &[file::MatchCondition], path: &Path, faults: &mut FieldErrors) -> MatchConditions {
    let mut conditions = MatchConditions::default();
    if list.len() > CONDITIONS_MAX {
        faults.push(FieldError::too_many(path, list.len(), CONDITIONS_MAX));
        return conditions;
    }
    for (at, condition) in list.iter().enumerate() {
        let (path, text) = (path.index(at).child("expression"), condition.expression.as_str());
        if text.trim().is_empty() {
            faults.push(FieldError::required(&path, ""));
        } else if list[..at].iter().any(|earlier| earlier.expression == text) {
            faults.push(FieldError::duplicate(&path, text));
        } else if let Err(why) = conditions.add(text) {
            faults.push(FieldError::invalid(&path, text, why));
        }
    }
    conditions
}
