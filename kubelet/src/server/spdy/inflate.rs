//! Decompression of header blocks: one zlib stream a connection, of which each block is a part that ends on a byte.
//!
//! Source: RFC 1950, RFC 1951; the dictionary is that of section 2.6.10.1 of SPDY/3.

/// The largest header block, in bytes, once it is decompressed.
const BLOCK_MAX: usize = 64 * 1024;
/// How far back a copy may reach.
const WINDOW: usize = 32 * 1024;

const LENGTHS: [(usize, u32); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];
const DISTANCES: [(usize, u32); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];
/// In which order the lengths of the codes for lengths come.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status";
const MORE_WORDS: [&str; 8] = ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"];
const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not \
    Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov \
    Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, \
    GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
    publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// What both sides know of headers beforehand.
pub(super) fn dictionary() -> Vec<u8> {
    let mut dictionary = Vec::with_capacity(1423);
    for word in WORDS.split(' ').chain(MORE_WORDS) {
        dictionary.extend(u32::try_from(word.len()).unwrap_or_default().to_be_bytes());
        dictionary.extend(word.as_bytes());
    }
    dictionary.extend(REST.as_bytes());
    dictionary
}

/// The state between blocks.
#[derive(Debug, Default)]
pub(super) struct Inflate {
    /// What copies may reach back to; empty before the first block.
    window: Vec<u8>,
}

impl Inflate {
    /// The next block. `None` if it is malformed or too large; the connection is of no use then.
    pub(super) fn block(&mut self, mut compressed: &[u8]) -> Option<Vec<u8>> {
        if self.window.is_empty() {
            let (&[method, flags], rest) = compressed.split_first_chunk::<2>()?;
            if method & 0x0f != 8 || (u16::from(method) * 256 + u16::from(flags)) % 31 != 0 {
                return None;
            }
            // With a preset dictionary its checksum follows.
            compressed = if flags & 0x20 == 0 { rest } else { rest.get(4..)? };
            self.window = dictionary();
        }
        let start = self.window.len();
        let mut bits = Bits { bytes: compressed, at: 0 };
        while bits.at / 8 < compressed.len() {
            let last = bits.take(1)? == 1;
            match bits.take(2)? {
                0 => self.stored(&mut bits, start)?,
                1 => {
                    let (symbols, distances) = fixed();
                    self.coded(&mut bits, &symbols, &distances, start)?;
                }
                2 => {
                    let (symbols, distances) = dynamic(&mut bits)?;
                    self.coded(&mut bits, &symbols, &distances, start)?;
                }
                _ => return None,
            }
            if last {
                break;
            }
        }
        let block = self.window[start..].to_vec();
        let surplus = self.window.len().saturating_sub(WINDOW);
        self.window.drain(..surplus);
        Some(block)
    }

    fn push(&mut self, byte: u8, start: usize) -> Option<()> {
        if self.window.len() - start >= BLOCK_MAX {
            return None;
        }
        self.window.push(byte);
        Some(())
    }

    fn stored(&mut self, bits: &mut Bits<'_>, start: usize) -> Option<()> {
        bits.at = bits.at.div_ceil(8) * 8;
        let (length, inverted) = (bits.take(16)?, bits.take(16)?);
        if length != !inverted & 0xffff {
            return None;
        }
        for _ in 0..length {
            let byte = u8::try_from(bits.take(8)?).ok()?;
            self.push(byte, start)?;
        }
        Some(())
    }

    fn coded(&mut self, bits: &mut Bits<'_>, symbols: &Code, distances: &Code, start: usize) -> Option<()> {
        loop {
            let symbol = symbols.next(bits)?;
            match symbol {
                0..=255 => self.push(u8::try_from(symbol).ok()?, start)?,
                256 => return Some(()),
                _ => {
                    let (base, extra) = *LENGTHS.get(usize::from(symbol) - 257)?;
                    let length = base + bits.take(extra)?;
                    let (base, extra) = *DISTANCES.get(usize::from(distances.next(bits)?))?;
                    let distance = base + bits.take(extra)?;
                    for _ in 0..length {
                        let byte = *self.window.get(self.window.len().checked_sub(distance)?)?;
                        self.push(byte, start)?;
                    }
                }
            }
        }
    }
}

