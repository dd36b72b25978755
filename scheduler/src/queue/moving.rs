//! The ways between the queues.

use std::time::Duration;

use super::hints::Strategy;
use super::{PREEMPTION_GATE, QueuedPod, SchedulingQueue, before, released_before};
use crate::framework::{QueueCause, Seen, caught};
use crate::object::{Name, Time};

impl SchedulingQueue {
    /// Moves on what time alone moves: pods whose back-off is over, and pods that waited too long for an event.
    pub fn flush(&mut self, now: Time) {
        self.flush_backoff(now);
        let overdue = |queued: &QueuedPod| {
            let waited = now.duration_since(queued.timestamp);
            waited
                > jiff::SignedDuration::try_from(self.config.max_in_unschedulable).unwrap_or(jiff::SignedDuration::MAX)
        };
        let moving: Vec<Name> =
            self.unschedulable.iter().filter(|(_, queued)| overdue(queued)).map(|(uid, _)| uid.clone()).collect();
        for uid in moving {
            if let Some(queued) = self.unschedulable.remove(&uid) {
                let queued = QueuedPod { flushed: true, ..queued };
                self.requeue(queued, Strategy::AfterBackoff, QueueCause::Timeout, now);
            }
        }
    }

    /// When [`flush`](Self::flush) will next have something to do, if ever.
    #[must_use]
    pub fn next_flush(&self) -> Option<Time> {
        let released = [&self.backoff, &self.error_backoff]
            .into_iter()
            .filter_map(|heap| heap.peek()?.backoff_until)
            .map(|until| until.checked_add(Duration::from_secs(1)).unwrap_or(until));
        let oldest = self.unschedulable.values().map(|queued| queued.timestamp).min();
        let overdue = oldest
            .map(|at| at.checked_add(self.config.max_in_unschedulable + Duration::from_millis(1)).unwrap_or(Time::MAX));
        released.chain(overdue).min()
    }

    pub(super) fn flush_backoff(&mut self, now: Time) {
        let sort = self.sort.clone();
        let order = |a: &QueuedPod, b: &QueuedPod| released_before(&*sort, a, b);
        let mut released = Vec::new();
        let truncate = self.config.pop_from_backoff;
        for heap in [&mut self.backoff, &mut self.error_backoff] {
            while heap.peek().is_some_and(|queued| !held_back(queued, now, truncate)) {
                released.extend(heap.pop(&order));
            }
        }
        for queued in released {
            self.release(queued, QueueCause::BackoffComplete, now);
        }
    }

    /// Makes a pod active that was in back-off. Where pods may be taken out of there early, whoever keeps pods out was
    /// asked when it went in.
    pub(super) fn release(&mut self, queued: QueuedPod, cause: QueueCause, now: Time) -> bool {
        if !self.config.pop_from_backoff {
            return self.move_to_active(queued, cause, now);
        }
        self.push_active(queued, cause);
        true
    }

    pub(super) fn requeue(&mut self, mut queued: QueuedPod, strategy: Strategy, cause: QueueCause, now: Time) {
        self.set_backoff(&mut queued);
        match strategy {
            Strategy::Skip => self.park(queued, cause),
            Strategy::AfterBackoff if held_back(&queued, now, self.config.pop_from_backoff) => {
                self.move_to_backoff(queued, cause);
            }
            _ => drop(self.move_to_active(queued, cause, now)),
        }
    }

    /// Tells that a pod came into a queue.
    pub(super) fn tell(&self, queue: &'static str, cause: QueueCause) {
        self.watch.tell(Seen::Queued { queue, cause });
    }

    fn park(&mut self, queued: QueuedPod, cause: QueueCause) {
        self.unschedulable.insert(queued);
        self.tell("unschedulable", cause);
    }

