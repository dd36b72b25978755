//! A lean client of etcd's API: just what the benchmark and the fault tests need, at as little cost as possible,
//! since it shares the machine with the servers that it measures.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, bail};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One connection; cloning shares it.
#[derive(Clone)]
pub(crate) struct Client {
    send: SendRequest<Bytes>,
    put: Uri,
    range: Uri,
    txn: Uri,
    watch: Uri,
}

/// What a read answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) revision: u64,
    pub(crate) count: u64,
    pub(crate) entries: Vec<Seen>,
    pub(crate) bytes: usize,
}

/// An entry, as far as anyone asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) mod_revision: u64,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).await.with_context(|| format!("cannot connect to {to}"))?;
        stream.set_nodelay(true)?;
        let mut builder = client::Builder::new();
        builder.initial_window_size(4 << 20).initial_connection_window_size(16 << 20).max_frame_size(1 << 20);
        let (send, connection) = builder.handshake(Joined(stream)).await.context("no http/2 there")?;
        // It ends when the client is dropped, or the server goes away, which the requests tell.
        tokio::spawn(async move { drop(connection.await) });
        let uri = |method: &str| format!("http://{to}/etcdserverpb.{method}").parse::<Uri>();
        let (put, range) = (uri("KV/Put")?, uri("KV/Range")?);
        Ok(Self { send, put, range, txn: uri("KV/Txn")?, watch: uri("Watch/Watch")? })
    }

    /// Writes a key; answers the revision.
    pub(crate) async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<u64> {
        let answer = self.call(self.put.clone(), put_message(key, value)).await?;
        header_revision(&answer)
    }

    /// Writes several keys as one.
    pub(crate) async fn put_all(&mut self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let message = message(|to| {
            for (key, value) in entries {
                let mut put = Vec::with_capacity(key.len() + value.len() + 8);
                put_request(&mut put, key, value);
                let mut op = Vec::with_capacity(put.len() + 8);
                field(&mut op, 2, &put);
                field(to, 2, &op);
            }
        });
        self.call(self.txn.clone(), message).await.map(drop)
    }

    /// Reads a key, or with an end a range, linearizable. Entries are looked into only if `parse`.
    pub(crate) async fn range(&mut self, key: &[u8], end: &[u8], limit: u64, parse: bool) -> Result<Found> {
        let answer = self.call(self.range.clone(), range_message(key, end, limit)).await?;
        Ok(found(answer, parse))
    }

    /// Opens `watches` watches of a prefix, from a revision on, on one stream.
    pub(crate) async fn watch(&mut self, key: &[u8], end: &[u8], from: u64, watches: usize) -> Result<Watch> {
        let (response, mut requests) = self.send(self.watch.clone()).await?;
        for _ in 0..watches {
            let request = message(|to| {
                let mut create = Vec::new();
                field(&mut create, 1, key);
                field(&mut create, 2, end);
                if from > 0 {
                    number_field(&mut create, 3, from);
                }
                field(to, 1, &create);
            });
            requests.send_data(request, false)?;
        }
        let response = response.await?;
        check(response.headers())?;
        Ok(Watch { body: response.into_body(), buffer: BytesMut::new(), _requests: requests })
    }

    async fn call(&mut self, uri: Uri, message: Bytes) -> Result<Bytes> {
        let (response, mut request) = self.send(uri).await?;
        request.send_data(message, true)?;
        let response = response.await?;
        check(response.headers())?;
        let mut body = response.into_body();
        let mut answer = next_data(&mut body).await?.context("an answer without a message")?;
        if answer.len() < 5 {
            bail!("an answer without a message");
        }
        let length = answer.split_to(5).slice(1..).get_u32() as usize;
        if answer.len() < length {
            let mut whole = BytesMut::with_capacity(length);
            whole.extend_from_slice(&answer);
            while let Some(more) = next_data(&mut body).await? {
                whole.extend_from_slice(&more);
            }
            answer = whole.freeze();
        }
        if let Some(trailers) = body.trailers().await? {
            check(&trailers)?;
        }
        if answer.len() != length {
            bail!("an answer that was cut short");
        }
        Ok(answer)
    }

    async fn send(&mut self, uri: Uri) -> Result<(ResponseFuture, SendStream<Bytes>)> {
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        poll_fn(|cx| self.send.poll_ready(cx)).await?;
        Ok(self.send.send_request(request, false)?)
    }
}

/// The next piece of an answer, and room for as much again.
async fn next_data(body: &mut RecvStream) -> Result<Option<Bytes>> {
    let Some(data) = body.data().await.transpose()? else { return Ok(None) };
    body.flow_control().release_capacity(data.len())?;
    Ok(Some(data))
}

/// A connection that takes what is written to it in one piece: several requests go out in one call.
struct Joined(TcpStream);

impl AsyncRead for Joined {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, to)
    }
}

impl AsyncWrite for Joined {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A stream of watches.
pub(crate) struct Watch {
    body: RecvStream,
    buffer: BytesMut,
    _requests: SendStream<Bytes>,
}

/// One response on a stream of watches.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) created: bool,
    pub(crate) cancelled: Option<String>,
    pub(crate) events: usize,
    /// The entries of the events, if they were asked for.
    pub(crate) entries: Vec<Seen>,
    /// The value of the last event, if there was one.
    pub(crate) last: Option<Bytes>,
}

