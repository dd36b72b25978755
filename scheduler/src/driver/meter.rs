//! What is told of each attempt.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::metrics::Metrics;
use crate::framework::{Action, Preemption};
use crate::object::{Name, Time};
use crate::schedule::{Failure, GroupTried, Outcome, Placement, Scheduler};

/// Tells of attempts and queues, in upstream's terms.
pub(super) struct Meter {
    metrics: Arc<dyn Metrics>,
    rejecting: BTreeMap<(Name, Name), u64>,
    /// How long the group that is being told of took, so far.
    group_took: f64,
    pending: BTreeMap<&'static str, u64>,
    in_flight: BTreeMap<String, u64>,
    /// How often plugins had been called when that was last told.
    evaluated: BTreeMap<(&'static str, Name, Name), u64>,
}

#[allow(clippy::cast_precision_loss, reason = "a duration for a histogram")]
fn seconds(from: Time, to: Time) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

const fn call(action: &Action) -> &'static str {
    match action {
        Action::Bind { .. } | Action::BindThrough { .. } => "pod_binding",
        Action::UpdatePodStatus { .. } => "pod_status_patch",
        Action::UpdatePodGroupStatus { .. } => "podgroup_status_patch",
        Action::Preempt(_) => "pod_delete",
        Action::KeepVolume { .. } => "pv_update",
        Action::SelectNode { .. } | Action::AwaitClaims { .. } => "pvc_update",
        Action::ReserveDevices { .. } | Action::AwaitDevices { .. } | Action::FreeDevices { .. } => {
            "resourceclaim_update"
        }
        Action::MakeDeviceClaim { .. } => "resourceclaim_create",
        Action::RemoveDeviceClaim { .. } => "resourceclaim_delete",
    }
}

impl Meter {
    pub(super) const fn new(metrics: Arc<dyn Metrics>) -> Self {
        Self {
            metrics,
            rejecting: BTreeMap::new(),
            group_took: 0.0,
            pending: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            evaluated: BTreeMap::new(),
        }
    }

    /// Where numbers go.
    pub(super) const fn metrics(&self) -> &Arc<dyn Metrics> {
        &self.metrics
    }

    /// A decision was made.
    pub(super) fn decided(&mut self, outcome: &Outcome, from: Time, to: Time) {
        // All of a group is decided on with its first pod, and told one by one.
        self.group_took += seconds(from, to);
        match outcome {
            Outcome::Group(_) => {
                self.metrics.observe("podgroup_scheduling_algorithm_duration_seconds", &[], self.group_took);
            }
            _ if outcome.is_of_group() => {}
            _ => self.group_took = 0.0,
        }
        if matches!(outcome, Outcome::Placed(_) | Outcome::Waiting(_)) {
            self.metrics.observe("scheduling_algorithm_duration_seconds", &[], seconds(from, to));
        }
    }

    /// A pod was bound, decided on at `from`.
    pub(super) fn bound(&self, placement: &Placement, from: Time, to: Time) {
        let profile = &placement.pod.spec.scheduler_name;
        let labels = [("profile", profile.as_str()), ("result", "scheduled")];
        self.metrics.count("schedule_attempts_total", &labels, 1);
        self.metrics.observe("scheduling_attempt_duration_seconds", &labels, seconds(from, to));
        let queued = placement.queued();
        self.metrics.observe("pod_scheduling_attempts", &[], f64::from(queued.attempts));
        let attempts = if queued.attempts < 15 { queued.attempts.to_string() } else { "15+".to_owned() };
        if queued.flushed {
            self.metrics.count("pod_scheduled_after_flush_total", &[], 1);
        }
        let waited = seconds(queued.initial_attempt.unwrap_or(from), to);
        self.metrics.observe("pod_scheduling_sli_duration_seconds", &[("attempts", &attempts)], waited);
    }

    /// An attempt failed.
    pub(super) fn failed(&self, failure: &Failure, from: Time, to: Time) {
        let result = if failure.reason == Failure::UNSCHEDULABLE { "unschedulable" } else { "error" };
        let labels = [("profile", failure.pod.spec.scheduler_name.as_str()), ("result", result)];
        self.metrics.count("schedule_attempts_total", &labels, 1);
        self.metrics.observe("scheduling_attempt_duration_seconds", &labels, seconds(from, to));
    }

