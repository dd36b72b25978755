//! Requests with damage: refused or read, never a panic, and what is read is what the certificate says.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use x509_parser::pem::Pem;

use super::super::{Request, Terms};
use super::*;

fn damage(der: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..der.len());
        match random.random_range(0..4) {
            0 => der[at] = random.random(),
            1 => der[at] ^= 1 << random.random_range(0..8),
            2 => der.insert(at, random.random()),
            _ => drop(der.remove(at)),
        }
    }
}

#[test]
fn damaged_requests_are_refused() {
    let asked = Asked::node("system:node:a").dns("a.example").name(7, &[10, 0, 0, 1]);
    let der = asked.der();
    let wrap = |der: &[u8]| {
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", STANDARD.encode(der))
    };
    Request::from_pem(wrap(&der).as_bytes()).unwrap();
    let authority = authority();
    for seed in 0..3000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut damaged = der.clone();
        damage(&mut damaged, &mut random);
        // What is read was signed by its own key, so it can only be damage that DER doesn't see.
        let Ok(request) = Request::from_pem(wrap(&damaged).as_bytes()) else { continue };
        let terms = Terms { duration: Duration::from_secs(3600), usages: &[], identity: "u" };
        let signed = authority.sign(&request, terms, now()).unwrap();
        let block = Pem::iter_from_buffer(signed.as_bytes()).next().unwrap().unwrap();
        let parsed = block.parse_x509().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let name = parsed.subject().iter_common_name().last().map(|name| name.as_str().unwrap().to_owned());
        assert_eq!(name.unwrap_or_default(), request.common_name, "seed {seed}");
    }
}

#[test]
fn text_that_readers_disagree_about_is_refused() {
    let der = Asked { organizations: vec!["ab"], ..Asked::default() }.der();
    // The same bytes as a BMPString, which some read as one character and others not at all; the signature is made
    // invalid by it, but the text is looked at anyway.
    let at = der.windows(4).position(|bytes| bytes == [0x0c, 2, b'a', b'b']).unwrap();
    let mut other = der;
    other[at] = 0x1e;
    let body = STANDARD.encode(other);
    let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
    assert!(Request::from_pem(pem.as_bytes()).is_err());
}
