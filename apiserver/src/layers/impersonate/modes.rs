//! The ways in which someone may act as someone else: constrained ones, each for one sort of user and only for what they
//! name, and the one of old, for everything.
//!
//! In a constrained way two things must be allowed: to be that user (`impersonate:user-info` on `users` of
//! `authentication.k8s.io`, and so on), and to do this as such a user (`impersonate-on:user-info:list` on `pods`). Nothing
//! is remembered between requests, so what was taken away is gone with the next one.

use std::sync::Arc;

use kubewright_api::names;
use kubewright_api::status::Status;

use super::Wanted;
use crate::authn::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};
use crate::authz::{Attributes, Authorizer, Decision};
use crate::layers::forbidden;
use crate::request::{SYSTEM_MASTERS, User};

const AUTHENTICATION: &str = "authentication.k8s.io";
const NODES: &str = "system:nodes";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// From so many values on, the right to all of them is asked for first.
const MANY: usize = 4;

/// A way to act as someone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A service account as the node that its pod runs on.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// Any other user.
    UserInfo,
    /// Of old: whoever, for everything.
    Legacy,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

/// The user, and the verb that allowed it if the way was a constrained one.
pub(super) async fn impersonate(
    authorizer: &Arc<dyn Authorizer>,
    wanted: &Wanted,
    request: &Attributes,
) -> Result<(User, Option<String>), Status> {
    let mut first = None;
    for mode in MODES.into_iter().filter(|mode| mode.applies(wanted, &request.user)) {
        match mode.check(authorizer, wanted, request).await {
            Ok(user) => return Ok((user, (mode != Mode::Legacy).then(|| mode.verb()))),
            Err(status) => first = first.or(Some(status)),
        }
    }
    Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

/// The node that a user name stands for.
fn node_name(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|name| names::dns1123_subdomain(name).is_empty())
}

