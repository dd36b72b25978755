//! The ciphers under which values are stored, each in upstream's layout.

use aes_gcm::aead::AeadInPlace;
use aes_gcm::aead::consts::U12;
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AesGcm, KeyInit};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use crypto_secretbox::XSalsa20Poly1305;
use ring::hkdf;

use crate::environment::Environment;

const GCM_NONCE_BYTES: usize = 12;
const SECRETBOX_NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const BLOCK_BYTES: usize = 16;
/// How many random bytes make, with the seed, the key of one value.
const INFO_BYTES: usize = 32;
/// Bytes of a seed, and of the keys that are derived from it.
pub(super) const SEED_BYTES: usize = 32;

const TOO_SHORT: &str = "the stored data was shorter than the required size";
const NOT_OURS: &str = "cipher: message authentication failed";

/// AES in Galois/counter mode, by the length of its key.
pub(super) enum Gcm {
    Aes128(Box<AesGcm<Aes128, U12>>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<AesGcm<Aes256, U12>>),
}

/// A cipher with its key.
pub(super) enum Cipher {
    /// Nonce, ciphertext, tag; bound to where the value is stored.
    Gcm(Gcm),
    /// Initialization vector, padded ciphertext. Nothing tells whether it was tampered with.
    Cbc(Vec<u8>),
    /// Nonce, tag, ciphertext.
    Secretbox(Box<XSalsa20Poly1305>),
    /// Random bytes that make a key of the seed, then as [`Gcm`](Self::Gcm) under that key.
    Derived(hkdf::Prk),
}

fn bad_length(bytes: usize) -> String {
    format!("a key of {bytes} bytes does not fit this cipher")
}

impl Gcm {
    fn new(key: &[u8]) -> Result<Self, String> {
        let fault = |_| bad_length(key.len());
        match key.len() {
            16 => AesGcm::new_from_slice(key).map(Box::new).map(Self::Aes128).map_err(fault),
            24 => AesGcm::new_from_slice(key).map(Box::new).map(Self::Aes192).map_err(fault),
            32 => AesGcm::new_from_slice(key).map(Box::new).map(Self::Aes256).map_err(fault),
            other => Err(bad_length(other)),
        }
    }

    fn seal(&self, plain: &[u8], context: &[u8], environment: &dyn Environment) -> Result<Vec<u8>, String> {
        match self {
            Self::Aes128(cipher) => seal_gcm(&**cipher, plain, context, environment),
            Self::Aes192(cipher) => seal_gcm(&**cipher, plain, context, environment),
            Self::Aes256(cipher) => seal_gcm(&**cipher, plain, context, environment),
        }
    }

    fn open(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Aes128(cipher) => open_gcm(&**cipher, sealed, context),
            Self::Aes192(cipher) => open_gcm(&**cipher, sealed, context),
            Self::Aes256(cipher) => open_gcm(&**cipher, sealed, context),
        }
    }
}

fn seal_gcm<C: AeadInPlace>(
    cipher: &C,
    plain: &[u8],
    context: &[u8],
    environment: &dyn Environment,
) -> Result<Vec<u8>, String> {
    let mut out = vec![0; GCM_NONCE_BYTES + plain.len()];
    let (nonce, text) = out.split_at_mut(GCM_NONCE_BYTES);
    environment.fill_random(nonce);
    text.copy_from_slice(plain);
    let tag = cipher.encrypt_in_place_detached((&*nonce).into(), context, text);
    out.extend_from_slice(&tag.map_err(|_| "the value is too large for the cipher")?);
    Ok(out)
}

