//! Starting a process in the container.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::Stdio,
};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
    },
    unistd::{Gid, Pid, Uid, geteuid, setgid, setgroups, setsid, setuid},
};

use super::super::protocol::{Command, User};

/// Starts a process with its input, output and error, as the leader of a session of its own.
pub(super) fn spawn(command: &Command, files: Vec<OwnedFd>) -> io::Result<Pid> {
    let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(files)
        .map_err(|files| io::Error::other(format!("got {} files in place of three", files.len())))?;
    let (program, arguments) = command.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut process = std::process::Command::new(program);
    if program == "/proc/self/exe" {
        // So that lists of processes say what it is.
        process.arg0("kubewright-hello");
    }
    process.args(arguments).env_clear().envs(command.envs.iter().cloned()).current_dir(&command.working_dir);
    process.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
    let (user, tty) = (command.user.clone(), command.tty);
    // SAFETY: between fork and exec only what is safe there may be called. The supervisor has a single thread, so
    // even allocating is; `prepare` makes plain system calls and opens one file besides.
    #[expect(unsafe_code, reason = "there is no other way to act between fork and exec")]
    unsafe {
        process.pre_exec(move || prepare(&user, tty));
    }
    match process.spawn() {
        Ok(child) => Ok(Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?)),
        Err(error) => Err(explain(error, program, command)),
    }
}

fn prepare(user: &User, tty: bool) -> io::Result<()> {
    setsid()?;
    if tty {
        // SAFETY: descriptor 0 is the terminal, given to this process to own; the call takes no pointer.
        #[expect(unsafe_code, reason = "nix has no call for it")]
        if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    if let Some(score) = user.oom_score_adj {
        // Lowering it needs a privilege; a container is not failed for that.
        let _ = fs::write("/proc/self/oom_score_adj", score.to_string());
    }
    become_user(user)?;
    if user.no_new_privs {
        prctl::set_no_new_privs()?;
    }
    // After the change of user, which takes it back. A container does not outlive its supervisor.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

fn become_user(user: &User) -> io::Result<()> {
    if geteuid().is_root() && (user.uid.is_some() || user.gid.is_some() || !user.groups.is_empty()) {
        let groups: Vec<Gid> = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        setgroups(&groups)?;
    }
    if let Some(gid) = user.gid {
        setgid(Gid::from_raw(gid))?;
    }
    if let Some(uid) = user.uid {
        setuid(Uid::from_raw(uid))?;
    }
    Ok(())
}

/// Says what could not be started, in the words that users know from other runtimes.
fn explain(error: io::Error, program: &str, command: &Command) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::NotFound if !command.working_dir.is_dir() => {
            return io::Error::new(error.kind(), format!("chdir to cwd {:?}: {error}", command.working_dir));
        }
        io::ErrorKind::NotFound if program.contains('/') => "no such file or directory".to_owned(),
        io::ErrorKind::NotFound => "executable file not found in $PATH".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("exec: {program:?}: {why}"))
}
