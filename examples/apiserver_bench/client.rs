//! A client that costs little: HTTP/1.1 over TLS, one request at a time, no copies but into one buffer.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, BytesMut};
use kubewright_apiserver::pki::Certificate;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A server and who talks to it.
#[derive(Clone)]
pub(crate) struct Place {
    address: SocketAddr,
    connector: TlsConnector,
}

impl Place {
    pub(crate) fn new(address: SocketAddr, authority: &str, client: &Certificate) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        let chain = vec![CertificateDer::from_pem_slice(client.certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes())?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { address, connector: Arc::new(config).into() })
    }
}

/// A connection.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: BytesMut,
    /// The body of the last answer.
    pub(crate) body: Vec<u8>,
}

/// How the body of an answer ends.
enum Framing {
    Length(usize),
    Chunked,
}

impl Connection {
    pub(crate) async fn open(place: &Place) -> Result<Self> {
        let stream = TcpStream::connect(place.address).await?;
        stream.set_nodelay(true)?;
        let stream = place.connector.connect(ServerName::try_from("localhost")?, stream).await?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(64 << 10), body: Vec::new() })
    }

    /// Sends a request and reads its answer; the body is in `body` then. Answers the code.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<u16> {
        let (code, framing) = self.begin(request).await?;
        self.body.clear();
        match framing {
            Framing::Length(length) => {
                self.body.reserve(length);
                let mut rest = length;
                loop {
                    let part = self.buffer.len().min(rest);
                    self.body.extend_from_slice(&self.buffer[..part]);
                    self.buffer.advance(part);
                    rest -= part;
                    if rest == 0 {
                        return Ok(code);
                    }
                    self.fill().await?;
                }
            }
            Framing::Chunked => loop {
                let mut body = std::mem::take(&mut self.body);
                let more = self.chunk(|bytes| body.extend_from_slice(bytes)).await;
                self.body = body;
                if !more? {
                    return Ok(code);
                }
            },
        }
    }

    /// The same, for requests that must be answered with success.
    pub(crate) async fn expect(&mut self, request: &[u8]) -> Result<&[u8]> {
        let code = self.ask(request).await?;
        if !(200..300).contains(&code) {
            bail!("answered {code}: {}", String::from_utf8_lossy(&self.body));
        }
        Ok(&self.body)
    }

    /// Sends a request whose answer is a stream of chunks.
    pub(crate) async fn stream(&mut self, request: &[u8]) -> Result<()> {
        let (code, framing) = self.begin(request).await?;
        if code != 200 || !matches!(framing, Framing::Chunked) {
            bail!("a watch is answered {code}");
        }
        Ok(())
    }

    /// Hands out the parts of the next chunk; false after the last.
    pub(crate) async fn chunk(&mut self, mut each: impl FnMut(&[u8])) -> Result<bool> {
        let (skip, mut rest) = loop {
            match httparse::parse_chunk_size(&self.buffer).map_err(|_| anyhow::anyhow!("a bad chunk"))? {
                httparse::Status::Complete((at, size)) => break (at, usize::try_from(size)?),
                httparse::Status::Partial => self.fill().await?,
            }
        };
        self.buffer.advance(skip);
        let is_last = rest == 0;
        while rest > 0 {
            if self.buffer.is_empty() {
                self.fill().await?;
            }
            let part = self.buffer.len().min(rest);
            each(&self.buffer[..part]);
            self.buffer.advance(part);
            rest -= part;
        }
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        self.buffer.advance(2);
        Ok(!is_last)
    }

    async fn begin(&mut self, request: &[u8]) -> Result<(u16, Framing)> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        loop {
            if let Some((length, code, framing)) = head(&self.buffer)? {
                self.buffer.advance(length);
                return Ok((code, framing));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.reserve(32 << 10);
        let read = self.stream.read_buf(&mut self.buffer).await?;
        if read == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

/// The head of an answer: its length, the code, how the body ends.
fn head(bytes: &[u8]) -> Result<Option<(usize, u16, Framing)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes)? else { return Ok(None) };
    let named = |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let framing = match named("content-length") {
        Some(header) => Framing::Length(std::str::from_utf8(header.value)?.trim().parse()?),
        None if named("transfer-encoding").is_some() => Framing::Chunked,
        None => Framing::Length(0),
    };
    Ok(Some((length, response.code.context("no code")?, framing)))
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    get_as(path, "application/json")
}

/// A request without a body whose answer shall be of that type.
pub(crate) fn get_as(path: &str, accept: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench/1\r\nAccept: {accept}\r\n\r\n").into_bytes()
}

/// A request with a body.
pub(crate) fn send(method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench/1\r\nAccept: application/json\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A request with a body of JSON.
pub(crate) fn json(method: &str, path: &str, body: &serde_json::Value) -> Vec<u8> {
    send(method, path, "application/json", body.to_string().as_bytes())
}
