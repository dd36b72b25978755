//! Signing requests: who may approve and sign for which signer, and what nobody may ask for.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubewright_api::status::Status;
use serde_json::Value;

use super::plugin::plugin;
use super::{Admission, AdmissionAttributes, Operation};
use crate::authz::{Attributes, Authorizer};
use crate::der::{Subject, subject_of_request_pem};
use crate::request::SYSTEM_MASTERS;

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

async fn may(authorizer: &dyn Authorizer, a: &AdmissionAttributes<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let attributes = Attributes {
            user: a.user.clone(),
            verb: verb.into(),
            group: GROUP.into(),
            version: "*".into(),
            resource: "signers".into(),
            name,
            is_resource_request: true,
            ..Attributes::default()
        };
        if authorizer.authorize(&attributes).await.is_allowed() {
            return true;
        }
    }
    false
}

fn is_update_of(a: &AdmissionAttributes<'_>, subresource: &str) -> bool {
    (a.group, a.resource, a.subresource) == (GROUP, RESOURCE, subresource) && a.operation == Operation::Update
}

plugin! {
    /// `CertificateApproval`: approving takes the verb `approve` on the signer.
    CertificateApproval, authorizer: dyn Authorizer
}

#[async_trait]
impl Admission for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        is_update_of(a, "approval")
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        // The signer as it is, whatever the request makes of it.
        let signer = a.old.and_then(|old| old["spec"]["signerName"].as_str()).unwrap_or_default();
        if may(&*self.authorizer, a, "approve", signer).await {
            return Ok(());
        }
        Err(a.forbidden(format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}

plugin! {
    /// `CertificateSigning`: signing takes the verb `sign` on the signer.
    CertificateSigning, authorizer: dyn Authorizer
}

#[async_trait]
impl Admission for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        is_update_of(a, "status")
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let Some(old) = a.old else { return Ok(()) };
        let same = |field: &str| old["status"][field] == a.object["status"][field];
        if same("certificate") && same("conditions") {
            return Ok(());
        }
        let signer = old["spec"]["signerName"].as_str().unwrap_or_default();
        if may(&*self.authorizer, a, "sign", signer).await {
            return Ok(());
        }
        Err(a.forbidden(format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

/// `CertificateSubjectRestriction`: nobody becomes `system:masters` through a signing request.
#[derive(Clone, Copy, Debug, Default)]
pub struct CertificateSubjectRestriction;

/// Whom the request in a `CertificateSigningRequest` names; `None` if it cannot be read.
pub(super) fn subject(object: &Value) -> Option<Subject> {
    let request = STANDARD.decode(object["spec"]["request"].as_str()?).ok()?;
    subject_of_request_pem(std::str::from_utf8(&request).ok()?)
}

#[async_trait]
impl Admission for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.creates(GROUP, RESOURCE)
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        if a.object["spec"]["signerName"] != CLIENT_SIGNER {
            return Ok(());
        }
        let subject = subject(&a.object);
        let subject =
            subject.ok_or_else(|| a.forbidden("failed to parse CSR: not a certificate request in PEM form"))?;
        if subject.organizations.iter().any(|group| group == SYSTEM_MASTERS) {
            let why = format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed");
            return Err(a.forbidden(why));
        }
        Ok(())
    }
}
