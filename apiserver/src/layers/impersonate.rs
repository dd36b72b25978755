//! Acting as someone else: the `Impersonate-…` headers, for those who may.

mod modes;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, Request, Response};
use kubewright_api::status::Status;

use super::{Next, Step};
use crate::audit;
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
            let why = "requested groups, uid or extra without impersonating a user name";
            return Err(Status::bad_request(why));
        }
        Ok(any.then_some(wanted))
    }

    /// Whether nothing but a user name is asked for.
    fn is_only_a_name(&self) -> bool {
        self.groups.is_empty() && self.uid.is_empty() && self.extra.is_empty()
    }
}

impl Impersonate {
    /// Asks this authorizer who may.
    #[must_use]
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }

    async fn user(&self, headers: &HeaderMap, context: &Context) -> Result<Option<(User, Option<String>)>, Status> {
        let Some(wanted) = Wanted::read(headers)? else { return Ok(None) };
        let request = Attributes::new(&context.user, &context.info);
        modes::impersonate(&self.authorizer, &wanted, &request).await.map(Some)
    }
}

#[async_trait]
impl Step for Impersonate {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let Some(context) = parts.extensions.get::<Context>().cloned() else {
            return body::status(&Status::internal("the request was not identified"));
        };
        match self.user(&parts.headers, &context).await {
            Err(status) => return body::status(&status),
            Ok(None) => {}
            Ok(Some((user, constraint))) => {
                tracing::debug!(by = context.user.name, user = user.name, constraint, "impersonating");
                audit::impersonated(&parts.extensions, &user, constraint);
                parts.extensions.insert(Context { user: user.into(), ..context });
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
    use crate::authn::AUTHENTICATED;
    use crate::authz::Decision;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    /// Allows what is in the list, as `verb resource[/subresource] [namespace/]name`.
    struct Allows(&'static [&'static str]);

    #[async_trait]
    impl Authorizer for Allows {
        async fn authorize(&self, a: &Attributes) -> Decision {
            let subresource = if a.subresource.is_empty() { String::new() } else { format!("/{}", a.subresource) };
            let namespace = if a.namespace.is_empty() { String::new() } else { format!("{}/", a.namespace) };
            let asked = format!("{} {}{subresource} {namespace}{}", a.verb, a.resource, a.name);
            let allowed = self.0.iter().any(|known| *known == asked);
            if allowed { Decision::Allow(String::new()) } else { Decision::NoOpinion(String::new()) }
        }
    }

    /// The user that a client who may do this becomes when it lists pods of `web` with these headers.
    async fn become_user(
        allows: &'static [&'static str],
        asking: User,
        pairs: &[(&str, &str)],
    ) -> Result<(User, Option<String>), String> {
        let info = crate::request::RequestInfo::parse(&http::Method::GET, "/api/v1/namespaces/web/pods", None);
        let context = Context::new(asking, info, jiff::Timestamp::UNIX_EPOCH);
        let step = Impersonate::new(Arc::new(Allows(allows)));
        let found = step.user(&headers(pairs), &context).await.map_err(|status| status.message)?;
        Ok(found.expect("headers ask for it"))
    }

    #[tokio::test]
    async fn of_old_every_header_needs_its_own_right() {
        let pairs = [(USER, "bob"), (GROUP, "a"), (UID, "7"), ("Impersonate-Extra-acme.com%2fscope", "x")];
        const RIGHTS: &[&str] = &[
            "impersonate users bob",
            "impersonate groups a",
            "impersonate uids 7",
            "impersonate userextras/acme.com/scope x",
        ];
        let alice = User::new("alice", &[]);
        let (bob, constraint) = become_user(RIGHTS, alice.clone(), &pairs).await.unwrap();
        assert_eq!((bob.name.as_str(), bob.uid.as_str(), constraint), ("bob", "7", None));
        assert_eq!(bob.groups, ["a", AUTHENTICATED]);
        const FEWER: [&[&str]; 4] = [
            &["impersonate groups a", "impersonate uids 7", "impersonate userextras/acme.com/scope x"],
            &["impersonate users bob", "impersonate uids 7", "impersonate userextras/acme.com/scope x"],
            &["impersonate users bob", "impersonate groups a", "impersonate userextras/acme.com/scope x"],
            &["impersonate users bob", "impersonate groups a", "impersonate uids 7"],
        ];
        for fewer in FEWER {
            assert!(become_user(fewer, alice.clone(), &pairs).await.is_err(), "{fewer:?}");
        }
    }

