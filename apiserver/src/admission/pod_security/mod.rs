//! `PodSecurity`: holds pods to the Pod Security Standards, as the labels of their namespace ask.
//!
//! [`checks`] say what a pod does that a level forbids; [`policy`] reads levels and versions. The plugin refuses pods
//! that violate what is enforced, warns of templates whose pods will, and tells who tightens a namespace which of its
//! pods fall short.

pub mod checks;
pub mod config;
mod existing;
pub mod policy;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::Value;

use self::checks::{Pod, details, evaluate};
pub use self::config::PodSecurityConfig;
use self::policy::{Level, LevelVersion, Policy, Version};
use super::metrics::Evaluation;
use super::{Admission, AdmissionAttributes, AdmissionMetrics, Operation};
use crate::objects::{GroupResource, Objects};

/// How its notes in the audit log begin.
const ANNOTATION: &str = "pod-security.kubernetes.io/";
/// The minor version whose checks are the newest here.
const MINOR_NEWEST: u32 = 36;
/// Subresources of pods that leave the pod's specification alone. Any other is held to the policy.
const IGNORED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// The plugin.
pub struct PodSecurity {
    objects: Arc<dyn Objects>,
    config: PodSecurityConfig,
    metrics: AdmissionMetrics,
}

impl fmt::Debug for PodSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodSecurity").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Where objects of a resource keep the pod they will make.
fn template(group: &str, resource: &str) -> Option<&'static str> {
    match (group, resource) {
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => Some("/spec/template"),
        ("", "podtemplates") => Some("/template"),
        ("batch", "cronjobs") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Whether an update may change the answer: only images and ephemeral containers of a pod can.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let list = |pod: &'_ Value, list: &str| pod["spec"][list].as_array().cloned().unwrap_or_default();
    let changed = |list_name: &str| {
        let (new, old) = (list(pod, list_name), list(old, list_name));
        new.len() != old.len() || new.iter().zip(&old).any(|(new, old)| new["image"] != old["image"])
    };
    let ephemeral = list(old, "ephemeralContainers");
    let added = |container: &Value| {
        let same = ephemeral.iter().find(|old| old["name"] == container["name"]);
        same.is_none_or(|same| same["image"] != container["image"])
    };
    changed("containers") || changed("initContainers") || list(pod, "ephemeralContainers").iter().any(added)
}

