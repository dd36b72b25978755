//! Who issues tokens, for whom, and where its keys are found.

use std::sync::Arc;

use http::Uri;
use kubewright_api::field::{FieldError, FieldErrors, Path};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;

use super::file;

const MATCH_ANY: &str = "MatchAny";

/// An issuer, checked.
#[derive(Debug)]
pub(in crate::authn) struct IssuerConfig {
    /// What tokens and the discovery document say of the issuer.
    pub(in crate::authn) url: String,
    /// Where the discovery document is, if not below `url`.
    pub(in crate::authn) discovery_url: String,
    /// Who must have signed the issuer's certificate (PEM), if not one of the system's authorities.
    pub(in crate::authn) authorities: Option<Arc<str>>,
    /// For whom tokens may be: one of these.
    pub(in crate::authn) audiences: Vec<String>,
}

impl IssuerConfig {
    /// The URL of the discovery document.
    pub(in crate::authn) fn discovery(&self) -> String {
        if self.discovery_url.is_empty() {
            return format!("{}/.well-known/openid-configuration", self.url.strip_suffix('/').unwrap_or(&self.url));
        }
        self.discovery_url.clone()
    }
}

pub(super) fn check(file: &file::Issuer, path: &Path, faults: &mut FieldErrors) -> IssuerConfig {
    if file.url.is_empty() {
        faults.push(FieldError::required(&path.child("url"), ""));
    } else {
        check_url(&file.url, &path.child("url"), faults);
    }
    let at = path.child("discoveryURL");
    if !file.discovery_url.is_empty() {
        if !file.url.is_empty() && file.url.trim_end_matches('/') == file.discovery_url.trim_end_matches('/') {
            let why = "discoveryURL must be different from URL";
            faults.push(FieldError::invalid(&at, file.discovery_url.as_str(), why));
        }
        check_url(&file.discovery_url, &at, faults);
    }
    check_audiences(file, path, faults);
    if !file.certificate_authority.is_empty() {
        let parsed = CertificateDer::pem_slice_iter(file.certificate_authority.as_bytes());
        let certificates = parsed.collect::<Result<Vec<_>, _>>();
        if certificates.is_ok_and(|list| list.is_empty()) || certificates_are_broken(&file.certificate_authority) {
            let why = "data does not contain any valid RSA or ECDSA certificates";
            faults.push(FieldError::invalid(&path.child("certificateAuthority"), "<omitted>", why));
        }
    }
    let egress = file.egress_selector_type.as_str();
    if !egress.is_empty() {
        let why = match egress {
            "controlplane" | "cluster" => "there are no egress selectors here: leave it out",
            _ => "egress selector must be either controlplane or cluster",
        };
        faults.push(FieldError::invalid(&path.child("egressSelectorType"), egress, why));
    }
    let authority = file.certificate_authority.as_str();
    IssuerConfig {
        url: file.url.clone(),
        discovery_url: file.discovery_url.clone(),
        authorities: (!authority.is_empty()).then(|| authority.into()),
        audiences: file.audiences.clone(),
    }
}

fn certificates_are_broken(pem: &str) -> bool {
    CertificateDer::pem_slice_iter(pem.as_bytes()).any(|certificate| match certificate {
        Err(_) => true,
        // What every certificate begins with: a sequence.
        Ok(der) => der.as_ref().first() != Some(&0x30),
    })
}

fn check_url(text: &str, path: &Path, faults: &mut FieldErrors) {
    let mut wrong = |why: &str| faults.push(FieldError::invalid(path, text, why));
    // The parser drops fragments without a word.
    let (plain, fragment) = text.split_once('#').map_or((text, ""), |(plain, fragment)| (plain, fragment));
    let url: Uri = match plain.parse() {
        Ok(url) => url,
        Err(error) => return wrong(&format!("parse {text:?}: {error}")),
    };
    if url.scheme_str() != Some("https") {
        wrong("URL scheme must be https");
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        wrong("URL must not contain a username or password");
    }
    if url.query().is_some_and(|query| !query.is_empty()) {
        wrong("URL must not contain a query");
    }
    if !fragment.is_empty() {
        wrong("URL must not contain a fragment");
    }
}

fn check_audiences(file: &file::Issuer, path: &Path, faults: &mut FieldErrors) {
    let at = path.child("audiences");
    if file.audiences.is_empty() {
        faults.push(FieldError::required(&at, format!("at least one {at} is required")));
        return;
    }
    for (number, audience) in file.audiences.iter().enumerate() {
        let at = at.index(number);
        if audience.is_empty() {
            faults.push(FieldError::required(&at, ""));
        }
        if file.audiences[..number].contains(audience) {
            faults.push(FieldError::duplicate(&at, audience.as_str()));
        }
    }
    let policy = file.audience_match_policy.as_str();
    let why = match file.audiences.len() {
        1 if !policy.is_empty() && policy != MATCH_ANY => {
            "audienceMatchPolicy must be empty or MatchAny for single audience"
        }
        2.. if policy != MATCH_ANY => "audienceMatchPolicy must be MatchAny for multiple audiences",
        _ => return,
    };
    faults.push(FieldError::invalid(&path.child("audienceMatchPolicy"), json!(policy), why));
}
