use std::{fmt, pin::Pin};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

use crate::Error;

/// A readable half of a stream.
pub type BoxRead = Pin<Box<dyn AsyncRead + Send>>;

/// A writable half of a stream. Shutting it down, or dropping it, is end of input.
pub type BoxWrite = Pin<Box<dyn AsyncWrite + Send>>;

/// Both halves in one.
pub trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// A connection to a port of a pod.
pub type DuplexStream = Pin<Box<dyn Duplex>>;

/// Resolves once to the exit code.
pub type ExitFuture = BoxFuture<'static, Result<i32, Error>>;

/// A terminal's size, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl TerminalSize {
    /// A size in columns and rows.
    #[must_use]
    pub const fn new(width: u16, height: u16) -> Self {
        Self { width, height }
    }
}

/// What to run in a container, and which of its streams are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecOptions {
    /// The program and its arguments; no shell is put around them.
    pub cmd: Vec<String>,
    /// Give it a terminal; error and output are then one stream.
    pub tty: bool,
    /// Send input.
    pub stdin: bool,
    /// Read output.
    pub stdout: bool,
    /// Read error; never with `tty`.
    pub stderr: bool,
}

impl ExecOptions {
    /// Read output and error, send no input, no terminal.
    #[must_use]
    pub fn new<S: Into<String>>(cmd: impl IntoIterator<Item = S>) -> Self {
        Self { cmd: cmd.into_iter().map(Into::into).collect(), tty: false, stdin: false, stdout: true, stderr: true }
    }

    /// Send input too.
    #[must_use]
    pub const fn with_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Give it a terminal (and so no error stream).
    #[must_use]
    pub const fn with_tty(mut self) -> Self {
        self.tty = true;
        self.stderr = false;
        self
    }
}

/// Which streams of a container's first process are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachOptions {
    /// Whether the container has a terminal, as its config says.
    pub tty: bool,
    /// Send input.
    pub stdin: bool,
    /// Read output.
    pub stdout: bool,
    /// Read error; never with `tty`.
    pub stderr: bool,
}

impl AttachOptions {
    /// Read output and error, send no input, no terminal.
    #[must_use]
    pub const fn output() -> Self {
        Self { tty: false, stdin: false, stdout: true, stderr: true }
    }
}

/// What a finished command said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecOutput {
    /// Its output, cut at 16 MiB.
    pub stdout: Vec<u8>,
    /// Its error output, cut at 16 MiB.
    pub stderr: Vec<u8>,
    /// Its exit code.
    pub exit_code: i32,
}

impl ExecOutput {
    /// A command's output.
    #[must_use]
    pub const fn new(stdout: Vec<u8>, stderr: Vec<u8>, exit_code: i32) -> Self {
        Self { stdout, stderr, exit_code }
    }
}

/// A running `exec` or `attach`. A stream that was not asked for is `None`.
///
/// Read the outputs to their end: what is not read holds the command back. Dropping the whole session ends it: a
/// command of `exec` loses its streams (and with them, in most runtimes, its life); a container stays attached to
/// nobody.
#[non_exhaustive]
pub struct StreamSession {
    /// Input.
    pub stdin: Option<BoxWrite>,
    /// Output.
    pub stdout: Option<BoxRead>,
    /// Error output.
    pub stderr: Option<BoxRead>,
    /// Takes new sizes of the terminal; `None` without one. Sending to an ended session fails, harmlessly.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// Resolves when the command has ended (for attach: the container, or the session), to its exit code.
    /// The outputs may still hold what it wrote last.
    pub exit: ExitFuture,
}

impl StreamSession {
    /// A session without streams.
    #[must_use]
    pub const fn new(exit: ExitFuture) -> Self {
        Self { stdin: None, stdout: None, stderr: None, resize: None, exit }
    }
}

impl fmt::Debug for StreamSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSession")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("resize", &self.resize.is_some())
            .finish_non_exhaustive()
    }
}
