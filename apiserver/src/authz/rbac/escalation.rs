//! Nobody grants what they do not hold: roles may only be written, and bound, by those who have their rules already,
//! or who were given the verbs `escalate` and `bind` for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::Value;

use super::index::RoleRef;
use super::{GROUP, PolicyRule, Rbac, quoted};
use crate::admission::{Admission, AdmissionAttributes, Operation};
use crate::authz::{Attributes, Authorizer};
use crate::request::{SYSTEM_MASTERS, User};

/// Which parts of `wanted` none of the `held` rules covers, put together by resource, as upstream lists them.
#[must_use]
pub fn missing(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let parts = wanted.iter().flat_map(PolicyRule::parts);
    let uncovered = parts.filter(|part| !held.iter().any(|rule| rule.covers_part(part)));
    let mut together = BTreeMap::<_, PolicyRule>::new();
    let mut alone = Vec::new();
    for part in uncovered {
        if !part.non_resource_urls.is_empty() {
            alone.push(part);
            continue;
        }
        let key = (part.api_groups.clone(), part.resources.clone(), part.resource_names.clone());
        match together.entry(key) {
            std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().verbs.extend(part.verbs),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(part);
            }
        }
    }
    together.into_values().chain(alone).collect()
}

/// Everything there is.
fn everything() -> [PolicyRule; 2] {
    let all = || vec!["*".to_owned()];
    [
        PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() },
        PolicyRule { verbs: all(), non_resource_urls: all(), ..PolicyRule::default() },
    ]
}

/// The check, as a part of admission.
pub struct EscalationCheck {
    rbac: Rbac,
    authorizer: Arc<dyn Authorizer>,
}

impl std::fmt::Debug for EscalationCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EscalationCheck")
    }
}

impl EscalationCheck {
    /// Checks by these roles; the authorizer is asked about `escalate` and `bind`.
    #[must_use]
    pub fn new(rbac: Rbac, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { rbac, authorizer }
    }

    fn confirm(&self, user: &User, namespace: &str, wanted: &[PolicyRule]) -> Result<(), String> {
        let (held, faults) = self.rbac.rules_for(user, namespace);
        let missing: BTreeSet<String> = missing(&held, wanted).iter().map(ToString::to_string).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = missing.into_iter().collect();
        let mut message = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            quoted(&user.groups),
            lines.join("\n")
        );
        if !faults.is_empty() {
            message.push_str(&format!("; resolution errors: [{}]", faults.join(" ")));
        }
        Err(message)
    }

    async fn allowed(&self, a: &AdmissionAttributes<'_>, verb: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes {
            user: a.user.clone(),
            verb: verb.into(),
            group: GROUP.into(),
            version: "*".into(),
            namespace: a.namespace.into(),
            resource: resource.into(),
            name: name.into(),
            is_resource_request: true,
            ..Attributes::default()
        };
        self.authorizer.authorize(&attributes).await.is_allowed()
    }

    async fn check_role(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        // The request's name, as upstream has it: a POST names nothing yet, so a right to one role is none to make it.
        let name = if a.options["kind"] == "CreateOptions" { "" } else { a.name };
        if self.allowed(a, "escalate", a.resource, name).await {
            return Ok(());
        }
        let rules: Vec<PolicyRule> = serde_json::from_value(a.object["rules"].clone()).unwrap_or_default();
        self.confirm(a.user, a.namespace, &rules).map_err(|why| forbidden(a, &why))?;
        let aggregates = |object: &Value| {
            object["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|list| !list.is_empty())
        };
        if (aggregates(&a.object) || a.old.is_some_and(aggregates)) && self.confirm(a.user, "", &everything()).is_err()
        {
            return Err(forbidden(a, "must have cluster-admin privileges to use the aggregationRule"));
        }
        Ok(())
    }

    async fn check_binding(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let role: RoleRef = serde_json::from_value(a.object["roleRef"].clone()).unwrap_or_default();
        let resource = match role.kind.as_str() {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            // Validation refuses it.
            _ => return Ok(()),
        };
        if self.allowed(a, "bind", resource, &role.name).await {
            return Ok(());
        }
        // Upstream speaks of the binding's resource there.
        let missing = |_| Status::not_found(GROUP, a.resource, &role.name);
        let rules = self.rbac.rules_of(&role, a.namespace).map_err(missing)?;
        self.confirm(a.user, a.namespace, &rules).map_err(|why| forbidden(a, &why))
    }
}

fn forbidden(a: &AdmissionAttributes<'_>, why: &str) -> Status {
    let name = a.object["metadata"]["name"].as_str().unwrap_or(a.name);
    Status::forbidden(a.group, a.resource, name, why)
}

/// Whether a change only lets the garbage collector do its work.
fn touches_only_garbage_collection(new: &Value, old: &Value) -> bool {
    let stripped = |object: &Value| {
        let mut object = object.clone();
        if let Some(meta) = object["metadata"].as_object_mut() {
            for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation"] {
                meta.remove(field);
            }
        }
        object
    };
    stripped(new) == stripped(old)
}