fn open_gcm<C: AeadInPlace>(cipher: &C, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
    let (nonce, rest) = sealed.split_at_checked(GCM_NONCE_BYTES).ok_or(TOO_SHORT)?;
    let (text, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(NOT_OURS)?;
    let mut text = text.to_vec();
    let opened = cipher.decrypt_in_place_detached(nonce.into(), context, &mut text, (&tag[..]).into());
    opened.map(|()| text).map_err(|_| NOT_OURS.to_owned())
}

fn seal_cbc<C: BlockEncryptMut + cbc::cipher::BlockCipher + KeyInit>(
    key: &[u8],
    plain: &[u8],
    iv: &[u8],
) -> Result<Vec<u8>, String> {
    let cipher = cbc::Encryptor::<C>::new_from_slices(key, iv).map_err(|_| bad_length(key.len()))?;
    Ok([iv, &cipher.encrypt_padded_vec_mut::<Pkcs7>(plain)].concat())
}

fn open_cbc<C: BlockDecryptMut + cbc::cipher::BlockCipher + KeyInit>(
    key: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, String> {
    let (iv, text) = sealed.split_at_checked(BLOCK_BYTES).ok_or(TOO_SHORT)?;
    if text.is_empty() || !text.len().is_multiple_of(BLOCK_BYTES) {
        return Err("the stored data is not a multiple of the block size".into());
    }
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).map_err(|_| bad_length(key.len()))?;
    cipher.decrypt_padded_vec_mut::<Pkcs7>(text).map_err(|_| "invalid padding on input".to_owned())
}

impl Cipher {
    /// AES-GCM with a key of 16, 24 or 32 bytes.
    pub(super) fn gcm(key: &[u8]) -> Result<Self, String> {
        Gcm::new(key).map(Self::Gcm)
    }

    /// AES-CBC with a key of 16, 24 or 32 bytes.
    pub(super) fn cbc(key: &[u8]) -> Result<Self, String> {
        if matches!(key.len(), 16 | 24 | 32) { Ok(Self::Cbc(key.to_vec())) } else { Err(bad_length(key.len())) }
    }

    /// XSalsa20 and Poly1305 with a key of 32 bytes.
    pub(super) fn secretbox(key: &[u8]) -> Result<Self, String> {
        let cipher = XSalsa20Poly1305::new_from_slice(key).map_err(|_| bad_length(key.len()))?;
        Ok(Self::Secretbox(Box::new(cipher)))
    }

    /// Another key of AES-GCM for each value, made of a seed.
    pub(super) fn derived(seed: &[u8]) -> Result<Self, String> {
        if seed.len() < SEED_BYTES {
            return Err(format!("invalid seed length {} used for key generation", seed.len()));
        }
        Ok(Self::Derived(hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, seed)))
    }

    /// The value as it is stored under `context`.
    pub(super) fn seal(&self, plain: &[u8], context: &[u8], environment: &dyn Environment) -> Result<Vec<u8>, String> {
        match self {
            Self::Gcm(cipher) => cipher.seal(plain, context, environment),
            Self::Cbc(key) => {
                let mut iv = [0; BLOCK_BYTES];
                environment.fill_random(&mut iv);
                match key.len() {
                    16 => seal_cbc::<Aes128>(key, plain, &iv),
                    24 => seal_cbc::<Aes192>(key, plain, &iv),
                    _ => seal_cbc::<Aes256>(key, plain, &iv),
                }
            }
            Self::Secretbox(cipher) => {
                let mut out = vec![0; SECRETBOX_NONCE_BYTES + TAG_BYTES + plain.len()];
                let (nonce, rest) = out.split_at_mut(SECRETBOX_NONCE_BYTES);
                let (tag, text) = rest.split_at_mut(TAG_BYTES);
                environment.fill_random(nonce);
                text.copy_from_slice(plain);
                let made = cipher.encrypt_in_place_detached((&*nonce).into(), b"", text);
                tag.copy_from_slice(&made.map_err(|_| "the value is too large for the cipher")?);
                Ok(out)
            }
            Self::Derived(seed) => {
                let mut info = vec![0; INFO_BYTES];
                environment.fill_random(&mut info);
                let sealed = derive(seed, &info)?.seal(plain, context, environment)?;
                info.extend_from_slice(&sealed);
                Ok(info)
            }
        }
    }

    /// The value that is stored so under `context`.
    pub(super) fn open(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Gcm(cipher) => cipher.open(sealed, context),
            Self::Cbc(key) => match key.len() {
                16 => open_cbc::<Aes128>(key, sealed),
                24 => open_cbc::<Aes192>(key, sealed),
                _ => open_cbc::<Aes256>(key, sealed),
            },
            Self::Secretbox(cipher) => {
                let (nonce, rest) = sealed.split_at_checked(SECRETBOX_NONCE_BYTES).ok_or(TOO_SHORT)?;
                let (tag, text) = rest.split_at_checked(TAG_BYTES).ok_or(TOO_SHORT)?;
                let mut text = text.to_vec();
                let opened = cipher.decrypt_in_place_detached(nonce.into(), b"", &mut text, tag.into());
                opened.map(|()| text).map_err(|_| NOT_OURS.to_owned())
            }
            Self::Derived(seed) => {
                let (info, sealed) = sealed.split_at_checked(INFO_BYTES).ok_or(TOO_SHORT)?;
                derive(seed, info)?.open(sealed, context)
            }
        }
    }
}

