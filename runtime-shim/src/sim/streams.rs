//! Exec, attach and port-forward of containers that do not run anything.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future, stream};
use tokio::{
    io::{AsyncWrite, DuplexStream as Pipe},
    sync::{broadcast, mpsc, oneshot},
};
use tokio_util::io::StreamReader;

use super::{Operation, SimRuntime, script::Script};
use crate::{
    AttachOptions, BoxRead, ContainerId, ContainerState, DuplexStream, Error, ExecOptions, ExecOutput, SandboxId,
    StreamSession, Streams, logs::LogStream,
};

/// Bytes that an attached reader may be behind, in writes; beyond that it misses some.
const OUTPUT_BUFFER: usize = 256;
/// Bytes between a command's input and its output.
const PIPE_BYTES: usize = 64 * 1024;

/// A command as it will have been, and how long it takes.
struct Ran {
    output: ExecOutput,
    takes: Option<Duration>,
    copies_input: bool,
}

#[async_trait]
impl Streams for SimRuntime {
    async fn exec_sync(
        &self,
        id: &ContainerId,
        cmd: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecOutput, Error> {
        self.admit(Operation::ExecSync, id).await?;
        let ran = self.run(id, cmd)?;
        // Without input, a copy of it ends at once.
        let takes = if ran.copies_input { Some(Duration::ZERO) } else { ran.takes };
        match (takes, timeout) {
            (Some(takes), None) => tokio::time::sleep(takes).await,
            (Some(takes), Some(timeout)) if takes <= timeout => tokio::time::sleep(takes).await,
            (None, None) => future::pending().await,
            (_, Some(timeout)) => {
                tokio::time::sleep(timeout).await;
                return Err(Error::Timeout { operation: format!("{cmd:?} in container {id}"), after: timeout });
            }
        }
        Ok(ran.output)
    }

    async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<StreamSession, Error> {
        self.admit(Operation::Exec, id).await?;
        let ran = self.run(id, &options.cmd)?;
        let code = ran.output.exit_code;
        let takes = ran.takes;
        let mut session = StreamSession::new(future::ready(Ok(code)).boxed());
        session.stderr = options.stderr.then(|| Box::pin(io::Cursor::new(ran.output.stderr)) as BoxRead);
        session.resize = options.tty.then(|| mpsc::channel(1).0);
        let stdout = if ran.copies_input && options.stdin {
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let (ended, end) = oneshot::channel();
            session.stdin = Some(Box::pin(Input { pipe: near, ended: Some(ended) }));
            session.exit = end.map(move |_| Ok(code)).boxed();
            Box::pin(far) as BoxRead
        } else {
            session.stdin = options.stdin.then(|| Box::pin(tokio::io::sink()) as _);
            session.exit = match if ran.copies_input { Some(Duration::ZERO) } else { takes } {
                Some(takes) => tokio::time::sleep(takes).map(move |()| Ok(code)).boxed(),
                None => self.ended(id).boxed(),
            };
            Box::pin(io::Cursor::new(ran.output.stdout))
        };
        session.stdout = options.stdout.then_some(stdout);
        Ok(session)
    }

    async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<StreamSession, Error> {
        self.admit(Operation::Attach, id).await?;
        let sender = self.change(|state, _| {
            let record = state.containers.get_mut(id).ok_or_else(|| Error::container_not_found(id))?;
            record.must_run()?;
            Ok(record.attached.get_or_insert_with(|| broadcast::Sender::new(OUTPUT_BUFFER)).downgrade())
        })?;
        let subscribe = |stream| output(sender.upgrade().map(|sender| sender.subscribe()), stream);
        let mut session = StreamSession::new(self.ended(id).boxed());
        session.stdout = options.stdout.then(|| subscribe(LogStream::Stdout));
        session.stderr = (options.stderr && !options.tty).then(|| subscribe(LogStream::Stderr));
        session.stdin = options.stdin.then(|| Box::pin(ContainerInput { runtime: self.clone(), id: id.clone() }) as _);
        session.resize = options.tty.then(|| mpsc::channel(1).0);
        Ok(session)
    }

    async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<DuplexStream, Error> {
        self.admit(Operation::PortForward, id).await?;
        if !self.change(|state, _| state.sandboxes.contains_key(id)) {
            return Err(Error::sandbox_not_found(id));
        }
        let Some(handler) = &self.inner.config.ports else {
            return Err(Error::Unsupported { operation: "port forwarding".to_owned(), runtime: "sim".to_owned() });
        };
        handler(id, port).ok_or_else(|| Error::unavailable(format!("nothing listens on port {port} of the pod")))
    }
}

impl SimRuntime {
    fn run(&self, id: &ContainerId, cmd: &[String]) -> Result<Ran, Error> {
        if cmd.is_empty() {
            return Err(Error::invalid("no command given"));
        }
        let config = self.change(|state, _| {
            let record = state.containers.get(id).ok_or_else(|| Error::container_not_found(id))?;
            record.must_run().map(|()| record.config.clone())
        })?;
        let handled = self.inner.config.exec.as_ref().and_then(|handler| handler(&config, cmd));
        if let Some(output) = handled {
            return Ok(Ran { output, takes: Some(Duration::ZERO), copies_input: false });
        }
        let Some(script) = Script::parse(cmd) else {
            return Ok(Ran { output: ExecOutput::default(), takes: Some(Duration::ZERO), copies_input: false });
        };
        let mut output = ExecOutput::new(Vec::new(), Vec::new(), script.exit_code);
        for (_, stream, text) in script.lines() {
            let to = match stream {
                LogStream::Stdout => &mut output.stdout,
                LogStream::Stderr => &mut output.stderr,
            };
            to.extend_from_slice(text.as_bytes());
            to.push(b'\n');
        }
        Ok(Ran { output, takes: script.ends_after(), copies_input: script.reads_input() })
    }

