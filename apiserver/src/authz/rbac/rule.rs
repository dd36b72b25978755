//! One rule of a role: what it allows, and whether it covers another.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::authz::Attributes;

fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A `PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// Groups; `*` for all.
    #[serde(default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Resources, `*` for all, `*/scale` for a subresource of all.
    #[serde(default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Paths that stand for no resource; a `*` at the end stands for any rest.
    #[serde(default, rename = "nonResourceURLs", deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
    /// Names; empty for all.
    #[serde(default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Verbs; `*` for all.
    #[serde(default, deserialize_with = "list")]
    pub verbs: Vec<String>,
}

fn has(set: &[String], wanted: &str) -> bool {
    set.iter().any(|item| item == wanted)
}

fn has_or_all(set: &[String], wanted: &str) -> bool {
    set.iter().any(|item| item == "*" || item == wanted)
}

fn url_covers(rule: &str, path: &str) -> bool {
    rule == path || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

/// Whether the resource of a rule, such as `pods/log` or `*/scale`, takes in that one.
fn resource_covers(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((of, sub)) => !subresource.is_empty() && sub == subresource && (of == "*" || of == resource),
    }
}

impl PolicyRule {
    /// Whether the rule allows it.
    #[must_use]
    pub fn allows(&self, wanted: &Attributes) -> bool {
        if !has_or_all(&self.verbs, &wanted.verb) {
            return false;
        }
        if !wanted.is_resource_request {
            return self.non_resource_urls.iter().any(|rule| url_covers(rule, &wanted.path));
        }
        has_or_all(&self.api_groups, &wanted.group)
            && self.resources.iter().any(|rule| resource_covers(rule, &wanted.resource, &wanted.subresource))
            && (self.resource_names.is_empty() || has(&self.resource_names, &wanted.name))
    }

    /// The same as rules of one verb, group, resource and name each.
    pub(super) fn parts(&self) -> Vec<Self> {
        let one = |text: &String| vec![text.clone()];
        let mut parts = Vec::new();
        for verb in &self.verbs {
            for url in &self.non_resource_urls {
                parts.push(Self { verbs: one(verb), non_resource_urls: one(url), ..Self::default() });
            }
        }
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let part =
                        Self { api_groups: one(group), resources: one(resource), verbs: one(verb), ..Self::default() };
                    if self.resource_names.is_empty() {
                        parts.push(part);
                        continue;
                    }
                    let named = |name| Self { resource_names: one(name), ..part.clone() };
                    parts.extend(self.resource_names.iter().map(named));
                }
            }
        }
        parts
    }

    /// Whether this rule grants all that a [part](Self::parts) does.
    pub(super) fn covers_part(&self, part: &Self) -> bool {
        let resources_covered = part.resources.iter().all(|wanted| {
            let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
            self.resources
                .iter()
                .any(|rule| rule == wanted || (rule == "*" || resource_covers(rule, resource, subresource)))
        });
        let urls_covered = part
            .non_resource_urls
            .iter()
            .all(|wanted| self.non_resource_urls.iter().any(|own| url_covers(own, wanted)));
        let names_covered = self.resource_names.is_empty()
            || (!part.resource_names.is_empty() && part.resource_names.iter().all(|n| has(&self.resource_names, n)));
        part.verbs.iter().all(|verb| has_or_all(&self.verbs, verb))
            && part.api_groups.iter().all(|group| has_or_all(&self.api_groups, group))
            && resources_covered
            && urls_covered
            && names_covered
    }
}

/// A list as Go's `%q` writes it.
pub(crate) fn quoted(list: &[String]) -> String {
    let items: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", items.join(" "))
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let written = parts.into_iter().filter(|(_, list)| !list.is_empty());
        let written: Vec<String> = written.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
        write!(f, "{{{}}}", written.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(',').filter(|word| !word.is_empty()).map(|word| word.replace("core", "")).collect()
    }

    /// `verbs groups resources names`.
    fn rule(text: &str) -> PolicyRule {
        let mut lists = text.split(' ').map(words);
        let mut next = || lists.next().unwrap_or_default();
        let (verbs, api_groups, resources, resource_names) = (next(), next(), next(), next());
        PolicyRule { api_groups, resources, resource_names, verbs, ..PolicyRule::default() }
    }

    fn urls(verbs: &str, urls: &str) -> PolicyRule {
        PolicyRule { verbs: words(verbs), non_resource_urls: words(urls), ..PolicyRule::default() }
    }

    /// `verb group resource[/subresource] [name]`.
    fn request(text: &str) -> Attributes {
        let mut parts = text.split(' ').map(|word| word.replace("core", ""));
        let mut next = || parts.next().unwrap_or_default();
        let (verb, group, resource, name) = (next(), next(), next(), next());
        let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
        Attributes {
            verb,
            group,
            resource: resource.into(),
            subresource: subresource.into(),
            name,
            is_resource_request: true,
            ..Attributes::default()
        }
    }

    #[test]
    fn resource_rules() {
        for (rule_text, request_text, expected) in [
            ("get core pods", "get core pods", true),
            ("get core pods", "get core pods a", true),
            ("get core pods", "list core pods", false),
            ("get core pods", "get apps pods", false),
            ("get core pods", "get core pods/log", false),
            ("get core pods/log", "get core pods/log a", true),
            ("get core pods/log", "get core pods", false),
            ("get core */log", "get core pods/log a", true),
            ("get core */log", "get core pods/exec a", false),
            ("get core */log", "get core pods", false),
            ("get core *", "get core pods/exec", true),
            ("* * *", "approve certificates.k8s.io signers x", true),
            ("get core pods a,b", "get core pods a", true),
            ("get core pods a,b", "get core pods c", false),
            ("list core pods a,b", "list core pods", false),
            ("get,list core,apps pods,deployments", "list apps deployments", true),
            ("get core pods/*", "get core pods/log", false),
        ] {
            assert_eq!(rule(rule_text).allows(&request(request_text)), expected, "{rule_text} / {request_text}");
        }
    }

    #[test]
    fn path_rules() {
        for (rule, path, expected) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/etcd", false),
            ("/healthz/*", "/healthz/etcd", true),
            ("/api*", "/apis/apps", true),
            ("*", "/metrics", true),
            ("/apis", "/api", false),
        ] {
            let wanted = Attributes { verb: "get".into(), path: path.into(), ..Attributes::default() };
            assert_eq!(urls("get", rule).allows(&wanted), expected, "{rule} {path}");
        }
        assert!(!rule("* * *").allows(&Attributes { verb: "get".into(), path: "/".into(), ..Attributes::default() }));
    }

    #[test]
    fn a_rule_covers_parts_of_another() {
        for (owner, wanted, expected) in [
            ("get core pods", "get core pods", true),
            ("* * *", "get core pods a", true),
            ("get core pods a", "get core pods", false),
            ("get core pods", "get core pods a", true),
            ("get core pods a,b", "get core pods b", true),
            ("get core */scale", "get core pods/scale", true),
            ("get core pods/scale", "get core */scale", false),
            ("get core *", "get core *", true),
            ("get core pods", "get core *", false),
            ("get core pods", "* core pods", false),
            ("* core pods", "* core pods", true),
        ] {
            let covered = rule(wanted).parts().iter().all(|part| rule(owner).covers_part(part));
            assert_eq!(covered, expected, "{owner} covers {wanted}");
        }
        assert!(urls("get", "/api/*").covers_part(&urls("get", "/api/v1")));
        assert!(!urls("get", "/api/v1").covers_part(&urls("get", "/api/*")));
        assert!(!rule("* * *").covers_part(&urls("get", "/api")));
    }

    #[test]
    fn is_written_as_upstream_writes_it() {
        assert_eq!(
            rule("get,list core pods a").to_string(),
            r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get" "list"]}"#
        );
    }
}
