//! What certificates say, how long they hold, and what becomes of requests.

use std::time::Duration;

use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::Pem;

use super::super::signer::reconcile;
use super::super::{API_SERVER_CLIENT, API_SERVER_CLIENT_KUBELET, Authority, KUBELET_SERVING, Request, Signing, Terms};
use super::*;
use crate::plan::{Action, Patch};

const CLIENT: &[&str] = &["client auth", "digital signature", "key encipherment"];

fn words(usages: &[&str]) -> Vec<String> {
    usages.iter().map(ToString::to_string).collect()
}

fn terms<'a>(usages: &'a [String], hours: u64) -> Terms<'a> {
    Terms { duration: Duration::from_secs(hours * 3600), usages, identity: "uid" }
}

#[test]
fn a_certificate_says_what_was_asked_and_nothing_else() {
    let (pem, key) = authority_pem(&rcgen::PKCS_ECDSA_P256_SHA256, 2040);
    let authority = Authority::from_pem(&pem, &key).unwrap();
    let asked = Asked { organizations: vec!["one", "two"], ..Asked::node("system:node:a") }
        .dns("a.example")
        .name(1, b"a@example")
        .name(7, &[10, 0, 0, 1])
        .name(7, &[0; 16])
        .name(6, b"spiffe://a");
    let request = Request::from_pem(asked.pem().as_bytes()).unwrap();
    let usages = words(&["server auth", "digital signature", "decipher only", "s/mime", "email protection", "any"]);
    let certificate = authority.sign(&request, terms(&usages, 24), now()).unwrap();

    let block = Pem::iter_from_buffer(certificate.as_bytes()).next().unwrap().unwrap();
    let parsed = block.parse_x509().unwrap();
    let ca_block = Pem::iter_from_buffer(pem.as_bytes()).next().unwrap().unwrap();
    let ca = ca_block.parse_x509().unwrap();
    parsed.verify_signature(Some(ca.public_key())).unwrap();
    assert_eq!(parsed.version().0, 2);
    assert_eq!(parsed.issuer(), ca.subject());
    assert_eq!(parsed.subject().to_string(), "O=one, O=two, CN=system:node:a");
    assert_eq!(parsed.public_key().raw, request.public_key);
    assert!(!parsed.is_ca() && parsed.basic_constraints().unwrap().unwrap().critical);
    assert_eq!(parsed.key_usage().unwrap().unwrap().value.flags, 0b1_0000_0001);
    let extended = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.any && extended.server_auth && extended.email_protection && !extended.client_auth);
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let names: Vec<String> = names.value.general_names.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    let id = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.clone(),
        _ => None,
    });
    assert!(id.is_some(), "who signed it can be found by key");

    let again = authority.sign(&request, terms(&usages, 24), now()).unwrap();
    let block = Pem::iter_from_buffer(again.as_bytes()).next().unwrap().unwrap();
    let again = block.parse_x509().unwrap();
    assert_eq!(again.tbs_certificate.as_ref(), parsed.tbs_certificate.as_ref(), "but for the signature it is the same");
}

#[test]
fn keys_of_every_kind_sign() {
    let split = |pem: &str| {
        let at = pem.find("-----END CERTIFICATE-----").unwrap() + 26;
        (pem[..at].to_owned(), pem[at..].to_owned())
    };
    let request = Request::from_pem(Asked::node("system:node:a").pem().as_bytes()).unwrap();
    for (certificate, key) in [
        authority_pem(&rcgen::PKCS_ECDSA_P256_SHA256, 2040),
        authority_pem(&rcgen::PKCS_ECDSA_P384_SHA384, 2040),
        authority_pem(&rcgen::PKCS_ED25519, 2040),
        split(include_str!("rsa_pkcs1.pem")),
        split(include_str!("curve_sec1.pem")),
    ] {
        let authority = Authority::from_pem(&certificate, &key).unwrap();
        let signed = authority.sign(&request, terms(&words(CLIENT), 1), now()).unwrap();
        let (block, ca) =
            [&signed, &certificate].map(|pem| Pem::iter_from_buffer(pem.as_bytes()).next().unwrap().unwrap()).into();
        block.parse_x509().unwrap().verify_signature(Some(ca.parse_x509().unwrap().public_key())).unwrap();
    }
}