impl PodSecurity {
    /// Looks namespaces and pods up there.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, config: PodSecurityConfig) -> Self {
        Self { objects, config, metrics: AdmissionMetrics::default() }
    }

    /// Measures into these metrics.
    #[must_use]
    pub fn measured(mut self, metrics: AdmissionMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    fn evaluated(&self, a: &AdmissionAttributes<'_>, mode: &'static str, policy: LevelVersion, allowed: bool) {
        let version = match policy.version {
            // Whatever was pinned, privileged is privileged.
            _ if policy.level == Level::Privileged => Version::Latest.to_string(),
            Version::Minor(minor) if minor > MINOR_NEWEST => "future".to_owned(),
            version => version.to_string(),
        };
        let level = policy.level.to_string();
        self.metrics.pod_security().evaluated(a, Evaluation { mode, level, version, allowed });
    }

    async fn namespace(&self, name: &str) -> Result<Value, Status> {
        let namespaces = GroupResource::core("namespaces");
        match self.objects.cached(namespaces, "", name) {
            Some(namespace) => Ok(namespace),
            // Made through another server, perhaps.
            None => self.objects.get(namespaces, "", name).await,
        }
    }

    /// Notes in the audit log why nobody looked, if nobody does.
    fn exempt(&self, a: &AdmissionAttributes<'_>) -> bool {
        let by = if self.config.exempts_namespace(a.namespace) {
            "namespace"
        } else if self.config.exempt_users.contains(&a.user.name) {
            "user"
        } else {
            return false;
        };
        a.warnings.annotate(format!("{ANNOTATION}exempt"), by);
        self.metrics.pod_security().exempted(a);
        true
    }

    fn validate_namespace(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let name = a.object["metadata"]["name"].as_str().unwrap_or(a.name);
        let labels = &a.object["metadata"]["labels"];
        let (new, faults) = Policy::of_labels(labels, self.config.defaults);
        let invalid = |faults| Err(Status::invalid("", "Namespace", name, faults));
        let Some(old) = a.old else {
            if !faults.is_empty() {
                return invalid(&faults);
            }
            self.warn_of_exemption(a, name, &new, labels);
            return Ok(());
        };
        let (old, old_faults) = Policy::of_labels(&old["metadata"]["labels"], self.config.defaults);
        if !faults.is_empty() && faults != old_faults {
            return invalid(&faults);
        }
        let relaxed = new.enforce.version == old.enforce.version && new.enforce.level <= old.enforce.level;
        if new.enforce == old.enforce || new.enforce.level == Level::Privileged || relaxed {
            return Ok(());
        }
        if self.config.exempts_namespace(name) {
            self.warn_of_exemption(a, name, &new, labels);
            return Ok(());
        }
        let pods = self.objects.cached_list(GroupResource::core("pods"), Some(name));
        for warning in existing::warnings(name, new.enforce, pods, &self.config) {
            a.warnings.add(warning);
        }
        Ok(())
    }

    fn warn_of_exemption(&self, a: &AdmissionAttributes<'_>, name: &str, policy: &Policy, labels: &Value) {
        let matters = !policy.is_privileged() && !policy.equivalent(&self.config.defaults);
        if self.config.exempts_namespace(name) && matters {
            let shown = policy.describe(labels);
            let what = format!("and the policy ({shown}) will be ignored");
            a.warnings.add(format!("namespace {name:?} is exempt from Pod Security, {what}"));
        }
    }

    async fn validate_pod(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        if IGNORED.contains(&a.subresource) || self.exempt(a) {
            return Ok(());
        }
        let Ok(namespace) = self.namespace(a.namespace).await else {
            self.metrics.pod_security().failed(a, true);
            return Err(Status::internal(format!("failed to lookup namespace {:?}", a.namespace)));
        };
        let (policy, faults) = Policy::of_labels(&namespace["metadata"]["labels"], self.config.defaults);
        if faults.is_empty() && policy.is_privileged() {
            a.warnings.annotate(format!("{ANNOTATION}enforce-policy"), "privileged:latest");
            self.evaluated(a, "enforce", policy.enforce, true);
            return Ok(());
        }
        if a.old.is_some_and(|old| !is_significant(&a.object, old)) {
            return Ok(());
        }
        let pod = Pod { metadata: &a.object["metadata"], spec: &a.object["spec"] };
        self.judge(a, &policy, &faults, pod, true)
    }

    async fn validate_template(&self, a: &AdmissionAttributes<'_>, at: &str) -> Result<(), Status> {
        if !a.subresource.is_empty() || self.exempt(a) {
            return Ok(());
        }
        let namespace = match self.namespace(a.namespace).await {
            Ok(namespace) => namespace,
            Err(error) => {
                let why = format!("failed to lookup namespace {:?}: {}", a.namespace, error.message);
                a.warnings.annotate(format!("{ANNOTATION}error"), why);
                self.metrics.pod_security().failed(a, true);
                return Ok(());
            }
        };
        let (policy, faults) = Policy::of_labels(&namespace["metadata"]["labels"], self.config.defaults);
        let quiet = policy.warn.level == Level::Privileged && policy.audit.level == Level::Privileged;
        let Some(template) = a.object.pointer(at).filter(|template| template.is_object()) else { return Ok(()) };
        if faults.is_empty() && quiet {
            return Ok(());
        }
        self.judge(a, &policy, &faults, Pod { metadata: &template["metadata"], spec: &template["spec"] }, false)
    }

    /// Holds a pod to all three modes; only pods themselves are refused.
    fn judge(
        &self,
        a: &AdmissionAttributes<'_>,
        policy: &Policy,
        faults: &[kubewright_api::field::FieldError],
        pod: Pod<'_>,
        enforce: bool,
    ) -> Result<(), Status> {
        let class = pod.spec["runtimeClassName"].as_str().unwrap_or_default();
        if self.config.exempts_runtime_class(class) {
            a.warnings.annotate(format!("{ANNOTATION}exempt"), "runtimeClass");
            self.metrics.pod_security().exempted(a);
            return Ok(());
        }
        if !faults.is_empty() {
            let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let said = if let [one] = said.as_slice() { one.clone() } else { format!("[{}]", said.join(", ")) };
            a.warnings.annotate(format!("{ANNOTATION}error"), format!("Failed to parse policy: {said}"));
            self.metrics.pod_security().failed(a, false);
        }
        let mut refused = Ok(());
        if enforce {
            a.warnings.annotate(format!("{ANNOTATION}enforce-policy"), policy.enforce.to_string());
            let violations = evaluate(policy.enforce, pod);
            self.evaluated(a, "enforce", policy.enforce, violations.is_empty());
            if !violations.is_empty() {
                let what = format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&violations));
                let name = a.object["metadata"]["name"].as_str().unwrap_or(a.name);
                refused = Err(Status::forbidden(a.group, a.resource, name, &what));
            }
        }
        let would = |level| {
            let violations = evaluate(level, pod);
            (!violations.is_empty()).then(|| format!("would violate PodSecurity \"{level}\": {}", details(&violations)))
        };
        if let Some(what) = would(policy.audit) {
            self.evaluated(a, "audit", policy.audit, false);
            a.warnings.annotate(format!("{ANNOTATION}audit-violations"), what);
        }
        // Who is refused need not be warned.
        if refused.is_ok()
            && let Some(what) = would(policy.warn)
        {
            self.evaluated(a, "warn", policy.warn, false);
            a.warnings.add(what);
        }
        refused
    }
}

#[async_trait]
impl Admission for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        matches!(a.operation, Operation::Create | Operation::Update)
            && (a.group.is_empty() && matches!(a.resource, "pods" | "namespaces")
                || template(a.group, a.resource).is_some())
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        match a.resource {
            "namespaces" if a.subresource.is_empty() => self.validate_namespace(a),
            "namespaces" => Ok(()),
            "pods" => self.validate_pod(a).await,
            _ => match template(a.group, a.resource) {
                Some(at) => self.validate_template(a, at).await,
                None => Ok(()),
            },
        }
    }
}
