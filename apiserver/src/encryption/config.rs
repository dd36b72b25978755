//! Upstream's `EncryptionConfiguration`: what is encrypted, with what.

mod file;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde_json::{Value, json};

use crate::cel::parse_duration;
use file::{File, KeysFile, KmsFile, ProviderFile, RuleFile};

/// Why a configuration can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("encryption configuration: {problem}")]
#[non_exhaustive]
pub struct EncryptionError {
    /// Which fields, which rules.
    pub problem: String,
}

impl EncryptionError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

/// What is encrypted, with what: upstream's `EncryptionConfiguration`, checked.
pub struct EncryptionConfig {
    pub(super) rules: Vec<Rule>,
}

impl std::fmt::Debug for EncryptionConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resources: Vec<_> = self.rules.iter().map(|rule| &rule.resources).collect();
        f.debug_struct("EncryptionConfig").field("resources", &resources).finish_non_exhaustive()
    }
}

/// The providers of some resources, the first of which seals.
pub(super) struct Rule {
    pub(super) resources: Vec<String>,
    pub(super) providers: Vec<ProviderConfig>,
}

pub(super) enum ProviderConfig {
    AesGcm(Vec<KeyConfig>),
    AesCbc(Vec<KeyConfig>),
    Secretbox(Vec<KeyConfig>),
    Kms(KmsConfig),
    Identity,
}

pub(super) struct KeyConfig {
    pub(super) name: String,
    pub(super) secret: Vec<u8>,
}

pub(super) struct KmsConfig {
    pub(super) name: String,
    pub(super) is_v1: bool,
    /// Path of the socket.
    pub(super) socket: String,
    pub(super) timeout: Duration,
}

impl EncryptionConfig {
    /// Reads upstream's `EncryptionConfiguration` (YAML or JSON, `apiserver.config.k8s.io/v1`).
    ///
    /// # Errors
    /// The text is no such configuration, or a field breaks a rule; the message names the field and the rule, and no
    /// secret.
    pub fn parse(text: &str) -> Result<Self, EncryptionError> {
        let file: File =
            serde_yaml_ng::from_str(text).map_err(|error| EncryptionError::new(without_keys(&error.to_string())))?;
        let known = [("apiserver.config.k8s.io/v1", "EncryptionConfiguration"), ("v1", "EncryptionConfig")];
        if !known.contains(&(file.api_version.as_str(), file.kind.as_str())) {
            let found = format!("apiVersion {:?}, kind {:?}", file.api_version, file.kind);
            let wanted = "must be apiserver.config.k8s.io/v1, EncryptionConfiguration";
            return Err(EncryptionError::new(format!("{found}: {wanted}")));
        }
        let (root, mut faults) = (Path::new("resources"), FieldErrors::new());
        if file.resources.is_empty() {
            faults.push(at_least_one(&root, &root.to_string()));
        }
        let mut kms_names = Vec::new();
        let mut rules = Vec::new();
        for (at, rule) in file.resources.into_iter().enumerate() {
            rules.push(check_rule(rule, &root.index(at), &mut kms_names, &mut faults));
        }
        if faults.is_empty() {
            return Ok(Self { rules });
        }
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Err(EncryptionError::new(texts.join(", ")))
    }
}

/// A parser's message without what may be a key: it quotes what it stumbled over.
fn without_keys(message: &str) -> String {
    /// The shortest keys have 16 bytes, which base64 writes in 24 characters.
    const SUSPICIOUS: usize = 16;
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let (mut told, mut rest) = (String::new(), message);
    while !rest.is_empty() {
        let run = rest.find(|c| !of_base64(c)).unwrap_or(rest.len());
        told.push_str(if run < SUSPICIOUS { &rest[..run] } else { "REDACTED" });
        let after = rest[run..].find(of_base64).map_or(rest.len(), |at| run + at);
        told.push_str(&rest[run..after]);
        rest = &rest[after..];
    }
    told
}

fn at_least_one(path: &Path, what: &str) -> FieldError {
    FieldError::required(path, format!("at least one {what} is required"))
}