    /// Makes a pod active, unless a plugin keeps it out.
    pub(super) fn move_to_active(&mut self, mut queued: QueuedPod, cause: QueueCause, now: Time) -> bool {
        self.run_pre_enqueue(&mut queued);
        if queued.gating_plugin.is_some() {
            self.park(queued, cause);
            return false;
        }
        queued.initial_attempt.get_or_insert(now);
        self.push_active(queued, cause);
        true
    }

    fn push_active(&mut self, queued: QueuedPod, cause: QueueCause) {
        self.tell("active", cause);
        let sort = self.sort.clone();
        self.active.push(queued.pod.uid.clone(), queued, &|a, b| before(&*sort, a, b));
    }

    fn move_to_backoff(&mut self, mut queued: QueuedPod, cause: QueueCause) {
        if self.config.pop_from_backoff {
            self.run_pre_enqueue(&mut queued);
            if queued.gating_plugin.is_some() {
                return self.park(queued, cause);
            }
        }
        self.tell("backoff", cause);
        let sort = self.sort.clone();
        let order = |a: &QueuedPod, b: &QueuedPod| released_before(&*sort, a, b);
        // Nobody takes a pod of a group out early: the group would be tried again and again.
        let patient = queued.has_no_rejector() || self.is_in_gang(&queued);
        let heap = if patient { &mut self.error_backoff } else { &mut self.backoff };
        heap.push(queued.pod.uid.clone(), queued, &order);
    }

    /// Asks the plugin that kept the pod out first, then all.
    fn run_pre_enqueue(&self, queued: &mut QueuedPod) {
        let Some(profile) = self.profile(queued) else { return };
        let word = |queued: &&mut QueuedPod| match queued.gating_plugin {
            Some(_) => "UnschedulableAndUnresolvable",
            None => "Success",
        };
        let run = || {
            self.ask_whether_to_let_in(queued);
            queued
        };
        self.watch.point("PreEnqueue", &profile.name, word, run);
    }

    fn ask_whether_to_let_in(&self, queued: &mut QueuedPod) {
        let Some(profile) = self.profile(queued) else { return };
        let gate = queued.gating_plugin.take();
        if self.preempting.contains(&queued.pod.uid) {
            queued.unschedulable_plugins.insert(PREEMPTION_GATE.into());
            queued.gating_plugin = Some(PREEMPTION_GATE.into());
            return;
        }
        let first = profile.pre_enqueue.iter().filter(|(name, _)| Some(name) == gate.as_ref());
        let rest = profile.pre_enqueue.iter().filter(|(name, _)| Some(name) != gate.as_ref());
        for (name, plugin) in first.chain(rest) {
            let asked = caught("PreEnqueue", name, || plugin.pre_enqueue(&queued.pod, &self.gangs));
            // One that gives no answer has not let the pod in.
            if asked.is_none_or(|verdict| verdict.is_err()) {
                queued.unschedulable_plugins.insert(name.clone());
                queued.gating_plugin = Some(name.clone());
                return;
            }
        }
    }

    pub(super) fn set_backoff(&self, queued: &mut QueuedPod) {
        let count = if queued.consecutive_errors > 0 { queued.consecutive_errors } else { queued.unschedulable_count };
        if count == 0 || self.config.max_backoff.is_zero() || queued.backoff_until.is_some() {
            return;
        }
        let doubled = 2_u32.checked_pow(count - 1).and_then(|factor| self.config.initial_backoff.checked_mul(factor));
        let wait = doubled.unwrap_or(self.config.max_backoff).min(self.config.max_backoff);
        let until = queued.timestamp.checked_add(wait).unwrap_or(Time::MAX);
        queued.backoff_until = Some(if self.config.pop_from_backoff { whole_second(until) } else { until });
    }
}

/// Back-off ends on whole seconds, so that pods released together are sorted by priority.
fn whole_second(time: Time) -> Time {
    Time::from_second(time.as_second()).unwrap_or(time)
}

pub(super) fn held_back(queued: &QueuedPod, now: Time, truncate: bool) -> bool {
    let now = if truncate { whole_second(now) } else { now };
    queued.backoff_until.is_some_and(|until| until >= now)
}
