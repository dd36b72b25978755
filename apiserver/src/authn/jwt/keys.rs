//! The keys of an issuer: a JSON web key set, as it is fetched from where the discovery document says.
//!
//! A key is used for the algorithms of its own kind only, whatever a token's header claims: neither `none` nor a public
//! key taken for a shared secret can get through.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use bytes::Bytes;
use p521::ecdsa::signature::Verifier;
use ring::signature::{self, EcdsaVerificationAlgorithm, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

/// Most keys that are looked at in one set.
const KEYS_MAX: usize = 256;

#[derive(Deserialize)]
struct File {
    keys: Vec<KeyFile>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyFile {
    kty: String,
    kid: String,
    r#use: String,
    alg: String,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Box<p521::ecdsa::VerifyingKey>),
}

struct Key {
    id: String,
    /// Empty if it is good for every algorithm of its kind.
    algorithm: String,
    public: Public,
}

/// A set of keys, and the text they were read from.
pub(super) struct KeySet {
    keys: Vec<Key>,
    text: Bytes,
}

impl KeySet {
    /// Reads a set. Keys of kinds that are not known are left out.
    pub(super) fn parse(text: Bytes) -> Result<Self, String> {
        let file: File =
            serde_json::from_slice(&text).map_err(|error| format!("the key set can't be read: {error}"))?;
        if file.keys.len() > KEYS_MAX {
            return Err(format!("the key set has {} keys, more than {KEYS_MAX}", file.keys.len()));
        }
        Ok(Self { keys: file.keys.into_iter().filter_map(Key::new).collect(), text })
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether one of the keys, that of this id if there is one, made the signature.
    pub(super) fn verifies(&self, algorithm: &str, id: &str, message: &[u8], signed: &[u8]) -> bool {
        let mut candidates = self.keys.iter().filter(|key| id.is_empty() || key.id == id);
        candidates.any(|key| key.verifies(algorithm, message, signed))
    }
}

/// The algorithms that tokens may be signed with.
pub(super) const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];

fn rsa_parameters(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

impl Key {
    fn new(file: KeyFile) -> Option<Self> {
        if !matches!(file.r#use.as_str(), "" | "sig") {
            return None;
        }
        let decode = |text: &str| B64.decode(text.trim_end_matches('=')).ok();
        let public = match (file.kty.as_str(), file.crv.as_str()) {
            ("RSA", _) => {
                let plain = |bytes: Vec<u8>| -> Vec<u8> { bytes.into_iter().skip_while(|byte| *byte == 0).collect() };
                Public::Rsa { n: plain(decode(&file.n)?), e: plain(decode(&file.e)?) }
            }
            ("EC", "P-256") => Public::P256(point(decode(&file.x)?, decode(&file.y)?, 32)?),
            ("EC", "P-384") => Public::P384(point(decode(&file.x)?, decode(&file.y)?, 48)?),
            ("EC", "P-521") => {
                let point = point(decode(&file.x)?, decode(&file.y)?, 66)?;
                Public::P521(Box::new(p521::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?))
            }
            _ => return None,
        };
        Some(Self { id: file.kid, algorithm: file.alg, public })
    }

    fn verifies(&self, algorithm: &str, message: &[u8], signed: &[u8]) -> bool {
        if !self.algorithm.is_empty() && self.algorithm != algorithm {
            return false;
        }
        let curve = |with: &'static EcdsaVerificationAlgorithm, point: &[u8]| {
            UnparsedPublicKey::new(with, point).verify(message, signed).is_ok()
        };
        match (&self.public, algorithm) {
            (Public::P256(point), "ES256") => curve(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Public::P384(point), "ES384") => curve(&signature::ECDSA_P384_SHA384_FIXED, point),
            (Public::P521(key), "ES512") => p521::ecdsa::Signature::from_slice(signed)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            (Public::Rsa { n, e }, algorithm) => rsa_parameters(algorithm)
                .is_some_and(|with| RsaPublicKeyComponents { n, e }.verify(with, message, signed).is_ok()),
            _ => false,
        }
    }
}

fn point(x: Vec<u8>, y: Vec<u8>, bytes: usize) -> Option<Vec<u8>> {
    let fits = x.len() == bytes && y.len() == bytes;
    fits.then(|| [vec![4], x, y].concat())
}

#[cfg(test)]
mod tests {
    use p521::ecdsa::SigningKey;
    use p521::ecdsa::signature::Signer;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_of_p_521_verifies_es512_alone() {
        let signing = SigningKey::from_slice(&[vec![0; 2], vec![7; 64]].concat()).unwrap();
        let point = p521::ecdsa::VerifyingKey::from(&signing).to_encoded_point(false);
        let (x, y) = (B64.encode(point.x().unwrap()), B64.encode(point.y().unwrap()));
        let set = json!({"keys": [{"kty": "EC", "crv": "P-521", "kid": "a", "x": x, "y": y}]});
        let keys = KeySet::parse(set.to_string().into()).unwrap();
        let signed: p521::ecdsa::Signature = signing.sign(b"message");
        let signed = signed.to_bytes();
        assert!(keys.verifies("ES512", "a", b"message", &signed));
        assert!(!keys.verifies("ES384", "a", b"message", &signed));
        assert!(!keys.verifies("ES512", "b", b"message", &signed));
        assert!(!keys.verifies("ES512", "a", b"another", &signed));
        let off_the_curve = json!({"keys": [{"kty": "EC", "crv": "P-521", "kid": "a", "x": x, "y": x}]});
        let keys = KeySet::parse(off_the_curve.to_string().into()).unwrap();
        assert!(!keys.verifies("ES512", "a", b"message", &signed));
    }
}
