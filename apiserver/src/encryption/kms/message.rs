//! The messages between the server and a key management service, and the form of values that are stored with its help.

use std::collections::BTreeMap;

use bytes::Bytes;
use kubewright_api::names;

/// What a service wants to have back with a wrapped key.
pub(super) type Annotations = BTreeMap<String, Bytes>;

const KEY_ID_BYTES_MAX: usize = 1024;
const SOURCE_BYTES_MAX: usize = 1024;
const ANNOTATIONS_BYTES_MAX: usize = 32 * 1024;

/// What a wrapped key is: one that seals values, or a seed of which such keys are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SourceKind {
    Key,
    Seed,
}

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) data: Bytes,
    pub(super) key_id: String,
    pub(super) source: Bytes,
    pub(super) annotations: Annotations,
    pub(super) kind: SourceKind,
}

/// A wrapped key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wrapped {
    pub(super) ciphertext: Bytes,
    pub(super) key_id: String,
    pub(super) annotations: Annotations,
}

/// How a service is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServiceStatus {
    pub(super) version: String,
    pub(super) health: String,
    pub(super) key_id: String,
}

pub(super) fn check_key_id(key_id: &str) -> Result<(), String> {
    match key_id.len() {
        0 => Err("keyID is empty".into()),
        length if length > KEY_ID_BYTES_MAX => {
            Err(format!("keyID is {length} bytes, which exceeds the max size of {KEY_ID_BYTES_MAX}"))
        }
        _ => Ok(()),
    }
}

impl Sealed {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.data.is_empty() {
            return Err("encrypted data is empty".into());
        }
        if self.source.is_empty() {
            return Err("encrypted DEK source is empty".into());
        }
        if self.source.len() > SOURCE_BYTES_MAX {
            let length = self.source.len();
            return Err(format!(
                "encrypted DEK source is {length} bytes, which exceeds the max size of {SOURCE_BYTES_MAX}"
            ));
        }
        check_key_id(&self.key_id)?;
        let total: usize = self.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        if total > ANNOTATIONS_BYTES_MAX {
            return Err(format!(
                "total size of annotations is {total}, which exceeds the max size of {ANNOTATIONS_BYTES_MAX}"
            ));
        }
        for key in self.annotations.keys() {
            if !key.contains('.') || !names::dns1123_subdomain(key).is_empty() {
                return Err(format!(
                    "annotations: {key:?} should be a domain with at least two segments separated by dots"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.data.len() + self.source.len() + 128);
        put_bytes(&mut out, 1, &self.data);
        put_bytes(&mut out, 2, self.key_id.as_bytes());
        put_bytes(&mut out, 3, &self.source);
        put_annotations(&mut out, 4, &self.annotations);
        if self.kind == SourceKind::Seed {
            out.extend([5 << 3, 1]);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut sealed = Self {
            data: Bytes::new(),
            key_id: String::new(),
            source: Bytes::new(),
            annotations: Annotations::new(),
            kind: SourceKind::Key,
        };
        for field in Fields(bytes) {
            match field? {
                (1, Item::Bytes(bytes)) => sealed.data = Bytes::copy_from_slice(bytes),
                (2, Item::Bytes(bytes)) => sealed.key_id = text(bytes)?,
                (3, Item::Bytes(bytes)) => sealed.source = Bytes::copy_from_slice(bytes),
                (4, Item::Bytes(bytes)) => take_annotation(&mut sealed.annotations, bytes)?,
                (5, Item::Number(0)) => sealed.kind = SourceKind::Key,
                (5, Item::Number(1)) => sealed.kind = SourceKind::Seed,
                (5, Item::Number(other)) => return Err(format!("unknown encryptedDEKSourceType: {other}")),
                _ => {}
            }
        }
        Ok(sealed)
    }
}

impl Wrapped {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut wrapped = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, Item::Bytes(bytes)) => wrapped.ciphertext = Bytes::copy_from_slice(bytes),
                (2, Item::Bytes(bytes)) => wrapped.key_id = text(bytes)?,
                (3, Item::Bytes(bytes)) => take_annotation(&mut wrapped.annotations, bytes)?,
                _ => {}
            }
        }
        Ok(wrapped)
    }
}

