//! Killing everything below this process.

use std::{thread, time::Duration};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpid},
};

use super::{super::procfs::Table, exit_code};

/// How long to wait before looking again at processes that do not go at once.
const PAUSE: Duration = Duration::from_millis(2);

/// Kills everything below this process, and waits for all of it. Returns who was waited for, with their exit codes.
///
/// As this process is a subreaper, the orphans of those killed come to it, to be killed in the next round; so a round
/// that finds no child is the last. A process that forks faster than rounds go by still loses: its children are found
/// below it, and each round kills all there are.
pub(super) fn kill_all() -> Vec<(Pid, i32)> {
    let mut reaped = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::EINTR) => {}
            Err(_) => return reaped,
            Ok(WaitStatus::StillAlive) => {
                let below = Table::read().descendants(getpid().as_raw());
                for pid in &below {
                    let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
                }
                if below.is_empty() || !wait_briefly(&mut reaped) {
                    thread::sleep(PAUSE);
                }
            }
            Ok(status) => reaped.extend(exit_code(status)),
        }
    }
}

/// Gives those just killed a moment to go. Returns whether one went.
fn wait_briefly(reaped: &mut Vec<(Pid, i32)>) -> bool {
    for _ in 0..10 {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => thread::sleep(PAUSE / 4),
            Ok(status) => {
                reaped.extend(exit_code(status));
                return true;
            }
            Err(_) => return true,
        }
    }
    false
}

/// Kills one process, its group, and all that is below it.
pub(super) fn kill_below(pid: i32) {
    let below = Table::read().descendants(pid);
    let _ = kill(Pid::from_raw(-pid), Signal::SIGKILL);
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    for pid in below {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