/// Bits, the lowest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<usize> {
        let mut value = 0;
        for place in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value |= usize::from(byte >> (self.at % 8) & 1) << place;
            self.at += 1;
        }
        Some(value)
    }
}

/// A Huffman code: how many codes there are of each length, and the symbols in the order of their codes.
struct Code {
    counts: [u16; 16],
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; 16];
        let mut symbols = Vec::with_capacity(lengths.len());
        for length in 1..16_u8 {
            for (symbol, _) in lengths.iter().enumerate().filter(|(_, own)| **own == length) {
                counts[usize::from(length)] += 1;
                symbols.push(u16::try_from(symbol).unwrap_or_default());
            }
        }
        Self { counts, symbols }
    }

    fn next(&self, bits: &mut Bits<'_>) -> Option<u16> {
        let (mut code, mut first, mut index) = (0_usize, 0_usize, 0_usize);
        for count in &self.counts[1..] {
            code |= bits.take(1)?;
            let count = usize::from(*count);
            if code < first + count {
                return self.symbols.get(index + (code - first)).copied();
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

fn fixed() -> (Code, Code) {
    let lengths: Vec<u8> = (0..288)
        .map(|symbol| match symbol {
            0..=143 => 8,
            144..=255 => 9,
            256..=279 => 7,
            _ => 8,
        })
        .collect();
    (Code::new(&lengths), Code::new(&[5; 30]))
}

fn dynamic(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    let (symbols, distances, given) = (bits.take(5)? + 257, bits.take(5)? + 1, bits.take(4)? + 4);
    let mut lengths = [0; 19];
    for place in ORDER.iter().take(given) {
        lengths[*place] = u8::try_from(bits.take(3)?).ok()?;
    }
    let code = Code::new(&lengths);
    let mut lengths: Vec<u8> = Vec::with_capacity(symbols + distances);
    while lengths.len() < symbols + distances {
        let (length, times) = match code.next(bits)? {
            16 => (*lengths.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (u8::try_from(length).ok()?, 1),
        };
        lengths.extend(std::iter::repeat_n(length, times));
    }
    let (symbols, rest) = lengths.split_at(symbols);
    Some((Code::new(symbols), Code::new(rest.get(..distances)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_one_that_everyone_has() {
        let (mut low, mut high) = (1_u32, 0_u32);
        for byte in dictionary() {
            low = (low + u32::from(byte)) % 65521;
            high = (high + low) % 65521;
        }
        assert_eq!(high << 16 | low, 0xe3c6_a7c2, "its checksum, as zlib writes it before the data");
    }

    /// Two blocks that zlib 1.3 made of `HEADERS`, with the dictionary, each flushed; the second refers to the first.
    const FIRST: &str =
        "78f9e3c6a7c202253a48f95b044eea16061606409ab308125f99a074cc68004e892545a989b9d0c2863515141500000000ffff";
    const SECOND: &str = "225333a8a44a04000000ffff";
    const STORED: &str = "7801000400fbff61626364";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn blocks_of_one_stream_are_read_one_after_the_other() {
        let mut inflate = Inflate::default();
        let text = |block: Option<Vec<u8>>| String::from_utf8_lossy(&block.expect("a sound block")).replace('\0', "");
        assert!(text(inflate.block(&bytes(FIRST))).contains("streamtype\u{5}error"));
        assert!(text(inflate.block(&bytes(SECOND))).contains("streamtype\u{4}data"));
        assert_eq!(Inflate::default().block(&bytes(STORED)).unwrap(), b"abcd");
    }

    #[test]
    fn what_is_cut_or_wrong_is_refused() {
        let first = bytes(FIRST);
        for at in 0..first.len() - 5 {
            // Some cuts are between blocks; none panics, and none gives more than there was.
            let cut = Inflate::default().block(&first[..at]);
            assert!(cut.is_none_or(|cut| cut.len() < 200), "{at}");
            let mut wrong = first.clone();
            wrong[at] ^= 0x55;
            drop(Inflate::default().block(&wrong));
        }
        // A copy of a copy of … that would not end.
        assert_eq!(Inflate::default().block(&bytes("78010303")), None);
    }
}