impl ServiceStatus {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut status = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, Item::Bytes(bytes)) => status.version = text(bytes)?,
                (2, Item::Bytes(bytes)) => status.health = text(bytes)?,
                (3, Item::Bytes(bytes)) => status.key_id = text(bytes)?,
                _ => {}
            }
        }
        Ok(status)
    }
}

/// The request that has a key wrapped.
pub(super) fn encrypt_request(uid: &str, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, plain);
    put_bytes(&mut out, 2, uid.as_bytes());
    out
}

/// The request that has a key unwrapped.
pub(super) fn decrypt_request(uid: &str, sealed: &Sealed) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &sealed.source);
    put_bytes(&mut out, 2, uid.as_bytes());
    put_bytes(&mut out, 3, sealed.key_id.as_bytes());
    put_annotations(&mut out, 4, &sealed.annotations);
    out
}

/// The key that an answer holds.
pub(super) fn unwrapped(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    for field in Fields(bytes) {
        if let (1, Item::Bytes(bytes)) = field? {
            plain = bytes.to_vec();
        }
    }
    Ok(plain)
}

fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        #[allow(clippy::cast_possible_truncation, reason = "the lowest seven bits")]
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    #[allow(clippy::cast_possible_truncation, reason = "seven bits are left")]
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(field << 3 | 2);
        put_number(out, bytes.len());
        out.extend_from_slice(bytes);
    }
}

fn put_annotations(out: &mut Vec<u8>, field: u8, annotations: &Annotations) {
    for (key, value) in annotations {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, key.as_bytes());
        put_bytes(&mut entry, 2, value);
        put_bytes(out, field, &entry);
    }
}

fn take_annotation(annotations: &mut Annotations, entry: &[u8]) -> Result<(), String> {
    let (mut key, mut value) = (String::new(), Bytes::new());
    for field in Fields(entry) {
        match field? {
            (1, Item::Bytes(bytes)) => key = text(bytes)?,
            (2, Item::Bytes(bytes)) => value = Bytes::copy_from_slice(bytes),
            _ => {}
        }
    }
    annotations.insert(key, value);
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a string is not UTF-8".to_owned())
}

enum Item<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Item<'a>)> {
        let tag = self.number()?;
        let item = match tag & 7 {
            0 => Item::Number(self.number()?),
            1 => Item::Bytes(self.take(8)?),
            2 => {
                let length = self.number()?;
                Item::Bytes(self.take(length)?)
            }
            5 => Item::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, item))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Item<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| "the message is torn".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed() -> Sealed {
        Sealed {
            data: Bytes::from(vec![7; 300]),
            key_id: "1".into(),
            source: "wrapped".into(),
            annotations: [("kms.example.com".to_owned(), Bytes::from("x"))].into(),
            kind: SourceKind::Seed,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(Sealed::decode(&sealed().encode()).unwrap(), sealed());
        assert!(sealed().check().is_ok());
        for wrong in [
            Sealed { data: Bytes::new(), ..sealed() },
            Sealed { key_id: String::new(), ..sealed() },
            Sealed { key_id: "x".repeat(1025), ..sealed() },
            Sealed { source: Bytes::new(), ..sealed() },
            Sealed { source: Bytes::from(vec![1; 1025]), ..sealed() },
            Sealed { annotations: [("nodots".to_owned(), Bytes::new())].into(), ..sealed() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..300) {
            let _ = Sealed::decode(&bytes);
            let _ = ServiceStatus::decode(&bytes);
            let whole = sealed().encode();
            let _ = Sealed::decode(&whole[..cut.min(whole.len())]);
        }
    }
}
