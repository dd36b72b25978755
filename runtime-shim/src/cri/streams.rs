//! Exec, attach and port-forward, by way of the runtime's streaming server.

use std::{io, pin::Pin, sync::Arc, task, time::Duration};

use async_trait::async_trait;
use futures::FutureExt as _;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufStream, ReadBuf},
    net::TcpStream,
    sync::mpsc,
};

use super::{
    CriRuntime, messages as api,
    runtime::seconds,
    spdy::{Connection, StreamReader, StreamWriter, upgrade},
};
use crate::{
    AttachOptions, ContainerId, DuplexStream, Error, ExecOptions, ExecOutput, ExitFuture, SandboxId, StreamSession,
    Streams, TerminalSize,
};

/// The protocol of `exec` and `attach` in which the end is told as a status.
const COMMAND_PROTOCOL: &str = "v4.channel.k8s.io";
const PORT_PROTOCOL: &str = "portforward.k8s.io";
/// Sizes of a terminal on their way.
const SIZES_MAX: usize = 4;
/// The longest status that is read, in bytes.
const STATUS_BYTES_MAX: u64 = 64 * 1024;

/// Which streams are wanted.
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

/// The status that ends a command, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    status: String,
    message: String,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    causes: Vec<StatusCause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatusCause {
    reason: String,
    message: String,
}

impl Status {
    fn exit_code(&self) -> Result<i32, Error> {
        if self.status == "Success" {
            return Ok(0);
        }
        let causes = self.details.iter().flat_map(|details| &details.causes);
        let code = causes.filter(|cause| cause.reason == "ExitCode").find_map(|cause| cause.message.parse().ok());
        code.ok_or_else(|| Error::Internal { message: self.message.clone(), source: None })
    }
}

fn broken(error: io::Error) -> Error {
    Error::Unavailable { message: format!("the stream was not made: {error}"), source: Some(Arc::new(error)) }
}

async fn connect(url: &str, protocol: &str) -> Result<Connection<BufStream<TcpStream>>, Error> {
    Ok(Connection::new(upgrade(url, &[protocol]).await.map_err(broken)?))
}

async fn session(url: &str, wanted: Wanted) -> Result<StreamSession, Error> {
    let mut connection = connect(url, COMMAND_PROTOCOL).await?;
    let all = [
        ("error", true),
        ("stdin", wanted.stdin),
        ("stdout", wanted.stdout),
        ("stderr", wanted.stderr && !wanted.tty),
        ("resize", wanted.tty),
    ];
    for (kind, _) in all.iter().filter(|(_, wanted)| *wanted) {
        connection.open(&[("streamtype", kind)]).await.map_err(broken)?;
    }
    let mut streams = connection.run().await.map_err(broken)?.into_iter();
    let mut take =
        |kind: &str| all.iter().find(|(known, _)| *known == kind).filter(|(_, is)| *is).and_then(|_| streams.next());
    // In the order they were opened in.
    let (error, stdin, stdout, stderr, resize) =
        (take("error"), take("stdin"), take("stdout"), take("stderr"), take("resize"));
    let mut session = StreamSession::new(exit_code(error.map(|(reader, _)| reader)));
    session.stdin = stdin.map(|(_, writer)| Box::pin(writer) as _);
    session.stdout = stdout.map(|(reader, _)| Box::pin(reader) as _);
    session.stderr = stderr.map(|(reader, _)| Box::pin(reader) as _);
    session.resize = resize.map(|(_, writer)| resizer(writer));
    Ok(session)
}

fn exit_code(error: Option<StreamReader>) -> ExitFuture {
    async move {
        let mut text = Vec::new();
        if let Some(error) = error {
            error.take(STATUS_BYTES_MAX).read_to_end(&mut text).await.map_err(broken)?;
        }
        // A connection that breaks tells nothing.
        let cut_short = |error| Error::Unavailable {
            message: "the stream ended without an exit code".to_owned(),
            source: Some(Arc::new(error)),
        };
        serde_json::from_slice::<Status>(&text).map_err(cut_short)?.exit_code()
    }
    .boxed()
}

