//! What a signing request says, taken apart and checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::x509::AttributeTypeAndValue;

/// A request for a certificate (PKCS #10), taken apart. Its own signature is good: who made it holds the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Who the certificate shall name: the last common name, as Go reads it.
    pub common_name: String,
    /// The groups that it shall name.
    pub organizations: Vec<String>,
    /// Host names that it shall be good for.
    pub dns_names: Vec<String>,
    /// Mail addresses that it shall be good for.
    pub emails: Vec<String>,
    /// Addresses that it shall be good for, of 4 or 16 bytes each.
    pub addresses: Vec<Vec<u8>>,
    /// URIs that it shall be good for.
    pub uris: Vec<String>,
    /// The whole name in DER, which goes into the certificate as it is.
    pub(super) subject: Vec<u8>,
    /// The public key in DER, with its algorithm.
    pub(super) public_key: Vec<u8>,
}

/// Why a request can't be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// It is no PEM block `CERTIFICATE REQUEST`.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    NotPem,
    /// What is in the block is no signing request.
    #[error("unable to parse certificate request: {0}")]
    Malformed(String),
    /// It isn't signed with the key that it carries.
    #[error("unable to verify certificate request signature: {0}")]
    Signature(String),
}

impl Request {
    /// Reads the request in the `spec.request` of an object: base64 of PEM.
    ///
    /// # Errors
    /// It is none, or not signed with its own key.
    pub fn from_base64(text: &str) -> Result<Self, RequestError> {
        Self::from_pem(&STANDARD.decode(text).map_err(|_| RequestError::NotPem)?)
    }

    /// Reads a request in PEM.
    ///
    /// # Errors
    /// It is none, or not signed with its own key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RequestError> {
        let block = Pem::iter_from_buffer(pem).next().and_then(Result::ok);
        let block = block.filter(|block| block.label == "CERTIFICATE REQUEST").ok_or(RequestError::NotPem)?;
        Self::from_der(&block.contents)
    }

    fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        let malformed = |why: &str| RequestError::Malformed(why.to_owned());
        let (rest, parsed) =
            X509CertificationRequest::from_der(der).map_err(|error| RequestError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("trailing data"));
        }
        parsed.verify_signature().map_err(|error| RequestError::Signature(error.to_string()))?;
        let info = &parsed.certification_request_info;
        let mut request = Self {
            subject: info.subject.as_raw().to_vec(),
            public_key: info.subject_pki.raw.to_vec(),
            organizations: texts(info.subject.iter_organization())?,
            common_name: texts(info.subject.iter_common_name())?.pop().unwrap_or_default(),
            ..Self::default()
        };
        let mut names = None;
        for attribute in info.iter_attributes() {
            let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else { continue };
            for extension in &asked.extensions {
                match extension.parsed_extension() {
                    ParsedExtension::SubjectAlternativeName(_) if names.is_some() => {
                        return Err(malformed("more than one subjectAltName extension"));
                    }
                    ParsedExtension::SubjectAlternativeName(found) => names = Some(&found.general_names),
                    ParsedExtension::ParseError { .. } => return Err(malformed("an extension can't be read")),
                    _ => {}
                }
            }
        }
        names.into_iter().flatten().try_for_each(|name| request.take(name))?;
        Ok(request)
    }

    fn take(&mut self, name: &GeneralName<'_>) -> Result<(), RequestError> {
        let malformed = |what: &str| RequestError::Malformed(format!("subjectAltName: {what}"));
        match name {
            GeneralName::DNSName(name) => {
                self.dns_names.push(ascii(name).ok_or_else(|| malformed("a DNS name is not ASCII"))?)
            }
            GeneralName::RFC822Name(name) => {
                self.emails.push(ascii(name).ok_or_else(|| malformed("a mail address is not ASCII"))?)
            }
            GeneralName::URI(name) => self.uris.push(ascii(name).ok_or_else(|| malformed("a URI is not ASCII"))?),
            GeneralName::IPAddress(bytes) if [4, 16].contains(&bytes.len()) => self.addresses.push(bytes.to_vec()),
            GeneralName::IPAddress(_) => return Err(malformed("an IP address has neither 4 nor 16 bytes")),
            GeneralName::Invalid(..) => return Err(malformed("a name can't be read")),
            // Other kinds of names don't go into certificates, as upstream leaves them out.
            _ => {}
        }
        Ok(())
    }
}

fn ascii(text: &str) -> Option<String> {
    text.is_ascii().then(|| text.to_owned())
}

/// The texts of attributes. One in an encoding that readers of certificates disagree about is refused, for what is
/// checked here must be what the API server reads later.
fn texts<'a>(attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> Result<Vec<String>, RequestError> {
    attributes
        .map(|attribute| attribute.as_str().map(str::to_owned))
        .collect::<Result<_, _>>()
        .map_err(|_| RequestError::Malformed("the subject holds text in an unsupported encoding".into()))
}
