//! Signs approved requests.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::authority::Terms;
use super::rules::{self, Refusal};
use super::{
    API_SERVER_CLIENT, API_SERVER_CLIENT_KUBELET, Authority, AuthorityError, KUBELET_SERVING, LEGACY_UNKNOWN, Request,
};
use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{CertificateSigningRequest, ObjectKey, SigningCondition, Time};
use crate::plan::Plan;

/// The shortest certificates that are made.
const SHORTEST: Duration = Duration::from_secs(10 * 60);
/// How long to wait for an authority that has ended to be replaced by an embedder.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who signs for which signer, and how long its certificates are good at most.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Signing {
    /// For clients of the API server.
    pub api_server_client: Option<Arc<Authority>>,
    /// For kubelets as clients of the API server.
    pub api_server_client_kubelet: Option<Arc<Authority>>,
    /// For what kubelets serve.
    pub kubelet_serving: Option<Arc<Authority>>,
    /// For anything.
    pub legacy_unknown: Option<Arc<Authority>>,
    /// How long certificates are good, if the request doesn't ask for less: a year by default, five minutes at least.
    pub duration: Duration,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            api_server_client: None,
            api_server_client_kubelet: None,
            kubelet_serving: None,
            legacy_unknown: None,
            duration: Duration::from_secs(365 * 24 * 3600),
        }
    }
}

impl Signing {
    /// One authority for all four signers.
    #[must_use]
    pub fn by(authority: Authority) -> Self {
        let authority = Some(Arc::new(authority));
        Self {
            api_server_client: authority.clone(),
            api_server_client_kubelet: authority.clone(),
            kubelet_serving: authority.clone(),
            legacy_unknown: authority,
            ..Self::default()
        }
    }

    fn authority(&self, signer: &str) -> Option<&Authority> {
        match signer {
            API_SERVER_CLIENT => self.api_server_client.as_deref(),
            API_SERVER_CLIENT_KUBELET => self.api_server_client_kubelet.as_deref(),
            KUBELET_SERVING => self.kubelet_serving.as_deref(),
            LEGACY_UNKNOWN => self.legacy_unknown.as_deref(),
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        let all = [API_SERVER_CLIENT, API_SERVER_CLIENT_KUBELET, KUBELET_SERVING, LEGACY_UNKNOWN];
        all.iter().all(|signer| self.authority(signer).is_none())
    }

    /// How long a certificate is good: what is asked for, between ten minutes and the most that is given.
    fn duration(&self, asked: Option<i32>) -> Duration {
        let Some(asked) = asked else { return self.duration };
        let asked = Duration::from_secs(u64::try_from(asked).unwrap_or(0));
        if asked > self.duration { self.duration } else { asked.max(SHORTEST) }
    }
}

struct Signer {
    requests: Arc<Cache<CertificateSigningRequest>>,
    signing: Signing,
}

pub(crate) fn make(setup: &Setup<'_>, config: &Config) -> Result<Option<Made>, Error> {
    if config.signing.is_empty() {
        return Ok(None);
    }
    if config.signing.duration <= Duration::from_secs(5 * 60) {
        let message = "signing.duration must be longer than five minutes, by which certificates are backdated".into();
        return Err(Error::Configuration { message });
    }
    setup.reconcile_each::<CertificateSigningRequest>();
    Ok(Some(Made::controller(Signer { requests: setup.cache(), signing: config.signing.clone() })))
}

impl Controller for Signer {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        let Some(request) = self.requests.get(key) else { return Plan::nothing() };
        reconcile(&request, &self.signing, context.now).unwrap_or_else(|error| {
            tracing::warn!(object.name = %key.name, %error, "a certificate can't be signed");
            let mut plan = Plan::nothing();
            plan.look_again(PATIENCE);
            plan
        })
    }
}

/// Signs a request that is approved and for one of these signers, or marks it as failed for good.
///
/// # Errors
/// The authority can't sign now, which is not the request's fault.
pub fn reconcile(csr: &CertificateSigningRequest, signing: &Signing, now: Time) -> Result<Plan, AuthorityError> {
    let mut plan = Plan::nothing();
    if csr.issued() || !csr.approved() {
        return Ok(plan);
    }
    let Some(authority) = signing.authority(&csr.spec.signer_name) else { return Ok(plan) };
    let checked = Request::from_base64(&csr.spec.request).map_err(|error| error.to_string()).and_then(|request| {
        let allowed = rules::check(&csr.spec.signer_name, &request, &csr.spec.usages);
        allowed.map(|()| request).map_err(|refusal: Refusal| refusal.to_string())
    });
    let terms = Terms {
        duration: signing.duration(csr.spec.expiration_seconds),
        usages: &csr.spec.usages,
        identity: &csr.metadata.uid,
    };
    let signed = match checked {
        Err(message) => Err(message),
        Ok(request) => match authority.sign(&request, terms, now) {
            Err(AuthorityError::Usage(error)) => Err(error.to_string()),
            other => Ok(other?),
        },
    };
    match signed {
        Ok(certificate) => plan.patch(csr, "status", json!({"status": {"certificate": STANDARD.encode(certificate)}})),
        Err(message) => {
            let mut conditions = csr.status.conditions.clone();
            conditions.push(SigningCondition {
                kind: "Failed".into(),
                status: "True".into(),
                reason: "SignerValidationFailure".into(),
                message,
                last_update_time: Some(now),
                last_transition_time: None,
            });
            plan.patch(csr, "status", json!({"status": {"conditions": conditions}}));
        }
    }
    Ok(plan)
}
