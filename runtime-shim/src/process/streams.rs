//! Exec, attach and port-forward.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, oneshot,
    },
    time::timeout,
};
use tokio_util::io::StreamReader;

use super::{
    ProcessRuntime,
    container::{Input, Output},
    link::{Ask, Exec},
    output::Streams as Files,
    pty,
    services::sandbox_ip,
};
use crate::{
    AttachOptions, BoxRead, BoxWrite, ContainerId, DuplexStream, Error, ExecOptions, ExecOutput, SandboxId,
    StreamSession, Streams, TerminalSize, logs::LogStream,
};

/// The most that `exec_sync` gives back of each output, in bytes.
const OUTPUT_BYTES_MAX: u64 = 16 << 20;
/// How long `exec_sync` reads on after its command ended, when a process that it left behind holds the output.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a pod's port may take to answer.
const CONNECT: Duration = Duration::from_secs(10);
/// Sizes of a terminal on their way.
const SIZES_MAX: usize = 4;

/// A started command.
struct Running {
    input: Option<Input>,
    stdout: BoxRead,
    stderr: Option<BoxRead>,
    terminal: Option<pty::Master>,
    exited: oneshot::Receiver<i32>,
    /// Kills the command when dropped.
    kill: KillOnDrop,
}

struct KillOnDrop {
    asks: mpsc::Sender<Ask>,
    id: u64,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Of a command that has ended, its supervisor knows no more. When its queue is full, the container's end will
        // be the command's.
        let _ = self.asks.try_send(Ask::KillExec(self.id));
    }
}

impl ProcessRuntime {
    async fn run(&self, id: &ContainerId, options: &ExecOptions) -> Result<Running, Error> {
        if options.cmd.is_empty() {
            return Err(Error::invalid("no command given"));
        }
        let entry = self.inner.container(id)?;
        let asks = entry.with_live(|live| live.asks.clone())?;
        let mut command = entry.plan.as_ref().map(|plan| plan.command.clone()).ok_or_else(|| gone(id))?;
        command.argv.clone_from(&options.cmd);
        command.tty = options.tty;
        if options.tty && !command.envs.iter().any(|(key, _)| key == "TERM") {
            command.envs.push(("TERM".to_owned(), "xterm".to_owned()));
        }
        let files = Files::open(options.tty, options.stdin);
        let failed = |error| Error::internal("cannot open the command's streams", error);
        let Files { theirs, input, stdout, stderr, terminal } = files.map_err(failed)?;
        let (started, start) = oneshot::channel();
        let (exited, exit) = oneshot::channel();
        let kill = KillOnDrop { asks: asks.clone(), id: self.next_exec() };
        let ask = Ask::Exec(Exec { id: kill.id, command, files: theirs, started, exited });
        asks.send(ask).await.map_err(|_| gone(id))?;
        start.await.map_err(|_| gone(id))?.map_err(Error::invalid)?;
        Ok(Running { input, stdout, stderr, terminal, exited: exit, kill })
    }
}

fn gone(id: &ContainerId) -> Error {
    Error::precondition(format!("container {id} has ended"))
}

#[async_trait]
impl Streams for ProcessRuntime {
    async fn exec_sync(&self, id: &ContainerId, cmd: &[String], limit: Option<Duration>) -> Result<ExecOutput, Error> {
        let Running { stdout, stderr, mut exited, kill, .. } = self.run(id, &ExecOptions::new(cmd)).await?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let finished = async {
            let reading = async {
                let stderr = async {
                    if let Some(stderr) = stderr {
                        read_some(stderr, &mut err).await;
                    }
                };
                tokio::join!(read_some(stdout, &mut out), stderr);
            };
            tokio::pin!(reading);
            tokio::select! {
                () = &mut reading => exited.await,
                code = &mut exited => {
                    // Whoever still holds the outputs is not the command.
                    let _ = timeout(DRAIN, reading).await;
                    code
                }
            }
        };
        let code = match limit {
            Some(limit) => timeout(limit, finished)
                .await
                .map_err(|_| Error::Timeout { operation: format!("command {cmd:?} in container {id}"), after: limit }),
            None => Ok(finished.await),
        };
        // Kills what is left of it.
        drop(kill);
        let code = code?.map_err(|_| gone(id))?;
        Ok(ExecOutput::new(out, err, code))
    }