fn check_rule(rule: RuleFile, path: &Path, kms_names: &mut Vec<String>, faults: &mut FieldErrors) -> Rule {
    let (resources, providers) = (path.child("resources"), path.child("providers"));
    if rule.resources.is_empty() {
        faults.push(at_least_one(&resources, &resources.to_string()));
    }
    check_overlap(&rule.resources, &resources, faults);
    for (at, name) in rule.resources.iter().enumerate() {
        if let Some(why) = why_not_a_resource(name) {
            faults.push(FieldError::invalid(&resources.index(at), name.as_str(), why));
        }
    }
    if rule.providers.is_empty() {
        faults.push(at_least_one(&providers, &providers.to_string()));
    }
    let mut checked = Vec::new();
    for (at, provider) in rule.providers.into_iter().enumerate() {
        checked.extend(check_provider(provider, &providers.index(at), kms_names, faults));
    }
    Rule { resources: rule.resources, providers: checked }
}

/// Group and resource, of `resource.group`.
pub(super) fn split_resource(text: &str) -> (&str, &str) {
    text.split_once('.').map_or(("", text), |(resource, group)| (group, resource))
}

fn check_overlap(resources: &[String], path: &Path, faults: &mut FieldErrors) {
    let split: Vec<_> = resources.iter().map(|text| split_resource(text)).collect();
    let (mut duplicate, mut overlap) = (false, false);
    for (i, one) in split.iter().enumerate() {
        for (j, other) in split.iter().enumerate().filter(|(j, _)| *j != i) {
            if one == other && !duplicate {
                duplicate = true;
                continue;
            }
            let any = *one == ("*", "*");
            let same_group = one.0 == other.0 && (one.1 == "*" || other.1 == "*");
            overlap |= j != i && (any || same_group);
        }
    }
    let value: Value = json!(resources);
    if duplicate {
        let why = "the same resource cannot be specified multiple times";
        faults.push(FieldError::invalid(path, value.clone(), why));
    }
    if overlap {
        let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as \
                   they will be masked";
        faults.push(FieldError::invalid(path, value, why));
    }
}

fn why_not_a_resource(text: &str) -> Option<&'static str> {
    let (group, resource) = split_resource(text);
    if text.to_lowercase() != text {
        return Some("resource name should not contain capital letters");
    }
    match (text, group) {
        ("*", _) => Some("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"),
        ("apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations", _) => {
            Some("resources which do not have REST API/s cannot be encrypted")
        }
        (_, "events.k8s.io") => Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the \
             config file",
        ),
        (_, "extensions") => Some("'extensions' group has been removed and cannot be used for encryption"),
        (_, "*") if resource != "*" => Some("encrypting the same resource across groups is not supported"),
        _ => None,
    }
}

fn check_provider(
    provider: ProviderFile,
    path: &Path,
    kms_names: &mut Vec<String>,
    faults: &mut FieldErrors,
) -> Option<ProviderConfig> {
    const AES: &[usize] = &[16, 24, 32];
    let mut found = Vec::new();
    let ProviderFile { aesgcm, aescbc, secretbox, identity, kms } = provider;
    if let Some(kms) = kms {
        found.extend(check_kms(kms, &path.child("kms"), kms_names, faults).map(ProviderConfig::Kms));
    }
    let keys = |file: KeysFile, name: &str, lengths, faults: &mut FieldErrors| {
        check_keys(file, &path.child(name).child("keys"), lengths, faults)
    };
    found.extend(aesgcm.map(|file| ProviderConfig::AesGcm(keys(file, "aesgcm", AES, faults))));
    found.extend(aescbc.map(|file| ProviderConfig::AesCbc(keys(file, "aescbc", AES, faults))));
    found.extend(secretbox.map(|file| ProviderConfig::Secretbox(keys(file, "secretbox", &[32], faults))));
    found.extend(identity.map(|_| ProviderConfig::Identity));
    if found.len() > 1 {
        let why = "more than one provider specified in a single element, should split into different list elements";
        faults.push(FieldError::invalid(path, "REDACTED", why));
    }
    if found.is_empty() && faults.is_empty() {
        let why = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
        faults.push(FieldError::invalid(path, json!({}), why));
    }
    found.pop()
}

