use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use tokio::time::Instant;

use super::identity::Caller;
use crate::node::Context;

/// Who of those with a certificate may call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authorization {
    /// Users of these names: the API server's client certificate's, mostly `kube-apiserver-kubelet-client`.
    Names(BTreeSet<String>),
    /// Whom the API server allows the node's subresource (`nodes/proxy` and so on).
    SubjectAccessReview,
}

impl Authorization {
    /// Users of these names.
    #[must_use]
    pub fn names<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::Names(names.into_iter().map(Into::into).collect())
    }
}

/// How long answers of the API server hold: yes, and no.
const HOLDS: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(30));
/// How many answers are kept.
const ANSWERS_MAX: usize = 1024;
/// How long the API server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

type Question = (String, Vec<String>, &'static str, &'static str);

pub(super) struct Access {
    authorization: Authorization,
    answers: Mutex<BTreeMap<Question, (bool, Instant)>>,
}

/// The node's subresource that a path stands for.
pub(super) fn subresource(path: &str) -> &'static str {
    match path.split('/').nth(1).unwrap_or_default() {
        "stats" => "stats",
        "metrics" => "metrics",
        "pods" | "runningpods" => "pods",
        "healthz" => "healthz",
        "configz" => "configz",
        _ => "proxy",
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

impl Access {
    pub(super) fn new(authorization: Authorization) -> Self {
        Self { authorization, answers: Mutex::default() }
    }

    /// Whether the caller may do that.
    ///
    /// # Errors
    /// The API server could not be asked.
    pub(super) async fn allows(
        &self,
        node: &Context,
        caller: &Caller,
        method: &Method,
        path: &str,
    ) -> Result<bool, String> {
        match &self.authorization {
            Authorization::Names(names) => Ok(names.contains(&caller.name)),
            Authorization::SubjectAccessReview => {
                let (sub, verb) = (subresource(path), verb(method));
                // What has a subresource of its own is also allowed to whom everything of the node is.
                Ok(self.ask(node, caller, verb, sub).await?
                    || (sub != "proxy" && self.ask(node, caller, verb, "proxy").await?))
            }
        }
    }

    async fn ask(
        &self,
        node: &Context,
        caller: &Caller,
        verb: &'static str,
        subresource: &'static str,
    ) -> Result<bool, String> {
        let question: Question = (caller.name.clone(), caller.groups.clone(), verb, subresource);
        let now = Instant::now();
        {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((answer, until)) = answers.get(&question).filter(|(_, until)| now < *until) {
                let _ = until;
                return Ok(*answer);
            }
        }
        let mut groups = caller.groups.clone();
        groups.push("system:authenticated".to_owned());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(caller.name.clone()),
                groups: Some(groups),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    name: Some(node.config.node_name.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: kube::Api<SubjectAccessReview> = kube::Api::all(node.client.clone());
        let asked = tokio::time::timeout(TIMEOUT, api.create(&PostParams::default(), &review)).await;
        let review = asked.map_err(|_| "timed out".to_owned())?.map_err(|error| error.to_string())?;
        let allowed = review.status.is_some_and(|status| status.allowed);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(question, (allowed, now + if allowed { HOLDS.0 } else { HOLDS.1 }));
        Ok(allowed)
    }
}
