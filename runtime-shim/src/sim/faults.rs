use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::Error;

/// A call that the simulated runtime can log, fail or delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the trait's method of that name")]
pub enum Operation {
    Version,
    Status,
    RunPodSandbox,
    StopPodSandbox,
    RemovePodSandbox,
    PodSandboxStatus,
    ListPodSandboxes,
    CreateContainer,
    StartContainer,
    StopContainer,
    RemoveContainer,
    ContainerStatus,
    ListContainers,
    UpdateContainerResources,
    ReopenContainerLog,
    PullImage,
    ImageStatus,
    ListImages,
    RemoveImage,
    ImageFsInfo,
    ExecSync,
    Exec,
    Attach,
    PortForward,
    ContainerStats,
    ListContainerStats,
    PodSandboxStats,
    ListPodSandboxStats,
    Events,
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// Which.
    pub operation: Operation,
    /// About what: an id, an image, `namespace/pod` for a new sandbox, a container's name for a new container; else
    /// empty.
    pub target: String,
}

/// What to do to calls before they are answered, and what was called.
#[derive(Debug, Default)]
pub(super) struct Faults {
    once: BTreeMap<Operation, VecDeque<Error>>,
    always: BTreeMap<Operation, Error>,
    latency: BTreeMap<Operation, Duration>,
    calls: VecDeque<Call>,
}

impl Faults {
    /// Logs a call; the oldest is forgotten beyond `calls_max`. Returns how long to hold it, and the error it gets.
    pub(super) fn admit(&mut self, call: Call, calls_max: usize) -> (Option<Duration>, Result<(), Error>) {
        let latency = self.latency.get(&call.operation).copied();
        let once = self.once.get_mut(&call.operation).and_then(VecDeque::pop_front);
        let error = once.or_else(|| self.always.get(&call.operation).cloned());
        self.calls.push_back(call);
        while self.calls.len() > calls_max {
            self.calls.pop_front();
        }
        (latency, error.map_or(Ok(()), Err))
    }

    pub(super) fn fail_next(&mut self, operation: Operation, error: Error) {
        self.once.entry(operation).or_default().push_back(error);
    }

    pub(super) fn fail_always(&mut self, operation: Operation, error: Error) {
        self.always.insert(operation, error);
    }

    pub(super) fn delay(&mut self, operation: Operation, latency: Duration) {
        self.latency.insert(operation, latency);
    }

    /// Forgets errors and delays, not the calls.
    pub(super) fn heal(&mut self) {
        self.once.clear();
        self.always.clear();
        self.latency.clear();
    }

    pub(super) fn take_calls(&mut self) -> Vec<Call> {
        self.calls.drain(..).collect()
    }
}
