//! Acting as someone else: the `Impersonate-…` headers, for those who may.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, Request, Response};
use kubewright_api::status::Status;

use super::{Next, Step, forbidden};
use crate::audit;
use crate::authn::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};
use crate::authz::{Attributes, Authorizer};
use crate::body::{self, Body};
use crate::request::{Context, User, unescape_header_key};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The step.
pub struct Impersonate {
    authorizer: Arc<dyn Authorizer>,
}

impl fmt::Debug for Impersonate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Impersonate")
    }
}

/// Whom the headers ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    user: String,
    groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    /// `None` without such headers; an error if there are some but no user.
    fn read(headers: &HeaderMap) -> Result<Option<Self>, Status> {
        let mut wanted = Self::default();
        let mut any = false;
        for (name, value) in headers {
            let name = name.as_str();
            if !name.starts_with("impersonate-") {
                continue;
            }
            let unreadable = |_| Status::bad_request(format!("unable to read header {name}"));
            let value = value.to_str().map_err(unreadable)?.to_owned();
            any = true;
            match name {
                USER => wanted.user = value,
                GROUP => wanted.groups.push(value),
                UID => wanted.uid = value,
                _ => {
                    let Some(key) = name.strip_prefix(EXTRA) else { continue };
                    wanted.extra.entry(unescape_header_key(key)).or_default().push(value);
                }
            }
        }
        if any && wanted.user.is_empty() {
            let why = "requested [{...}] without impersonating a user";
            return Err(Status::internal(why));
        }
        Ok(any.then_some(wanted))
    }

    /// Everything that must be allowed: verb `impersonate` on each of these.
    fn checks(&self, asking: &User) -> Vec<Attributes> {
        let base = |group: &str, resource: &str, name: &str| Attributes {
            user: asking.clone(),
            verb: "impersonate".into(),
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            name: name.into(),
            is_resource_request: true,
            ..Attributes::default()
        };
        let mut checks = Vec::new();
        match service_account(&self.user) {
            Some((namespace, name)) => {
                checks.push(Attributes { namespace: namespace.into(), ..base("", "serviceaccounts", name) });
            }
            None => checks.push(base("", "users", &self.user)),
        }
        checks.extend(self.groups.iter().map(|group| base("", "groups", group)));
        for (key, values) in &self.extra {
            let check = |value: &String| Attributes {
                subresource: key.clone(),
                ..base("authentication.k8s.io", "userextras", value)
            };
            checks.extend(values.iter().map(check));
        }
        if !self.uid.is_empty() {
            checks.push(base("authentication.k8s.io", "uids", &self.uid));
        }
        checks
    }

    fn into_user(self) -> User {
        let mut groups = self.groups;
        if groups.is_empty()
            && let Some((namespace, _)) = service_account(&self.user)
        {
            groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
        }
        let membership = if self.user == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED) {
            groups.push(membership.into());
        }
        User { name: self.user, uid: self.uid, groups, extra: self.extra }
    }
}

fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':').filter(|(ns, n)| !ns.is_empty() && !n.is_empty())
}

impl Impersonate {
    /// Asks this authorizer who may.
    #[must_use]
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }

    async fn user(&self, headers: &HeaderMap, asking: &User) -> Result<Option<User>, Status> {
        let Some(wanted) = Wanted::read(headers)? else { return Ok(None) };
        for check in wanted.checks(asking) {
            let decision = self.authorizer.authorize(&check).await;
            if !decision.is_allowed() {
                return Err(forbidden(&check, decision));
            }
        }
        Ok(Some(wanted.into_user()))
    }
}

#[async_trait]
impl Step for Impersonate {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let Some(context) = parts.extensions.get::<Context>().cloned() else {
            return body::status(&Status::internal("the request was not identified"));
        };
        match self.user(&parts.headers, &context.user).await {
            Err(status) => return body::status(&status),
            Ok(None) => {}
            Ok(Some(user)) => {
                tracing::debug!(by = context.user.name, user = user.name, "impersonating");
                audit::impersonated(&parts.extensions, &user);
                parts.extensions.insert(Context { user, ..context });
                let names: Vec<_> =
                    parts.headers.keys().filter(|n| n.as_str().starts_with("impersonate-")).cloned().collect();
                for name in names {
                    parts.headers.remove(name);
                }
            }
        }
        next(Request::from_parts(parts, body)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn every_header_needs_its_own_right() {
        let wanted = Wanted::read(&headers(&[
            (USER, "bob"),
            (GROUP, "a"),
            (GROUP, "b"),
            ("Impersonate-Extra-acme.com%2fscope", "x"),
        ]));
        let wanted = wanted.unwrap().unwrap();
        let checks = wanted.checks(&User::new("alice", &[]));
        let seen: Vec<String> = checks.iter().map(|c| format!("{}/{} {}", c.resource, c.subresource, c.name)).collect();
        assert_eq!(seen, ["users/ bob", "groups/ a", "groups/ b", "userextras/acme.com/scope x"]);
        assert_eq!(wanted.into_user().groups, ["a", "b", AUTHENTICATED]);
    }

    #[test]
    fn groups_without_a_user_are_refused() {
        assert!(Wanted::read(&headers(&[(GROUP, "system:masters")])).is_err());
        assert_eq!(Wanted::read(&headers(&[("accept", "x")])).unwrap(), None);
    }

    #[test]
    fn service_accounts_come_with_their_groups() {
        let wanted = Wanted::read(&headers(&[(USER, "system:serviceaccount:a:b")])).unwrap().unwrap();
        let check = &wanted.checks(&User::default())[0];
        assert_eq!(
            (check.resource.as_str(), check.namespace.as_str(), check.name.as_str()),
            ("serviceaccounts", "a", "b")
        );
        assert_eq!(wanted.into_user().groups, ["system:serviceaccounts", "system:serviceaccounts:a", AUTHENTICATED]);
    }
}
