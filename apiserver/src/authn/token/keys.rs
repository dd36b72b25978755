//! Keys of service account tokens: ES256 and RS256, as upstream signs and verifies them.
//!
//! The algorithm belongs to the key. A token's header says which key it claims, never how to check it, so that
//! neither `alg: none` nor a public key used as a shared secret can get through.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::der;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text holds no key in PEM.
    #[error("no key in PEM form")]
    NotPem,
    /// Neither RSA nor ECDSA on P-256, or broken.
    #[error("the key is neither RSA (2048 bits or more) nor ECDSA on P-256")]
    Unsupported,
    /// The system has no randomness to give.
    #[error("the system's random source failed")]
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Es256,
    Rs256,
}

/// Verifies signatures.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    /// EC: the uncompressed point. RSA: PKCS #1 `RSAPublicKey`.
    public: Vec<u8>,
    id: String,
}

impl VerifyingKey {
    fn new(algorithm: Algorithm, public: Vec<u8>) -> Self {
        let info = match algorithm {
            Algorithm::Es256 => der::p256_public_key_info(&public),
            Algorithm::Rs256 => der::rsa_public_key_info(&public),
        };
        let id = B64.encode(Sha256::digest(&info));
        Self { algorithm, public, id }
    }

    /// Every public key in the text (`PUBLIC KEY` blocks), or that of the private key it holds.
    ///
    /// # Errors
    /// There is none, or one is of another kind.
    pub fn from_pem(text: &str) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        for item in SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()) {
            let item = item.map_err(|_| KeyError::NotPem)?;
            let info = item.as_ref();
            let key = if let Some(point) = der::p256_point_of(info) {
                Self::new(Algorithm::Es256, point.to_vec())
            } else if let Some(rsa) = der::rsa_public_key_of(info) {
                Self::new(Algorithm::Rs256, rsa.to_vec())
            } else {
                return Err(KeyError::Unsupported);
            };
            keys.push(key);
        }
        if keys.is_empty() {
            keys.push(SigningKey::from_pem(text)?.verifying_key().clone());
        }
        Ok(keys)
    }

    /// The key's name in token headers: the hash of its public key info, as upstream derives it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn algorithm_name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Es256 => "ES256",
            Algorithm::Rs256 => "RS256",
        }
    }

    pub(super) fn verifies(&self, message: &[u8], signed: &[u8]) -> bool {
        let key = match self.algorithm {
            Algorithm::Es256 => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &self.public),
            Algorithm::Rs256 => UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, &self.public),
        };
        key.verify(message, signed).is_ok()
    }

    /// The key as a JSON web key.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let (id, alg) = (&self.id, self.algorithm_name());
        match self.algorithm {
            Algorithm::Es256 => {
                let (x, y) = self.public[1..].split_at(32);
                json!({"use": "sig", "kty": "EC", "kid": id, "crv": "P-256", "alg": alg, "x": B64.encode(x), "y": B64.encode(y)})
            }
            Algorithm::Rs256 => {
                let (n, e) = der::rsa_numbers(&self.public).unwrap_or_default();
                json!({"use": "sig", "kty": "RSA", "kid": id, "alg": alg, "n": B64.encode(n), "e": B64.encode(e)})
            }
        }
    }
}

enum Pair {
    Ecdsa(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

/// Signs tokens.
pub struct SigningKey {
    pair: Pair,
    verifying: VerifyingKey,
    random: SystemRandom,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.verifying.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new ES256 key that lives as long as this value.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(|_| KeyError::Random)?;
        Self::from_der(&PrivateKeyDer::Pkcs8(document.as_ref().into()))
    }

    /// The private key in the text: PKCS #8, PKCS #1 or SEC 1.
    ///
    /// # Errors
    /// There is none, or it is of another kind.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| KeyError::NotPem)?;
        Self::from_der(&key)
    }

    fn from_der(key: &PrivateKeyDer<'_>) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let ecdsa = |pkcs8: &[u8]| {
            EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
                .map(|pair| Pair::Ecdsa(Box::new(pair)))
        };
        let rsa = |pair: RsaKeyPair| Pair::Rsa(Box::new(pair));
        let pair = match key {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                ecdsa(der).or_else(|_| RsaKeyPair::from_pkcs8(der).map(rsa))
            }
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).map(rsa),
            PrivateKeyDer::Sec1(der) => {
                let pkcs8 = der::pkcs8_of_p256_sec1(der.secret_sec1_der()).ok_or(KeyError::Unsupported)?;
                ecdsa(&pkcs8)
            }
            _ => return Err(KeyError::Unsupported),
        };
        let pair = pair.map_err(|_| KeyError::Unsupported)?;
        let verifying = match &pair {
            Pair::Ecdsa(pair) => VerifyingKey::new(Algorithm::Es256, pair.public_key().as_ref().to_vec()),
            Pair::Rsa(pair) => VerifyingKey::new(Algorithm::Rs256, pair.public_key().as_ref().to_vec()),
        };
        Ok(Self { pair, verifying, random })
    }

    /// What verifies this key's signatures.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// Signs a message that a test makes up.
    #[cfg(test)]
    pub(crate) fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign(message)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Ecdsa(pair) => {
                pair.sign(&self.random, message).map(|s| s.as_ref().to_vec()).map_err(|_| KeyError::Random)
            }
            Pair::Rsa(pair) => {
                let mut signed = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &self.random, message, &mut signed)
                    .map_err(|_| KeyError::Random)?;
                Ok(signed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made for this test with `openssl ecparam -name prime256v1 -genkey`.
    const SEC1: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIHW8Xgbt/CEfW/xama7Jn12RwKwJP3qx4Giv1TnYh4QXoAoGCCqGSM49
AwEHoUQDQgAEIhJboAyFOCbqj+x3XkTrdz4FsbhlSvdkd73SHkaRuimErYeJ6Yk/
z6HkUw8tH+4ekWgyKC8f4bFZ8gCfJuPKIA==
-----END EC PRIVATE KEY-----
";

    #[test]
    fn a_key_signs_what_its_public_half_verifies() {
        let key = SigningKey::generate().unwrap();
        let other = SigningKey::generate().unwrap();
        let signed = key.sign(b"message").unwrap();
        assert!(key.verifying_key().verifies(b"message", &signed));
        assert!(!key.verifying_key().verifies(b"massage", &signed));
        assert!(!other.verifying_key().verifies(b"message", &signed));
    }

    #[test]
    fn keys_of_other_tools_are_read() {
        let key = SigningKey::from_pem(SEC1).unwrap();
        assert_eq!(key.verifying_key().algorithm_name(), "ES256");
        let public = VerifyingKey::from_pem(SEC1).unwrap();
        assert_eq!(public[0].id(), key.verifying_key().id());
        assert!(matches!(SigningKey::from_pem("nonsense"), Err(KeyError::NotPem)));
    }

    #[test]
    fn a_public_key_info_reads_back() {
        let key = SigningKey::generate().unwrap();
        let info = der::p256_public_key_info(&key.verifying_key().public);
        assert_eq!(der::p256_point_of(&info).unwrap(), key.verifying_key().public);
    }
}