    /// A pod group was tried.
    pub(super) fn group_tried(&mut self, tried: &GroupTried) {
        let labels = [("profile", tried.profile.as_str()), ("result", tried.result.word())];
        self.metrics.observe("podgroup_scheduling_attempt_duration_seconds", &labels, self.group_took);
        self.group_took = 0.0;
        self.metrics.count("podgroup_schedule_attempts_total", &labels, 1);
    }

    /// Room is being made.
    pub(super) fn preempts(&self, preemption: &Preemption) {
        self.metrics.count("preemption_attempts_total", &[], 1);
        #[allow(clippy::cast_precision_loss, reason = "a number of pods for a histogram")]
        self.metrics.observe("preemption_victims", &[], preemption.victims.len() as f64);
    }

    /// A call for an action is over.
    pub(super) fn called(&self, action: &'static str, worked: bool, from: Time, to: Time) {
        let labels = [("call_type", action), ("result", if worked { "success" } else { "error" })];
        self.metrics.count("async_api_call_execution_total", &labels, 1);
        self.metrics.observe("async_api_call_execution_duration_seconds", &labels, seconds(from, to));
        if action == "pod_delete" {
            let result = &labels[1..];
            self.metrics.count("preemption_goroutines_execution_total", result, 1);
            self.metrics.observe("preemption_goroutines_duration_seconds", result, seconds(from, to));
        }
    }

    /// How often plugins were called since that was last told, and what is in flight.
    fn tell_of_core(&mut self, scheduler: &Scheduler) {
        self.in_flight.values_mut().for_each(|count| *count = 0);
        for (event, count) in scheduler.queue().in_flight_events() {
            self.in_flight.insert(event, number(count));
        }
        for (event, count) in &self.in_flight {
            self.metrics.set("inflight_events", &[("event", event)], *count);
        }
        for profile in scheduler.profiles() {
            for (point, plugin, count) in profile.evaluations() {
                let told = self.evaluated.entry((point, plugin.clone(), profile.name().clone())).or_default();
                let more = count - std::mem::replace(told, count);
                if more > 0 {
                    let labels = [("extension_point", point), ("plugin", plugin), ("profile", profile.name())];
                    self.metrics.count("plugin_evaluation_total", &labels, more);
                }
            }
        }
    }

    /// How things stand, with calls of those kinds under way.
    pub(super) fn stands<'a>(&mut self, scheduler: &Scheduler, calls: impl Iterator<Item = &'a &'static str>) {
        self.tell_of_core(scheduler);
        self.pending.values_mut().for_each(|count| *count = 0);
        calls.for_each(|kind| *self.pending.entry(kind).or_default() += 1);
        for (kind, count) in &self.pending {
            self.metrics.set("pending_async_api_calls", &[("call_type", kind)], *count);
        }
        let binding = self.pending.get("pod_binding").copied().unwrap_or(0);
        let set = |name, label: (&'static str, &str), value| self.metrics.set(name, &[label], value);
        let queue = scheduler.queue();
        let (active, backoff, unschedulable) = queue.lengths();
        let gated = queue.gated();
        set("pending_pods", ("queue", "active"), number(active));
        set("pending_pods", ("queue", "backoff"), number(backoff));
        set("pending_pods", ("queue", "unschedulable"), number(unschedulable.saturating_sub(gated)));
        set("pending_pods", ("queue", "gated"), number(gated));
        set("cache_size", ("type", "nodes"), number(scheduler.snapshot().len()));
        set("cache_size", ("type", "pods"), number(scheduler.cache().pod_count()));
        set("goroutines", ("operation", "binding"), binding);
        self.rejecting.values_mut().for_each(|count| *count = 0);
        for queued in queue.iter() {
            let profile = &queued.pod.spec.scheduler_name;
            for plugin in queued.unschedulable_plugins.iter().chain(&queued.pending_plugins) {
                *self.rejecting.entry((plugin.clone(), profile.clone())).or_default() += 1;
            }
        }
        for ((plugin, profile), count) in &self.rejecting {
            self.metrics.set("unschedulable_pods", &[("plugin", plugin), ("profile", profile)], *count);
        }
    }
}

/// What actions are called in upstream's metrics.
pub(super) fn call_type(actions: &[Action]) -> &'static str {
    actions.last().map_or("pod_binding", call)
}