fn check_keys(file: KeysFile, path: &Path, lengths: &[usize], faults: &mut FieldErrors) -> Vec<KeyConfig> {
    let keys = file.keys.unwrap_or_default();
    if keys.is_empty() {
        faults.push(at_least_one(path, "keys"));
    }
    let mut checked = Vec::new();
    for (at, key) in keys.into_iter().enumerate() {
        let path = path.index(at);
        if key.name.is_empty() {
            faults.push(FieldError::required(&path.child("name"), "name is a mandatory field for a key"));
        }
        let path = path.child("secret");
        if key.secret.is_empty() {
            faults.push(FieldError::required(&path, "secret is a mandatory field for a key"));
            continue;
        }
        match STANDARD.decode(&key.secret) {
            Err(_) => faults.push(FieldError::invalid(&path, "REDACTED", "secrets must be base64 encoded")),
            Ok(secret) if !lengths.contains(&secret.len()) => {
                let lengths: Vec<String> = lengths.iter().map(ToString::to_string).collect();
                let expected = format!("got {}, expected one of [{}]", secret.len(), lengths.join(" "));
                let why = format!("secret is not of the expected length, {expected}");
                faults.push(FieldError::invalid(&path, "REDACTED", why));
            }
            Ok(secret) => checked.push(KeyConfig { name: key.name, secret }),
        }
    }
    checked
}

fn check_kms(file: KmsFile, path: &Path, names: &mut Vec<String>, faults: &mut FieldErrors) -> Option<KmsConfig> {
    let before = faults.len();
    let version = file.api_version.as_deref().unwrap_or("v1");
    let name = path.child("name");
    if file.name.is_empty() {
        faults.push(FieldError::required(&name, "name is a mandatory field for a provider"));
    }
    if version != "v1" && file.name.contains(':') {
        let why = format!("invalid KMS provider name {}, must not contain ':'", file.name);
        faults.push(FieldError::invalid(&name, file.name.as_str(), why));
    }
    if names.contains(&file.name) {
        let why = format!("duplicate KMS provider name {}, names must be unique", file.name);
        faults.push(FieldError::invalid(&name, file.name.as_str(), why));
    }
    names.push(file.name.clone());
    let timeout = file.timeout.as_deref().map_or(Some(SignedDuration::from_secs(3)), parse_duration);
    let timeout = timeout.filter(|timeout| timeout.is_positive()).map(SignedDuration::unsigned_abs);
    if timeout.is_none() {
        let given = file.timeout.as_deref().unwrap_or_default();
        faults.push(FieldError::invalid(&path.child("timeout"), given, "timeout should be a positive value"));
    }
    let endpoint = path.child("endpoint");
    let socket = file.endpoint.strip_prefix("unix:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    if file.endpoint.is_empty() {
        faults.push(FieldError::invalid(&endpoint, "", "endpoint is a mandatory field for a kms"));
    } else if socket.is_none() {
        let scheme = file.endpoint.split_once(':').map_or("", |(scheme, _)| scheme);
        let why = format!("unsupported scheme {scheme:?} for KMS provider, only unix is supported");
        faults.push(FieldError::invalid(&endpoint, file.endpoint.as_str(), why));
    }
    if let Some(size) = file.cachesize {
        let path = path.child("cachesize");
        if version != "v1" {
            faults.push(FieldError::invalid(&path, size, "cachesize is not supported in v2"));
        } else if size == 0 {
            let why = "cachesize should be a positive value, or negative to disable";
            faults.push(FieldError::invalid(&path, size, why));
        }
    }
    if version != "v1" && version != "v2" {
        let why = format!("unsupported apiVersion {version} for KMS provider, only v1 and v2 are supported");
        faults.push(FieldError::invalid(&path.child("apiVersion"), version, why));
    }
    if faults.len() > before {
        return None;
    }
    let socket = socket.unwrap_or_default().to_owned();
    Some(KmsConfig { is_v1: version == "v1", name: file.name, socket, timeout: timeout.unwrap_or_default() })
}
