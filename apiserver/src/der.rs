//! The few DER structures that matter here: what public keys are wrapped in, and whom a signing request names.

/// `SubjectPublicKeyInfo` of a P-256 key, up to the point.
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// `AlgorithmIdentifier` of P-256 keys.
const P256_ALGORITHM: &[u8] = P256_INFO.split_at(2).1.split_at(21).0;
/// `AlgorithmIdentifier` of RSA keys.
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CURVE: u8 = 0xa0;
const PUBLIC: u8 = 0xa1;

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|&byte| byte != 0).unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 128 {
        // At most eight bytes of length.
        out.push(0x80 | significant.len() as u8);
    }
    out.extend_from_slice(significant);
    out.extend_from_slice(content);
    out
}

/// Takes one element of that tag off the front.
fn take<'a>(tag: u8, input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&[found, first], rest) = input.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        (bytes.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(content)
}

pub(crate) fn p256_public_key_info(point: &[u8]) -> Vec<u8> {
    [&P256_INFO, point].concat()
}

pub(crate) fn p256_point_of(info: &[u8]) -> Option<&[u8]> {
    info.strip_prefix(&P256_INFO).filter(|point| point.len() == 65 && point[0] == 4)
}

pub(crate) fn rsa_public_key_info(rsa: &[u8]) -> Vec<u8> {
    let bits = wrap(BIT_STRING, &[&[0], rsa].concat());
    wrap(SEQUENCE, &[&RSA_ALGORITHM, bits.as_slice()].concat())
}

pub(crate) fn rsa_public_key_of(mut info: &[u8]) -> Option<&[u8]> {
    let mut content = take(SEQUENCE, &mut info)?.strip_prefix(&RSA_ALGORITHM)?;
    take(BIT_STRING, &mut content)?.strip_prefix(&[0])
}

/// Modulus and exponent, without leading zeros.
pub(crate) fn rsa_numbers(mut rsa: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut numbers = take(SEQUENCE, &mut rsa)?;
    let mut number = || take(INTEGER, &mut numbers).map(|n| n.strip_prefix(&[0]).unwrap_or(n).to_vec());
    Some((number()?, number()?))
}

/// A SEC 1 key in the PKCS #8 wrapping, which names the curve outside of the key.
pub(crate) fn pkcs8_of_p256_sec1(mut sec1: &[u8]) -> Option<Vec<u8>> {
    let mut content = take(SEQUENCE, &mut sec1)?;
    let version = take(INTEGER, &mut content)?;
    let secret = take(OCTET_STRING, &mut content)?;
    let _curve = take(CURVE, &mut content);
    let public = take(PUBLIC, &mut content)?;
    let key = [wrap(INTEGER, version), wrap(OCTET_STRING, secret), wrap(PUBLIC, public)].concat();
    let key = wrap(OCTET_STRING, &wrap(SEQUENCE, &key));
    Some(wrap(SEQUENCE, &[&wrap(INTEGER, &[0]), P256_ALGORITHM, &key].concat()))
}

/// Whom a certificate signing request names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) common_name: String,
    pub(crate) organizations: Vec<String>,
}

/// The subject of a signing request in PEM; `None` if it isn't one.
pub(crate) fn subject_of_request_pem(pem: &str) -> Option<Subject> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
    // One block, which begins with a line: of several, others might take another one for the request.
    let at = pem.find(BEGIN).filter(|at| *at == 0 || pem[..*at].ends_with('\n'))?;
    if pem.matches("-----BEGIN").count() != 1 || pem.matches("-----END").count() != 1 {
        return None;
    }
    let body = pem[at + BEGIN.len()..].split_once("-----END CERTIFICATE REQUEST-----")?.0;
    let body: String = body.split_whitespace().collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).ok()?;
    subject_of_request(&der)
}

fn subject_of_request(mut der: &[u8]) -> Option<Subject> {
    let mut request = take(SEQUENCE, &mut der)?;
    let mut info = take(SEQUENCE, &mut request)?;
    take(INTEGER, &mut info)?;
    let mut names = take(SEQUENCE, &mut info)?;
    let mut subject = Subject::default();
    while !names.is_empty() {
        let mut set = take(SET, &mut names)?;
        while !set.is_empty() {
            let mut attribute = take(SEQUENCE, &mut set)?;
            let id = take(OBJECT_ID, &mut attribute)?;
            match id {
                [0x55, 0x04, 0x03] => subject.common_name = text(attribute)?,
                [0x55, 0x04, 0x0a] => subject.organizations.push(text(attribute)?),
                _ => {}
            }
        }
    }
    Some(subject)
}

/// A string of whichever kind names are written in.
fn text(mut value: &[u8]) -> Option<String> {
    match *value.first()? {
        // UTF8String, PrintableString, T61String, IA5String.
        tag @ (0x0c | 0x13 | 0x14 | 0x16) => String::from_utf8(take(tag, &mut value)?.to_vec()).ok(),
        // BMPString.
        tag @ 0x1e => {
            let units = take(tag, &mut value)?.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            String::from_utf16(&units.collect::<Vec<u16>>()).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_and_taking_are_inverse() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            let wrapped = wrap(OCTET_STRING, &content);
            let mut input = wrapped.as_slice();
            assert_eq!(take(OCTET_STRING, &mut input).unwrap(), content);
            assert!(input.is_empty());
        }
        assert_eq!(take(OCTET_STRING, &mut [OCTET_STRING, 5, 1].as_slice()), None);
    }

    #[test]
    fn rsa_keys_wrap_and_unwrap() {
        let rsa = wrap(SEQUENCE, &[wrap(INTEGER, &[0, 0xc1, 2]), wrap(INTEGER, &[1, 0, 1])].concat());
        assert_eq!(rsa_public_key_of(&rsa_public_key_info(&rsa)).unwrap(), rsa);
        assert_eq!(rsa_numbers(&rsa).unwrap(), (vec![0xc1, 2], vec![1, 0, 1]));
    }

    #[test]
    fn a_signing_request_names_its_subject() {
        let name = |id: u8, value: &str| {
            let id = wrap(OBJECT_ID, &[0x55, 0x04, id]);
            wrap(SET, &wrap(SEQUENCE, &[id, wrap(0x0c, value.as_bytes())].concat()))
        };
        let names = wrap(SEQUENCE, &[name(0x0a, "system:masters"), name(0x0a, "x"), name(0x03, "eve")].concat());
        let request = wrap(SEQUENCE, &wrap(SEQUENCE, &[wrap(INTEGER, &[0]), names].concat()));
        let subject = subject_of_request(&request).unwrap();
        assert_eq!(subject.common_name, "eve");
        assert_eq!(subject.organizations, ["system:masters", "x"]);
        assert_eq!(subject_of_request(&request[..20]), None);
        assert_eq!(subject_of_request_pem("nonsense"), None);
    }
}