#[test]
fn an_authority_is_whole_or_none() {
    let (certificate, key) = authority_pem(&rcgen::PKCS_ECDSA_P256_SHA256, 2040);
    let (_, other) = authority_pem(&rcgen::PKCS_ECDSA_P256_SHA256, 2040);
    let leaf = {
        let request = Request::from_pem(Asked::node("system:node:a").pem().as_bytes()).unwrap();
        authority().sign(&request, terms(&words(CLIENT), 1), now()).unwrap()
    };
    for (certificate, key, expected) in [
        (certificate.as_str(), other.as_str(), "the authority's key is not the one in its certificate"),
        ("", &key, "the authority's certificate: no block CERTIFICATE in the PEM text"),
        (&certificate, "", "the authority's key: no block PRIVATE KEY"),
        (
            &certificate,
            "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
            "the authority's key: neither",
        ),
        (&leaf, &key, "the authority's certificate: it is no certificate of an authority"),
    ] {
        let error = Authority::from_pem(certificate, key).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn certificates_end_before_their_authority() {
    let request = Request::from_pem(Asked::node("system:node:a").pem().as_bytes()).unwrap();
    let usages = words(CLIENT);
    let (certificate, key) = authority_pem(&rcgen::PKCS_ECDSA_P256_SHA256, 2031);
    let authority = Authority::from_pem(&certificate, &key).unwrap();
    let validity = |hours, at: Time| -> Result<(Time, Time), String> {
        let signed = authority.sign(&request, terms(&usages, hours), at).map_err(|error| error.to_string())?;
        let block = Pem::iter_from_buffer(signed.as_bytes()).next().unwrap().unwrap();
        let validity = block.parse_x509().unwrap().validity().clone();
        let at = |time: x509_parser::time::ASN1Time| Time::from_seconds(time.timestamp());
        Ok((at(validity.not_before), at(validity.not_after)))
    };
    let start = now().plus_seconds(-300);
    assert_eq!(validity(7, now()), Ok((start, now().plus_seconds(7 * 3600))), "a short one keeps its full length");
    assert_eq!(validity(8, now()), Ok((start, now().plus_seconds(8 * 3600 - 300))), "a long one is moved");
    let end: Time = "2031-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(validity(24 * 365, now()).unwrap().1, end, "none outlives its authority");
    let why = "the signer has expired: NotAfter=2031-01-01T00:00:00Z";
    assert_eq!(validity(1, end), Err(why.into()));
}

#[test]
fn years_from_2050_on_take_the_long_form() {
    let (certificate, key) = authority_pem(&rcgen::PKCS_ECDSA_P256_SHA256, 2070);
    let authority = Authority::from_pem(&certificate, &key).unwrap();
    let request = Request::from_pem(Asked::node("system:node:a").pem().as_bytes()).unwrap();
    let signed = authority.sign(&request, terms(&words(CLIENT), 24 * 365 * 25), now()).unwrap();
    let block = Pem::iter_from_buffer(signed.as_bytes()).next().unwrap().unwrap();
    assert_eq!(block.parse_x509().unwrap().validity().not_after.to_datetime().year(), 2055);
}

fn patch_of(csr: &CertificateSigningRequest, signing: &Signing) -> Option<Patch> {
    let mut plan = reconcile(csr, signing, now()).unwrap();
    assert!(plan.actions.len() < 2);
    plan.actions.pop().map(|action| match action {
        Action::Patch(patch) => patch,
        other => panic!("{other:?}"),
    })
}

#[test]
fn what_is_approved_is_signed_or_failed() {
    let signing = Signing::by(authority());
    let node = Asked::node("system:node:a");
    let mut csr = node.csr(API_SERVER_CLIENT_KUBELET, CLIENT);
    assert_eq!(patch_of(&csr, &signing), None, "nobody approved it");
    csr.status.conditions.push(condition("Approved", now()));
    let patch = patch_of(&csr, &signing).unwrap();
    assert_eq!((patch.subresource, &patch.body["metadata"]["resourceVersion"]), ("status", &"7".into()));
    let certificate = STANDARD.decode(patch.body["status"]["certificate"].as_str().unwrap()).unwrap();
    assert!(certificate.starts_with(b"-----BEGIN CERTIFICATE-----\n") && certificate.ends_with(b"-----\n"));

    let without = Signing { api_server_client_kubelet: None, ..signing.clone() };
    assert_eq!(patch_of(&csr, &without), None, "somebody else signs for it");
    for kind in ["Denied", "Failed"] {
        let mut other = csr.clone();
        other.status.conditions.push(condition(kind, now()));
        assert_eq!(patch_of(&other, &signing), None, "{kind}");
    }
    let mut issued = csr.clone();
    issued.status.certificate = "aQ==".into();
    assert_eq!(patch_of(&issued, &signing), None, "it has its certificate");
    for signer in ["kubernetes.io/unknown", "example.com/a"] {
        let mut other = csr.clone();
        other.spec.signer_name = signer.into();
        assert_eq!(patch_of(&other, &signing), None, "{signer}");
    }
}

#[test]
fn what_is_wrong_for_good_is_failed() {
    let signing = Signing::by(authority());
    let node = Asked::node("system:node:a");
    let mut forged = node.csr(API_SERVER_CLIENT, CLIENT);
    let mut der = node.der();
    // The last bytes are the signature's.
    *der.last_mut().unwrap() ^= 1;
    let pem =
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", STANDARD.encode(der));
    forged.spec.request = STANDARD.encode(pem);
    let mut unreadable = node.csr(API_SERVER_CLIENT, CLIENT);
    unreadable.spec.request = "bm90aGluZw==".into();
    let serving = node.csr(KUBELET_SERVING, &["digital signature", "server auth"]);
    let usage = node.csr("kubernetes.io/legacy-unknown", &["world domination"]);
    for (mut csr, expected) in [
        (forged, "unable to verify certificate request signature: "),
        (unreadable, "PEM block type must be CERTIFICATE REQUEST"),
        (serving, "DNS or IP subjectAltName is required"),
        (usage, "unrecognized usage values: [\"world domination\"]"),
    ] {
        csr.status.conditions.push(condition("Approved", now()));
        let patch = patch_of(&csr, &signing).unwrap();
        let conditions = patch.body["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions[0]["type"], "Approved", "what was decided stays");
        assert_eq!((&conditions[1]["type"], &conditions[1]["status"]), (&"Failed".into(), &"True".into()));
        assert_eq!(conditions[1]["reason"], "SignerValidationFailure");
        assert!(conditions[1]["message"].as_str().unwrap().starts_with(expected), "{conditions:?}");
    }
}

#[test]
fn an_authority_that_ended_fails_nobody() {
    let (certificate, key) = authority_pem(&rcgen::PKCS_ECDSA_P256_SHA256, 2025);
    let signing = Signing::by(Authority::from_pem(&certificate, &key).unwrap());
    let mut csr = Asked::node("system:node:a").csr(API_SERVER_CLIENT, CLIENT);
    csr.status.conditions.push(condition("Approved", now()));
    assert!(reconcile(&csr, &signing, now()).is_err());
}

#[test]
fn shorter_is_given_longer_is_not() {
    let signing = Signing { duration: Duration::from_secs(3600), ..Signing::by(authority()) };
    for (asked, seconds) in [
        (None, 3600),
        (Some(1800), 1800),
        (Some(3600), 3600),
        (Some(7200), 3600),
        (Some(600), 600),
        (Some(599), 600),
        (Some(-1), 600),
    ] {
        let mut csr = Asked::node("system:node:a").csr(API_SERVER_CLIENT, CLIENT);
        csr.status.conditions.push(condition("Approved", now()));
        csr.spec.expiration_seconds = asked;
        let patch = patch_of(&csr, &signing).unwrap();
        let pem = STANDARD.decode(patch.body["status"]["certificate"].as_str().unwrap()).unwrap();
        let block = Pem::iter_from_buffer(&pem).next().unwrap().unwrap();
        let end = block.parse_x509().unwrap().validity().not_after.timestamp();
        assert_eq!(end, now().seconds() + seconds, "{asked:?}");
    }
}