/// Sends each size to the server. The task ends with the session that holds the sender.
fn resizer(mut writer: StreamWriter) -> mpsc::Sender<TerminalSize> {
    let (sizes, mut sent) = mpsc::channel::<TerminalSize>(SIZES_MAX);
    tokio::spawn(async move {
        while let Some(size) = sent.recv().await {
            let text = format!("{{\"Width\":{},\"Height\":{}}}\n", size.width, size.height);
            if writer.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    sizes
}

#[async_trait]
impl Streams for CriRuntime {
    async fn exec_sync(
        &self,
        id: &ContainerId,
        cmd: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecOutput, Error> {
        let question = api::ExecSyncRequest {
            container_id: id.to_string(),
            cmd: cmd.to_vec(),
            timeout: timeout.map_or(0, seconds),
        };
        let answer = match timeout {
            Some(timeout) => self.call_for("ExecSync", question, timeout).await,
            None => self.call_without_limit("RuntimeService", "ExecSync", question).await,
        };
        let answer: api::ExecSyncResponse = match (answer, timeout) {
            (Err(Error::Timeout { .. }), Some(after)) => {
                return Err(Error::Timeout { operation: format!("command {cmd:?} in container {id}"), after });
            }
            (answer, _) => answer?,
        };
        Ok(ExecOutput::new(answer.stdout, answer.stderr, answer.exit_code))
    }

    async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<StreamSession, Error> {
        let stderr = options.stderr && !options.tty;
        let question = api::ExecRequest {
            container_id: id.to_string(),
            cmd: options.cmd.clone(),
            tty: options.tty,
            stdin: options.stdin,
            stdout: options.stdout,
            stderr,
        };
        let answer: api::StreamResponse = self.call("Exec", question).await?;
        let wanted = Wanted { stdin: options.stdin, stdout: options.stdout, stderr, tty: options.tty };
        session(&answer.url, wanted).await
    }

    async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<StreamSession, Error> {
        let stderr = options.stderr && !options.tty;
        let question = api::AttachRequest {
            container_id: id.to_string(),
            stdin: options.stdin,
            tty: options.tty,
            stdout: options.stdout,
            stderr,
        };
        let answer: api::StreamResponse = self.call("Attach", question).await?;
        let wanted = Wanted { stdin: options.stdin, stdout: options.stdout, stderr, tty: options.tty };
        session(&answer.url, wanted).await
    }

    async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<DuplexStream, Error> {
        let question = api::PortForwardRequest { pod_sandbox_id: id.to_string(), port: vec![port.into()] };
        let answer: api::StreamResponse = self.call("PortForward", question).await?;
        let mut connection = connect(&answer.url, PORT_PROTOCOL).await?;
        let port = port.to_string();
        for kind in ["error", "data"] {
            let headers = [("streamtype", kind), ("port", port.as_str()), ("requestid", "0")];
            connection.open(&headers).await.map_err(broken)?;
        }
        let mut streams = connection.run().await.map_err(broken)?.into_iter();
        let (Some((error, _)), Some((reader, writer))) = (streams.next(), streams.next()) else {
            return Err(broken(io::ErrorKind::NotConnected.into()));
        };
        Ok(Box::pin(Port { error: Some(error), said: Vec::new(), reader, writer }))
    }
}

/// A connection to a pod's port.
struct Port {
    /// Tells what went wrong, if anything does.
    error: Option<StreamReader>,
    said: Vec<u8>,
    reader: StreamReader,
    writer: StreamWriter,
}

impl AsyncRead for Port {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> task::Poll<io::Result<()>> {
        let this = &mut *self;
        while let Some(error) = &mut this.error {
            let mut chunk = [0; 512];
            let mut said = ReadBuf::new(&mut chunk);
            match Pin::new(error).poll_read(cx, &mut said) {
                task::Poll::Ready(Ok(())) if !said.filled().is_empty() => this.said.extend_from_slice(said.filled()),
                task::Poll::Ready(_) => this.error = None,
                task::Poll::Pending => break,
            }
        }
        if this.error.is_none() && !this.said.is_empty() {
            let said = String::from_utf8_lossy(&this.said).into_owned();
            return task::Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionRefused, said)));
        }
        Pin::new(&mut this.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for Port {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, buf: &[u8]) -> task::Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_the_exit_code() {
        let code = |text: &str| serde_json::from_str::<Status>(text).unwrap().exit_code();
        assert_eq!(code(r#"{"metadata":{},"status":"Success"}"#).unwrap(), 0);
        let failure = r#"{"status":"Failure","message":"command terminated","reason":"NonZeroExitCode",
            "details":{"causes":[{"reason":"ExitCode","message":"42"}]}}"#;
        assert_eq!(code(failure).unwrap(), 42);
        let broken = code(r#"{"status":"Failure","message":"no such container"}"#).unwrap_err();
        assert_eq!(broken.to_string(), "no such container");
    }
}
