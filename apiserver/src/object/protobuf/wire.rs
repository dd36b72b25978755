//! Protobuf's wire format: numbered fields, one after the other.

use super::ProtobufError;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Reads fields until the bytes are over.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(torn())
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ProtobufError> {
        let length = usize::try_from(length).map_err(|_| torn())?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(torn)?;
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Item<'a>), ProtobufError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| torn())?;
        let item = match tag & 7 {
            0 => Item::Varint(self.varint()?),
            1 => Item::Fixed64(self.take(8)?.try_into().map(u64::from_le_bytes).map_err(|_| torn())?),
            2 => {
                let length = self.varint()?;
                Item::Bytes(self.take(length)?)
            }
            5 => Item::Fixed32(self.take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| torn())?),
            other => return Err(ProtobufError::new(format!("proto: illegal wireType {other}"))),
        };
        Ok((number, item))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Item<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn torn() -> ProtobufError {
    ProtobufError::new("unexpected EOF")
}

pub(super) fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::new("proto: invalid UTF-8 in a string"))
}

/// Whole numbers are written as 64 bits in two's complement.
pub(super) const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// Writes fields from the last to the first: so the length of a message is known when it is due.
#[derive(Default)]
pub(crate) struct Writer {
    /// In reverse.
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.reverse();
        self.bytes
    }

    fn raw_varint(&mut self, value: u64) {
        let mut buffer = [0; 10];
        let length = put_varint(&mut buffer, value);
        self.bytes.extend(buffer[..length].iter().rev());
    }

    fn tag(&mut self, number: u32, wire_type: u64) {
        self.raw_varint(u64::from(number) << 3 | wire_type);
    }

    pub(crate) fn varint(&mut self, number: u32, value: u64) {
        self.raw_varint(value);
        self.tag(number, 0);
    }

    pub(crate) fn fixed64(&mut self, number: u32, bits: u64) {
        self.bytes.extend(bits.to_be_bytes());
        self.tag(number, 1);
    }

    pub(crate) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.bytes.extend(bytes.iter().rev());
        self.raw_varint(bytes.len() as u64);
        self.tag(number, 2);
    }

    /// Where a message ends whose fields are written next.
    pub(crate) fn end(&self) -> usize {
        self.bytes.len()
    }

    /// Begins the message of that end, after all its fields.
    pub(crate) fn begin(&mut self, number: u32, end: usize) {
        self.raw_varint((self.bytes.len() - end) as u64);
        self.tag(number, 2);
    }
}

fn put_varint(buffer: &mut [u8; 10], mut value: u64) -> usize {
    let mut at = 0;
    loop {
        // Seven bits at a time.
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            buffer[at] = byte;
            return at + 1;
        }
        buffer[at] = byte | 0x80;
        at += 1;
    }
}

/// Adds a field of bytes to what is written forwards.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_head(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// Adds the beginning of a field of so many bytes.
pub(super) fn put_head(out: &mut Vec<u8>, number: u32, length: usize) {
    let mut buffer = [0; 10];
    for value in [u64::from(number) << 3 | 2, length as u64] {
        let length = put_varint(&mut buffer, value);
        out.extend_from_slice(&buffer[..length]);
    }
}

/// How many bytes a field of bytes takes.
pub(super) const fn bytes_size(number: u32, length: usize) -> usize {
    varint_size((number as u64) << 3) + varint_size(length as u64) + length
}

const fn varint_size(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}
