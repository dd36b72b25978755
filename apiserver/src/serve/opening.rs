//! A connection that fails when its client doesn't begin.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long the words are with which HTTP/2 begins.
const PREFACE: usize = 24;

pin_project! {
    /// Wraps a connection of HTTP/2, whose beginning has no time limit of its own: nobody holds a place by saying nothing.
    pub(super) struct Opening<T> {
        #[pin]
        inner: T,
        // Until the preface is there.
        timer: Option<Pin<Box<Sleep>>>,
        missing: usize,
    }
}

impl<T> Opening<T> {
    pub(super) fn new(inner: T, timeout: Duration) -> Self {
        Self { inner, timer: Some(Box::pin(tokio::time::sleep(timeout))), missing: PREFACE }
    }
}

impl<T: AsyncRead> AsyncRead for Opening<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        let read = this.inner.poll_read(cx, buf);
        let Some(timer) = this.timer else { return read };
        *this.missing = this.missing.saturating_sub(buf.filled().len() - before);
        if *this.missing == 0 {
            *this.timer = None;
        } else if read.is_pending() && timer.as_mut().poll(cx).is_ready() {
            let why = "the client does not begin to speak HTTP/2";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        read
    }
}

impl<T: AsyncWrite> AsyncWrite for Opening<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_begin_is_given_up_and_who_did_may_be_silent() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Opening::new(near, Duration::from_secs(32));
        far.write_all(&[0; 23]).await.unwrap();
        near.read_exact(&mut [0; 23]).await.unwrap();
        assert_eq!(near.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Opening::new(near, Duration::from_secs(32));
        far.write_all(&[0; 24]).await.unwrap();
        near.read_exact(&mut [0; 24]).await.unwrap();
        let silent = tokio::time::timeout(Duration::from_secs(1000), near.read(&mut [0])).await;
        assert!(silent.is_err(), "it waits");
    }
}
