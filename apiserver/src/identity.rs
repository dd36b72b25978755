//! Which server of several this is, as metrics tell it: by upstream's rule, so that both agree on one machine.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

/// The alphabet of base 32, as upstream writes identities.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// `sha256:` and the digest of something, in hexadecimal.
pub(crate) fn hash(of: impl AsRef<[u8]>) -> String {
    let hex: String = Sha256::digest(of).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The hash of this server's identity; empty where the machine has no name.
pub(crate) fn apiserver_id_hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        if name.trim().is_empty() { String::new() } else { hash(identity(name.trim())) }
    })
}

/// The identity of a server on a machine of that name.
fn identity(hostname: &str) -> String {
    let digest = Sha256::digest(hostname);
    let bits = digest[..16].iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let bits: Vec<u8> = bits.collect();
    let letter = |five: &[u8]| {
        let value = (0..5).fold(0, |value, at| value << 1 | five.get(at).copied().unwrap_or_default());
        char::from(ALPHABET[usize::from(value)])
    };
    format!("apiserver-{}", bits.chunks(5).map(letter).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_upstreams() {
        // As `printf example | sha256sum` and `base32` say.
        assert_eq!(identity("example"), "apiserver-kdmfryeyl3gh6ycbrkxqzrnlla");
        assert_eq!(hash(""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
