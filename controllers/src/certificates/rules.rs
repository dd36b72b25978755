//! What each of Kubernetes' own signers demands of a request.

use std::collections::BTreeSet;

use super::{API_SERVER_CLIENT, API_SERVER_CLIENT_KUBELET, KUBELET_SERVING, LEGACY_UNKNOWN, Request};

/// Why a signer refuses a request for good.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's message says what it means")]
pub enum Refusal {
    #[error("subject organization is not system:nodes")]
    Organization,
    #[error("subject common name does not begin with system:node:")]
    CommonName,
    #[error("DNS or IP subjectAltName is required")]
    NoHost,
    #[error("DNS subjectAltNames are not allowed")]
    DnsName,
    #[error("Email subjectAltNames are not allowed")]
    Email,
    #[error("IP subjectAltNames are not allowed")]
    Address,
    #[error("URI subjectAltNames are not allowed")]
    Uri,
    /// The usages are not the ones that go with this signer.
    #[error("usages did not match [{}]", .0.join(" "))]
    Usages([&'static str; 3]),
    /// No client certificate may have this usage.
    #[error("invalid usage for client certificate: {0}")]
    ClientUsage(String),
    #[error("missing required usage for client certificate: client auth")]
    NoClientAuth,
    /// None of the signers here has that name.
    #[error("unrecognized signerName: {0:?}")]
    Signer(String),
}

/// Whether that signer may sign the request.
///
/// # Errors
/// It may not; the refusal says why.
pub fn check(signer: &str, request: &Request, usages: &[String]) -> Result<(), Refusal> {
    match signer {
        API_SERVER_CLIENT => client(usages),
        API_SERVER_CLIENT_KUBELET => kubelet_client(request, usages),
        KUBELET_SERVING => kubelet_serving(request, usages),
        LEGACY_UNKNOWN => Ok(()),
        _ => Err(Refusal::Signer(signer.to_owned())),
    }
}

/// Client certificates of anybody: their usages alone are looked at.
fn client(usages: &[String]) -> Result<(), Refusal> {
    const OPTIONAL: [&str; 2] = ["digital signature", "key encipherment"];
    const REQUIRED: &str = "client auth";
    let fits = |usage: &str| usage == REQUIRED || OPTIONAL.contains(&usage);
    match usages.iter().find(|usage| !fits(usage)) {
        Some(other) => Err(Refusal::ClientUsage(other.clone())),
        None if !usages.iter().any(|usage| usage == REQUIRED) => Err(Refusal::NoClientAuth),
        None => Ok(()),
    }
}

/// Client certificates of kubelets: a node's name and group, no hosts.
pub(super) fn kubelet_client(request: &Request, usages: &[String]) -> Result<(), Refusal> {
    node_group(request)?;
    for (names, refusal) in [
        (request.dns_names.len(), Refusal::DnsName),
        (request.emails.len(), Refusal::Email),
        (request.addresses.len(), Refusal::Address),
        (request.uris.len(), Refusal::Uri),
    ] {
        if names > 0 {
            return Err(refusal);
        }
    }
    node_name(request)?;
    node_usages(usages, "client auth", ["client auth", "digital signature", "key encipherment"])
}

/// Serving certificates of kubelets: a node's name and group, at least one host.
fn kubelet_serving(request: &Request, usages: &[String]) -> Result<(), Refusal> {
    node_group(request)?;
    if request.dns_names.is_empty() && request.addresses.is_empty() {
        return Err(Refusal::NoHost);
    }
    if !request.emails.is_empty() {
        return Err(Refusal::Email);
    }
    if !request.uris.is_empty() {
        return Err(Refusal::Uri);
    }
    node_usages(usages, "server auth", ["digital signature", "key encipherment", "server auth"])?;
    node_name(request)
}

fn node_group(request: &Request) -> Result<(), Refusal> {
    (request.organizations == ["system:nodes"]).then_some(()).ok_or(Refusal::Organization)
}

fn node_name(request: &Request) -> Result<(), Refusal> {
    request.common_name.starts_with("system:node:").then_some(()).ok_or(Refusal::CommonName)
}

/// Exactly `full`, or the same without key encipherment, which only RSA keys have a use for.
fn node_usages(usages: &[String], purpose: &str, full: [&'static str; 3]) -> Result<(), Refusal> {
    let asked: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    let matches = asked == BTreeSet::from(full) || asked == BTreeSet::from(["digital signature", purpose]);
    matches.then_some(()).ok_or(Refusal::Usages(full))
}
