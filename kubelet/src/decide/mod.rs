//! The kubelet's decisions: plain functions of a pod, what the runtime shows, what probes found, and the time.
//!
//! Nothing here waits, reads a clock or talks to anyone. A worker calls [`next_actions`], does what it says, looks
//! again, and reports [`pod_status`].

mod admission;
mod backoff;
mod conditions;
mod container_statuses;
mod phase;
mod runtime_pod;
mod status;
mod sync;
mod termination;

pub use admission::{NodeView, Rejection, admit};
pub use backoff::{BACKOFF_FIRST, BACKOFF_MAX, Backoff};
pub use conditions::is_owned;
pub use container_statuses::WaitingReason;
pub use runtime_pod::{ContainerView, RuntimePod, SandboxView, Verdict, Verdicts};
pub use status::{StatusInput, pod_status, rejected_status};
pub use sync::{Actions, ContainerRef, KillContainer, KillReason, next_actions, sandbox_is_needed};
pub use termination::{active_deadline, termination_order};

#[cfg(test)]
mod testing;
