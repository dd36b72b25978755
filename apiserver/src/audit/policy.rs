//! Which requests are logged, and how much of them: upstream's policy file.

use std::collections::BTreeSet;

use kubewright_api::names;
use serde::Deserialize;

use super::Stage;
use crate::authz::Attributes;

/// How much of a request is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who asked for what, when, and the answer's code.
    Metadata,
    /// What was sent as well.
    Request,
    /// What was answered as well.
    RequestResponse,
}

impl Level {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// Why a policy can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audit policy: {problem}")]
#[non_exhaustive]
pub struct PolicyError {
    /// Which field, which rule.
    pub problem: String,
}

/// A policy: the first rule that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPolicy {
    rules: Vec<Rule>,
    omit_stages: BTreeSet<Stage>,
    omit_managed_fields: bool,
}

/// What a policy says of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) omit_stages: BTreeSet<Stage>,
    pub(super) omit_managed_fields: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    #[allow(dead_code, reason = "policies may have metadata, which means nothing")]
    metadata: serde_json::Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: BTreeSet<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Option<Level>,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: BTreeSet<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

impl AuditPolicy {
    /// Everything at one level.
    #[must_use]
    pub fn all(level: Level) -> Self {
        let rule = Rule { level: Some(level), ..Rule::default() };
        Self { rules: vec![rule], ..Self::default() }
    }

    /// Reads upstream's `Policy` (YAML or JSON, `audit.k8s.io/v1`).
    ///
    /// # Errors
    /// The text is no such policy, or a rule contradicts itself; the message names the field and the rule.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let fault = |problem: String| PolicyError { problem };
        let file: File = serde_yaml_ng::from_str(text).map_err(|error| fault(error.to_string()))?;
        if file.api_version != "audit.k8s.io/v1" || file.kind != "Policy" {
            let found = format!("apiVersion {:?}, kind {:?}", file.api_version, file.kind);
            return Err(fault(format!("{found}: must be audit.k8s.io/v1, Policy")));
        }
        if file.rules.is_empty() {
            return Err(fault("rules: there must be at least one".into()));
        }
        for (at, rule) in file.rules.iter().enumerate() {
            rule.check().map_err(|problem| fault(format!("rules[{at}].{problem}")))?;
        }
        let omit_managed_fields = file.omit_managed_fields;
        Ok(Self { rules: file.rules, omit_stages: file.omit_stages, omit_managed_fields })
    }

    /// What to log of that request; nothing if no rule matches.
    pub(super) fn verdict(&self, a: &Attributes) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(a)) else { return Verdict::default() };
        Verdict {
            level: rule.level.unwrap_or_default(),
            omit_stages: self.omit_stages.union(&rule.omit_stages).copied().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == wanted)
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        if self.level.is_none() {
            return Err("level: must be one of None, Metadata, Request, RequestResponse".into());
        }
        if !self.non_resource_urls.is_empty() && (!self.resources.is_empty() || !self.namespaces.is_empty()) {
            return Err("nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs".into());
        }
        for url in &self.non_resource_urls {
            if url != "*" && !url.starts_with('/') {
                return Err(format!("nonResourceURLs: {url:?} must begin with a /"));
            }
            if url != "*" && url.trim_end_matches('*').contains('*') {
                return Err(format!("nonResourceURLs: {url:?} may only have a * at its end"));
            }
        }
        for resources in &self.resources {
            if !["", "*"].contains(&resources.group.as_str()) {
                let faults = names::dns1123_subdomain(&resources.group);
                if !faults.is_empty() {
                    return Err(format!("resources: group {:?}: {}", resources.group, faults.join(", ")));
                }
            }
            if resources.resources.is_empty() && !resources.resource_names.is_empty() {
                return Err("resources: resourceNames need resources beside them".into());
            }
        }
        Ok(())
    }

    fn matches(&self, a: &Attributes) -> bool {
        let user = self.users.is_empty() || has(&self.users, &a.user.name);
        let group = self.user_groups.is_empty() || self.user_groups.iter().any(|group| a.user.in_group(group));
        let verb = self.verbs.is_empty() || has(&self.verbs, &a.verb);
        if !(user && group && verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            let namespace = self.namespaces.is_empty() || has(&self.namespaces, &a.namespace);
            let resource = self.resources.is_empty() || self.resources.iter().any(|resources| resources.matches(a));
            return a.is_resource_request && namespace && resource;
        }
        if !self.non_resource_urls.is_empty() {
            let meant = |url: &String| url.strip_suffix('*').map_or(*url == a.path, |start| a.path.starts_with(start));
            return !a.is_resource_request && self.non_resource_urls.iter().any(meant);
        }
        true
    }
}

