//! A connection whose first bytes were looked at, and that takes what is written to it in one piece.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufWriter, ReadBuf};

/// What HTTP/2 begins with, and nothing else does.
const PREFACE: &[u8] = b"PRI";

/// What is written is put together up to so many bytes: a frame of HTTP/2 as most clients take it, and its header.
const TOGETHER_MAX: usize = 32 << 10;

/// Does not offer to write several pieces at once: HTTP/2 then puts small ones together by itself, so that a whole
/// answer, or several, takes one write; otherwise each piece of more than 256 bytes ends one. Pieces that are larger go
/// together with the headers before them.
#[derive(Debug)]
pub(super) struct Joined<S> {
    stream: BufWriter<S>,
    /// Read already.
    first: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Joined<S> {
    pub(super) fn new(stream: S) -> Self {
        let stream = BufWriter::with_capacity(TOGETHER_MAX, stream);
        Self { stream, first: BytesMut::new() }
    }

    /// Whether the client speaks HTTP/2. What it said is kept for whoever goes on.
    ///
    /// # Errors
    /// The connection broke, or ended before it said anything.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool> {
        while self.first.len() < PREFACE.len() && PREFACE.starts_with(&self.first) {
            if self.stream.read_buf(&mut self.first).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.first.starts_with(PREFACE))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Joined<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, to);
        }
        let length = self.first.len().min(to.remaining());
        to.put_slice(&self.first[..length]);
        self.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Joined<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn said(pieces: &[&str]) -> io::Result<(bool, String)> {
        let (mut client, server) = tokio::io::duplex(64);
        let mut joined = Joined::new(server);
        let (speaks, ()) = tokio::join!(joined.speaks_http2(), async {
            for piece in pieces {
                client.write_all(piece.as_bytes()).await.expect("room");
                tokio::task::yield_now().await;
            }
            drop(client);
        });
        let (speaks, mut text) = (speaks?, String::new());
        joined.read_to_string(&mut text).await?;
        Ok((speaks, text))
    }

    #[tokio::test]
    async fn nothing_that_was_looked_at_is_lost() {
        for (pieces, speaks) in [
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"][..], true),
            (&["P", "R", "I * HTTP/2.0"][..], true),
            (&["GET /health HTTP/1.1\r\n\r\n"][..], false),
            (&["P", "UT / HTTP/1.1"][..], false),
        ] {
            assert_eq!(said(pieces).await.expect("said something"), (speaks, pieces.concat()));
        }
        assert!(said(&[]).await.is_err() && said(&["PR"]).await.is_err());
    }
}
