//! The few DER structures that public keys are wrapped in.

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
const SEQUENCE: u8 = 0x30;
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

pub(super) fn p256_public_key_info(point: &[u8]) -> Vec<u8> {
    [&P256_INFO, point].concat()
}

pub(super) fn p256_point_of(info: &[u8]) -> Option<&[u8]> {
    info.strip_prefix(&P256_INFO).filter(|point| point.len() == 65 && point[0] == 4)
}

pub(super) fn rsa_public_key_info(rsa: &[u8]) -> Vec<u8> {
    let bits = wrap(BIT_STRING, &[&[0], rsa].concat());
    wrap(SEQUENCE, &[&RSA_ALGORITHM, bits.as_slice()].concat())
}

pub(super) fn rsa_public_key_of(mut info: &[u8]) -> Option<&[u8]> {
    let mut content = take(SEQUENCE, &mut info)?.strip_prefix(&RSA_ALGORITHM)?;
    take(BIT_STRING, &mut content)?.strip_prefix(&[0])
}

/// Modulus and exponent, without leading zeros.
pub(super) fn rsa_numbers(mut rsa: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut numbers = take(SEQUENCE, &mut rsa)?;
    let mut number = || take(INTEGER, &mut numbers).map(|n| n.strip_prefix(&[0]).unwrap_or(n).to_vec());
    Some((number()?, number()?))
}

/// A SEC 1 key in the PKCS #8 wrapping, which names the curve outside of the key.
pub(super) fn pkcs8_of_p256_sec1(mut sec1: &[u8]) -> Option<Vec<u8>> {
    let mut content = take(SEQUENCE, &mut sec1)?;
    let version = take(INTEGER, &mut content)?;
    let secret = take(OCTET_STRING, &mut content)?;
    let _curve = take(CURVE, &mut content);
    let public = take(PUBLIC, &mut content)?;
    let key = [wrap(INTEGER, version), wrap(OCTET_STRING, secret), wrap(PUBLIC, public)].concat();
    let key = wrap(OCTET_STRING, &wrap(SEQUENCE, &key));
    Some(wrap(SEQUENCE, &[&wrap(INTEGER, &[0]), P256_ALGORITHM, &key].concat()))
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
}
