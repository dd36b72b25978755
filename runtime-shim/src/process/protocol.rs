//! What the runtime and the supervisor of a container say to each other over a socket.
//!
//! A frame is its length in four bytes (little endian) and JSON. File descriptors travel with the first byte of a
//! frame. The end of the socket, seen by the supervisor, means that the runtime is gone.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// No frame is longer than this, in bytes: arguments and environment together are limited by the kernel to 2 MiB.
pub(super) const FRAME_BYTES_MAX: usize = 8 << 20;

/// From the runtime.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Starts the container's first process. Comes first, once, with its input, output and error.
    Start(Box<Start>),
    /// Starts another process in the container, with its input, output and error.
    Exec { id: u64, command: Command },
    /// Signals the first process.
    Signal(i32),
    /// Kills a process of [`Request::Exec`] and all below it.
    KillExec(u64),
    /// Kills everything.
    Kill,
}

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It listens: the first thing it says.
    Ready,
    Started,
    /// The first process could not be started; the supervisor ends.
    StartFailed(String),
    ExecStarted(u64),
    ExecFailed(u64, String),
    ExecExited(u64, i32),
    /// The first process ended, and nothing is left of the container; the supervisor ends.
    Exited(i32),
}

/// The container to start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) command: Command,
    /// Mounts to make in a namespace of the container's own; `None` leaves it the host's.
    pub(super) namespace: Option<Namespace>,
    /// Where to write the [`ExitRecord`].
    pub(super) exit_file: PathBuf,
}

/// A process to start in the container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Command {
    /// The program and its arguments; not empty.
    pub(super) argv: Vec<String>,
    pub(super) envs: Vec<(String, String)>,
    pub(super) working_dir: PathBuf,
    pub(super) user: User,
    /// Its input is a terminal that becomes its own.
    pub(super) tty: bool,
}

/// Who a process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) groups: Vec<u32>,
    pub(super) no_new_privs: bool,
    pub(super) oom_score_adj: Option<i32>,
}

/// A mount namespace.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Namespace {
    /// An empty directory to build the root on.
    pub(super) root: PathBuf,
    pub(super) binds: Vec<Bind>,
    /// The host name in there; empty for the host's.
    pub(super) hostname: String,
    /// Make a user namespace too, in which this process's user has these ids.
    pub(super) user_namespace: Option<(u32, u32)>,
}

/// A file or directory that a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bind {
    pub(super) container_path: PathBuf,
    pub(super) host_path: PathBuf,
    pub(super) readonly: bool,
}

/// What the supervisor leaves behind when the container ends: also when nobody hears of it any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ExitRecord {
    pub(super) exit_code: i32,
    /// In nanoseconds since 1970.
    pub(super) finished_at: u64,
    /// It was killed because the runtime was gone.
    pub(super) orphaned: bool,
}

/// A frame with its length.
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "message too long"))?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// The length that a frame's first four bytes tell.
pub(super) fn frame_length(header: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    Ok(length)
}

/// The message in a frame.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(body)?)
}
