//! The records of a log segment.
//!
//! A segment is a header of [`HEADER`] bytes and records, each at a multiple of 8, then zeros. A record:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the payload |
//! | 4 | CRC-32C of the rest and of where the record lies, so that no other bytes pass for it |
//! | 8 | index: 1 for the first record of a log, one more for each |
//! | 8 | durable: when this record was written, everything before that index was durable |
//! | length | payload: its kind, then its data |
//!
//! Numbers are little-endian.

/// Length of the header of segments and snapshots.
pub(crate) const HEADER: u64 = 32;
/// The version of all formats in the directory.
pub(crate) const VERSION: u32 = 1;

const PREFIX: usize = 24;

/// A command of the state.
pub(crate) const KIND_COMMAND: u8 = 1;
/// Nothing: written at the start and end of a run, so that all before it is known to be durable.
pub(crate) const KIND_SEAL: u8 = 2;

/// An entry of the replicated log.
#[cfg(feature = "raft")]
pub(crate) const KIND_ENTRY: u8 = 3;
/// A replica's term, vote and commit.
#[cfg(feature = "raft")]
pub(crate) const KIND_HARD_STATE: u8 = 4;
/// Which snapshot the replicated log starts from.
#[cfg(feature = "raft")]
pub(crate) const KIND_CHECKPOINT: u8 = 5;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) index: u64,
    pub(crate) durable: u64,
    pub(crate) kind: u8,
    pub(crate) data: &'a [u8],
    /// The offset after it.
    pub(crate) end: u64,
}

/// What lies at an offset of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Record(Record<'a>),
    /// Zeros: nothing was written here.
    Nothing,
    /// Something, but no record.
    Damage(&'static str),
}

/// The header of a file: what it is and the index it starts from.
pub(crate) fn header(magic: &[u8; 8], index: u64) -> [u8; HEADER as usize] {
    let mut header = [0; HEADER as usize];
    header[..8].copy_from_slice(magic);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&index.to_le_bytes());
    let sum = crc32c::crc32c(&header[..24]);
    header[24..28].copy_from_slice(&sum.to_le_bytes());
    header
}

/// What is wrong with a header.
pub(crate) enum BadHeader {
    Damage(&'static str),
    Version(u32),
}

/// The index in a header.
pub(crate) fn check_header(header: &[u8], magic: &[u8; 8]) -> Result<u64, BadHeader> {
    if header.len() < HEADER as usize {
        return Err(BadHeader::Damage("the header is cut short"));
    }
    if &header[..8] != magic {
        return Err(BadHeader::Damage("the header names another kind of file"));
    }
    let version = number32(&header[8..]);
    if version != VERSION {
        return Err(BadHeader::Version(version));
    }
    if crc32c::crc32c(&header[..24]) != number32(&header[24..]) {
        return Err(BadHeader::Damage("the header's checksum does not match"));
    }
    Ok(number64(&header[16..]))
}

/// Appends a record that will lie at `offset` of the segment that starts with index `first`.
pub(crate) fn put_record(
    to: &mut Vec<u8>,
    (first, offset): (u64, u64),
    (index, durable): (u64, u64),
    kind: u8,
    data: &[u8],
) {
    let start = to.len();
    let length = data.len() as u32 + 1;
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&[0; 4]);
    to.extend_from_slice(&index.to_le_bytes());
    to.extend_from_slice(&durable.to_le_bytes());
    to.push(kind);
    to.extend_from_slice(data);
    let sum = checksum(first, offset, length, &to[start + 8..]);
    to[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    to.resize(to.len().next_multiple_of(8), 0);
}

/// How many bytes a record with so much data takes.
pub(crate) const fn record_size(data: usize) -> u64 {
    (PREFIX + 1 + data).next_multiple_of(8) as u64
}

/// Looks at `offset` of a segment that starts with index `first`.
pub(crate) fn find_record(segment: &[u8], first: u64, offset: u64) -> Found<'_> {
    let Some(rest) = segment.get(offset as usize..) else {
        return Found::Nothing;
    };
    let Some(prefix) = rest.get(..PREFIX) else {
        return if rest.iter().all(|byte| *byte == 0) {
            Found::Nothing
        } else {
            Found::Damage("a record is cut short")
        };
    };
    if prefix.iter().all(|byte| *byte == 0) {
        return Found::Nothing;
    }
    let length = number32(prefix);
    if length == 0 {
        return Found::Damage("a record has no length");
    }
    let Some(body) = rest.get(8..PREFIX + length as usize) else {
        return Found::Damage("a record is cut short");
    };
    if checksum(first, offset, length, body) != number32(&prefix[4..]) {
        return Found::Damage("a record's checksum does not match");
    }
    Found::Record(Record {
        index: number64(&body[..8]),
        durable: number64(&body[8..16]),
        kind: body[16],
        data: &body[17..],
        end: (offset + (PREFIX as u64) + u64::from(length)).next_multiple_of(8),
    })
}

