//! Certificate signing requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Meta, Time, kinds, null_default, objects};

/// A certificate signing request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CertificateSigningRequest {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for, and by whom.
    pub spec: SigningSpec,
    /// How far it has come.
    pub status: SigningStatus,
}

/// What a signing request asks for, and who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SigningSpec {
    /// The request in PEM, in base64.
    pub request: String,
    /// Who shall sign it.
    pub signer_name: String,
    /// How long the certificate shall be good, in seconds.
    pub expiration_seconds: Option<i32>,
    /// What the certificate shall be good for.
    #[serde(deserialize_with = "null_default")]
    pub usages: Vec<String>,
    /// The name of the user who asks, as the server knows it.
    pub username: String,
    /// The identity of the user.
    pub uid: String,
    /// The groups of the user.
    #[serde(deserialize_with = "null_default")]
    pub groups: Vec<String>,
    /// What else is known of the user.
    #[serde(deserialize_with = "null_default")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// How far a signing request has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SigningStatus {
    /// `Approved`, `Denied`, `Failed`.
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<SigningCondition>,
    /// The certificate in PEM, in base64.
    #[serde(deserialize_with = "null_default")]
    pub certificate: String,
}

/// What was decided about a signing request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SigningCondition {
    /// `Approved`, `Denied`, `Failed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`; some old writers left it out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Why, in one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was last updated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Time>,
    /// When its status last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

impl CertificateSigningRequest {
    /// The condition of that type, whatever its status.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&SigningCondition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Whether it may be signed: approved, and neither denied nor given up.
    #[must_use]
    pub fn approved(&self) -> bool {
        let failed = self.condition("Failed").is_some_and(|failed| ["", "True"].contains(&failed.status.as_str()));
        self.condition("Approved").is_some() && self.condition("Denied").is_none() && !failed
    }

    /// Whether the certificate is there.
    #[must_use]
    pub fn issued(&self) -> bool {
        !self.status.certificate.is_empty()
    }
}

objects!(CertificateSigningRequest => kinds::CERTIFICATE_SIGNING_REQUEST);