    #[tokio::test]
    async fn a_constrained_way_needs_the_user_and_the_deed() {
        let alice = || User::new("alice", &[]);
        const BOTH: &[&str] = &["impersonate-on:user-info:list pods web/", "impersonate:user-info users bob"];
        let (bob, constraint) = become_user(BOTH, alice(), &[(USER, "bob")]).await.unwrap();
        assert_eq!((bob.name.as_str(), constraint.as_deref()), ("bob", Some("impersonate:user-info")));
        for half in [&BOTH[..1], &BOTH[1..]] {
            assert!(become_user(half, alice(), &[(USER, "bob")]).await.is_err());
        }
        // Nobody gets into this group so, and no account of the cluster is an ordinary user.
        const ALL: &[&str] = &[
            "impersonate-on:user-info:list pods web/",
            "impersonate:user-info users bob",
            "impersonate:user-info groups system:masters",
            "impersonate:user-info users system:serviceaccount:a:b",
        ];
        let masters = become_user(ALL, alice(), &[(USER, "bob"), (GROUP, "system:masters")]).await.unwrap_err();
        assert!(masters.contains("impersonating the system:masters group is not allowed"), "{masters}");
        assert!(become_user(ALL, alice(), &[(USER, "system:serviceaccount:a:b")]).await.is_err());
        const ACCOUNT: &[&str] =
            &["impersonate-on:serviceaccount:list pods web/", "impersonate:serviceaccount serviceaccounts a/b"];
        let (account, _) = become_user(ACCOUNT, alice(), &[(USER, "system:serviceaccount:a:b")]).await.unwrap();
        assert_eq!(account.groups, ["system:serviceaccounts", "system:serviceaccounts:a", AUTHENTICATED]);
    }

    #[tokio::test]
    async fn an_agent_acts_as_the_node_it_runs_on() {
        const RIGHTS: &[&str] =
            &["impersonate-on:associated-node:list pods web/", "impersonate:associated-node nodes *"];
        let agent = |node: &str| User {
            name: "system:serviceaccount:kube-system:agent".into(),
            extra: BTreeMap::from([("authentication.kubernetes.io/node-name".into(), vec![node.into()])]),
            ..User::default()
        };
        let node = [(USER, "system:node:n1")];
        let (n1, constraint) = become_user(RIGHTS, agent("n1"), &node).await.unwrap();
        assert_eq!((n1.name.as_str(), constraint.as_deref()), ("system:node:n1", Some("impersonate:associated-node")));
        assert_eq!(n1.groups, ["system:nodes", AUTHENTICATED]);
        assert!(become_user(RIGHTS, agent("n2"), &node).await.is_err());
        assert!(become_user(RIGHTS, User { name: "alice".into(), ..agent("n1") }, &node).await.is_err());
        assert!(become_user(RIGHTS, agent("n1"), &[(USER, "system:node:n1"), (GROUP, "a")]).await.is_err());
        const ANY: &[&str] = &["impersonate-on:arbitrary-node:list pods web/", "impersonate:arbitrary-node nodes n1"];
        assert_eq!(become_user(ANY, User::new("alice", &[]), &node).await.unwrap().0.groups[0], "system:nodes");
    }

    #[test]
    fn groups_without_a_user_are_refused() {
        assert_eq!(Wanted::read(&headers(&[(GROUP, "system:masters")])).unwrap_err().code, 400);
        assert_eq!(Wanted::read(&headers(&[("accept", "x")])).unwrap(), None);
    }
}
