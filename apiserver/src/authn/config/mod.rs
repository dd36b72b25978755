//! Upstream's `AuthenticationConfiguration`: which issuers' tokens are believed, what their claims mean, and where
//! anonymous requests are let in.

mod claims;
mod file;
mod issuer;

use std::sync::Arc;

use kubewright_api::field::{FieldError, FieldErrors, Path};

pub(super) use claims::{ClaimMappings, Mapping, Rule};
pub(super) use issuer::IssuerConfig;

use super::Anonymous;
use crate::config_file;
use file::File;

/// Most issuers in one configuration.
const ISSUERS_MAX: usize = 64;

/// Why a configuration can't be used: every field that breaks a rule, and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("authentication configuration: {problem}")]
#[non_exhaustive]
pub struct AuthenticationConfigError {
    /// Which fields, which rules.
    pub problem: String,
}

impl AuthenticationConfigError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

/// Whose tokens are believed and who may come without: upstream's `AuthenticationConfiguration`, checked.
#[derive(Clone, Debug, Default)]
pub struct AuthenticationConfig {
    pub(super) issuers: Vec<Arc<JwtConfig>>,
    pub(super) anonymous: Option<Anonymous>,
}

/// One issuer, and what its tokens' claims mean.
#[derive(Debug)]
pub(super) struct JwtConfig {
    pub(super) issuer: IssuerConfig,
    /// Claims that must be there with that value.
    pub(super) required: Vec<(String, String)>,
    pub(super) claim_rules: Vec<Rule>,
    pub(super) mappings: ClaimMappings,
    pub(super) user_rules: Vec<Rule>,
}

impl AuthenticationConfig {
    /// Reads upstream's `AuthenticationConfiguration` (YAML or JSON, `apiserver.config.k8s.io/v1`).
    ///
    /// # Errors
    /// The text is no such configuration, or fields break rules; the message names all of them.
    pub fn parse(text: &str) -> Result<Self, AuthenticationConfigError> {
        let file: File = config_file::decode(text).map_err(AuthenticationConfigError::new)?;
        config_file::check_kind(&file.api_version, &file.kind, "AuthenticationConfiguration")
            .map_err(AuthenticationConfigError::new)?;
        let mut faults = FieldErrors::new();
        let config = Self { issuers: issuers(&file.jwt, &mut faults), anonymous: anonymous(&file, &mut faults) };
        config_file::unless(&faults, config).map_err(AuthenticationConfigError::new)
    }

    /// Refuses issuers that someone else speaks for, such as the issuer of service account tokens.
    ///
    /// # Errors
    /// One of the issuers is among these.
    pub fn disallow(&self, names: &[String]) -> Result<(), AuthenticationConfigError> {
        let mut sorted = names.to_vec();
        sorted.sort();
        let mut faults = FieldErrors::new();
        for (at, config) in self.issuers.iter().enumerate() {
            if names.contains(&config.issuer.url) {
                let path = Path::new("jwt").index(at).child("issuer").child("url");
                let why = format!("URL must not overlap with disallowed issuers: [{}]", sorted.join(" "));
                faults.push(FieldError::invalid(&path, config.issuer.url.as_str(), why));
            }
        }
        config_file::unless(&faults, ()).map_err(AuthenticationConfigError::new)
    }

    /// Who may come without credentials, if the configuration says so.
    #[must_use]
    pub const fn anonymous(&self) -> Option<&Anonymous> {
        self.anonymous.as_ref()
    }
}

fn issuers(list: &[file::Jwt], faults: &mut FieldErrors) -> Vec<Arc<JwtConfig>> {
    let root = Path::new("jwt");
    if list.len() > ISSUERS_MAX {
        faults.push(FieldError::too_many(&root, list.len(), ISSUERS_MAX));
        return Vec::new();
    }
    let mut checked: Vec<Arc<JwtConfig>> = Vec::new();
    for (at, entry) in list.iter().enumerate() {
        let path = root.index(at);
        let config = jwt(entry, &path, faults);
        let duplicate = |of: fn(&IssuerConfig) -> &str| {
            let name = of(&config.issuer);
            !name.is_empty() && checked.iter().any(|earlier| of(&earlier.issuer) == name)
        };
        let at = path.child("issuer");
        if duplicate(|issuer| &issuer.url) {
            faults.push(FieldError::duplicate(&at.child("url"), config.issuer.url.as_str()));
        }
        if duplicate(|issuer| &issuer.discovery_url) {
            faults.push(FieldError::duplicate(&at.child("discoveryURL"), config.issuer.discovery_url.as_str()));
        }
        checked.push(Arc::new(config));
    }
    checked
}

fn jwt(entry: &file::Jwt, path: &Path, faults: &mut FieldErrors) -> JwtConfig {
    let issuer = issuer::check(&entry.issuer, &path.child("issuer"), faults);
    let (required, claim_rules) =
        claims::claim_rules(&entry.claim_validation_rules, &path.child("claimValidationRules"), faults);
    let mappings = claims::mappings(&entry.claim_mappings, &claim_rules, &path.child("claimMappings"), faults);
    let user_rules = claims::user_rules(&entry.user_validation_rules, &path.child("userValidationRules"), faults);
    JwtConfig { issuer, required, claim_rules, mappings, user_rules }
}

fn anonymous(file: &File, faults: &mut FieldErrors) -> Option<Anonymous> {
    let anonymous = file.anonymous.as_ref()?;
    if !anonymous.enabled {
        if !anonymous.conditions.is_empty() {
            let path = Path::new("anonymous").child("conditions");
            let paths: Vec<&str> = anonymous.conditions.iter().map(|condition| condition.path.as_str()).collect();
            let why = "enabled should be set to true when conditions are defined";
            faults.push(FieldError::invalid(&path, paths, why));
        }
        return Some(Anonymous::Never);
    }
    if anonymous.conditions.is_empty() {
        return Some(Anonymous::Everywhere);
    }
    Some(Anonymous::Paths(anonymous.conditions.iter().map(|condition| condition.path.clone()).collect()))
}

#[cfg(test)]
mod tests;
