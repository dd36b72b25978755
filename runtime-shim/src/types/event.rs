use std::time::SystemTime;

use futures::stream::BoxStream;

use super::{ContainerId, SandboxId};

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContainerEventType {
    /// It was made.
    Created,
    /// It was started.
    Started,
    /// It ended.
    Stopped,
    /// It was removed.
    Deleted,
}

/// A change of a container's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerEvent {
    /// Which container.
    pub container_id: ContainerId,
    /// Its sandbox.
    pub sandbox_id: SandboxId,
    /// What happened.
    pub event_type: ContainerEventType,
    /// When.
    pub created_at: SystemTime,
}

impl ContainerEvent {
    /// An event.
    #[must_use]
    pub const fn new(
        container_id: ContainerId,
        sandbox_id: SandboxId,
        event_type: ContainerEventType,
        created_at: SystemTime,
    ) -> Self {
        Self { container_id, sandbox_id, event_type, created_at }
    }
}

/// An item of [`events`](crate::Stats::events).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimeEvent {
    /// A container changed.
    Container(ContainerEvent),
    /// Events were lost (the reader was too slow, or the runtime was away): list everything again.
    Resync,
}

/// A stream of events; it ends when the runtime does.
pub type EventStream = BoxStream<'static, RuntimeEvent>;
