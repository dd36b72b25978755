//! The runtime's end of the socket to a container's supervisor.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    process::Stdio,
    time::Duration,
};

use futures::StreamExt as _;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::Child,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{
    codec::{FramedRead, LengthDelimitedCodec},
    sync::CancellationToken,
};

use super::{
    HelperCommand,
    protocol::{Command, FRAME_BYTES_MAX, Reply, Request, Start, decode, encode},
};
use crate::Error;

/// How long a supervisor may take to answer at its start: far longer than it ever needs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests on their way to a supervisor.
const REQUESTS_MAX: usize = 64;

/// What others ask of a running container's supervisor.
pub(super) enum Ask {
    /// Signal the first process.
    Signal(i32),
    /// Kill everything.
    Kill,
    /// Start a process besides the first one.
    Exec(Exec),
    /// Kill a process of [`Ask::Exec`].
    KillExec(u64),
}

/// A process to start besides the first one.
pub(super) struct Exec {
    pub(super) id: u64,
    pub(super) command: Command,
    /// Input, output, error.
    pub(super) files: [OwnedFd; 3],
    pub(super) started: oneshot::Sender<Result<(), String>>,
    /// Told the exit code; dropped if the container is lost.
    pub(super) exited: oneshot::Sender<i32>,
}

/// A supervisor that listens and has nothing to look after yet.
pub(super) struct Link {
    child: Child,
    replies: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    write: OwnedWriteHalf,
}

impl Link {
    /// Starts a supervisor.
    pub(super) async fn launch(helper: &HelperCommand, marker: &[(String, String)]) -> Result<Self, Error> {
        let failed = |error| Error::internal("cannot start a container supervisor", error);
        let (near, far) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let mut command = tokio::process::Command::new(&helper.program);
        command.args(&helper.arguments).args([super::dispatch::ARGUMENT, "supervise"]);
        command.arg0("kubewright-supervisor").env_clear().envs(marker.iter().cloned()).current_dir("/");
        command.stdin(Stdio::from(OwnedFd::from(far))).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(failed)?;
        // The command holds the supervisor's end, whose end would otherwise go unnoticed.
        drop(command);
        near.set_nonblocking(true).map_err(failed)?;
        let (read, write) = UnixStream::from_std(near).map_err(failed)?.into_split();
        let mut codec = LengthDelimitedCodec::builder();
        codec.little_endian().length_field_length(4).max_frame_length(FRAME_BYTES_MAX);
        let mut link = Self { child, replies: FramedRead::new(read, codec.new_codec()), write };
        match timeout(PATIENCE, link.reply()).await {
            Ok(Some(Reply::Ready)) => Ok(link),
            _ => Err(Error::invalid(format!(
                "{} did not become a container supervisor: its main has to call process::dispatch first",
                helper.program.display()
            ))),
        }
    }

    pub(super) fn pid(&self) -> Option<i32> {
        self.child.id().and_then(|pid| i32::try_from(pid).ok())
    }

    /// Has the container's first process started. The error is a sentence for the user.
    pub(super) async fn start(&mut self, start: Start, files: [OwnedFd; 3]) -> Result<(), String> {
        let sent = self.send(&Request::Start(Box::new(start)), &files).await;
        drop(files);
        sent.map_err(|error| format!("the container's supervisor is gone: {error}"))?;
        match timeout(PATIENCE, self.reply()).await {
            Ok(Some(Reply::Started)) => Ok(()),
            Ok(Some(Reply::StartFailed(why))) => {
                let _ = self.child.wait().await;
                Err(why)
            }
            _ => Err("the container's supervisor is gone".to_owned()),
        }
    }

    /// Looks after the container until it ends, or is killed by way of `cancel`. Returns the exit code; `None` when the
    /// supervisor was lost, and the container's processes may live on.
    pub(super) async fn drive(mut self, mut asks: mpsc::Receiver<Ask>, cancel: CancellationToken) -> Option<i32> {
        let mut execs: HashMap<u64, Waiting> = HashMap::new();
        let mut cancelled = false;
        let code = loop {
            let sent = tokio::select! {
                reply = self.reply() => match reply {
                    Some(Reply::Exited(code)) => break Some(code),
                    Some(reply) => {
                        hear(&mut execs, reply);
                        Ok(())
                    }
                    None => break None,
                },
                Some(ask) = asks.recv() => self.obey(ask, &mut execs).await,
                () = cancel.cancelled(), if !cancelled => {
                    cancelled = true;
                    self.send(&Request::Kill, &[]).await
                }
            };
            // The supervisor may be on its way out, with its last word still to be read.
            if let Err(error) = sent {
                tracing::debug!(%error, "cannot reach a container's supervisor");
            }
        };
        let _ = self.child.wait().await;
        code
    }

    async fn obey(&mut self, ask: Ask, execs: &mut HashMap<u64, Waiting>) -> io::Result<()> {
        match ask {
            Ask::Signal(number) => self.send(&Request::Signal(number), &[]).await,
            Ask::Kill => self.send(&Request::Kill, &[]).await,
            Ask::KillExec(id) => self.send(&Request::KillExec(id), &[]).await,
            Ask::Exec(exec) => {
                let sent = self.send(&Request::Exec { id: exec.id, command: exec.command }, &exec.files).await;
                execs.insert(exec.id, Waiting { started: Some(exec.started), exited: exec.exited });
                sent
            }
        }
    }

    async fn reply(&mut self) -> Option<Reply> {
        let frame = self.replies.next().await?;
        frame
            .and_then(|frame| decode(&frame))
            .inspect_err(|error| tracing::warn!(%error, "a supervisor is unclear"))
            .ok()
    }

    async fn send(&mut self, request: &Request, files: &[OwnedFd]) -> io::Result<()> {
        let frame = encode(request)?;
        let files: Vec<RawFd> = files.iter().map(|file| file.as_raw_fd()).collect();
        let socket = self.write.as_ref();
        let sent = socket
            .async_io(Interest::WRITABLE, || {
                let rights = [ControlMessage::ScmRights(&files)];
                let rights = if files.is_empty() { &[][..] } else { &rights[..] };
                let flags = MsgFlags::MSG_NOSIGNAL;
                Ok(sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&frame)], rights, flags, None)?)
            })
            .await?;
        self.write.write_all(&frame[sent..]).await
    }
}

/// Who waits for a process of [`Ask::Exec`].
struct Waiting {
    started: Option<oneshot::Sender<Result<(), String>>>,
    exited: oneshot::Sender<i32>,
}

fn hear(execs: &mut HashMap<u64, Waiting>, reply: Reply) {
    match reply {
        Reply::ExecStarted(id) => {
            if let Some(started) = execs.get_mut(&id).and_then(|waiting| waiting.started.take()) {
                // The asker may have left.
                let _ = started.send(Ok(()));
            }
        }
        Reply::ExecFailed(id, why) => {
            if let Some(started) = execs.remove(&id).and_then(|waiting| waiting.started) {
                let _ = started.send(Err(why));
            }
        }
        Reply::ExecExited(id, code) => {
            if let Some(waiting) = execs.remove(&id) {
                let _ = waiting.exited.send(code);
            }
        }
        Reply::Ready | Reply::Started | Reply::StartFailed(_) | Reply::Exited(_) => {}
    }
}

/// A channel for what others ask of a supervisor.
pub(super) fn asks() -> (mpsc::Sender<Ask>, mpsc::Receiver<Ask>) {
    mpsc::channel(REQUESTS_MAX)
}