/// How long a derived key is.
struct KeyLength;

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        SEED_BYTES
    }
}

fn derive(seed: &hkdf::Prk, info: &[u8]) -> Result<Gcm, String> {
    let mut key = [0; SEED_BYTES];
    let made = seed.expand(&[info], KeyLength).and_then(|okm| okm.fill(&mut key));
    made.map_err(|_| "no key can be derived from the seed".to_owned())?;
    Gcm::new(&key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::SystemEnvironment;

    fn ciphers() -> Vec<(Cipher, bool)> {
        let key: Vec<u8> = (0..32).collect();
        let mut all = vec![(Cipher::secretbox(&key).unwrap(), false), (Cipher::derived(&key).unwrap(), true)];
        for bytes in [16, 24, 32] {
            all.push((Cipher::gcm(&key[..bytes]).unwrap(), true));
            all.push((Cipher::cbc(&key[..bytes]).unwrap(), false));
        }
        all
    }

    #[test]
    fn what_is_sealed_is_opened() {
        for (cipher, bound) in ciphers() {
            for plain in [&b""[..], b"x", b"a secret of exactly 32 bytes len"] {
                let sealed = cipher.seal(plain, b"/a", &SystemEnvironment).unwrap();
                assert_eq!(cipher.open(&sealed, b"/a").unwrap(), plain);
                assert_eq!(cipher.open(&sealed, b"/b").is_err(), bound, "a value that was moved elsewhere");
                assert!(plain.len() < 2 || !sealed.windows(plain.len()).any(|part| part == plain));
                assert_ne!(sealed, cipher.seal(plain, b"/a", &SystemEnvironment).unwrap());
            }
        }
    }

    #[test]
    fn torn_and_changed_values_never_panic() {
        for (cipher, _) in ciphers() {
            let sealed = cipher.seal(b"a secret", b"/a", &SystemEnvironment).unwrap();
            for length in 0..sealed.len() {
                assert_ne!(cipher.open(&sealed[..length], b"/a").ok().as_deref(), Some(&b"a secret"[..]));
            }
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                let opened = cipher.open(&changed, b"/a");
                assert!(matches!(cipher, Cipher::Cbc(_)) || opened.is_err());
            }
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn layouts_are_those_of_published_vectors() {
        // Case 4 of the GCM specification, its nonce before its ciphertext and tag.
        let key = bytes("feffe9928665731c6d6a8f9467308308");
        let context = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let stored = bytes(concat!(
            "cafebabefacedbaddecaf888",
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac",
            "973d58e091",
            "5bc94fbc3221a5db94fae95ae7121a47",
        ));
        let plain = bytes(concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de6",
            "57ba637b39",
        ));
        assert_eq!(Cipher::gcm(&key).unwrap().open(&stored, &context).unwrap(), plain);
        // NIST SP 800-38A, F.2.1, one block; a block of padding of our own behind it.
        let key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
        let iv = bytes("000102030405060708090a0b0c0d0e0f");
        let sealed = seal_cbc::<Aes128>(&key, &bytes("6bc1bee22e409f96e93d7e117393172a"), &iv).unwrap();
        assert_eq!(sealed[16..32], bytes("7649abac8119b246cee98e9b12e9197d"));
    }
}
