//! Upstream's `AuthorizationConfiguration`: who is asked in which order who may do what.

mod file;
#[cfg(test)]
mod tests;
mod webhook;

use std::collections::BTreeSet;

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::names;

pub use webhook::{AuthorizationWebhookConfig, FailurePolicy};

use crate::config_file;
use file::File;

/// Why a configuration can't be used: every field that breaks a rule, and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("authorization configuration: {problem}")]
#[non_exhaustive]
pub struct AuthorizationConfigError {
    /// Which fields, which rules.
    pub problem: String,
}

impl AuthorizationConfigError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

/// An authorizer that is asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AuthorizerConfig {
    /// The Node authorizer: kubelets.
    Node,
    /// Roles and bindings.
    Rbac,
    /// Yes to everything.
    AlwaysAllow,
    /// No to everything that none before has allowed.
    AlwaysDeny,
    /// A webhook.
    Webhook(Box<AuthorizationWebhookConfig>),
}

impl AuthorizerConfig {
    /// The type's name in configurations.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Rbac => "RBAC",
            Self::AlwaysAllow => "AlwaysAllow",
            Self::AlwaysDeny => "AlwaysDeny",
            Self::Webhook(_) => "Webhook",
        }
    }

    /// The name by which metrics tell it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Webhook(webhook) => webhook.name.clone(),
            other => other.kind().to_lowercase(),
        }
    }
}

/// Who is asked, the first one first: upstream's `AuthorizationConfiguration`, checked.
#[derive(Clone, Debug)]
pub struct AuthorizationConfig {
    pub(super) authorizers: Vec<AuthorizerConfig>,
}

impl AuthorizationConfig {
    /// Reads upstream's `AuthorizationConfiguration` (YAML or JSON, `apiserver.config.k8s.io/v1`), and the kubeconfigs that
    /// it names.
    ///
    /// # Errors
    /// The text is no such configuration, or fields break rules; the message names all of them.
    pub fn parse(text: &str) -> Result<Self, AuthorizationConfigError> {
        let file: File = config_file::decode(text).map_err(AuthorizationConfigError::new)?;
        config_file::check_kind(&file.api_version, &file.kind, "AuthorizationConfiguration")
            .map_err(AuthorizationConfigError::new)?;
        let mut faults = FieldErrors::new();
        let authorizers = authorizers(&file.authorizers, &mut faults);
        let config = config_file::unless(&faults, Self { authorizers }).map_err(AuthorizationConfigError::new)?;
        check_names(&file.authorizers)?;
        Ok(config)
    }

    /// The authorizers.
    #[must_use]
    pub fn authorizers(&self) -> &[AuthorizerConfig] {
        &self.authorizers
    }

    /// The types that are there, webhooks aside.
    pub(super) fn built_in(&self) -> BTreeSet<&'static str> {
        self.authorizers.iter().map(AuthorizerConfig::kind).filter(|kind| *kind != "Webhook").collect()
    }
}

const KNOWN: [&str; 5] = ["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];

fn authorizers(list: &[file::Authorizer], faults: &mut FieldErrors) -> Vec<AuthorizerConfig> {
    let root = Path::new("authorizers");
    if list.is_empty() {
        faults.push(FieldError::required(&root, "at least one authorization mode must be defined"));
    }
    let mut checked = Vec::new();
    let (mut types, mut seen) = (Vec::new(), Vec::new());
    for (at, entry) in list.iter().enumerate() {
        let path = root.index(at);
        let kind = entry.r#type.as_str();
        if kind.is_empty() {
            faults.push(FieldError::required(&path.child("type"), ""));
            continue;
        }
        if !KNOWN.contains(&kind) {
            faults.push(FieldError::not_supported(&path.child("type"), kind, &KNOWN));
            continue;
        }
        if kind != "Webhook" && types.contains(&kind) {
            faults.push(FieldError::duplicate(&path.child("type"), kind));
            continue;
        }
        types.push(kind);
        check_name(&entry.name, &seen, &path.child("name"), faults);
        seen.push(entry.name.as_str());
        let at = path.child("webhook");
        match (kind, &entry.webhook) {
            ("Webhook", Some(webhook)) => {
                let webhook = webhook::check(&entry.name, webhook, &path, faults);
                checked.extend(webhook.map(|webhook| AuthorizerConfig::Webhook(Box::new(webhook))));
            }
            ("Webhook", None) => faults.push(FieldError::required(&at, "required when type=Webhook")),
            (_, Some(_)) => {
                faults.push(FieldError::invalid(&at, "non-null", "may only be specified when type=Webhook"));
            }
            ("Node", None) => checked.push(AuthorizerConfig::Node),
            ("RBAC", None) => checked.push(AuthorizerConfig::Rbac),
            ("AlwaysAllow", None) => checked.push(AuthorizerConfig::AlwaysAllow),
            (_, None) => checked.push(AuthorizerConfig::AlwaysDeny),
        }
    }
    checked
}

fn check_name(name: &str, seen: &[&str], path: &Path, faults: &mut FieldErrors) {
    if name.is_empty() {
        faults.push(FieldError::required(path, ""));
        return;
    }
    if seen.contains(&name) {
        faults.push(FieldError::duplicate(path, name));
        return;
    }
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        let why = format!("authorizer name is invalid: {}", wrong.join(", "));
        faults.push(FieldError::invalid(path, name, why));
    }
}

/// What is not a webhook has the name of its type.
fn check_names(list: &[file::Authorizer]) -> Result<(), AuthorizationConfigError> {
    let mut wrong = Vec::new();
    for entry in list.iter().filter(|entry| entry.r#type != "Webhook") {
        let expected = entry.r#type.to_lowercase();
        if expected != entry.name {
            let (kind, name) = (&entry.r#type, &entry.name);
            wrong.push(format!("expected name {expected} for authorizer {kind} instead of {name}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(AuthorizationConfigError::new(config_file::together(&wrong))) }
}
