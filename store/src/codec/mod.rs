//! Commands and entries as bytes, for logs, snapshots and replicas.
//!
//! Numbers are LEB128, byte strings have their length before them. Decoding copies keys and values out
//! of the buffer, so that no entry keeps a whole log segment in memory, and never panics.

mod command;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;

use crate::{Entry, Key, KeyRange, LeaseId, Revision};

pub(crate) use command::{decode_command, encode_command};

/// Why bytes could not be decoded.
pub(crate) type Reason = &'static str;

pub(crate) fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

pub(crate) fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_number(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

/// No lease is 0: a lease's id is above 0.
pub(crate) fn put_lease(to: &mut Vec<u8>, lease: Option<LeaseId>) {
    put_number(to, lease.map_or(0, |lease| lease.0 as u64));
}

pub(crate) fn put_entry(to: &mut Vec<u8>, entry: &Entry) {
    put_bytes(to, &entry.key);
    put_bytes(to, &entry.value);
    put_number(to, entry.create_revision.0);
    put_number(to, entry.mod_revision.0);
    put_number(to, entry.version);
    put_lease(to, entry.lease);
}

/// Reads what the functions above wrote.
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    #[cfg(feature = "raft")]
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    /// All that is left.
    #[cfg(feature = "raft")]
    pub(crate) const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    /// Refuses bytes that nothing stands for.
    pub(crate) const fn finish(self) -> Result<(), Reason> {
        if self.rest.is_empty() { Ok(()) } else { Err("unexpected bytes at the end") }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Reason> {
        let (first, rest) = self.rest.split_first().ok_or("too short")?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Reason> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number is too large")
    }

    /// A count of things of at least `size` bytes each, which must still be there.
    pub(crate) fn count(&mut self, size: usize) -> Result<usize, Reason> {
        let count = usize::try_from(self.number()?).map_err(|_| "a count is too large")?;
        if count.saturating_mul(size) > self.rest.len() {
            return Err("a count is too large");
        }
        Ok(count)
    }

    pub(crate) fn slice(&mut self) -> Result<&'a [u8], Reason> {
        let length = self.count(1)?;
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Reason> {
        self.slice().map(Bytes::copy_from_slice)
    }

    pub(crate) fn key(&mut self) -> Result<Key, Reason> {
        self.slice().map(Key::copy_from)
    }

    pub(crate) fn revision(&mut self) -> Result<Revision, Reason> {
        self.number().map(Revision)
    }

    pub(crate) fn lease(&mut self) -> Result<Option<LeaseId>, Reason> {
        let id = self.number()? as i64;
        Ok((id != 0).then_some(LeaseId(id)))
    }

    pub(crate) fn seconds(&mut self) -> Result<Duration, Reason> {
        self.number().map(Duration::from_secs)
    }

    pub(crate) fn entry(&mut self) -> Result<Entry, Reason> {
        Ok(Entry {
            key: self.key()?,
            value: self.bytes()?,
            create_revision: self.revision()?,
            mod_revision: self.revision()?,
            version: self.number()?,
            lease: self.lease()?,
        })
    }

    pub(crate) fn range(&mut self) -> Result<KeyRange, Reason> {
        Ok(match self.byte()? {
            0 => KeyRange::key(self.key()?),
            1 => KeyRange::between(self.key()?, self.key()?),
            2 => KeyRange::starting_at(self.key()?),
            _ => return Err("unknown kind of range"),
        })
    }
}

pub(crate) fn put_range(to: &mut Vec<u8>, range: &KeyRange) {
    if let Some(key) = range.as_exact() {
        to.push(0);
        put_bytes(to, key);
    } else if let Some(end) = range.end() {
        to.push(1);
        put_bytes(to, range.start());
        put_bytes(to, &end);
    } else {
        to.push(2);
        put_bytes(to, range.start());
    }
}