#[async_trait]
impl Admission for EscalationCheck {
    fn name(&self) -> &'static str {
        "RBACEscalationCheck"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.group == GROUP
            && a.subresource.is_empty()
            && matches!(a.operation, Operation::Create | Operation::Update)
            && !a.user.in_group(SYSTEM_MASTERS)
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        if a.old.is_some_and(|old| touches_only_garbage_collection(&a.object, old)) {
            return Ok(());
        }
        match a.resource {
            "roles" | "clusterroles" => self.check_role(a).await,
            "rolebindings" | "clusterrolebindings" => self.check_binding(a).await,
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], resource: &str) -> PolicyRule {
        PolicyRule {
            verbs: verbs.iter().map(ToString::to_string).collect(),
            api_groups: vec![String::new()],
            resources: vec![resource.into()],
            ..PolicyRule::default()
        }
    }

    #[test]
    fn what_is_missing_is_put_together_by_resource() {
        let held = [rule(&["get"], "pods")];
        let wanted = [rule(&["get", "list", "watch"], "pods"), rule(&["get"], "secrets")];
        let found: Vec<String> = missing(&held, &wanted).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#,
            ]
        );
        assert!(missing(&everything(), &wanted).is_empty());
        assert!(!missing(&wanted, &everything()).is_empty());
    }

    /// Rules as `verbs groups resources [names]`, or `verbs /urls`; lists are written with commas.
    fn rules(texts: &[&str]) -> Vec<PolicyRule> {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let read = |text: &&str| {
            let words: Vec<&str> = text.split(' ').collect();
            let mut rule = PolicyRule { verbs: list(words[0]), ..PolicyRule::default() };
            match words.as_slice() {
                [_, urls] => rule.non_resource_urls = list(urls),
                [_, groups, resources, more @ ..] => {
                    (rule.api_groups, rule.resources) = (list(groups), list(resources));
                    for word in more {
                        let of =
                            if word.starts_with('/') { &mut rule.non_resource_urls } else { &mut rule.resource_names };
                        *of = list(word);
                    }
                }
                _ => panic!("{text}"),
            }
            rule
        };
        texts.iter().map(read).collect()
    }

    #[test]
    fn what_covers_what() {
        let two = ["delete a builds,pods", "update a builds,pods", "delete b builds,pods", "update b builds,pods"];
        for (held, wanted, uncovered) in [
            (&["get,list a pods"][..], &["get a pods"][..], &[][..]),
            (&["get a pods/*"], &["get a pods/*"], &[]),
            (&["* a pods/log"], &["get a pods/log"], &[]),
            (&["* a */log"], &["get a pods/log"], &[]),
            (&["delete a pods", "delete a builds", "update a builds,pods"], &["delete,update a builds,pods"], &[]),
            (&two, &["delete,update a,b builds,pods"], &[]),
            (&["delete,update a,b builds,pods"], &two, &[]),
            (
                &["delete,update a builds,jobs", "delete a pods"],
                &["delete,update a builds,jobs,pods"],
                &["update a pods"],
            ),
            (&["get * roles"], &["get a,b roles"], &[]),
            (&["get a roles"], &["get * roles"], &["get * roles"]),
            (&["get * roles"], &["get * roles"], &[]),
            (&["* a roles"], &["watch,list a roles"], &[]),
            (&["get,list,watch,create,update,delete,exec a roles"], &["* a roles"], &["* a roles"]),
            (&["* a roles"], &["* a roles"], &[]),
            (&["get a *"], &["get a some:thing"], &[]),
            (&["get a roles,some:thing"], &["get a *"], &["get a *"]),
            (&["get a *"], &["get a *"], &[]),
            (&["get a pods"], &["get a pods x,y"], &[]),
            (&["get a pods x,y"], &["get a pods"], &["get a pods"]),
            (&["get a pods x,y"], &["get a pods y,z"], &["get a pods z"]),
            (&["* /apis"], &["* /apis"], &[]),
            (&["* *"], &["* /apis,/apis/v1,/"], &[]),
            (&["* /apis/*"], &["get /apis,/apis/v1"], &["get /apis"]),
            (&["* /apis/*"], &["get /apis/v1/foo,/apis/v1"], &[]),
            (&["get a builds /apis"], &["get a builds /apis"], &[]),
            (&["get a builds"], &["get a builds /apis"], &["get /apis"]),
        ] {
            let found: BTreeSet<PolicyRule> = missing(&rules(held), &rules(wanted)).into_iter().collect();
            let expected: BTreeSet<PolicyRule> = rules(uncovered).into_iter().collect();
            assert_eq!(found, expected, "{held:?} covers {wanted:?}");
        }
    }

    #[test]
    fn which_urls_cover_which() {
        for (held, wanted, covered) in [
            ("*", "", true),
            ("*", "/", true),
            ("*", "/api", true),
            ("/*", "", false),
            ("/*", "/", true),
            ("/*", "/foo", true),
            ("/api", "/api", true),
            ("/apis", "/api", false),
            ("/api/v1", "/api", false),
            ("/api/v1", "/api/v1", true),
            ("/api/*", "/api/v1", true),
            ("/api/*", "/api", false),
            ("/api/*/*", "/api/v1", false),
            ("/*/v1/*", "/api/v1", false),
        ] {
            let of = |url: &str| {
                vec![PolicyRule {
                    verbs: vec!["get".into()],
                    non_resource_urls: vec![url.into()],
                    ..PolicyRule::default()
                }]
            };
            assert_eq!(missing(&of(held), &of(wanted)).is_empty(), covered, "{held:?} covers {wanted:?}");
        }
    }

    #[test]
    fn the_garbage_collector_may_do_its_work() {
        let old = serde_json::json!({"metadata": {"name": "a", "finalizers": ["x"]}, "rules": []});
        let new = serde_json::json!({"metadata": {"name": "a"}, "rules": []});
        assert!(touches_only_garbage_collection(&new, &old));
        let grown = serde_json::json!({"metadata": {"name": "a"}, "rules": [{"verbs": ["*"]}]});
        assert!(!touches_only_garbage_collection(&grown, &old));
    }
}