    async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<StreamSession, Error> {
        let Running { input, stdout, stderr, terminal, exited, kill } = self.run(id, options).await?;
        let id = id.clone();
        let exit = async move {
            let code = exited.await.map_err(|_| gone(&id));
            drop(kill);
            code
        };
        let mut session = StreamSession::new(exit.boxed());
        session.stdin = input.map(write_half);
        session.stdout = Some(stdout);
        session.stderr = stderr;
        if !options.stdout {
            session.stdout = self.discard(session.stdout.take());
        }
        if !options.stderr {
            session.stderr = self.discard(session.stderr.take());
        }
        session.resize = terminal.map(|terminal| self.resizer(terminal));
        Ok(session)
    }

    async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<StreamSession, Error> {
        let entry = self.inner.container(id)?;
        let failed = |error: io::Error| Error::internal("cannot open the container's streams", error);
        let (stdout, stderr, input, terminal) = entry
            .with_live(|live| {
                let input = live.input.as_ref().filter(|_| options.stdin).map(Input::try_clone).transpose()?;
                let terminal = live.terminal.as_ref().map(pty::Master::try_clone).transpose()?;
                if options.stdin && entry.record.config.stdin_once {
                    // This session's handle is the last one.
                    live.input = None;
                }
                Ok((live.output.subscribe(), live.output.subscribe(), input, terminal))
            })?
            .map_err(failed)?;
        let watched = entry.clone();
        let exit = async move {
            watched.ended().await;
            Ok(watched.status().exit_code)
        };
        let mut session = StreamSession::new(exit.boxed());
        session.stdin = input.map(write_half);
        session.stdout = options.stdout.then(|| output(stdout, LogStream::Stdout));
        session.stderr = (options.stderr && !entry.record.config.tty).then(|| output(stderr, LogStream::Stderr));
        session.resize = terminal.map(|terminal| self.resizer(terminal));
        Ok(session)
    }

    async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<DuplexStream, Error> {
        let record = self.inner.sandbox(id)?;
        if !record.ready {
            return Err(Error::precondition(format!("pod sandbox {id} is not ready")));
        }
        let ip = sandbox_ip(&record).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let refused =
            |why: String| Error::unavailable(format!("cannot connect to port {port} of the pod at {ip}: {why}"));
        let connected = timeout(CONNECT, TcpStream::connect((ip, port))).await;
        let connection = connected.map_err(|_| refused("timed out".to_owned()))?;
        Ok(Box::pin(connection.map_err(|error| refused(error.to_string()))?))
    }
}

impl ProcessRuntime {
    /// Reads an output that nobody wants, so that it does not hold its command back.
    fn discard(&self, unwanted: Option<BoxRead>) -> Option<BoxRead> {
        let (mut unwanted, cancel) = (unwanted?, self.inner.cancel.clone());
        self.inner.tasks.spawn(async move {
            cancel.run_until_cancelled(tokio::io::copy(&mut unwanted, &mut tokio::io::sink())).await
        });
        None
    }

    /// Sets a terminal's size to each one sent.
    fn resizer(&self, terminal: pty::Master) -> mpsc::Sender<TerminalSize> {
        let (sizes, mut sent) = mpsc::channel(SIZES_MAX);
        let cancel = self.inner.cancel.clone();
        self.inner.tasks.spawn(async move {
            while let Some(Some(size)) = cancel.run_until_cancelled(sent.recv()).await {
                if let Err(error) = terminal.resize(size) {
                    tracing::debug!(%error, "cannot resize a terminal");
                }
            }
        });
        sizes
    }
}

fn write_half(input: Input) -> BoxWrite {
    match input {
        Input::Pipe(sender) => Box::pin(sender),
        Input::Terminal(master) => Box::pin(master),
    }
}

async fn read_some(from: BoxRead, into: &mut Vec<u8>) {
    let mut limited = from.take(OUTPUT_BYTES_MAX);
    // An error is the end as well.
    let _ = limited.read_to_end(into).await;
    let _ = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
}

/// What a container writes from now on to one of its outputs.
fn output(receiver: broadcast::Receiver<Output>, wanted: LogStream) -> BoxRead {
    let chunks = stream::unfold(receiver, move |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok((stream, chunk)) if stream == wanted => {
                    return Some((Ok::<_, io::Error>(Bytes::copy_from_slice(&chunk)), receiver));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Box::pin(StreamReader::new(chunks.boxed()))
}
