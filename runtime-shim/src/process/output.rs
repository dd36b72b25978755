//! From what a container writes to its log, and to those who are attached.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::SystemTime,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::unix::pipe,
    sync::broadcast,
};

use super::{
    container::{Input, Output},
    pty,
};
use crate::{
    BoxRead,
    logs::{LogFile, LogStream, Splitter},
};

/// The most read at once, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// Both ends of a process's input and outputs.
pub(super) struct Streams {
    /// For the process: input, output, error.
    pub(super) theirs: [OwnedFd; 3],
    pub(super) input: Option<Input>,
    pub(super) stdout: BoxRead,
    /// `None` with a terminal.
    pub(super) stderr: Option<BoxRead>,
    /// The terminal, to resize.
    pub(super) terminal: Option<pty::Master>,
}

impl Streams {
    /// A terminal, or pipes; without input, the process reads from nowhere.
    pub(super) fn open(tty: bool, stdin: bool) -> io::Result<Self> {
        if tty {
            let (master, slave) = pty::open()?;
            return Ok(Self {
                theirs: [slave.try_clone()?, slave.try_clone()?, slave],
                input: stdin.then(|| master.try_clone()).transpose()?.map(Input::Terminal),
                terminal: Some(master.try_clone()?),
                stdout: Box::pin(master),
                stderr: None,
            });
        }
        let (stdout_read, stdout_write) = io::pipe()?;
        let (stderr_read, stderr_write) = io::pipe()?;
        let (input, stdin) = if stdin {
            let (read, write) = io::pipe()?;
            (Some(Input::Pipe(pipe::Sender::from_owned_fd(write.into())?)), OwnedFd::from(read))
        } else {
            (None, std::fs::File::open("/dev/null")?.into())
        };
        Ok(Self {
            theirs: [stdin, stdout_write.into(), stderr_write.into()],
            input,
            stdout: Box::pin(pipe::Receiver::from_owned_fd(stdout_read.into())?),
            stderr: Some(Box::pin(pipe::Receiver::from_owned_fd(stderr_read.into())?)),
            terminal: None,
        })
    }
}

impl Input {
    /// Another handle of the same input; the process sees the end when all are gone.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Pipe(sender) => Self::Pipe(pipe::Sender::from_owned_fd(sender.as_fd().try_clone_to_owned()?)?),
            Self::Terminal(master) => Self::Terminal(master.try_clone()?),
        })
    }
}

/// Copies one output of a container to its log and to those attached, until it ends.
pub(super) async fn pump(
    mut from: impl AsyncRead + Unpin,
    stream: LogStream,
    log: Option<Arc<LogFile>>,
    attached: broadcast::Sender<Output>,
) {
    let (mut splitter, mut chunk, mut lines) = (Splitter::new(stream), vec![0; CHUNK_BYTES], Vec::new());
    let keep = |lines: &mut Vec<u8>| {
        if let Some(log) = &log
            && let Err(error) = log.append(lines)
        {
            tracing::warn!(path = %log.path().display(), %error, "cannot write a container's log");
        }
        lines.clear();
    };
    // An error in reading is the end as well.
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        splitter.push(&chunk[..read], SystemTime::now(), &mut lines);
        keep(&mut lines);
        if attached.receiver_count() > 0 {
            // Whoever was attached may have left meanwhile.
            let _ = attached.send((stream, chunk[..read].into()));
        }
    }
    splitter.finish(SystemTime::now(), &mut lines);
    keep(&mut lines);
}