impl GroupResources {
    fn matches(&self, a: &Attributes) -> bool {
        if self.group != "*" && self.group != a.group {
            return false;
        }
        let names = self.resource_names.is_empty() || has(&self.resource_names, &a.name);
        let meant = |wanted: &String| {
            let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
            let sub = subresource == a.subresource || (subresource == "*" && !wanted.starts_with('*'));
            wanted == "*" || ((resource == "*" && !subresource.is_empty() || resource == a.resource) && sub)
        };
        self.resources.is_empty() || (names && self.resources.iter().any(meant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::User;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [system:kube-proxy]
  verbs: [watch]
- level: Metadata
  resources: [{group: "", resources: [secrets, pods/log, "services/*"]}]
- level: None
  nonResourceURLs: ["/healthz*", /version]
- level: RequestResponse
  namespaces: [prod]
  omitManagedFields: true
- level: Request
  resources: [{group: apps, resources: ["*/scale"]}]
"#;

    fn level(user: &str, verb: &str, what: &str) -> Level {
        let mut a = Attributes { user: User::new(user, &[]), verb: verb.into(), ..Attributes::default() };
        match what.strip_prefix('/') {
            Some(_) => a.path = what.into(),
            None => {
                let parts: Vec<&str> = what.split(' ').collect();
                a.is_resource_request = true;
                (a.namespace, a.group) = (parts[0].trim_matches('-').into(), parts[1].trim_matches('-').into());
                let (resource, sub) = parts[2].split_once('/').unwrap_or((parts[2], ""));
                (a.resource, a.subresource) = (resource.into(), sub.into());
            }
        }
        AuditPolicy::parse(POLICY).unwrap().verdict(&a).level
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        for (user, verb, what, expected) in [
            ("system:kube-proxy", "watch", "- - secrets", Level::None),
            ("system:kube-proxy", "list", "- - secrets", Level::Metadata),
            ("a", "get", "x - pods/log", Level::Metadata),
            ("a", "get", "x - pods", Level::None),
            ("a", "get", "x - services/status", Level::Metadata),
            ("a", "get", "/healthz/etcd", Level::None),
            ("a", "get", "/metrics", Level::None),
            ("a", "get", "prod apps deployments", Level::RequestResponse),
            ("a", "get", "x apps deployments/scale", Level::Request),
            ("a", "get", "x apps deployments", Level::None),
        ] {
            assert_eq!(level(user, verb, what), expected, "{user} {verb} {what}");
        }
    }

    #[test]
    fn faults_name_the_field() {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        for (rest, expected) in [
            ("rules: []", "rules: there must be"),
            ("rules: [{users: [a]}]", "rules[0].level"),
            ("rules: [{level: Everything}]", "Everything"),
            ("rules: [{level: None, nonResourceURLs: [a]}]", "must begin with a /"),
            ("rules: [{level: None, nonResourceURLs: ['/a*b']}]", "only have a * at its end"),
            ("rules: [{level: None, namespaces: [a], nonResourceURLs: ['/a']}]", "cannot apply to both"),
            ("rules: [{level: None, resources: [{group: apps/v1}]}]", "a lowercase RFC 1123 subdomain"),
            ("rules: [{level: None, resources: [{group: Apps}]}]", "a lowercase RFC 1123 subdomain"),
            ("rules: [{level: None, resources: [{group: '', resourceNames: [a]}]}]", "resourceNames need resources"),
            ("rules: [{level: None, omitStages: [Never]}]", "Never"),
            ("rules: [{level: None}]\nsurplus: 1", "surplus"),
        ] {
            let fault = AuditPolicy::parse(&format!("{head}{rest}")).unwrap_err().to_string();
            assert!(fault.contains(expected), "{fault}");
        }
        for fine in ["{group: '*'}", "{group: ''}", "{group: a.b-c}", "{resources: ['*'], resourceNames: [a]}"] {
            AuditPolicy::parse(&format!("{head}rules: [{{level: None, resources: [{fine}]}}]")).unwrap();
        }
        assert!(AuditPolicy::parse("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]").is_err());
    }
}