impl Watch {
    /// The next response.
    pub(crate) async fn next(&mut self, parse: bool) -> Result<Told> {
        loop {
            if let Some(length) = self.buffer.get(1..5).map(|mut length| length.get_u32() as usize)
                && self.buffer.len() >= length + 5
            {
                self.buffer.advance(5);
                return Ok(told(self.buffer.split_to(length).freeze(), parse));
            }
            let Some(data) = next_data(&mut self.body).await? else {
                if let Some(trailers) = self.body.trailers().await? {
                    check(&trailers)?;
                }
                bail!("the server ended the stream of watches");
            };
            self.buffer.extend_from_slice(&data);
        }
    }
}

fn told(response: Bytes, parse: bool) -> Told {
    let mut told = Told::default();
    let mut cancelled = false;
    for (tag, value) in fields(response) {
        match (tag, value) {
            (3, Value::Number(created)) => told.created = created != 0,
            (4, Value::Number(is)) => cancelled = is != 0,
            (6, Value::Bytes(reason)) => told.cancelled = Some(String::from_utf8_lossy(&reason).into_owned()),
            (11, Value::Bytes(event)) => {
                told.events += 1;
                if parse {
                    told.entries.extend(entry_of(event));
                } else {
                    told.last = Some(event);
                }
            }
            _ => {}
        }
    }
    if cancelled {
        told.cancelled.get_or_insert_default();
    }
    told.last = told.last.and_then(|event| entry_of(event).map(|entry| entry.value));
    told
}

fn entry_of(event: Bytes) -> Option<Seen> {
    fields(event).find_map(|(tag, value)| match (tag, value) {
        (2, Value::Bytes(entry)) => Some(seen(entry)),
        _ => None,
    })
}

fn seen(entry: Bytes) -> Seen {
    let mut found = Seen::default();
    for (tag, value) in fields(entry) {
        match (tag, value) {
            (1, Value::Bytes(key)) => found.key = key,
            (3, Value::Number(revision)) => found.mod_revision = revision,
            (5, Value::Bytes(value)) => found.value = value,
            _ => {}
        }
    }
    found
}

/// The first key after all that start with `prefix`, which does not end with a byte of ones.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn check(headers: &HeaderMap) -> Result<()> {
    let Some(status) = headers.get("grpc-status") else { return Ok(()) };
    if status.as_bytes() == b"0" {
        return Ok(());
    }
    let why = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
    bail!("{} (code {})", String::from_utf8_lossy(why), status.to_str().unwrap_or("?"))
}

/// A request that writes a key.
pub(crate) fn put_message(key: &[u8], value: &[u8]) -> Bytes {
    message(|to| put_request(to, key, value))
}

/// A request that reads a key, or with an end a range.
pub(crate) fn range_message(key: &[u8], end: &[u8], limit: u64) -> Bytes {
    message(|to| {
        field(to, 1, key);
        if !end.is_empty() {
            field(to, 2, end);
        }
        if limit > 0 {
            number_field(to, 3, limit);
        }
    })
}

/// What a read answered. Entries are looked into only if `parse`.
pub(crate) fn found(answer: Bytes, parse: bool) -> Found {
    let mut found = Found { bytes: answer.len(), ..Found::default() };
    for (tag, value) in fields(answer) {
        match (tag, value) {
            (1, Value::Bytes(header)) => found.revision = number_of(header, 3),
            (2, Value::Bytes(entry)) if parse => found.entries.push(seen(entry)),
            (4, Value::Number(count)) => found.count = count,
            _ => {}
        }
    }
    found
}

/// The revision that an answer came from.
pub(crate) fn header_revision(answer: &Bytes) -> Result<u64> {
    let header = fields(answer.clone()).find_map(|(tag, value)| match (tag, value) {
        (1, Value::Bytes(header)) => Some(header),
        _ => None,
    });
    Ok(number_of(header.context("an answer without a header")?, 3))
}

fn number_of(message: Bytes, wanted: u32) -> u64 {
    let found = fields(message).find_map(|(tag, value)| match value {
        Value::Number(number) if tag == wanted => Some(number),
        _ => None,
    });
    found.unwrap_or_default()
}

fn message(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut message = vec![0; 5];
    message.reserve(320);
    write(&mut message);
    let length = message.len() as u32 - 5;
    message[1..5].copy_from_slice(&length.to_be_bytes());
    message.into()
}

fn put_request(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    field(to, 1, key);
    field(to, 2, value);
}

fn field(to: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    number(to, u64::from(tag << 3 | 2));
    number(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

fn number_field(to: &mut Vec<u8>, tag: u32, value: u64) {
    number(to, u64::from(tag << 3));
    number(to, value);
}

fn number(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    to.put_u8(value as u8);
}

enum Value {
    Number(u64),
    Bytes(Bytes),
}

/// The fields of a message, until one does not make sense.
fn fields(mut message: Bytes) -> impl Iterator<Item = (u32, Value)> {
    std::iter::from_fn(move || {
        let key = take_number(&mut message)?;
        let value = match key & 7 {
            0 => Value::Number(take_number(&mut message)?),
            2 => {
                let length = take_number(&mut message)? as usize;
                if length > message.len() {
                    return None;
                }
                Value::Bytes(message.split_to(length))
            }
            _ => return None,
        };
        Some(((key >> 3) as u32, value))
    })
}

fn take_number(from: &mut Bytes) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        if from.is_empty() {
            return None;
        }
        let byte = from.get_u8();
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