    /// Waits for a container's end.
    fn ended(&self, id: &ContainerId) -> impl Future<Output = Result<i32, Error>> + Send + 'static {
        let (runtime, id) = (self.clone(), id.clone());
        async move {
            let mut changes = runtime.inner.changes.subscribe();
            loop {
                let status = runtime.change(|state, _| state.containers.get(&id).map(|record| record.status.clone()));
                match status {
                    Some(status) if status.container.state == ContainerState::Exited => {
                        return Ok(status.exit_code);
                    }
                    Some(_) => runtime.changed(&mut changes).await,
                    None => return Err(Error::container_not_found(&id)),
                }
            }
        }
    }
}

/// What a container writes from now on to one of its outputs.
fn output(receiver: Option<broadcast::Receiver<(LogStream, Arc<[u8]>)>>, wanted: LogStream) -> BoxRead {
    let chunks = stream::unfold(receiver, move |receiver| async move {
        let mut receiver = receiver?;
        loop {
            match receiver.recv().await {
                Ok((stream, chunk)) if stream == wanted => {
                    return Some((Ok::<_, io::Error>(Bytes::copy_from_slice(&chunk)), Some(receiver)));
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    Box::pin(StreamReader::new(chunks.boxed()))
}

/// A command's input; its end is the command's.
struct Input {
    pipe: Pipe,
    ended: Option<oneshot::Sender<()>>,
}

impl AsyncWrite for Input {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.pipe).poll_shutdown(cx))?;
        // The receiver hears of the end when its sender is gone.
        self.ended = None;
        Poll::Ready(Ok(()))
    }
}

/// A container's input.
struct ContainerInput {
    runtime: SimRuntime,
    id: ContainerId,
}

impl AsyncWrite for ContainerInput {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.runtime.change(|state, now| state.input(&self.id, buf, now));
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for ContainerInput {
    fn drop(&mut self) {
        self.runtime.change(|state, now| state.input_ended(&self.id, now));
    }
}
