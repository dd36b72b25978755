//! Private keys of authorities, and what their signatures are called.

use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair};
use x509_parser::pem::Pem;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag};

const ECDSA_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];
const ECDSA_SHA384: &[u64] = &[1, 2, 840, 10045, 4, 3, 3];
const RSA_SHA256: &[u64] = &[1, 2, 840, 113_549, 1, 1, 11];
const ED25519: &[u64] = &[1, 3, 101, 112];
const P256: &[u64] = &[1, 2, 840, 10045, 3, 1, 7];
const P384: &[u64] = &[1, 3, 132, 0, 34];

/// A private key that signs certificates.
pub(super) struct Key {
    pair: Pair,
    random: SystemRandom,
}

enum Pair {
    Ecdsa(EcdsaKeyPair, &'static [u64]),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    /// Reads a key in PEM: PKCS #8, or the older forms for RSA and elliptic curves.
    pub(super) fn from_pem(pem: &str) -> Result<Self, String> {
        let random = SystemRandom::new();
        for block in Pem::iter_from_buffer(pem.as_bytes()) {
            let block = block.map_err(|error| format!("not in PEM: {error}"))?;
            let pair = match block.label.as_str() {
                "PRIVATE KEY" => pkcs8(&block.contents, &random)?,
                "RSA PRIVATE KEY" => {
                    Pair::Rsa(RsaKeyPair::from_der(&block.contents).map_err(|error| error.to_string())?)
                }
                "EC PRIVATE KEY" => sec1(&block.contents, &random)?,
                // Such as `EC PARAMETERS`, which some tools write before the key.
                _ => continue,
            };
            return Ok(Self { pair, random });
        }
        Err("no block PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY in the PEM text".into())
    }

    /// The public key, as the bits of a certificate hold it.
    pub(super) fn public(&self) -> &[u8] {
        match &self.pair {
            Pair::Ecdsa(key, _) => key.public_key().as_ref(),
            Pair::Ed25519(key) => key.public_key().as_ref(),
            Pair::Rsa(key) => key.public_key().as_ref(),
        }
    }

    /// Writes the name of its signatures (`AlgorithmIdentifier`).
    pub(super) fn write_algorithm(&self, writer: DERWriter<'_>) {
        let (id, null) = match &self.pair {
            Pair::Ecdsa(_, id) => (*id, false),
            Pair::Ed25519(_) => (ED25519, false),
            Pair::Rsa(_) => (RSA_SHA256, true),
        };
        writer.write_sequence(|writer| {
            writer.next().write_oid(&ObjectIdentifier::from_slice(id));
            if null {
                writer.next().write_null();
            }
        });
    }

    /// Signs the bytes.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        match &self.pair {
            Pair::Ecdsa(key, _) => key.sign(&self.random, message).map(|signature| signature.as_ref().to_vec()),
            Pair::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            Pair::Rsa(key) => {
                let mut out = vec![0; key.public().modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &self.random, message, &mut out)?;
                Ok(out)
            }
        }
    }
}

type Curve = (&'static EcdsaSigningAlgorithm, &'static [u64]);

fn curves() -> [Curve; 2] {
    [
        (&signature::ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_SHA256),
        (&signature::ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_SHA384),
    ]
}

fn pkcs8(der: &[u8], random: &SystemRandom) -> Result<Pair, String> {
    for (curve, id) in curves() {
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(curve, der, random) {
            return Ok(Pair::Ecdsa(key, id));
        }
    }
    if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        return Ok(Pair::Ed25519(key));
    }
    RsaKeyPair::from_pkcs8(der)
        .map(Pair::Rsa)
        .map_err(|error| format!("neither a P-256, P-384, Ed25519 nor a sound RSA key of 2048 to 8192 bits ({error})"))
}

/// The older form of keys on elliptic curves.
fn sec1(der: &[u8], random: &SystemRandom) -> Result<Pair, String> {
    let parsed = yasna::parse_der(der, |reader| {
        reader.read_sequence(|reader| {
            reader.next().read_i64()?;
            let secret = reader.next().read_bytes()?;
            let curve = reader.next().read_tagged(Tag::context(0), |reader| reader.read_oid())?;
            let (public, _) = reader.next().read_tagged(Tag::context(1), |reader| reader.read_bitvec_bytes())?;
            Ok((secret, curve, public))
        })
    });
    let (secret, curve, public) = parsed.map_err(|_| "an EC PRIVATE KEY without curve or public key".to_owned())?;
    let [p256, p384] = curves();
    let (algorithm, id) = match curve.components().as_slice() {
        P256 => p256,
        P384 => p384,
        _ => return Err(format!("an EC PRIVATE KEY on the curve {curve}, which is neither P-256 nor P-384")),
    };
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &secret, &public, random)
        .map(|key| Pair::Ecdsa(key, id))
        .map_err(|error| error.to_string())
}
