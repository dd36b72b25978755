//! What may be consumed under a quota only: where none covers it, it is refused. Pure.

use std::collections::BTreeSet;

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::quantity::Quantity;
use kubewright_api::status::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use super::usage::{Amounts, amounts, matches_scope_of, matches_scopes, selectors, usage};
use crate::admission::AdmissionAttributes;

/// A resource that is limited where nothing else is said, as upstream's `ResourceQuotaConfiguration` names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct LimitedResource {
    /// API group of the objects; empty for the core group.
    #[serde(default)]
    pub api_group: String,
    /// Plural name of the objects, such as `persistentvolumeclaims`.
    #[serde(default)]
    pub resource: String,
    /// Whatever an object uses whose name contains one of these needs a quota that limits it.
    #[serde(default)]
    pub match_contains: Vec<String>,
    /// An object in one of these scopes needs a quota of that scope.
    #[serde(default)]
    pub match_scopes: Vec<MatchScope>,
}

/// A scope, and what of it is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct MatchScope {
    /// Such as `PriorityClass`.
    pub scope_name: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// What the object's value is compared with.
    #[serde(default)]
    pub values: Vec<String>,
}

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const OPERATORS: [&str; 4] = ["DoesNotExist", "Exists", "In", "NotIn"];

/// What is wrong with a list of limited resources.
pub(in crate::admission) fn validate(limited: &[LimitedResource], path: &Path) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (at, entry) in limited.iter().enumerate() {
        let path = path.index(at);
        if entry.resource.is_empty() {
            errors.push(FieldError::required(&path.child("resource"), ""));
        }
        for (at, scope) in entry.match_scopes.iter().enumerate() {
            let path = path.child("matchScopes").index(at);
            if !SCOPES.contains(&scope.scope_name.as_str()) {
                errors.push(FieldError::not_supported(&path.child("scopeName"), scope.scope_name.as_str(), &SCOPES));
            }
            if !OPERATORS.contains(&scope.operator.as_str()) {
                errors.push(FieldError::not_supported(&path.child("operator"), scope.operator.as_str(), &OPERATORS));
            }
        }
    }
    errors
}

/// Refuses what needs a quota that is not among the namespace's.
pub(super) fn covered(
    limited: &[LimitedResource],
    a: &AdmissionAttributes<'_>,
    quotas: &[Value],
) -> Result<(), Status> {
    let scope_matches = |scope: &str, operator: &str, values: &Value| {
        matches_scope_of(a.group, a.resource, &a.object, scope, operator, values)
    };
    let scopes = limited.iter().flat_map(|entry| &entry.match_scopes);
    let scopes: Vec<_> =
        scopes.filter(|scope| scope_matches(&scope.scope_name, &scope.operator, &json!(scope.values))).collect();
    let used = usage(a.group, a.resource, &a.object);
    let mut names = limited_names(limited, a, &used);
    if (names.is_empty() && scopes.is_empty()) || !grows(a, quotas, &used) {
        return Ok(());
    }
    for quota in quotas.iter().filter(|quota| matches_scopes(quota, a.group, a.resource, &a.object)) {
        for name in amounts(&quota["spec"]["hard"]).keys() {
            names.remove(name.as_str());
        }
    }
    if !names.is_empty() {
        let names: Vec<&str> = names.into_iter().collect();
        return Err(a.forbidden(format!("insufficient quota to consume: {}", names.join(","))));
    }
    // A quota covers a scope by a selector that the object meets, whatever its other selectors say.
    let selected =
        quotas.iter().flat_map(selectors).filter(|(scope, operator, values)| scope_matches(scope, operator, values));
    let selected: BTreeSet<&str> = selected.map(|(scope, ..)| scope).collect();
    let uncovered = scopes.into_iter().filter(|scope| !selected.contains(scope.scope_name.as_str()));
    let uncovered: Vec<String> = uncovered
        .map(|scope| format!("{{{} {} [{}]}}", scope.scope_name, scope.operator, scope.values.join(" ")))
        .collect();
    if uncovered.is_empty() {
        return Ok(());
    }
    // No refusal of upstream's, but a failure: with this code, and without a reason.
    let message = format!("insufficient quota to match these scopes: [{}]", uncovered.join(" "));
    Err(Status::failure(500, "", message))
}

/// What of the object's use needs a quota.
fn limited_names<'a>(limited: &[LimitedResource], a: &AdmissionAttributes<'_>, used: &'a Amounts) -> BTreeSet<&'a str> {
    let entries =
        limited.iter().filter(|entry| (entry.api_group.as_str(), entry.resource.as_str()) == (a.group, a.resource));
    let parts: Vec<&String> = entries.flat_map(|entry| &entry.match_contains).collect();
    let consumed = used.iter().filter(|(_, amount)| **amount > Quantity::default()).map(|(name, _)| name.as_str());
    consumed.filter(|name| parts.iter().any(|part| name.contains(part.as_str()))).collect()
}

/// Whether more is used than before, or by a quota that did not count the object before.
fn grows(a: &AdmissionAttributes<'_>, quotas: &[Value], used: &Amounts) -> bool {
    let Some(old) = a.old else { return true };
    let before = usage(a.group, a.resource, old);
    let more = used.iter().any(|(name, amount)| *amount > before.get(name).copied().unwrap_or_default());
    let counts = |quota: &Value, object: &Value| matches_scopes(quota, a.group, a.resource, object);
    more || quotas.iter().any(|quota| counts(quota, &a.object) && !counts(quota, old))
}
