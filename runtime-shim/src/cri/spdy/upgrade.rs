//! From a URL to a connection that speaks SPDY.

use std::io;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::TcpStream,
};

/// The longest head of an answer that is read, in bytes.
const HEAD_BYTES_MAX: u64 = 16 * 1024;

/// Connects to a streaming server at an `http` URL, and agrees with it to speak SPDY with one of these protocols inside.
pub(in super::super) async fn upgrade(url: &str, protocols: &[&str]) -> io::Result<BufStream<TcpStream>> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("streaming address {url:?} {why}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| wrong("is not http"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.chars().chain(path.chars()).any(|c| c.is_control() || c.is_whitespace()) {
        return Err(wrong("is malformed"));
    }
    let address = if authority.rsplit(']').next().is_some_and(|rest| rest.contains(':')) {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let connection = TcpStream::connect(&address).await;
    let connection =
        connection.map_err(|error| io::Error::new(error.kind(), format!("cannot connect to {url}: {error}")))?;
    connection.set_nodelay(true)?;
    let mut connection = BufStream::new(connection);
    let path = if path.is_empty() { "/" } else { path };
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n");
    for protocol in protocols {
        head.push_str(&format!("X-Stream-Protocol-Version: {protocol}\r\n"));
    }
    head.push_str("Content-Length: 0\r\n\r\n");
    connection.write_all(head.as_bytes()).await?;
    connection.flush().await?;
    read_answer(&mut connection).await?;
    Ok(connection)
}

async fn read_answer(connection: &mut BufStream<TcpStream>) -> io::Result<()> {
    let mut first = String::new();
    let mut head = connection.take(HEAD_BYTES_MAX);
    head.read_line(&mut first).await?;
    let mut line = String::new();
    while head.read_line(&mut line).await? > 2 {
        line.clear();
    }
    if first.split(' ').nth(1) == Some("101") {
        return Ok(());
    }
    let mut body = String::new();
    // What it says beyond its status is a help, not a need.
    let _ = head.read_to_string(&mut body).await;
    Err(io::Error::other(format!("the streaming server refused: {} {}", first.trim(), body.trim())))
}
