//! HTTP/2 frame by frame, as no library would send them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::served::{PATIENCE, Served, until_closed};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A GET of that path, in HPACK without Huffman coding and without a table.
fn request(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87];
    for (name, value) in [(1_u8, "localhost"), (4, path)] {
        block.extend([name, u8::try_from(value.len()).unwrap()]);
        block.extend(value.as_bytes());
    }
    block
}

async fn open(served: &Served) -> TlsStream<TcpStream> {
    let mut stream = served.http2().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// The kinds of the frames in what a server sent, with their flags.
fn kinds(mut bytes: &[u8]) -> Vec<(u8, u8)> {
    let mut found = Vec::new();
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = bytes {
        found.push((*kind, *flags));
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        bytes = rest.get(length..).unwrap_or_default();
    }
    found
}

/// Writes while it reads, so that neither side waits for the other; gives what came until the connection ended.
async fn flood(stream: TlsStream<TcpStream>, frames: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Vec<u8> {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let writer = tokio::spawn(async move {
        for frame in frames {
            if writing.write_all(&frame).await.is_err() {
                return true;
            }
        }
        writing.flush().await.is_err()
    });
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let read = async {
        while let Ok(read @ 1..) = reading.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the server ends the connection");
    writer.await.unwrap();
    all
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let served = Served::start(|_| {}).await;
    let stream = open(&served).await;
    let frames = (0..50_000_u32).flat_map(|n| {
        let id = 2 * n + 1;
        [
            frame(HEADERS, END_STREAM | END_HEADERS, id, &request("/api/v1/pods")),
            frame(RST_STREAM, 0, id, &[0, 0, 0, 8]),
        ]
    });
    let answer = tokio::spawn(flood(stream, frames));
    served.is_well().await;
    let answer = answer.await.unwrap();
    assert!(kinds(&answer).iter().any(|(kind, _)| *kind == GOAWAY), "it is told to go away");
    served.stop().await;
}

#[tokio::test]
async fn headers_that_go_on_for_ever_end_the_connection() {
    let served = Served::start(|_| {}).await;
    let stream = open(&served).await;
    // One header of the longest kind after the other, and no end of them.
    let mut header = vec![0, 1, b'x', 127, 0x81, 0x7d];
    header.extend([b'a'; 16_000 + 256]);
    header.truncate(16_000);
    let first = frame(HEADERS, END_STREAM, 1, &request("/version"));
    let frames = std::iter::once(first).chain((0..10_000).map(move |_| frame(CONTINUATION, 0, 1, &header)));
    let answer = tokio::spawn(flood(stream, frames));
    served.is_well().await;
    answer.await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_and_the_others_are_answered() {
    let served = Served::start(|limits| limits.streams_max = 10).await;
    let mut stream = open(&served).await;
    let mut all = Vec::new();
    // Watches stay open, so each takes up one of the ten.
    for n in 0..30_u32 {
        let block = request("/api/v1/namespaces?watch=1");
        all.extend(frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &block));
    }
    stream.write_all(&all).await.unwrap();
    let (mut seen, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let read = async {
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the connection lives on");
            seen.extend_from_slice(&buffer[..read]);
            let found = kinds(&seen);
            let count = |wanted| found.iter().filter(|(kind, _)| *kind == wanted).count();
            if count(RST_STREAM) >= 20 && count(HEADERS) >= 10 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("ten are answered, twenty refused");
    served.stop().await;
}

#[tokio::test]
async fn who_does_not_answer_pings_is_gone() {
    let served = Served::start(|limits| {
        limits.keep_alive_interval = Duration::from_millis(200);
        limits.keep_alive_timeout = Duration::from_millis(200);
    })
    .await;
    let mut stream = open(&served).await;
    stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    stream
        .write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &request("/api/v1/namespaces?watch=1")))
        .await
        .unwrap();
    let came = until_closed(&mut stream).await;
    assert!(kinds(&came).contains(&(PING, 0)), "it was asked");
    served.stop().await;
}