/// Namespace and name of the service account that a user name stands for.
pub(super) fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let sound = names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(name).is_empty();
    sound.then_some((namespace, name))
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    fn verb(self) -> String {
        match self {
            Self::Legacy => "impersonate".to_owned(),
            mode => format!("impersonate:{}", mode.name()),
        }
    }

    fn applies(self, wanted: &Wanted, asking: &User) -> bool {
        let (node, account) = (node_name(&wanted.user), service_account(&wanted.user));
        match self {
            Self::AssociatedNode => {
                let own = asking.extra.get(NODE_NAME).map(Vec::as_slice);
                let is_account = service_account(&asking.name).is_some();
                wanted.is_only_a_name() && is_account && matches!((node, own), (Some(node), Some([own])) if node == own)
            }
            Self::ArbitraryNode => wanted.is_only_a_name() && node.is_some(),
            Self::ServiceAccount => wanted.is_only_a_name() && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }

    async fn check(
        self,
        authorizer: &Arc<dyn Authorizer>,
        wanted: &Wanted,
        request: &Attributes,
    ) -> Result<User, Status> {
        let mut asking = request.user.clone();
        if self == Self::AssociatedNode {
            // The right is that of the account, wherever its pod runs: what tells its pods apart is left out.
            let keys = asking.extra.keys().cloned().collect();
            asking.extra = [("authentication.kubernetes.io/associated-node-keys".to_owned(), keys)].into();
        }
        if self != Self::Legacy {
            let verb = format!("impersonate-on:{}:{}", self.name(), request.verb);
            allowed(authorizer, Attributes { user: asking.clone(), verb, ..request.clone() }).await?;
        }
        let right = |group: &str, resource: &str, name: &str| Attributes {
            user: asking.clone(),
            verb: self.verb(),
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            name: name.into(),
            is_resource_request: true,
            ..Attributes::default()
        };
        allowed(authorizer, self.username(wanted, &right)).await?;
        if !wanted.uid.is_empty() {
            allowed(authorizer, right(AUTHENTICATION, "uids", &wanted.uid)).await?;
        }
        self.groups(authorizer, wanted, &right).await?;
        self.extra(authorizer, wanted, &right).await?;
        Ok(self.user(wanted))
    }

    /// The group in which users and groups are named.
    const fn group(self) -> &'static str {
        if matches!(self, Self::Legacy) { "" } else { AUTHENTICATION }
    }

    fn username(self, wanted: &Wanted, right: &impl Fn(&str, &str, &str) -> Attributes) -> Attributes {
        let node = node_name(&wanted.user).filter(|_| self != Self::Legacy);
        match (node, service_account(&wanted.user)) {
            (Some(_), _) if self == Self::AssociatedNode => right(self.group(), "nodes", "*"),
            (Some(node), _) => right(self.group(), "nodes", node),
            (None, Some((namespace, name))) => {
                Attributes { namespace: namespace.into(), ..right(self.group(), "serviceaccounts", name) }
            }
            (None, None) => right(self.group(), "users", &wanted.user),
        }
    }

    async fn groups(
        self,
        authorizer: &Arc<dyn Authorizer>,
        wanted: &Wanted,
        right: &(impl Fn(&str, &str, &str) -> Attributes + Sync),
    ) -> Result<(), Status> {
        let group = |name: &str| right(self.group(), "groups", name);
        if self != Self::Legacy {
            let refused = |name: &str, why: &str| forbidden(&group(name), Decision::NoOpinion(why.into()));
            if wanted.groups.iter().any(String::is_empty) {
                return Err(refused("", "impersonating the empty string group is not allowed"));
            }
            if wanted.groups.iter().any(|group| group == SYSTEM_MASTERS) {
                return Err(refused(SYSTEM_MASTERS, "impersonating the system:masters group is not allowed"));
            }
            if wanted.groups.len() >= MANY && allowed(authorizer, group("*")).await.is_ok() {
                return Ok(());
            }
        }
        for name in &wanted.groups {
            allowed(authorizer, group(name)).await?;
        }
        Ok(())
    }

    async fn extra(
        self,
        authorizer: &Arc<dyn Authorizer>,
        wanted: &Wanted,
        right: &(impl Fn(&str, &str, &str) -> Attributes + Sync),
    ) -> Result<(), Status> {
        let extra = |key: &str, value: &str| Attributes {
            subresource: key.into(),
            ..right(AUTHENTICATION, "userextras", value)
        };
        if self != Self::Legacy {
            if let Some(why) = why_not_extra(wanted) {
                return Err(forbidden(&extra("", ""), Decision::NoOpinion(why)));
            }
            let many = wanted.extra.len() >= MANY || wanted.extra.values().map(Vec::len).sum::<usize>() >= MANY;
            if many && allowed(authorizer, extra("*", "*")).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in &wanted.extra {
            for value in values {
                allowed(authorizer, extra(key, value)).await?;
            }
        }
        Ok(())
    }

    fn user(self, wanted: &Wanted) -> User {
        let Wanted { user, mut groups, uid, extra } = wanted.clone();
        if groups.is_empty() {
            if self != Self::Legacy && node_name(&user).is_some() {
                groups = vec![NODES.into()];
            } else if let Some((namespace, _)) = service_account(&user) {
                groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
            }
        }
        let has = |group: &str| groups.iter().any(|own| own == group);
        let membership = if user == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !has(membership) && (user == ANONYMOUS || !has(UNAUTHENTICATED)) {
            groups.push(membership.into());
        }
        User { name: user, uid, groups, extra }
    }
}

/// What is wrong with the extra keys and values that a constrained way would take.
fn why_not_extra(wanted: &Wanted) -> Option<String> {
    for (key, values) in &wanted.extra {
        let sound = key.split_once('/').is_some_and(|(domain, rest)| {
            names::dns1123_subdomain(domain).is_empty()
                && !rest.is_empty()
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte))
        });
        if key.is_empty() {
            return Some("impersonating the empty string key in extra is not allowed".into());
        }
        if !sound {
            let rule = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            return Some(format!("impersonating an invalid key in extra is not allowed: extra.key: {key:?}: {rule}"));
        }
        if *key != key.to_lowercase() {
            return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
        }
        if values.iter().any(String::is_empty) {
            return Some("impersonating the empty string value in extra is not allowed".into());
        }
    }
    None
}

async fn allowed(authorizer: &Arc<dyn Authorizer>, right: Attributes) -> Result<(), Status> {
    let decision = authorizer.authorize(&right).await;
    if decision.is_allowed() { Ok(()) } else { Err(forbidden(&right, decision)) }
}
