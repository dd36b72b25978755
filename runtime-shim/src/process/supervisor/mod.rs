//! The supervisor of one container: a small process between the runtime and what the container runs.
//!
//! It is the subreaper of everything the container starts, so that a process that leaves its group, its session and
//! its parent still ends up below it. When the container's first process ends, when it is told to, or when the runtime
//! is gone (its socket ends), it kills all that is below it, waits for all of it, and only then ends itself.

mod mounts;
mod spawn;
mod tree;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IoSliceMut, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{self, SigSet, SigmaskHow, Signal},
        signalfd::{SfdFlags, SignalFd},
        socket::{ControlMessageOwned, MsgFlags, recvmsg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, setsid},
};

pub(super) use self::mounts::probe;
use super::protocol::{ExitRecord, Reply, Request, Start, decode, encode, frame_length};

/// The exit code of a process that a signal ended is this and the signal's number.
const SIGNALLED: i32 = 128;

/// Runs the supervisor to its end. Its standard input is the socket to the runtime.
pub(super) fn main() -> io::Result<()> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("dispatch has to be called before any thread is started"));
    }
    forget_inherited_files();
    // Away from the terminal that the runtime may run in: its Ctrl-C is the runtime's to handle.
    let _ = setsid();
    prctl::set_child_subreaper(true)?;
    prctl::set_name(c"kw-supervisor")?;
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&signals), None)?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut supervisor =
        Supervisor { control, signals, main: None, execs: BTreeMap::new(), exit_file: None, ended: None };
    supervisor.tell(&Reply::Ready);
    supervisor.run()
}

/// Whatever the runtime had open is not the container's.
fn forget_inherited_files() {
    // SAFETY: this process was started to be a supervisor and owns no descriptor beyond the three standard ones, so
    // none that is in use is closed.
    #[expect(unsafe_code, reason = "there is no safe call to close descriptors that one does not own")]
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32);
    }
}

struct Supervisor {
    control: UnixStream,
    signals: SignalFd,
    /// The container's first process.
    main: Option<Pid>,
    /// Processes started besides it, and the ids they are known by.
    execs: BTreeMap<i32, u64>,
    exit_file: Option<PathBuf>,
    /// The exit code of the first process.
    ended: Option<i32>,
}

/// Why the loop ends.
enum End {
    /// The first process ended.
    Exited,
    /// Somebody wants everything gone.
    Killed,
    /// The runtime is gone.
    Orphaned,
}

impl Supervisor {
    fn run(&mut self) -> io::Result<()> {
        let end = self.wait_for_end();
        for (pid, code) in tree::kill_all() {
            self.reaped(pid, code);
        }
        let exit_code = self.ended.unwrap_or(SIGNALLED + Signal::SIGKILL as i32);
        if let Some(file) = &self.exit_file {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let finished_at = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            let record = ExitRecord { exit_code, finished_at, orphaned: matches!(end, End::Orphaned) };
            // The runtime hears of it too; the file is for the next one. Nobody is left to hear of an error.
            let _ = fs::write(file, serde_json::to_vec(&record)?);
        }
        self.tell(&Reply::Exited(exit_code));
        Ok(())
    }

    fn wait_for_end(&mut self) -> End {
        loop {
            let mut wanted = [
                PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut wanted, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                Err(_) => return End::Orphaned,
                Ok(_) => {}
            }
            let [control, signals] = wanted.map(|fd| fd.any().unwrap_or(true));
            if signals {
                while let Ok(Some(signal)) = self.signals.read_signal() {
                    if signal.ssi_signo != Signal::SIGCHLD as u32 {
                        return End::Killed;
                    }
                }
                self.reap();
                if self.ended.is_some() {
                    return End::Exited;
                }
            }
            if control {
                match self.receive().and_then(|(request, files)| self.obey(request, files)) {
                    Ok(true) => {}
                    Ok(false) => return End::Killed,
                    Err(_) => return End::Orphaned,
                }
            }
        }
    }

    /// Does what the runtime wants. Returns whether to go on.
    fn obey(&mut self, request: Request, files: Vec<OwnedFd>) -> io::Result<bool> {
        match request {
            Request::Start(start) => match self.start(*start, files) {
                Ok(pid) => {
                    self.main = Some(pid);
                    self.tell(&Reply::Started);
                }
                Err(error) => {
                    self.exit_file = None;
                    self.tell(&Reply::StartFailed(error.to_string()));
                    return Ok(false);
                }
            },
            Request::Exec { id, command } => match spawn::spawn(&command, files) {
                Ok(pid) => {
                    self.execs.insert(pid.as_raw(), id);
                    self.tell(&Reply::ExecStarted(id));
                }
                Err(error) => self.tell(&Reply::ExecFailed(id, error.to_string())),
            },
            Request::Signal(number) => {
                if let (Some(pid), Ok(signal)) = (self.main, Signal::try_from(number)) {
                    // It may have ended meanwhile; it was not waited for yet, so the pid is still its own.
                    let _ = signal::kill(pid, signal);
                }
            }
            Request::KillExec(id) => {
                if let Some(pid) = self.execs.iter().find_map(|(pid, exec)| (*exec == id).then_some(*pid)) {
                    tree::kill_below(pid);
                }
            }
            Request::Kill => return Ok(false),
        }
        Ok(true)
    }

    fn start(&mut self, start: Start, files: Vec<OwnedFd>) -> io::Result<Pid> {
        if let Some(namespace) = &start.namespace {
            mounts::enter(namespace)?;
        }
        let pid = spawn::spawn(&start.command, files)?;
        self.exit_file = Some(start.exit_file);
        Ok(pid)
    }

    /// Waits for every process that has ended.
    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            match exit_code(status) {
                Some((pid, code)) => self.reaped(pid, code),
                None if status == WaitStatus::StillAlive => return,
                None => {}
            }
        }
    }

    fn reaped(&mut self, pid: Pid, code: i32) {
        if Some(pid) == self.main {
            self.ended.get_or_insert(code);
        } else if let Some(id) = self.execs.remove(&pid.as_raw()) {
            self.tell(&Reply::ExecExited(id, code));
        }
    }

    /// Tells the runtime, which may be gone.
    fn tell(&self, reply: &Reply) {
        if let Ok(frame) = encode(reply) {
            let _ = (&self.control).write_all(&frame);
        }
    }

    fn receive(&self) -> io::Result<(Request, Vec<OwnedFd>)> {
        let mut header = [0; 4];
        let mut space = nix::cmsg_space!([i32; 3]);
        let mut files = Vec::new();
        let read = {
            let mut slices = [IoSliceMut::new(&mut header)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<()>(self.control.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(received) = control {
                    // SAFETY: the kernel has just made these descriptors for this process, and nothing else knows of
                    // them.
                    #[expect(unsafe_code, reason = "nix hands out received descriptors as plain numbers")]
                    files.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
            message.bytes
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (&self.control).read_exact(&mut header[read..])?;
        let mut body = vec![0; frame_length(header)?];
        (&self.control).read_exact(&mut body)?;
        Ok((decode(&body)?, files))
    }
}

/// Who ended, and how; `None` when nobody did.
fn exit_code(status: WaitStatus) -> Option<(Pid, i32)> {
    match status {
        WaitStatus::Exited(pid, code) => Some((pid, code)),
        WaitStatus::Signaled(pid, signal, _) => Some((pid, SIGNALLED + signal as i32)),
        _ => None,
    }
}
