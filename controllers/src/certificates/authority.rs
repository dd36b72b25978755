//! A certificate authority that signs by what a request says and what its signer grants.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};
use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, DERWriterSeq, Tag};

use super::keys::Key;
use super::usages::{KeyUsages, key_usages};
use super::{Request, UsageError};
use crate::objects::Time;

/// Certificates hold from a little before they are made, for clocks differ.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// From which length on the end is moved forward, too.
const SHORT: Duration = Duration::from_secs(8 * 3600);

const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const AUTHORITY_KEY_ID: &[u64] = &[2, 5, 29, 35];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];

/// A certificate authority: its certificate and its key.
pub struct Authority {
    key: Key,
    /// Its name in DER.
    subject: Vec<u8>,
    key_id: Option<Vec<u8>>,
    not_after: Time,
}

/// What an authority grants.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// How long the certificate shall be good.
    pub duration: Duration,
    /// What it shall be good for, in the API's words.
    pub usages: &'a [String],
    /// What sets this certificate apart from the authority's others, such as the UID of the object that asks for it; the
    /// serial number is made of it and of the request.
    pub identity: &'a str,
}

/// Why an authority can't be made, or doesn't sign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The certificate is none.
    #[error("the authority's certificate: {0}")]
    Certificate(String),
    /// The key can't be used.
    #[error("the authority's key: {0}")]
    Key(String),
    /// The key belongs to another certificate.
    #[error("the authority's key is not the one in its certificate")]
    Mismatch,
    /// The authority's own certificate has ended.
    #[error("the signer has expired: NotAfter={0}")]
    Expired(Time),
    /// A usage has no meaning in a certificate.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The key does not sign.
    #[error("failed to sign certificate")]
    Sign,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Authority {
    /// An authority from its certificate and key, both in PEM. Keys are P-256, P-384, Ed25519 or RSA; of several
    /// certificates the first is the authority's own.
    ///
    /// # Errors
    /// One of them can't be used, or they don't belong together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let wrong = |why: String| AuthorityError::Certificate(why);
        let mut blocks = Pem::iter_from_buffer(certificate.as_bytes()).filter_map(Result::ok);
        let block = blocks.find(|block| block.label == "CERTIFICATE");
        let block = block.ok_or_else(|| wrong("no block CERTIFICATE in the PEM text".into()))?;
        let (_, parsed) = X509Certificate::from_der(&block.contents).map_err(|error| wrong(error.to_string()))?;
        if !parsed.is_ca() {
            return Err(wrong("it is no certificate of an authority (basicConstraints: CA is not set)".into()));
        }
        let key = Key::from_pem(key).map_err(AuthorityError::Key)?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public() {
            return Err(AuthorityError::Mismatch);
        }
        let key_id = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Ok(Self {
            key,
            subject: parsed.subject().as_raw().to_vec(),
            key_id,
            not_after: Time::from_seconds(parsed.validity().not_after.timestamp()),
        })
    }

    /// Signs a request and returns the certificate in PEM.
    ///
    /// The certificate carries the request's name, key and alternative names, and nothing else that it may have asked
    /// for. It holds from five minutes before `now`, never longer than the authority itself.
    ///
    /// # Errors
    /// The authority has ended, or a usage is unknown.
    pub fn sign(&self, request: &Request, terms: Terms<'_>, now: Time) -> Result<String, AuthorityError> {
        let usages = key_usages(terms.usages)?;
        if now >= self.not_after {
            return Err(AuthorityError::Expired(self.not_after));
        }
        let end = if terms.duration < SHORT { now + terms.duration } else { now + (terms.duration - BACKDATE) };
        let validity = (now - BACKDATE, end.min(self.not_after));
        let body = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| self.write_body(writer, request, &usages, validity, terms.identity));
        });
        let signature = self.key.sign(&body).map_err(|_| AuthorityError::Sign)?;
        let certificate = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&body);
                self.key.write_algorithm(writer.next());
                writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        Ok(pem("CERTIFICATE", &certificate))
    }

    fn write_body(
        &self,
        writer: &mut DERWriterSeq<'_>,
        request: &Request,
        usages: &KeyUsages,
        (start, end): (Time, Time),
        identity: &str,
    ) {
        // The third version.
        writer.next().write_tagged(Tag::context(0), |writer| writer.write_u8(2));
        writer.next().write_bigint_bytes(&serial(request, identity), true);
        self.key.write_algorithm(writer.next());
        writer.next().write_der(&self.subject);
        writer.next().write_sequence(|writer| {
            writer.next().write_der(&time(start));
            writer.next().write_der(&time(end));
        });
        writer.next().write_der(&request.subject);
        writer.next().write_der(&request.public_key);
        writer.next().write_tagged(Tag::context(3), |writer| {
            writer.write_sequence(|writer| self.write_extensions(writer, request, usages));
        });
    }

    fn write_extensions(&self, writer: &mut DERWriterSeq<'_>, request: &Request, usages: &KeyUsages) {
        if usages.bits != 0 {
            let unused = usages.bits.trailing_zeros() as usize;
            let bytes = usages.bits.to_be_bytes();
            extension(writer, KEY_USAGE, true, |writer| {
                let length = 16 - unused;
                writer.write_bitvec_bytes(&bytes[..length.div_ceil(8)], length);
            });
        }
        if !usages.extended.is_empty() {
            extension(writer, EXTENDED_KEY_USAGE, false, |writer| {
                writer.write_sequence(|writer| {
                    for id in &usages.extended {
                        writer.next().write_oid(&ObjectIdentifier::from_slice(id));
                    }
                });
            });
        }
        // It is no authority: that is the default, which is not written.
        extension(writer, BASIC_CONSTRAINTS, true, |writer| writer.write_sequence(|_| {}));
        if let Some(id) = &self.key_id {
            extension(writer, AUTHORITY_KEY_ID, false, |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(id));
                });
            });
        }
        let names = alternative_names(request);
        if !names.is_empty() {
            // An empty name means nothing, so then the alternatives are what must be understood.
            let nameless = request.subject == [0x30, 0];
            extension(writer, SUBJECT_ALT_NAME, nameless, |writer| {
                writer.write_sequence(|writer| {
                    for (tag, bytes) in names {
                        writer.next().write_tagged_implicit(Tag::context(tag), |writer| writer.write_bytes(bytes));
                    }
                });
            });
        }
    }
}

