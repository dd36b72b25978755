//! A certificate authority: its key, and the certificates that it issues.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use super::{PkiError, files};

const AUTHORITY_DAYS: i64 = 3650;
const CERTIFICATE_DAYS: i64 = 365;
/// A certificate with less left than this is issued anew at start.
const RENEW_DAYS: i64 = 30;

/// A certificate and its private key, both as PEM.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS #8).
    pub key: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Whom a certificate names, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    common_name: String,
    organizations: Vec<String>,
    names: Vec<String>,
    usage: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    Client,
    Server,
}

impl Profile {
    /// A client certificate: the common name is the user's name, the organizations are its groups.
    #[must_use]
    pub fn client(user: &str, groups: &[&str]) -> Self {
        let organizations = groups.iter().map(ToString::to_string).collect();
        Self { common_name: user.into(), organizations, names: Vec::new(), usage: Usage::Client }
    }

    /// A serving certificate for these DNS names and addresses.
    #[must_use]
    pub fn server(common_name: &str, names: Vec<String>) -> Self {
        Self { common_name: common_name.into(), organizations: Vec::new(), names, usage: Usage::Server }
    }

    /// The same with these organizations (a kubelet's serving certificate carries `system:nodes`).
    #[must_use]
    pub fn with_organizations(mut self, organizations: &[&str]) -> Self {
        self.organizations = organizations.iter().map(ToString::to_string).collect();
        self
    }

    fn params(&self) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(self.names.clone())?;
        params.distinguished_name = distinguished_name(&self.common_name, &self.organizations);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![match self.usage {
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    /// Whether a certificate already says this, or more.
    fn is_met_by(&self, certificate: &X509Certificate<'_>) -> bool {
        let subject = certificate.subject();
        let common_name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        let organizations: Vec<_> = subject.iter_organization().filter_map(|name| name.as_str().ok()).collect();
        let mut names = BTreeSet::new();
        if let Ok(Some(extension)) = certificate.subject_alternative_name() {
            for name in &extension.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.insert((*name).to_owned()),
                    GeneralName::IPAddress(octets) => names.insert(address(octets)),
                    _ => false,
                };
            }
        }
        common_name == Some(self.common_name.as_str())
            && organizations == self.organizations
            && self.names.iter().all(|name| names.contains(name))
    }
}

fn address(octets: &[u8]) -> String {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return std::net::Ipv4Addr::from(octets).to_string();
    }
    <[u8; 16]>::try_from(octets).map(|octets| std::net::Ipv6Addr::from(octets).to_string()).unwrap_or_default()
}

fn distinguished_name(common_name: &str, organizations: &[String]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // One attribute a type is all that the builder knows, and one organization is all that we issue.
    if let Some(organization) = organizations.first() {
        name.push(DnType::OrganizationName, organization.as_str());
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// A certificate authority.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority of that name, valid for ten years.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate(common_name: &str, now: Timestamp) -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(issue)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(common_name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
        // Go's TLS wants a name to find the issuer by, and upstream's authorities carry their own.
        params.subject_alt_names = vec![SanType::DnsName(common_name.try_into().map_err(issue)?)];
        valid(&mut params, now, AUTHORITY_DAYS);
        let certificate = params.self_signed(&key).map_err(issue)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// An authority from its certificate and key, both PEM.
    ///
    /// # Errors
    /// One of them is not what it should be; the text says what.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key).map_err(issue)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(issue)?;
        Ok(Self { certificate: certificate.to_owned(), issuer })
    }

    pub(super) fn load_or_create(
        directory: &Path,
        file: &str,
        common_name: &str,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let (certificate_path, key_path) =
            (directory.join(format!("{file}.crt")), directory.join(format!("{file}.key")));
        match (files::read(&certificate_path)?, files::read(&key_path)?) {
            (Some(certificate), Some(key)) => {
                let key = KeyPair::from_pem(&key).map_err(|error| unusable(&key_path, error))?;
                let issuer =
                    Issuer::from_ca_cert_pem(&certificate, key).map_err(|error| unusable(&certificate_path, error))?;
                Ok(Self { certificate, issuer })
            }
            (None, None) => {
                let authority = Self::generate(common_name, now)?;
                files::write_private(&key_path, authority.issuer.key().serialize_pem().as_bytes())?;
                files::write(&certificate_path, authority.certificate.as_bytes())?;
                Ok(authority)
            }
            // Never replaced: what the lost half signed is out there.
            (Some(_), None) => Err(PkiError::Unusable {
                path: key_path,
                problem: "the authority's key is missing while its certificate is here".into(),
            }),
            (None, Some(_)) => Err(PkiError::Unusable {
                path: certificate_path,
                problem: "the authority's certificate is missing while its key is here".into(),
            }),
        }
    }

    /// The authority's certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// The authority's private key as PEM: what a signing controller needs.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A new certificate with a new key, valid for a year.
    ///
    /// # Errors
    /// A name in the profile cannot stand in a certificate.
    pub fn issue(&self, profile: &Profile, now: Timestamp) -> Result<Certificate, PkiError> {
        let key = KeyPair::generate().map_err(issue)?;
        let mut params = profile.params().map_err(issue)?;
        valid(&mut params, now, CERTIFICATE_DAYS);
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue)?;
        Ok(Certificate { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    pub(super) fn load_or_issue(
        &self,
        directory: &Path,
        file: &str,
        profile: &Profile,
        now: Timestamp,
    ) -> Result<Certificate, PkiError> {
        let (certificate_path, key_path) =
            (directory.join(format!("{file}.crt")), directory.join(format!("{file}.key")));
        if let (Some(certificate), Some(key)) = (files::read(&certificate_path)?, files::read(&key_path)?) {
            let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())
                .map_err(|error| unusable(&certificate_path, error))?;
            let parsed = pem.parse_x509().map_err(|error| unusable(&certificate_path, error))?;
            KeyPair::from_pem(&key).map_err(|error| unusable(&key_path, error))?;
            let renew_at = now.as_second() + RENEW_DAYS * 86_400;
            if profile.is_met_by(&parsed) && parsed.validity().not_after.timestamp() > renew_at {
                return Ok(Certificate { certificate, key });
            }
        }
        let issued = self.issue(profile, now)?;
        files::write_private(&key_path, issued.key.as_bytes())?;
        files::write(&certificate_path, issued.certificate.as_bytes())?;
        Ok(issued)
    }
}

/// From the day before, since clocks differ, for so many days.
fn valid(params: &mut CertificateParams, now: Timestamp, days: i64) {
    let date = now.to_zoned(TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(i32::from(date.year()), month, day)
    };
    params.not_before = day(date.saturating_sub(1.day()));
    params.not_after = day(date.saturating_add(days.days()));
}

fn issue(error: impl fmt::Display) -> PkiError {
    PkiError::Issue(error.to_string())
}

fn unusable(path: &Path, error: impl fmt::Display) -> PkiError {
    PkiError::Unusable { path: path.to_owned(), problem: error.to_string() }
}
