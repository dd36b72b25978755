//! A client that does one thing over and over: one request at a time on a connection of its own, at the least cost that
//! HTTP/2 allows, since the benchmark shares the machine with the servers that it measures.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const FRAME_HEADER: usize = 9;
/// What either side may send before it is told that there is room again.
const WINDOW: usize = 65_535;
/// After so many bytes of answers the server is told that there is room again.
const TAKEN_MAX: usize = WINDOW / 4;

/// One connection, for one method.
pub(crate) struct Lean {
    stream: TcpStream,
    read: BytesMut,
    write: Vec<u8>,
    /// The headers of the next request.
    headers: Vec<u8>,
    next_stream: u32,
    /// What may still be sent.
    room: usize,
    /// What was received since the server was told that there is room again.
    taken: usize,
}

impl Lean {
    /// Connects, for calls of `method`, such as `KV/Put`.
    pub(crate) async fn connect(to: SocketAddr, method: &str) -> Result<Self> {
        let stream = TcpStream::connect(to).await.with_context(|| format!("cannot connect to {to}"))?;
        stream.set_nodelay(true)?;
        let mut write = PREFACE.to_vec();
        frame(&mut write, SETTINGS, 0, 0, &[]);
        let (read, headers) = (BytesMut::with_capacity(4096), first_headers(&to.to_string(), method));
        Ok(Self { stream, read, write, headers, next_stream: 1, room: WINDOW, taken: 0 })
    }

    /// Sends a message in its frame of five bytes; answers the answer's message.
    pub(crate) async fn call(&mut self, message: &[u8]) -> Result<Bytes> {
        while self.room < message.len() {
            self.flush().await?;
            self.next_frame().await?;
        }
        let stream = self.next_stream;
        self.next_stream += 2;
        self.room -= message.len();
        frame(&mut self.write, HEADERS, END_HEADERS, stream, &self.headers);
        frame(&mut self.write, DATA, END_STREAM, stream, message);
        self.flush().await?;
        // By now the server has these headers in its table, the newest first.
        self.headers = vec![0x83, 0x86, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62];
        let mut answer = BytesMut::new();
        loop {
            let (kind, flags, of, payload) = self.next_frame().await?;
            if of != stream {
                continue;
            }
            match kind {
                DATA if flags & PADDED != 0 => bail!("padding, which this client does not know"),
                DATA => answer.extend_from_slice(&payload),
                RST_STREAM => bail!("the server ended a request"),
                _ => {}
            }
            if flags & END_STREAM != 0 && matches!(kind, DATA | HEADERS) {
                break;
            }
        }
        // A call that failed has a status and no message.
        if answer.len() < 5 || answer.len() != 5 + (&answer[1..5]).get_u32() as usize {
            bail!("an answer without a message");
        }
        answer.advance(5);
        Ok(answer.freeze())
    }

    async fn flush(&mut self) -> Result<()> {
        if self.taken > TAKEN_MAX {
            frame(&mut self.write, WINDOW_UPDATE, 0, 0, &(self.taken as u32).to_be_bytes());
            self.taken = 0;
        }
        self.stream.write_all(&self.write).await?;
        self.write.clear();
        Ok(())
    }

    /// The next frame; those of the connection are dealt with. Its type, flags, stream and payload.
    async fn next_frame(&mut self) -> Result<(u8, u8, u32, Bytes)> {
        loop {
            if let Some(length) = self.read.get(..3).map(|mut bytes| bytes.get_uint(3) as usize)
                && self.read.len() >= FRAME_HEADER + length
            {
                let head = self.read.split_to(FRAME_HEADER);
                let payload = self.read.split_to(length).freeze();
                let (kind, flags, stream) = (head[3], head[4], (&head[5..]).get_u32() & 0x7fff_ffff);
                self.deal_with(kind, flags, stream, &payload).await?;
                return Ok((kind, flags, stream, payload));
            }
            if self.read.capacity() - self.read.len() < 1024 {
                self.read.reserve(16 << 10);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }

    async fn deal_with(&mut self, kind: u8, flags: u8, stream: u32, payload: &Bytes) -> Result<()> {
        match kind {
            DATA => self.taken += payload.len(),
            SETTINGS if flags & ACK == 0 => {
                frame(&mut self.write, SETTINGS, ACK, 0, &[]);
                self.flush().await?;
            }
            PING if flags & ACK == 0 => {
                frame(&mut self.write, PING, ACK, 0, payload);
                self.flush().await?;
            }
            WINDOW_UPDATE if stream == 0 && payload.len() == 4 => {
                self.room += payload.clone().get_u32() as usize & 0x7fff_ffff;
            }
            GOAWAY => bail!("the server ends the connection"),
            _ => {}
        }
        Ok(())
    }
}

/// The headers of the first request, which the server is to keep in its table.
fn first_headers(authority: &str, method: &str) -> Vec<u8> {
    let path = format!("/etcdserverpb.{method}");
    // POST and http, which every table has.
    let mut to = vec![0x83, 0x86];
    // The names of path, authority and content-type are at 4, 1 and 31 of every table.
    for (name, value) in [(4, path.as_str()), (1, authority), (31, "application/grpc")] {
        to.push(0x40 | name);
        text(&mut to, value);
    }
    to.push(0x40);
    text(&mut to, "te");
    text(&mut to, "trailers");
    to
}

fn text(to: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 127, "a length in one byte");
    to.push(text.len() as u8);
    to.extend_from_slice(text.as_bytes());
}

fn frame(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    to.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}