/// Finds a record after `offset` that proves record `index` to have been durable once.
pub(crate) fn find_proof(segment: &[u8], first: u64, offset: u64, index: u64) -> Option<u64> {
    let mut offsets = (offset + 8..segment.len() as u64).step_by(8);
    offsets.find(|offset| {
        // Nearly all of it is zeros, which need no second look.
        let start = *offset as usize;
        segment[start..].iter().take(4).any(|byte| *byte != 0)
            && matches!(find_record(segment, first, *offset), Found::Record(r) if r.durable > index)
    })
}

fn checksum(first: u64, offset: u64, length: u32, body: &[u8]) -> u32 {
    let mut place = [0; 20];
    place[..8].copy_from_slice(&first.to_le_bytes());
    place[8..16].copy_from_slice(&offset.to_le_bytes());
    place[16..].copy_from_slice(&length.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), body)
}

fn number32(bytes: &[u8]) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[..4]);
    u32::from_le_bytes(number)
}

fn number64(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_only_where_it_was_put() {
        let mut segment = vec![0; HEADER as usize];
        put_record(&mut segment, (1, HEADER), (1, 1), KIND_COMMAND, b"hello");
        let end = segment.len() as u64;
        assert_eq!(end, HEADER + record_size(5));
        put_record(&mut segment, (1, end), (2, 2), KIND_SEAL, b"");
        let Found::Record(record) = find_record(&segment, 1, HEADER) else {
            panic!("no record");
        };
        assert_eq!((record.index, record.kind, record.end), (1, KIND_COMMAND, end));
        assert_eq!(record.data, b"hello");
        assert!(matches!(find_record(&segment, 1, end), Found::Record(_)));
        assert_eq!(find_record(&segment, 1, segment.len() as u64), Found::Nothing);
        assert_eq!(find_record(&[0; 100], 1, HEADER), Found::Nothing);
        assert!(matches!(find_record(&segment, 2, HEADER), Found::Damage(_)));
        let moved = [vec![0; 8], segment.clone()].concat();
        assert!(matches!(find_record(&moved, 1, HEADER + 8), Found::Damage(_)));
        assert_eq!(find_proof(&segment, 1, HEADER, 1), Some(end));
        assert_eq!(find_proof(&segment, 1, HEADER, 2), None);
    }

    #[test]
    fn every_flipped_bit_shows() {
        let mut segment = vec![0; HEADER as usize];
        put_record(&mut segment, (1, HEADER), (1, 1), KIND_COMMAND, b"data!");
        let used = 24 + 1 + 5;
        for bit in 0..used * 8 {
            let mut damaged = segment.clone();
            damaged[HEADER as usize + bit / 8] ^= 1 << (bit % 8);
            let found = find_record(&damaged, 1, HEADER);
            assert!(matches!(found, Found::Damage(_)), "bit {bit}: {found:?}");
        }
        let good = header(b"testtest", 7);
        assert!(matches!(check_header(&good, b"testtest"), Ok(7)));
        for bit in 0..28 * 8 {
            let mut damaged = good;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(check_header(&damaged, b"testtest").is_err(), "bit {bit}");
        }
    }
}
