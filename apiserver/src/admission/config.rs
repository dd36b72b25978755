//! Upstream's `AdmissionConfiguration`: what plugins are told in a file.

use std::path::{Path as FilePath, PathBuf};

use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde::Deserialize;
use serde_json::Value;

use super::resource_quota::validate_limited;
use super::{LimitedResource, PodSecurityConfig};
use crate::config_file;
use crate::remote::Credentials;

const GROUP: &str = "apiserver.config.k8s.io";
/// The plugins that there are ([`standard`](super::standard)), by name.
const PLUGINS: [&str; 24] = [
    "CertificateApproval",
    "CertificateSigning",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DefaultStorageClass",
    "DefaultTolerationSeconds",
    "LimitRanger",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "NamespaceLifecycle",
    "NodeDeclaredFeatureValidator",
    "NodeRestriction",
    "PersistentVolumeClaimResize",
    "PodResizeValidator",
    "PodSecurity",
    "PodTopologyLabels",
    "Priority",
    "ResourceQuota",
    "RuntimeClass",
    "ServiceAccount",
    "StorageObjectInUseProtection",
    "TaintNodesByCondition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

/// Why a configuration can't be used: every field that breaks a rule, and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("admission configuration: {problem}")]
#[non_exhaustive]
pub struct AdmissionConfigError {
    /// Which fields, which rules.
    pub problem: String,
}

/// What the plugins are told. The default is upstream's without a file.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AdmissionConfig {
    /// `PodSecurity`: what applies where labels say nothing, and to whom nothing applies.
    pub pod_security: PodSecurityConfig,
    /// `ResourceQuota`: what may be consumed under a quota only.
    pub limited_resources: Vec<LimitedResource>,
    /// `MutatingAdmissionWebhook`: what is shown to which webhook.
    pub mutating_webhooks: Credentials,
    /// `ValidatingAdmissionWebhook`: what is shown to which webhook.
    pub validating_webhooks: Credentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Plugin {
    #[serde(default)]
    name: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    configuration: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QuotaFile {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    limited_resources: Vec<LimitedResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ManifestsFile {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    kube_config_file: PathBuf,
    #[serde(default)]
    static_manifests_dir: PathBuf,
}

impl AdmissionConfig {
    /// Reads upstream's `AdmissionConfiguration` (YAML or JSON, `apiserver.config.k8s.io/v1`) from a file, and the files of
    /// plugins that it names relative to it.
    ///
    /// # Errors
    /// A file can't be read, or fields break rules; the message names all of them.
    pub fn load(path: &FilePath) -> Result<Self, AdmissionConfigError> {
        let wrong = |problem: String| AdmissionConfigError { problem: format!("{}: {problem}", path.display()) };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Self::read(&text, path.parent().unwrap_or_else(|| FilePath::new("."))).map_err(wrong)
    }

    /// Reads the text of an `AdmissionConfiguration`; files that it names are looked for in that directory.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn parse(text: &str, directory: &FilePath) -> Result<Self, AdmissionConfigError> {
        Self::read(text, directory).map_err(|problem| AdmissionConfigError { problem })
    }

    fn read(text: &str, directory: &FilePath) -> Result<Self, String> {
        let file: File = config_file::decode(text)?;
        if file.api_version != "apiserver.k8s.io/v1alpha1" || file.kind != "AdmissionConfiguration" {
            check_kind(&file.api_version, &file.kind, "AdmissionConfiguration")?;
        }
        let mut config = Self::default();
        let mut faults: Vec<String> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for (at, plugin) in file.plugins.iter().enumerate() {
            let path = Path::new("plugins").index(at);
            let name = plugin.name.as_str();
            if !PLUGINS.contains(&name) {
                faults.push(FieldError::not_supported(&path.child("name"), name, &PLUGINS).to_string());
            } else if seen.contains(&name) {
                faults.push(FieldError::duplicate(&path.child("name"), name).to_string());
            } else if let Err(fault) = config.tell(plugin, &path, directory) {
                faults.push(fault);
            }
            seen.push(name);
        }
        if faults.is_empty() { Ok(config) } else { Err(config_file::together(&faults)) }
    }

    /// Tells a plugin what is in its part, or in the file that is named there.
    fn tell(&mut self, plugin: &Plugin, path: &Path, directory: &FilePath) -> Result<(), String> {
        let (text, whence) = match &plugin.configuration {
            Some(nested) if !nested.is_null() => (nested.to_string(), path.child("configuration").to_string()),
            _ if plugin.path.is_empty() => return Ok(()),
            _ => {
                let file = directory.join(&plugin.path);
                let text = std::fs::read_to_string(&file);
                let text = text.map_err(|error| {
                    FieldError::invalid(&path.child("path"), plugin.path.as_str(), error.to_string()).to_string()
                })?;
                (text, file.display().to_string())
            }
        };
        let outcome = match plugin.name.as_str() {
            "PodSecurity" => PodSecurityConfig::parse(&text).map(|config| self.pod_security = config),
            "ResourceQuota" => quota(&text).map(|limited| self.limited_resources = limited),
            "MutatingAdmissionWebhook" => webhooks(&text).map(|shown| self.mutating_webhooks = shown),
            "ValidatingAdmissionWebhook" => webhooks(&text).map(|shown| self.validating_webhooks = shown),
            name @ ("MutatingAdmissionPolicy" | "ValidatingAdmissionPolicy") => policies(&text, name),
            name => Err(format!("the plugin {name} takes no configuration")),
        };
        outcome.map_err(|fault| format!("{whence}: {fault}"))
    }
}

/// Upstream has these in this one version.
fn check_kind(api_version: &str, kind: &str, wanted: &str) -> Result<(), String> {
    if (api_version, kind) == (&format!("{GROUP}/v1"), wanted) {
        return Ok(());
    }
    Err(format!("apiVersion {api_version:?}, kind {kind:?}: must be {GROUP}/v1, {wanted}"))
}

fn quota(text: &str) -> Result<Vec<LimitedResource>, String> {
    let file: QuotaFile = config_file::decode(text)?;
    let of_old = ["resourcequota.admission.k8s.io/v1beta1", "resourcequota.admission.k8s.io/v1alpha1"];
    if !of_old.contains(&file.api_version.as_str()) || file.kind != "Configuration" {
        check_kind(&file.api_version, &file.kind, "ResourceQuotaConfiguration")?;
    }
    let faults = validate_limited(&file.limited_resources, &Path::new("limitedResources"));
    config_file::unless(&faults, file.limited_resources)
}

fn webhooks(text: &str) -> Result<Credentials, String> {
    let file: ManifestsFile = config_file::decode(text)?;
    if (file.api_version.as_str(), file.kind.as_str()) != ("apiserver.config.k8s.io/v1alpha1", "WebhookAdmission") {
        check_kind(&file.api_version, &file.kind, "WebhookAdmissionConfiguration")?;
    }
    let mut faults = no_manifests(&file);
    let kubeconfig = &file.kube_config_file;
    if kubeconfig.as_os_str().is_empty() {
        return config_file::unless(&faults, Credentials::default());
    }
    let path = Path::new("kubeConfigFile");
    let shown = kubeconfig.display().to_string();
    if !kubeconfig.is_absolute() {
        faults.push(FieldError::invalid(&path, shown, "must be an absolute file path"));
        return config_file::unless(&faults, Credentials::default());
    }
    match Credentials::load(kubeconfig) {
        Ok(credentials) => config_file::unless(&faults, credentials),
        Err(error) => Err(FieldError::invalid(&path, shown, error.problem).to_string()),
    }
}

fn policies(text: &str, plugin: &str) -> Result<(), String> {
    let file: ManifestsFile = config_file::decode(text)?;
    check_kind(&file.api_version, &file.kind, &format!("{plugin}Configuration"))?;
    let mut faults = no_manifests(&file);
    if !file.kube_config_file.as_os_str().is_empty() {
        faults.push(FieldError::forbidden(&Path::new("kubeConfigFile"), "nobody is called for policies"));
    }
    config_file::unless(&faults, ())
}

/// Upstream has the gate of it off.
fn no_manifests(file: &ManifestsFile) -> FieldErrors {
    if file.static_manifests_dir.as_os_str().is_empty() {
        return FieldErrors::new();
    }
    let why = "staticManifestsDir requires the ManifestBasedAdmissionControlConfig feature gate to be enabled";
    vec![FieldError::forbidden(&Path::new("staticManifestsDir"), why)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(plugins: &str) -> Result<AdmissionConfig, String> {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n";
        let parsed = AdmissionConfig::parse(&format!("{head}plugins:\n{plugins}"), FilePath::new("/nowhere"));
        parsed.map_err(|error| error.problem)
    }

    #[test]
    fn plugins_are_told_in_place_or_by_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        file(
            "config.yaml",
            "{apiVersion: apiserver.config.k8s.io/v1, kind: AdmissionConfiguration, plugins: [\
            {name: ResourceQuota, path: quota.yaml}, {name: NodeRestriction}, {name: PodSecurity, configuration: {\
            apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: baseline}}}]}",
        );
        file(
            "quota.yaml",
            "{apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration, limitedResources: [\
            {resource: pods, matchScopes: [{scopeName: PriorityClass, operator: In, values: [high]}]}]}",
        );
        let config = AdmissionConfig::load(&directory.path().join("config.yaml")).unwrap();
        assert_eq!(config.pod_security.defaults.enforce.to_string(), "baseline:latest");
        let [limited] = config.limited_resources.as_slice() else { panic!("one entry") };
        assert_eq!((limited.resource.as_str(), limited.match_scopes[0].values[0].as_str()), ("pods", "high"));
        std::fs::remove_file(directory.path().join("quota.yaml")).unwrap();
        let gone = AdmissionConfig::load(&directory.path().join("config.yaml")).unwrap_err().problem;
        assert!(gone.contains("plugins[0].path: Invalid value: \"quota.yaml\": No such file"), "{gone}");
    }

    #[test]
    fn webhooks_are_shown_what_a_kubeconfig_has_for_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubeconfig");
        std::fs::write(&path, "users: [{name: hook.ns.svc, user: {token: secret}}]").unwrap();
        let config = parse(&format!(
            "- name: MutatingAdmissionWebhook\n  configuration: {{apiVersion: apiserver.config.k8s.io/v1, \
             kind: WebhookAdmissionConfiguration, kubeConfigFile: {}}}",
            path.display()
        ));
        let config = config.unwrap();
        assert!(config.mutating_webhooks.of("hook.ns.svc", 443).is_some());
        assert!(config.validating_webhooks.of("hook.ns.svc", 443).is_none());
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn faults_name_the_field() {
        let of = |name: &str, configuration: &str| format!("- name: {name}\n  configuration: {{{configuration}}}");
        let quota = "apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration";
        let hook = "apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration";
        let policy = "apiVersion: apiserver.config.k8s.io/v1, kind: ValidatingAdmissionPolicyConfiguration";
        for (plugins, expected) in [
            ("- name: AlwaysDeny".to_owned(), "plugins[0].name: Unsupported value: \"AlwaysDeny\""),
            ("- name: Priority\n- name: Priority".to_owned(), "plugins[1].name: Duplicate value: \"Priority\""),
            ("- {name: Priority, config: {}}".to_owned(), "unknown field `config`"),
            (of("Priority", "a: b"), "plugins[0].configuration: the plugin Priority takes no configuration"),
            (
                of("ResourceQuota", "apiVersion: v1, kind: Pod"),
                "must be apiserver.config.k8s.io/v1, ResourceQuotaConfiguration",
            ),
            (of("ResourceQuota", &format!("{quota}, limited: []")), "unknown field `limited`"),
            (
                of("ResourceQuota", &format!("{quota}, limitedResources: [{{}}]")),
                "limitedResources[0].resource: Required value",
            ),
            (
                of(
                    "ResourceQuota",
                    &format!(
                        "{quota}, limitedResources: [{{resource: pods, matchScopes: [{{scopeName: X, operator: Is}}]}}]"
                    ),
                ),
                "limitedResources[0].matchScopes[0].scopeName: Unsupported value: \"X\"",
            ),
            (
                of("ValidatingAdmissionWebhook", &format!("{hook}, kubeConfigFile: a")),
                "kubeConfigFile: Invalid value: \"a\": must be an absolute file path",
            ),
            (
                of("ValidatingAdmissionWebhook", &format!("{hook}, kubeConfigFile: /gone")),
                "kubeConfigFile: Invalid value: \"/gone\": cannot read",
            ),
            (
                of("MutatingAdmissionWebhook", &format!("{hook}, staticManifestsDir: /x")),
                "staticManifestsDir: Forbidden",
            ),
            (
                of("ValidatingAdmissionPolicy", &format!("{policy}, staticManifestsDir: /x")),
                "staticManifestsDir: Forbidden",
            ),
            (of("PodSecurity", "apiVersion: v1, kind: Pod"), "plugins[0].configuration: apiVersion"),
        ] {
            let fault = parse(&plugins).unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        }
        let nothing = AdmissionConfig::parse("kind: AdmissionConfiguration", FilePath::new("/")).unwrap_err();
        assert!(
            nothing.to_string().contains("must be apiserver.config.k8s.io/v1, AdmissionConfiguration"),
            "{nothing}"
        );
    }
}