/// The request's alternative names, each with its tag.
fn alternative_names(request: &Request) -> Vec<(u64, &[u8])> {
    let mut names: Vec<_> = texts(2, &request.dns_names).collect();
    names.extend(texts(1, &request.emails));
    names.extend(request.addresses.iter().map(|bytes| (7, bytes.as_slice())));
    names.extend(texts(6, &request.uris));
    names
}

fn texts(tag: u64, names: &[String]) -> impl Iterator<Item = (u64, &[u8])> {
    names.iter().map(move |name| (tag, name.as_bytes()))
}

fn extension(writer: &mut DERWriterSeq<'_>, id: &[u64], critical: bool, value: impl FnOnce(DERWriter<'_>)) {
    writer.next().write_sequence(|writer| {
        writer.next().write_oid(&ObjectIdentifier::from_slice(id));
        if critical {
            writer.next().write_bool(true);
        }
        writer.next().write_bytes(&yasna::construct_der(value));
    });
}

/// A serial number of 127 bits. The identity is drawn by the server at random after the request is fixed, so nobody
/// can foresee it; and a second attempt gives the same number, so that no draw is needed here.
fn serial(request: &Request, identity: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in [identity.as_bytes(), &request.subject, &request.public_key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut serial = [0; 16];
    serial.copy_from_slice(&hash.finalize()[..16]);
    // Positive, and never zero.
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

/// A time in DER: two digits of the year before 2050, four from then on.
fn time(at: Time) -> Vec<u8> {
    let at = jiff::Timestamp::from_second(at.seconds()).unwrap_or(jiff::Timestamp::MAX);
    let year = at.strftime("%Y").to_string();
    let long = year.as_str() >= "2050" || year.as_str() < "1950";
    let (tag, text) = if long { (0x18, at.strftime("%Y%m%d%H%M%SZ")) } else { (0x17, at.strftime("%y%m%d%H%M%SZ")) };
    let text = text.to_string();
    // At most fifteen characters.
    let mut der = vec![tag, text.len() as u8];
    der.extend_from_slice(text.as_bytes());
    der
}

/// A PEM block with lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
