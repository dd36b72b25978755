//! Approves kubelets' client certificates, if the server says that who asks may have them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{API_SERVER_CLIENT_KUBELET, Request, rules};
use crate::Error;
use crate::api::decode;
use crate::cache::Cache;
use crate::manager::{AsyncController, Config, Environment, Made, Setup};
use crate::objects::{CertificateSigningRequest, ObjectKey, SigningCondition, Time, kinds};
use crate::plan::{Action, Plan};

/// How a request might be approved: by the right to create `certificatesigningrequests/SUBRESOURCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The subresource that the right is about.
    pub subresource: &'static str,
    /// What the condition says then.
    pub message: &'static str,
}

/// A node asks for a certificate of its own name.
const SELF_NODE_CLIENT: Way = Way {
    subresource: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
/// Somebody asks for a certificate of any node, such as a kubelet that joins by a bootstrap token.
const NODE_CLIENT: Way =
    Way { subresource: "nodeclient", message: "Auto approving kubelet client certificate after SubjectAccessReview." };

struct Approver {
    requests: Arc<Cache<CertificateSigningRequest>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<CertificateSigningRequest>();
    Ok(Some(Made::Async(Box::new(Approver { requests: setup.cache() }))))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Review {
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewStatus {
    allowed: bool,
}

#[async_trait]
impl AsyncController for Approver {
    async fn reconcile(&self, key: &ObjectKey, environment: &Environment) -> Result<Option<Duration>, Error> {
        let Some(csr) = self.requests.get(key) else { return Ok(None) };
        let ways = ways(&csr);
        let applier = &environment.applier;
        let now = (applier.clock)();
        for way in &ways {
            let answer = applier.api.create(kinds::SUBJECT_ACCESS_REVIEW, "", &review(&csr, *way)).await?;
            if decode::<Review>(&answer)?.status.allowed {
                let actions = approve(&csr, *way, now).take_actions();
                let applied = applier.apply(environment.component, actions).await;
                return applied.map(|()| None).map_err(|broken| broken.error);
            }
        }
        Ok((!ways.is_empty()).then(|| patience(&csr, now)))
    }
}

/// How the request might be approved; nothing if it is none of a kubelet's for itself, or decided about already.
#[must_use]
pub fn ways(csr: &CertificateSigningRequest) -> Vec<Way> {
    let decided = csr.condition("Approved").is_some() || csr.condition("Denied").is_some();
    if decided || csr.issued() || csr.spec.signer_name != API_SERVER_CLIENT_KUBELET {
        return Vec::new();
    }
    let Ok(request) = Request::from_base64(&csr.spec.request) else { return Vec::new() };
    if rules::kubelet_client(&request, &csr.spec.usages).is_err() {
        return Vec::new();
    }
    let own = csr.spec.username == request.common_name;
    if own { vec![SELF_NODE_CLIENT, NODE_CLIENT] } else { vec![NODE_CLIENT] }
}

/// Asks whether who made the request may have it approved that way.
fn review(csr: &CertificateSigningRequest, way: Way) -> Value {
    let spec = &csr.spec;
    json!({
        "apiVersion": kinds::SUBJECT_ACCESS_REVIEW.api_version(),
        "kind": "SubjectAccessReview",
        "spec": {
            "user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": spec.extra,
            "resourceAttributes": {
                "group": "certificates.k8s.io", "version": "*", "resource": "certificatesigningrequests",
                "subresource": way.subresource, "verb": "create",
            },
        },
    })
}

/// Approves the request.
#[must_use]
pub fn approve(csr: &CertificateSigningRequest, way: Way, now: Time) -> Plan {
    let mut conditions = csr.status.conditions.clone();
    conditions.push(SigningCondition {
        kind: "Approved".into(),
        status: "True".into(),
        reason: "AutoApproved".into(),
        message: way.message.into(),
        last_update_time: Some(now),
        last_transition_time: None,
    });
    let mut plan = Plan::nothing();
    plan.push(Action::patch(csr, "approval", json!({"status": {"conditions": conditions}})));
    plan
}

/// When to ask again after a refusal: a right may be given later. The older the request, the longer the wait.
fn patience(csr: &CertificateSigningRequest, now: Time) -> Duration {
    let age = csr.metadata.creation_timestamp.map_or(Duration::ZERO, |created| now.since(created));
    age.clamp(Duration::from_secs(1), Duration::from_secs(1000))
}
