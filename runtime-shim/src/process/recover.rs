//! Cleaning up after a runtime that was killed.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    container::Entry,
    create::marker,
    disk::{ContainerRecord, Disk, SandboxRecord, StatusRecord, Supervisor},
    procfs::{self, Table},
    start::{ended, from_nanos},
};
use crate::{ContainerState, reason};

/// How long a supervisor whose runtime is gone may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(5);

/// What an earlier runtime left, now that none of it runs any more.
pub(super) struct Recovered {
    pub(super) sandboxes: Vec<SandboxRecord>,
    pub(super) containers: Vec<Entry>,
}

/// Waits for the supervisors of an earlier runtime to end, kills what is left of its containers, and reads what it
/// kept. Blocks, for some milliseconds mostly.
pub(super) fn recover(disk: &Disk, boot_id: &str) -> io::Result<Recovered> {
    disk.prepare()?;
    let mut sandboxes = disk.read_sandboxes()?;
    for sandbox in &mut sandboxes {
        // Their containers are dead, so they need a new attempt.
        sandbox.ready = false;
        disk.write_sandbox(sandbox)?;
    }
    let records = disk.read_containers()?;
    let deadline = Instant::now() + PATIENCE;
    for (_, status) in &records {
        if let Some(supervisor) = status.supervisor.as_ref().filter(|supervisor| supervisor.boot_id == boot_id) {
            end_supervisor(supervisor, deadline);
        }
    }
    // Whoever is left carries this directory's mark.
    kill_marked(&marker(&disk.root, "")[..1]);
    let containers =
        records.into_iter().map(|(record, status)| settle(disk, record, status)).collect::<Result<_, _>>()?;
    Ok(Recovered { sandboxes, containers })
}

/// Writes down how a container ended that ran when its runtime was killed.
fn settle(disk: &Disk, record: ContainerRecord, mut status: StatusRecord) -> io::Result<Entry> {
    if status.state == ContainerState::Running {
        status = match disk.read_exit(&record.id) {
            Some(exit) => {
                let why = if exit.exit_code == 0 { reason::COMPLETED } else { reason::ERROR };
                let message = if exit.orphaned { "killed, because its runtime ended" } else { "" };
                let finished_at = Some(from_nanos(exit.finished_at));
                StatusRecord { finished_at, ..ended(&status, exit.exit_code, why, message) }
            }
            None => ended(&status, 137, reason::UNKNOWN, "it was gone when its runtime was started again"),
        };
        disk.write_status(&record.id, &status)?;
    }
    Ok(Entry::new(record, status, None))
}

/// Waits for a supervisor to end; kills it, and all below it, when it does not by the deadline.
fn end_supervisor(supervisor: &Supervisor, deadline: Instant) {
    let lives = || {
        procfs::process(supervisor.pid)
            .is_some_and(|process| process.start_ticks == supervisor.start_ticks && !process.zombie)
    };
    while lives() && Instant::now() < deadline {
        thread::sleep(PAUSE);
    }
    if lives() {
        for pid in Table::read().descendants(supervisor.pid).into_iter().chain([supervisor.pid]) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Kills every process that was started with these variables in its environment, until there is none.
pub(super) fn kill_marked(marks: &[(String, String)]) {
    let entries: Vec<String> = marks.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let marked: Vec<i32> = procfs::pids()
            .filter(|pid| *pid != own)
            .filter(|pid| entries.iter().all(|entry| procfs::has_environment(*pid, entry.as_bytes())))
            .collect();
        if marked.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in marked {
            tracing::warn!(pid, "killed a process that a container left behind");
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(PAUSE);
    }
}
