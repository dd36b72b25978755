use std::fmt;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Probe;
use kubewright_runtime_shim::ContainerId;

use super::Observation;
use crate::decide::Verdict;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// A container that fails it is killed.
    Liveness,
    /// A container that fails it serves nobody.
    Readiness,
    /// Until a container passes it, the others wait; one that fails it is killed.
    Startup,
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
            Self::Startup => "Startup",
        })
    }
}

/// When to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now,
    /// Then.
    At(Timestamp),
    /// Not before something about the container changes.
    Idle,
}

/// One probe of one container, over all the container's restarts.
#[derive(Clone, Debug)]
pub struct ProbeState {
    kind: ProbeKind,
    initial_delay: SignedDuration,
    period: SignedDuration,
    success_threshold: u32,
    failure_threshold: u32,
    container: Option<ContainerId>,
    last: Option<Timestamp>,
    run: (Option<bool>, u32),
    verdict: Verdict,
    on_hold: bool,
}

impl ProbeState {
    /// Before anything was seen.
    #[must_use]
    pub fn new(kind: ProbeKind, probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: i32| {
            SignedDuration::from_secs(i64::from(value.filter(|value| *value > 0).unwrap_or(default)))
        };
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        Self {
            kind,
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            success_threshold: count(probe.success_threshold, 1),
            failure_threshold: count(probe.failure_threshold, 3),
            container: None,
            last: None,
            run: (None, 0),
            verdict: Self::initial(kind),
            on_hold: false,
        }
    }

    /// What a container is taken for before its first probe.
    const fn initial(kind: ProbeKind) -> Verdict {
        match kind {
            ProbeKind::Liveness => Verdict::Success,
            ProbeKind::Readiness => Verdict::Failure,
            ProbeKind::Startup => Verdict::Unknown,
        }
    }

    /// What is thought of the container now.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Looks at the container, and says when to probe it. A new container starts from the beginning.
    pub fn due(&mut self, seen: Option<&Observation>, now: Timestamp) -> Due {
        let Some(seen) = seen else {
            return Due::Idle;
        };
        if self.container.as_ref() != Some(&seen.id) {
            self.container = Some(seen.id.clone());
            self.last = None;
            self.run = (None, 0);
            self.verdict = Self::initial(self.kind);
            self.on_hold = false;
        }
        if !seen.running {
            if self.kind == ProbeKind::Readiness {
                self.verdict = Verdict::Failure;
            }
            return Due::Idle;
        }
        let waits_for_startup = match self.kind {
            ProbeKind::Startup => seen.started,
            ProbeKind::Liveness | ProbeKind::Readiness => !seen.started,
        };
        // After a failure the container is about to be killed: nothing to see until there is another one.
        if self.on_hold || waits_for_startup {
            return Due::Idle;
        }
        let first = seen.started_at + self.initial_delay;
        let next = self.last.map_or(first, |last| first.max(last + self.period));
        if next <= now { Due::Now } else { Due::At(next) }
    }

    /// Takes what a probe at `now` found; returns whether the verdict changed.
    pub fn record(&mut self, success: bool, now: Timestamp) -> bool {
        self.last = Some(now);
        self.run = if self.run.0 == Some(success) { (self.run.0, self.run.1 + 1) } else { (Some(success), 1) };
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        if self.run.1 < threshold {
            return false;
        }
        let verdict = if success { Verdict::Success } else { Verdict::Failure };
        let changed = verdict != self.verdict;
        self.verdict = verdict;
        if !success && self.kind != ProbeKind::Readiness {
            self.on_hold = true;
            self.run = (None, 0);
        }
        changed
    }

    /// Takes over what was known of the current container before this kubelet started.
    pub fn adopt(&mut self, verdict: Verdict) {
        if self.last.is_none() {
            self.verdict = verdict;
        }
    }

    /// Notes that a probe at `now` could not be made: it says nothing.
    pub fn skip(&mut self, now: Timestamp) {
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seen(id: &str, started: bool) -> Observation {
        Observation { id: id.into(), running: true, started, started_at: at(100), pod_ip: None }
    }

    fn state(kind: ProbeKind, json: serde_json::Value) -> ProbeState {
        ProbeState::new(kind, &serde_json::from_value(json).unwrap())
    }

    #[test]
    fn the_first_probe_waits_and_the_next_ones_follow_the_period() {
        let mut probe = state(ProbeKind::Liveness, serde_json::json!({"initialDelaySeconds": 5, "periodSeconds": 3}));
        assert_eq!(probe.due(None, at(100)), Due::Idle);
        assert_eq!(probe.due(Some(&seen("a", true)), at(100)), Due::At(at(105)));
        assert_eq!(probe.due(Some(&seen("a", true)), at(105)), Due::Now);
        probe.record(true, at(105));
        assert_eq!(probe.due(Some(&seen("a", true)), at(106)), Due::At(at(108)));
        assert_eq!(probe.due(Some(&seen("a", true)), at(200)), Due::Now);
    }

    #[test]
    fn thresholds_count_in_a_row() {
        let mut probe = state(ProbeKind::Readiness, serde_json::json!({"failureThreshold": 2, "successThreshold": 2}));
        probe.due(Some(&seen("a", true)), at(100));
        assert_eq!(probe.verdict(), Verdict::Failure, "not ready before the first probe");
        let found = [true, false, true, true, false, true, false, false];
        let changed: Vec<_> = found.iter().map(|success| probe.record(*success, at(100))).collect();
        assert_eq!(changed, [false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn a_failed_container_is_left_alone_until_it_is_replaced() {
        let mut probe = state(ProbeKind::Liveness, serde_json::json!({"failureThreshold": 1}));
        probe.due(Some(&seen("a", true)), at(100));
        assert_eq!(probe.verdict(), Verdict::Success);
        assert!(probe.record(false, at(100)));
        assert_eq!(probe.due(Some(&seen("a", true)), at(200)), Due::Idle);
        assert_eq!(probe.due(Some(&seen("b", true)), at(200)), Due::Now);
        assert_eq!(probe.verdict(), Verdict::Success, "the new one has a new chance");
    }

    #[test]
    fn startup_comes_first_and_only_once() {
        let mut startup = state(ProbeKind::Startup, serde_json::json!({}));
        let mut ready = state(ProbeKind::Readiness, serde_json::json!({}));
        assert_eq!(startup.due(Some(&seen("a", false)), at(100)), Due::Now);
        assert_eq!(ready.due(Some(&seen("a", false)), at(100)), Due::Idle);
        assert_eq!(startup.verdict(), Verdict::Unknown);
        assert!(startup.record(true, at(100)));
        assert_eq!(startup.due(Some(&seen("a", true)), at(200)), Due::Idle);
        assert_eq!(ready.due(Some(&seen("a", true)), at(200)), Due::Now);
    }

    #[test]
    fn what_does_not_run_is_not_ready() {
        let mut ready = state(ProbeKind::Readiness, serde_json::json!({}));
        ready.due(Some(&seen("a", true)), at(100));
        ready.record(true, at(100));
        assert_eq!(ready.verdict(), Verdict::Success);
        let ended = Observation { running: false, ..seen("a", true) };
        assert_eq!(ready.due(Some(&ended), at(101)), Due::Idle);
        assert_eq!(ready.verdict(), Verdict::Failure);
    }
}
