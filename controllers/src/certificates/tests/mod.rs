//! Requests made by hand, byte by byte, so that they can say what honest tools would not.

mod approving;
mod cleaning;
mod damaged;
mod issuing;
mod signers;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair as CaKey};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag};

use crate::objects::{CertificateSigningRequest, SigningCondition, Time};

/// A point in time that is in the life of every authority here.
fn now() -> Time {
    "2030-05-06T07:08:09Z".parse().unwrap()
}

/// An authority's certificate and key, in PEM.
fn authority_pem(algorithm: &'static rcgen::SignatureAlgorithm, until_year: i32) -> (String, String) {
    let key = CaKey::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn authority() -> super::Authority {
    let (certificate, key) = authority_pem(&rcgen::PKCS_ECDSA_P256_SHA256, 2040);
    super::Authority::from_pem(&certificate, &key).unwrap()
}

/// What a request says.
#[derive(Clone, Default)]
struct Asked {
    common_names: Vec<&'static str>,
    organizations: Vec<&'static str>,
    /// Alternative names, each with its tag.
    names: Vec<(u64, Vec<u8>)>,
}

impl Asked {
    fn node(name: &'static str) -> Self {
        Self { common_names: vec![name], organizations: vec!["system:nodes"], names: vec![] }
    }

    fn dns(mut self, name: &str) -> Self {
        self.names.push((2, name.as_bytes().to_vec()));
        self
    }

    fn name(mut self, tag: u64, bytes: &[u8]) -> Self {
        self.names.push((tag, bytes.to_vec()));
        self
    }

    fn der(&self) -> Vec<u8> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap();
        let info = yasna::construct_der(|writer| self.write_info(writer, key.public_key().as_ref()));
        let signature = key.sign(&random, &info).unwrap();
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&info);
                writer.next().write_sequence(|writer| writer.next().write_oid(&id(&[1, 2, 840, 10045, 4, 3, 2])));
                writer.next().write_bitvec_bytes(signature.as_ref(), signature.as_ref().len() * 8);
            });
        })
    }

    fn write_info(&self, writer: DERWriter<'_>, public: &[u8]) {
        writer.write_sequence(|writer| {
            writer.next().write_u8(0);
            writer.next().write_sequence(|writer| {
                let organizations = self.organizations.iter().map(|text| (10, text));
                for (kind, text) in organizations.chain(self.common_names.iter().map(|text| (3, text))) {
                    writer.next().write_set(|writer| {
                        writer.next().write_sequence(|writer| {
                            writer.next().write_oid(&id(&[2, 5, 4, kind]));
                            writer.next().write_utf8_string(text);
                        });
                    });
                }
            });
            writer.next().write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&id(&[1, 2, 840, 10045, 2, 1]));
                    writer.next().write_oid(&id(&[1, 2, 840, 10045, 3, 1, 7]));
                });
                writer.next().write_bitvec_bytes(public, public.len() * 8);
            });
            writer.next().write_tagged_implicit(Tag::context(0), |writer| {
                writer.write_set(|writer| {
                    if !self.names.is_empty() {
                        write_extensions(writer.next(), &self.names);
                    }
                });
            });
        });
    }

    fn pem(&self) -> String {
        let body = STANDARD.encode(self.der());
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
    }

    /// The object that asks for it, created a minute ago.
    fn csr(&self, signer: &str, usages: &[&str]) -> CertificateSigningRequest {
        let mut csr = CertificateSigningRequest::default();
        csr.metadata.name = "csr".into();
        csr.metadata.uid = "0b2e8a5c-52c2-4d4d-9a35-1df1b2f0d6b1".into();
        csr.metadata.resource_version = "7".into();
        csr.metadata.creation_timestamp = Some(now().plus_seconds(-60));
        csr.spec.request = STANDARD.encode(self.pem());
        csr.spec.signer_name = signer.into();
        csr.spec.usages = usages.iter().map(ToString::to_string).collect();
        csr
    }
}

/// An attribute that asks for the extension `subjectAltName`.
fn write_extensions(writer: DERWriter<'_>, names: &[(u64, Vec<u8>)]) {
    let value = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            for (tag, bytes) in names {
                writer.next().write_tagged_implicit(Tag::context(*tag), |writer| writer.write_bytes(bytes));
            }
        });
    });
    writer.write_sequence(|writer| {
        writer.next().write_oid(&id(&[1, 2, 840, 113_549, 1, 9, 14]));
        writer.next().write_set(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&id(&[2, 5, 29, 17]));
                    writer.next().write_bytes(&value);
                });
            });
        });
    });
}

fn id(parts: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(parts)
}

fn condition(kind: &str, at: Time) -> SigningCondition {
    SigningCondition {
        kind: kind.into(),
        status: "True".into(),
        last_update_time: Some(at),
        ..SigningCondition::default()
    }
}
