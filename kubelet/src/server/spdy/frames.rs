//! The frames of SPDY/3.1, as far as streams need them.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};

/// The largest frame that is taken, in bytes.
const FRAME_MAX: usize = 1 << 20;
const VERSION: u16 = 3;
pub(super) const FIN: u8 = 1;
/// Why a stream is reset: it was refused.
pub(super) const REFUSED_STREAM: u32 = 3;

/// A frame that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A stream begins; its headers are still compressed.
    Open {
        stream: u32,
        last: bool,
        headers: Bytes,
    },
    /// More headers, which must be decompressed for the next ones to be.
    Headers {
        headers: Bytes,
    },
    Data {
        stream: u32,
        last: bool,
        data: Bytes,
    },
    Reset {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Settings and windows, and what is not known.
    Other,
}

/// The bytes are no frames of this protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

fn number(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let bytes = bytes.get(at..at + 4).ok_or(Malformed)?;
    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Takes a frame off the bytes; `None` if it is not all there.
pub(super) fn take(bytes: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    if bytes.len() < 8 {
        return Ok(None);
    }
    let (head, tail) = (number(bytes, 0)?, number(bytes, 4)?);
    let (flags, length) = (tail.to_be_bytes()[0], (tail & 0x00ff_ffff) as usize);
    if length > FRAME_MAX {
        return Err(Malformed);
    }
    if bytes.len() < 8 + length {
        return Ok(None);
    }
    let mut frame = bytes.split_to(8 + length).freeze();
    let body = frame.split_off(8);
    let last = flags & FIN != 0;
    if head >> 31 == 0 {
        return Ok(Some(Frame::Data { stream: head, last, data: body }));
    }
    if (head >> 16 & 0x7fff) as u16 != VERSION {
        return Err(Malformed);
    }
    let from = |at: usize| if body.len() < at { Err(Malformed) } else { Ok(body.slice(at..)) };
    Ok(Some(match head & 0xffff {
        1 => Frame::Open { stream: number(&body, 0)? & 0x7fff_ffff, last, headers: from(10)? },
        3 => Frame::Reset { stream: number(&body, 0)? & 0x7fff_ffff },
        6 => Frame::Ping { id: number(&body, 0)? },
        7 => Frame::GoAway,
        2 | 8 => Frame::Headers { headers: from(4)? },
        _ => Frame::Other,
    }))
}

fn control(kind: u16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + body.len());
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    frame.put_u32(u32::try_from(body.len()).unwrap_or_default());
    frame.put_slice(body);
    frame.freeze()
}

/// The answer to a stream that began, with no headers. The first one begins the zlib stream; nothing is compressed.
pub(super) fn accept(stream: u32, first: bool) -> Bytes {
    let mut body = stream.to_be_bytes().to_vec();
    if first {
        body.extend([0x78, 0x01]);
    }
    // A stored block of four zero bytes: the number of headers. An empty one flushes it: a reader that was left at the
    // end of a block looks for the next one, and takes there being none for a broken stream.
    body.extend([0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    control(2, &body)
}

pub(super) fn reset(stream: u32, why: u32) -> Bytes {
    control(3, &[stream.to_be_bytes(), why.to_be_bytes()].concat())
}

pub(super) fn ping(id: u32) -> Bytes {
    control(6, &id.to_be_bytes())
}

pub(super) fn data(stream: u32, data: &[u8], last: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + data.len());
    frame.put_u32(stream);
    let flags = if last { u32::from(FIN) << 24 } else { 0 };
    frame.put_u32(flags | u32::try_from(data.len()).unwrap_or_default());
    frame.put_slice(data);
    frame.freeze()
}

/// The headers in a decompressed block, with lower-case names.
pub(super) fn headers(block: &[u8]) -> Result<BTreeMap<String, String>, Malformed> {
    let (count, mut at) = (number(block, 0)?, 4);
    let mut text = || {
        let length = number(block, at)? as usize;
        let text = block.get(at + 4..).and_then(|rest| rest.get(..length)).ok_or(Malformed)?;
        at += 4 + length;
        Ok(String::from_utf8_lossy(text).into_owned())
    };
    let mut headers = BTreeMap::new();
    for _ in 0..count {
        let name = text()?.to_lowercase();
        headers.insert(name, text()?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_one_by_one() {
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&data(5, b"hello", true));
        bytes.extend_from_slice(&ping(7));
        bytes.extend_from_slice(&reset(9, REFUSED_STREAM));
        let open = control(1, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, b'h']);
        bytes.extend_from_slice(&open[..12]);
        let hello = Frame::Data { stream: 5, last: true, data: Bytes::from_static(b"hello") };
        assert_eq!(take(&mut bytes), Ok(Some(hello)));
        assert_eq!(take(&mut bytes), Ok(Some(Frame::Ping { id: 7 })));
        assert_eq!(take(&mut bytes), Ok(Some(Frame::Reset { stream: 9 })));
        assert_eq!(take(&mut bytes), Ok(None), "half a frame");
        bytes.extend_from_slice(&open[12..]);
        let headers = Bytes::from_static(b"h");
        assert_eq!(take(&mut bytes), Ok(Some(Frame::Open { stream: 1, last: false, headers })));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let malformed = |bytes: &[u8]| take(&mut BytesMut::from(bytes)) == Err(Malformed);
        assert!(malformed(&[0x80, 2, 0, 1, 0, 0, 0, 0]), "another version");
        assert!(malformed(&[0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0]), "too short for a stream");
        assert!(malformed(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]), "too long");
        assert_eq!(headers(&[0, 0, 0, 1, 0, 0, 0, 9, b'x']), Err(Malformed));
        assert_eq!(headers(&[0xff, 0xff, 0xff, 0xff]), Err(Malformed));
    }
}
