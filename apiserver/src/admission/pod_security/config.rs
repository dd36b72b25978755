//! What applies where labels say nothing, and to whom nothing applies.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::policy::{Level, LevelVersion, Policy, Version};

/// Settings of the plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSecurityConfig {
    /// For namespaces whose labels don't say (default: privileged, the newest version, in all modes).
    pub defaults: Policy,
    /// Users whose writes nobody looks at.
    pub exempt_users: BTreeSet<String>,
    /// Namespaces whose objects nobody looks at.
    pub exempt_namespaces: BTreeSet<String>,
    /// Runtime classes whose pods nobody looks at.
    pub exempt_runtime_classes: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    exemptions: Exemptions,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Defaults {
    enforce: String,
    enforce_version: String,
    audit: String,
    audit_version: String,
    warn: String,
    warn_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Exemptions {
    usernames: Vec<String>,
    namespaces: Vec<String>,
    runtime_classes: Vec<String>,
}

impl PodSecurityConfig {
    /// Reads upstream's `PodSecurityConfiguration` (YAML or JSON, `pod-security.admission.config.k8s.io/v1`).
    ///
    /// # Errors
    /// The text is no such configuration; the message names the field and the rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
        let known = matches!(
            file.api_version.as_str(),
            "pod-security.admission.config.k8s.io/v1"
                | "pod-security.admission.config.k8s.io/v1beta1"
                | "pod-security.admission.config.k8s.io/v1alpha1"
        );
        if !known || file.kind != "PodSecurityConfiguration" {
            return Err(format!(
                "apiVersion {:?}, kind {:?}: must be pod-security.admission.config.k8s.io/v1, PodSecurityConfiguration",
                file.api_version, file.kind
            ));
        }
        let Defaults { enforce, enforce_version, audit, audit_version, warn, warn_version } = file.defaults;
        let defaults = Policy {
            enforce: mode("enforce", &enforce, &enforce_version)?,
            audit: mode("audit", &audit, &audit_version)?,
            warn: mode("warn", &warn, &warn_version)?,
        };
        Ok(Self {
            defaults,
            exempt_users: names("usernames", file.exemptions.usernames)?,
            exempt_namespaces: names("namespaces", file.exemptions.namespaces)?,
            exempt_runtime_classes: names("runtimeClasses", file.exemptions.runtime_classes)?,
        })
    }

    pub(super) fn exempts_namespace(&self, name: &str) -> bool {
        self.exempt_namespaces.contains(name)
    }

    pub(super) fn exempts_runtime_class(&self, name: &str) -> bool {
        self.exempt_runtime_classes.contains(name)
    }
}

fn mode(field: &str, level: &str, version: &str) -> Result<LevelVersion, String> {
    let or_default = |text: &str| if text.is_empty() { None } else { Some(text.to_owned()) };
    let level = match or_default(level) {
        None => Level::Privileged,
        Some(text) => Level::parse(&text)
            .ok_or_else(|| format!("defaults.{field}: {text:?} must be one of privileged, baseline, restricted"))?,
    };
    let version = match or_default(version) {
        None => Version::Latest,
        Some(text) => Version::parse(&text)
            .ok_or_else(|| format!("defaults.{field}-version: {text:?} must be \"latest\" or \"v1.x\""))?,
    };
    Ok(LevelVersion { level, version })
}

fn names(field: &str, list: Vec<String>) -> Result<BTreeSet<String>, String> {
    let mut names = BTreeSet::new();
    for (at, name) in list.into_iter().enumerate() {
        if name.is_empty() {
            return Err(format!("exemptions.{field}[{at}]: must not be empty"));
        }
        if !names.insert(name.clone()) {
            return Err(format!("exemptions.{field}[{at}]: duplicate value {name:?}"));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_file_is_read() {
        let text = "
apiVersion: pod-security.admission.config.k8s.io/v1
kind: PodSecurityConfiguration
defaults: {enforce: baseline, enforce-version: v1.30, warn: restricted}
exemptions: {usernames: [ci], namespaces: [kube-system], runtimeClasses: []}
";
        let config = PodSecurityConfig::parse(text).unwrap();
        assert_eq!(config.defaults.enforce.to_string(), "baseline:v1.30");
        assert_eq!(config.defaults.warn.to_string(), "restricted:latest");
        assert!(config.exempts_namespace("kube-system") && !config.exempts_namespace(""));
    }

    #[test]
    fn faults_name_the_field() {
        let head = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n";
        for (rest, expected) in [
            ("defaults: {enforce: strict}", "defaults.enforce: \"strict\" must be one of"),
            ("defaults: {audit-version: v2}", "defaults.audit-version"),
            ("exemptions: {namespaces: [a, a]}", "exemptions.namespaces[1]: duplicate"),
            ("unknown: 1", "unknown field"),
        ] {
            let fault = PodSecurityConfig::parse(&format!("{head}{rest}")).unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        }
        assert!(PodSecurityConfig::parse("apiVersion: v1\nkind: Pod").is_err());
    }
}
