//! A container as the runtime knows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    net::unix::pipe,
    sync::{broadcast, mpsc, watch},
};

use super::{
    disk::{ContainerRecord, StatusRecord},
    link::Ask,
    protocol::{Command, Namespace},
    pty::Master,
};
use crate::{
    Container, ContainerState, ContainerStatus, Error, ImageRef,
    logs::{LogFile, LogStream},
};

/// A piece of output, for those who are attached.
pub(super) type Output = (LogStream, Arc<[u8]>);

/// What can be typed into.
pub(super) enum Input {
    Pipe(pipe::Sender),
    Terminal(Master),
}

/// What a container has while it runs.
pub(super) struct Live {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) output: broadcast::Sender<Output>,
    pub(super) input: Option<Input>,
    /// Its terminal, to resize.
    pub(super) terminal: Option<Master>,
    pub(super) log: Option<Arc<LogFile>>,
}

/// How to start a container.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) command: Command,
    pub(super) namespace: Option<Namespace>,
}

/// A container.
pub(super) struct Entry {
    pub(super) record: ContainerRecord,
    /// How to start it; `None` for one that an earlier runtime left.
    pub(super) plan: Option<Plan>,
    status: Mutex<StatusRecord>,
    live: Mutex<Option<Live>>,
    /// Whether it is running.
    pub(super) running: watch::Sender<bool>,
    /// Held while it is started, and while it is removed.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Entry {
    pub(super) fn new(record: ContainerRecord, status: StatusRecord, plan: Option<Plan>) -> Self {
        Self {
            record,
            plan,
            status: Mutex::new(status),
            live: Mutex::default(),
            running: watch::Sender::new(false),
            turn: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn status(&self) -> MutexGuard<'_, StatusRecord> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> ContainerState {
        self.status().state
    }

    /// Works on what the container has while it runs; an error if it does not run.
    pub(super) fn with_live<T>(&self, work: impl FnOnce(&mut Live) -> T) -> Result<T, Error> {
        match (self.state(), self.live().as_mut()) {
            (ContainerState::Running, Some(live)) => Ok(work(live)),
            (state, _) => Err(Error::precondition(format!("container {} is {state:?}, not Running", self.record.id))),
        }
    }

    /// Asks its supervisor for something; nothing if it does not run.
    pub(super) async fn ask(&self, ask: Ask) {
        let asks = self.live().as_ref().map(|live| live.asks.clone());
        if let Some(asks) = asks {
            // The container may be on its way out, which is what is asked for, mostly.
            let _ = asks.send(ask).await;
        }
    }

    /// Waits until it does not run.
    pub(super) async fn ended(&self) {
        // The sender is this container's own, so it lives.
        let _ = self.running.subscribe().wait_for(|running| !running).await;
    }

    pub(super) fn list_item(&self) -> Container {
        let ContainerRecord { id, sandbox_id, config, created_at, .. } = &self.record;
        let mut container = Container::new(id.clone(), sandbox_id.clone(), config.metadata.clone(), *created_at);
        container.image = config.image.clone();
        container.image_ref = ImageRef(config.image.image.clone());
        container.state = self.state();
        container.labels.clone_from(&config.labels);
        container.annotations.clone_from(&config.annotations);
        container
    }

    pub(super) fn full_status(&self) -> ContainerStatus {
        let mut status = ContainerStatus::new(self.list_item());
        let record = self.status().clone();
        status.container.state = record.state;
        status.started_at = record.started_at;
        status.finished_at = record.finished_at;
        status.exit_code = record.exit_code;
        status.reason = record.reason;
        status.message = record.message;
        status.mounts.clone_from(&self.record.config.mounts);
        status.log_path = self.record.log_path.clone();
        status
    }

    /// The name that no two containers of a sandbox share.
    pub(super) fn unique_name(&self) -> String {
        let metadata = &self.record.config.metadata;
        format!("{}/{}/{}", self.record.sandbox_id, metadata.name, metadata.attempt)
    }
}
