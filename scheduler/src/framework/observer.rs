//! What is seen of scheduling while it goes on: how long plugins take, and which way pods go.
//!
//! The core has no clock. Whoever wants to know how long things take brings one as an [`Observer`]; without one nothing is
//! measured.

use std::fmt;
use std::sync::Arc;

use super::{ClusterEvent, Code, Hint, Status};
use crate::object::Time;

/// Brings a clock, and hears what is seen.
pub trait Observer: Send + Sync {
    /// Now.
    fn now(&self) -> Time;

    /// Hears of something.
    fn observe(&self, seen: Seen<'_>);
}

/// Something that was seen. Names and words are upstream's.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "fields are what they are called, durations in seconds")]
#[non_exhaustive]
pub enum Seen<'a> {
    /// All plugins of an extension point were run.
    ExtensionPoint { point: &'static str, status: &'static str, profile: &'a str, seconds: f64 },
    /// One plugin was run. Of the scheduling cycles one in ten is looked at so closely.
    Plugin { plugin: &'a str, point: &'static str, status: &'static str, seconds: f64 },
    /// A plugin was asked whether an event is news for a pod.
    Hint { plugin: &'a str, event: ClusterEvent, hint: Hint, seconds: f64 },
    /// Something that happened in the cluster was dealt with.
    Handled { event: ClusterEvent, seconds: f64 },
    /// A pod came into a queue.
    Queued { queue: &'static str, cause: QueueCause },
    /// A pod that waited for permission goes on, or back.
    PermitWait { status: &'static str, seconds: f64 },
    /// It was looked up whether what is kept for pods of a kind decides, and whether it does.
    NodeHint { hinted: bool, profile: &'a str, seconds: f64 },
    /// Something is kept for pods of a kind from now on.
    Kept { profile: &'a str, seconds: f64 },
    /// What was kept was thrown away.
    Flushed { profile: &'a str, reason: &'static str },
}

/// Why a pod came into a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueCause {
    /// Something happened.
    Event(ClusterEvent),
    /// An attempt to place it failed.
    AttemptFailed,
    /// Its back-off is over.
    BackoffComplete,
    /// There was nothing else to do.
    PoppedFromBackoff,
    /// Somebody wanted it tried.
    Activated,
    /// It waited too long.
    Timeout,
}

impl fmt::Display for QueueCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Event(event) => return write!(f, "{event}"),
            Self::AttemptFailed => "ScheduleAttemptFailure",
            Self::BackoffComplete => "BackoffComplete",
            Self::PoppedFromBackoff => "PopFromBackoffQ",
            Self::Activated => "ForceActivate",
            Self::Timeout => "UnschedulableTimeout",
        })
    }
}

/// How a call ended, in a word.
pub(crate) const SUCCESS: &str = "Success";

/// A result that says in a word how a call ended.
pub(crate) trait Ended {
    fn word(&self) -> &'static str;
}

impl<T> Ended for Result<T, Status> {
    fn word(&self) -> &'static str {
        self.as_ref().map_or_else(|status| status.code().word(), |_| SUCCESS)
    }
}

impl Code {
    /// What it is called in upstream's metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::Unschedulable => "Unschedulable",
            Self::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
            Self::Pending => "Pending",
        }
    }
}

/// The observer, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Watch(Option<Arc<dyn Observer>>);

impl Watch {
    pub(crate) const fn new(observer: Arc<dyn Observer>) -> Self {
        Self(Some(observer))
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Now, if anybody wants to know.
    pub(crate) fn start(&self) -> Option<Time> {
        self.0.as_ref().map(|observer| observer.now())
    }

    /// Tells of something.
    pub(crate) fn tell(&self, seen: Seen<'_>) {
        if let Some(observer) = &self.0 {
            observer.observe(seen);
        }
    }

    /// Tells of something that began then, given how long it took.
    pub(crate) fn took<'a>(&self, since: Option<Time>, seen: impl FnOnce(f64) -> Seen<'a>) {
        if let (Some(observer), Some(since)) = (&self.0, since) {
            let seconds = observer.now().duration_since(since).as_secs_f64().max(0.0);
            observer.observe(seen(seconds));
        }
    }

    /// Runs an extension point and tells how long it took and how it ended.
    #[inline]
    pub(crate) fn point<T>(
        &self,
        point: &'static str,
        profile: &str,
        word: impl FnOnce(&T) -> &'static str,
        run: impl FnOnce() -> T,
    ) -> T {
        let since = self.start();
        let result = run();
        self.took(since, |seconds| Seen::ExtensionPoint { point, status: word(&result), profile, seconds });
        result
    }

    /// Runs a plugin; tells how long it took and how it ended if this cycle is looked at `closely`.
    #[inline]
    pub(crate) fn plugin<T>(
        &self,
        closely: bool,
        point: &'static str,
        plugin: &str,
        word: impl FnOnce(&T) -> &'static str,
        run: impl FnOnce() -> T,
    ) -> T {
        let since = if closely { self.start() } else { None };
        let result = run();
        if since.is_some() {
            self.took(since, |seconds| Seen::Plugin { plugin, point, status: word(&result), seconds });
        }
        result
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Watch(on)" } else { "Watch(off)" })
    }
}
