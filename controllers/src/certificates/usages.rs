//! What certificates are good for: the API's words and X.509's marks.

/// A usage has no meaning in a certificate.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unrecognized usage values: {0:?}")]
pub struct UsageError(pub Vec<String>);

/// What a certificate is good for, as X.509 writes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct KeyUsages {
    /// The bits of the extension `keyUsage`; the first is the highest.
    pub(super) bits: u16,
    /// The object identifiers of the extension `extKeyUsage`.
    pub(super) extended: Vec<&'static [u64]>,
}

/// A word, and its bit of `keyUsage`, counted from the first.
const PLAIN: &[(&str, u8)] = &[
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

/// A word and its identifier in `extKeyUsage`, in the order in which they are written.
const EXTENDED: &[(&str, &[u64])] = &[
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113_730, 4, 1]),
];

/// How X.509 writes these usages.
pub(super) fn key_usages(words: &[String]) -> Result<KeyUsages, UsageError> {
    let has = |known: &str| words.iter().any(|word| word == known);
    let known = |word: &str| PLAIN.iter().any(|(own, _)| *own == word) || EXTENDED.iter().any(|(own, _)| *own == word);
    let unknown: Vec<String> = words.iter().filter(|word| !known(word)).cloned().collect();
    if !unknown.is_empty() {
        return Err(UsageError(unknown));
    }
    let bits = PLAIN.iter().filter(|(word, _)| has(word)).fold(0, |bits, (_, place)| bits | 0x8000 >> place);
    let mut extended: Vec<&[u64]> = EXTENDED.iter().filter(|(word, _)| has(word)).map(|(_, id)| *id).collect();
    extended.dedup();
    Ok(KeyUsages { bits, extended })
}
