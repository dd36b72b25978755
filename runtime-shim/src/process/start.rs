//! A container's life from its start to its end.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
};

use super::{
    container::{Entry, Live},
    create::marker,
    disk::{StatusRecord, Supervisor},
    link::{Ask, Link, asks},
    output::{Streams, pump},
    procfs,
    protocol::Start,
    recover,
    runtime::Inner,
};
use crate::{
    ContainerEventType, ContainerState, Error,
    logs::{LogFile, LogStream},
    reason,
};

/// Output that an attached reader may be behind, in chunks; beyond that it misses some.
const OUTPUT_MAX: usize = 256;
/// How long outputs may stay open after the last process is gone: only a process outside of the container can hold them.
const DRAIN: Duration = Duration::from_secs(2);
/// The exit code of a container whose program could not be started.
const START_FAILED: i32 = 128;

impl Inner {
    /// Starts a container that is in state `Created`. On return it runs, or is exited.
    pub(super) async fn start(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<(), Error> {
        let id = &entry.record.id;
        let Some(plan) = &entry.plan else {
            return Err(Error::precondition(format!("container {id} is of an earlier run of the runtime")));
        };
        let io_failed = |error| Error::internal("cannot open the container's streams", error);
        let log = entry.record.log_path.clone().map(LogFile::open).transpose();
        let log = log.map_err(|error| Error::internal("cannot open the container's log", error))?.map(Arc::new);
        let config = &entry.record.config;
        let streams = Streams::open(config.tty, config.stdin).map_err(io_failed)?;
        let mut link = Link::launch(&self.config.helper, &marker(&self.disk.root, id.as_str())).await?;
        let supervisor = link.pid().and_then(|pid| {
            let start_ticks = procfs::process(pid)?.start_ticks;
            Some(Supervisor { pid, start_ticks, boot_id: self.boot_id.clone() })
        });
        // Written before anything runs, so that whatever happens from here on is found by the next runtime.
        let started_at = Some(SystemTime::now());
        self.set_status(entry, |status| {
            *status =
                StatusRecord { started_at, supervisor, state: ContainerState::Running, ..StatusRecord::default() };
        });
        let start = Start {
            command: plan.command.clone(),
            namespace: plan.namespace.clone(),
            exit_file: self.disk.exit_file(id),
        };
        let Streams { theirs, input, stdout, stderr, terminal } = streams;
        if let Err(message) = link.start(start, theirs).await {
            drop(link);
            self.set_status(entry, |status| {
                *status = ended(status, START_FAILED, reason::START_ERROR, &message);
            });
            self.tell(entry, ContainerEventType::Stopped);
            return Err(Error::Start { id: id.to_string(), message });
        }
        let output = broadcast::Sender::new(OUTPUT_MAX);
        let mut pumps = JoinSet::new();
        pumps.spawn(pump(stdout, LogStream::Stdout, log.clone(), output.clone()));
        if let Some(stderr) = stderr {
            pumps.spawn(pump(stderr, LogStream::Stderr, log.clone(), output.clone()));
        }
        let (ask, asked) = asks();
        *entry.live() = Some(Live { asks: ask, output, input, terminal, log });
        entry.running.send_replace(true);
        self.tell(entry, ContainerEventType::Started);
        self.tasks.spawn(self.clone().look_after(entry.clone(), link, asked, pumps));
        Ok(())
    }

    /// Stays with a running container to its end.
    async fn look_after(
        self: Arc<Self>,
        entry: Arc<Entry>,
        link: Link,
        asked: mpsc::Receiver<Ask>,
        mut pumps: JoinSet<()>,
    ) {
        let code = link.drive(asked, self.cancel.clone()).await;
        let (code, message) = match code {
            Some(code) => (code, ""),
            None => {
                self.sweep(&entry).await;
                let record = self.disk.read_exit(&entry.record.id);
                (record.map_or(137, |record| record.exit_code), "its supervisor was killed")
            }
        };
        let drained = tokio::time::timeout(DRAIN, async { while pumps.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!(container.id = %entry.record.id, "a process outside of the container holds its output");
            pumps.shutdown().await;
        }
        let why = if code == 0 { reason::COMPLETED } else { reason::ERROR };
        *entry.live() = None;
        self.set_status(&entry, |status| *status = ended(status, code, why, message));
        entry.running.send_replace(false);
        self.tell(&entry, ContainerEventType::Stopped);
    }

    /// Kills what a killed supervisor left behind.
    async fn sweep(&self, entry: &Entry) {
        let marks = marker(&self.disk.root, entry.record.id.as_str());
        // A panic in there is a bug, and the container's end is not held up for it.
        let _ = tokio::task::spawn_blocking(move || recover::kill_marked(&marks)).await;
    }

    /// Changes a container's status, in memory and on disk.
    pub(super) fn set_status(&self, entry: &Entry, change: impl FnOnce(&mut StatusRecord)) {
        let mut status = entry.status();
        change(&mut status);
        if let Err(error) = self.disk.write_status(&entry.record.id, &status) {
            tracing::warn!(container.id = %entry.record.id, %error, "cannot keep a container's status");
        }
    }
}

/// The status of a container that ended now.
pub(super) fn ended(status: &StatusRecord, exit_code: i32, why: &str, message: &str) -> StatusRecord {
    StatusRecord {
        state: ContainerState::Exited,
        finished_at: Some(SystemTime::now()),
        exit_code,
        reason: why.to_owned(),
        message: message.to_owned(),
        supervisor: None,
        started_at: status.started_at,
    }
}

/// A time written by a supervisor.
pub(super) fn from_nanos(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}
