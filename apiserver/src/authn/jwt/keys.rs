//! The keys of an issuer: a JSON web key set, as it is fetched from where the discovery document says.
//!
//! A key is used for the algorithms of its own kind only, whatever a token's header claims: neither `none` nor a public
//! key taken for a shared secret can get through.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
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
}

struct Key {
    id: String,
    /// Empty if it is good for every algorithm of its kind.
    algorithm: String,
    public: Public,
}

/// A set of keys.
pub(super) struct KeySet(Vec<Key>);

impl KeySet {
    /// Reads a set. Keys of kinds that are not known are left out.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(json).map_err(|error| format!("the key set can't be read: {error}"))?;
        if file.keys.len() > KEYS_MAX {
            return Err(format!("the key set has {} keys, more than {KEYS_MAX}", file.keys.len()));
        }
        Ok(Self(file.keys.into_iter().filter_map(Key::new).collect()))
    }

    /// Whether one of the keys, that of this id if there is one, made the signature.
    pub(super) fn verifies(&self, algorithm: &str, id: &str, message: &[u8], signed: &[u8]) -> bool {
        let mut candidates = self.0.iter().filter(|key| id.is_empty() || key.id == id);
        candidates.any(|key| key.verifies(algorithm, message, signed))
    }
}

/// The algorithms that tokens may be signed with.
pub(super) const ALGORITHMS: [&str; 8] = ["RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512"];

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
