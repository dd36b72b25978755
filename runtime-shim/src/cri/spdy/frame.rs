//! Frames as bytes.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// The longest frame that is read, in bytes; servers send what a process wrote at once, 32 KiB mostly.
const FRAME_BYTES_MAX: usize = 1 << 22;
const HEADER_BYTES: usize = 8;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;
const VERSION: u16 = 3;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    /// Opens a stream.
    Open { id: u32, headers: Vec<(String, String)> },
    /// Bytes of a stream, and whether they are its last ones in this direction.
    Data { id: u32, bytes: Bytes, last: bool },
    /// The answer to a ping.
    Pong(u32),
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes of a stream, and whether they are its last ones in this direction.
    Data { id: u32, bytes: Bytes, last: bool },
    /// A stream was broken off.
    Reset(u32),
    /// Wants an answer.
    Ping(u32),
    /// No new streams.
    GoAway,
    /// Nothing that matters here.
    Other,
}

/// Writes and reads frames.
#[derive(Debug, Default)]
pub(super) struct Codec {
    /// Whether the zlib stream of the headers has begun.
    begun: bool,
}

impl Codec {
    /// The headers, as the next piece of the zlib stream.
    fn header_block(&mut self, headers: &[(String, String)]) -> io::Result<BytesMut> {
        let mut plain = BytesMut::new();
        let put = |plain: &mut BytesMut, text: &str| {
            plain.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            plain.put_slice(text.as_bytes());
        };
        plain.put_u32(u32::try_from(headers.len()).unwrap_or(u32::MAX));
        for (name, value) in headers {
            put(&mut plain, name);
            put(&mut plain, value);
        }
        let length = u16::try_from(plain.len()).map_err(|_| io::Error::other("headers too long"))?;
        let mut block = BytesMut::new();
        if !self.begun {
            // A zlib stream without a dictionary.
            block.put_slice(&[0x78, 0x01]);
            self.begun = true;
        }
        // A block that is stored as it is, and an empty one that makes the reader hand out what it has.
        for (length, bytes) in [(length, &plain[..]), (0, &[][..])] {
            block.put_u8(0);
            block.put_u16_le(length);
            block.put_u16_le(!length);
            block.put_slice(bytes);
        }
        Ok(block)
    }
}

fn control(dst: &mut BytesMut, kind: u16, payload: &[u8]) -> io::Result<()> {
    dst.put_u16(0x8000 | VERSION);
    dst.put_u16(kind);
    put_length(dst, 0, payload.len())?;
    dst.put_slice(payload);
    Ok(())
}

/// A byte of flags and three of length.
fn put_length(dst: &mut BytesMut, flags: u8, length: usize) -> io::Result<()> {
    let length = u32::try_from(length).ok().filter(|length| *length < 1 << 24);
    let length = length.ok_or_else(|| io::Error::other("frame too long"))?;
    dst.put_u32(u32::from(flags) << 24 | length);
    Ok(())
}

impl Encoder<Sent> for Codec {
    type Error = io::Error;

    fn encode(&mut self, frame: Sent, dst: &mut BytesMut) -> io::Result<()> {
        match frame {
            Sent::Open { id, headers } => {
                let mut payload = BytesMut::new();
                payload.put_u32(id);
                // Associated with no other stream, of the highest priority.
                payload.put_u32(0);
                payload.put_u16(0);
                payload.unsplit(self.header_block(&headers)?);
                control(dst, SYN_STREAM, &payload)
            }
            Sent::Data { id, bytes, last } => {
                dst.put_u32(id);
                put_length(dst, if last { FIN } else { 0 }, bytes.len())?;
                dst.put_slice(&bytes);
                Ok(())
            }
            Sent::Pong(id) => control(dst, PING, &id.to_be_bytes()),
        }
    }
}

impl Decoder for Codec {
    type Item = Received;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Received>> {
        let Some(mut header) = src.get(..HEADER_BYTES) else { return Ok(None) };
        let (first, rest) = (header.get_u32(), header.get_u32());
        let (last, length) = (rest >> 24 & u32::from(FIN) != 0, rest & 0x00ff_ffff);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
        }
        if src.len() < HEADER_BYTES + length {
            src.reserve(HEADER_BYTES + length - src.len());
            return Ok(None);
        }
        src.advance(HEADER_BYTES);
        let mut payload = src.split_to(length).freeze();
        if first & 0x8000_0000 == 0 {
            return Ok(Some(Received::Data { id: first, bytes: payload, last }));
        }
        let number = |payload: &mut Bytes| (payload.len() >= 4).then(|| payload.get_u32() & 0x7fff_ffff);
        Ok(Some(match u16::try_from(first & 0xffff).unwrap_or(0) {
            RST_STREAM => number(&mut payload).map_or(Received::Other, Received::Reset),
            PING => number(&mut payload).map_or(Received::Other, Received::Ping),
            GO_AWAY => Received::GoAway,
            _ => Received::Other,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_back_as_it_went() {
        let mut wire = BytesMut::new();
        let mut codec = Codec::default();
        for (bytes, last) in [("one", false), ("", true)] {
            codec.encode(Sent::Data { id: 7, bytes: Bytes::from(bytes), last }, &mut wire).unwrap();
        }
        codec.encode(Sent::Pong(9), &mut wire).unwrap();
        let mut tail = wire.split_off(5);
        assert_eq!(codec.decode(&mut wire).unwrap(), None, "half a frame is none");
        wire.unsplit(tail.split());
        let mut next = || codec.decode(&mut wire).unwrap();
        assert_eq!(next(), Some(Received::Data { id: 7, bytes: Bytes::from("one"), last: false }));
        assert_eq!(next(), Some(Received::Data { id: 7, bytes: Bytes::new(), last: true }));
        assert_eq!(next(), Some(Received::Ping(9)));
        assert_eq!(next(), None);
    }

    #[test]
    fn headers_are_stored_blocks_of_one_zlib_stream() {
        let mut codec = Codec::default();
        let headers = [("a".to_owned(), "bc".to_owned())];
        let plain = [0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 2, b'b', b'c'];
        let stored = [&[0, 15, 0, 240, 255][..], &plain, &[0, 0, 0, 255, 255]].concat();
        assert_eq!(codec.header_block(&headers).unwrap()[..], [&[0x78, 1][..], &stored].concat());
        assert_eq!(codec.header_block(&headers).unwrap()[..], stored, "the stream goes on");
    }
}
