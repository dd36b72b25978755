//! Pods that were not placed: room is made for them, and they go back to wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::decide::{Progress, Refusal};
use super::{Failure, Scheduler};
use crate::framework::{
    Action, CycleState, Diagnosis, FitError, PodConditionUpdate, PostFilterContext, PostFilterOutcome, Profile, Status,
    panicked,
};
use crate::object::{Name, PodInfo, Time};
use crate::queue::QueuedPod;

impl Scheduler {
    /// The pod fits nowhere; room is made for it if that is wanted and possible.
    pub(super) fn refused(
        &mut self,
        queued: QueuedPod,
        state: &CycleState,
        refusal: Refusal,
        make_room: bool,
        now: Time,
    ) -> Failure {
        let error = match refusal {
            Refusal::DoesNotFit(error) => error,
            Refusal::NoNodes => {
                let message = "no nodes available to schedule pods".to_owned();
                return self.put_back(queued, Failure::UNSCHEDULABLE, message, PostFilterOutcome::default(), now);
            }
            Refusal::Failed(status) => return self.failed(queued, status, now),
        };
        let outcome = match make_room {
            true => self
                .make_room(&queued.pod, &error, |profile, pod, context| profile.run_post_filter(state, pod, context)),
            false => PostFilterOutcome { nominated_node_name: Some(Name::default()), ..Default::default() },
        };
        self.conclude(queued, *error, outcome, now)
    }

    /// Runs PostFilter plugins, if there are any; one that panics makes no room.
    pub(super) fn make_room(
        &mut self,
        pod: &Arc<PodInfo>,
        error: &FitError,
        run: impl FnOnce(&Profile, &Arc<PodInfo>, PostFilterContext<'_>) -> PostFilterOutcome,
    ) -> PostFilterOutcome {
        let profile = &self.profiles[&pod.spec.scheduler_name];
        if !profile.has_post_filter() {
            return PostFilterOutcome { nominated_node_name: Some(Name::default()), ..Default::default() };
        }
        let candidates_wanted = self.extenders.iter().any(|own| own.preempts && own.is_interested(pod));
        let Progress { classes, random, .. } = &mut self.progress;
        let (kept, places) = classes.as_mut().map(|classes| classes.kept_for(pod)).unwrap_or_default();
        let context = PostFilterContext {
            profile,
            snapshot: self.cache.snapshot(),
            nominator: &self.queue.nominator,
            statuses: &error.diagnosis.nodes,
            random,
            candidates_wanted,
            kept,
            places,
        };
        catch_unwind(AssertUnwindSafe(|| run(profile, pod, context))).unwrap_or_else(|panic| PostFilterOutcome {
            status: Some(panicked(&*panic)),
            ..PostFilterOutcome::default()
        })
    }

    /// Puts a pod back that fits nowhere, with what came of making room.
    pub(super) fn conclude(
        &mut self,
        mut queued: QueuedPod,
        mut error: FitError,
        outcome: PostFilterOutcome,
        now: Time,
    ) -> Failure {
        error.diagnosis.post_filter = outcome.status.as_ref().map(Status::message).unwrap_or_default();
        let message = error.to_string();
        let Diagnosis { unschedulable_plugins, pending_plugins, .. } = error.diagnosis;
        queued.unschedulable_plugins = unschedulable_plugins;
        queued.pending_plugins = pending_plugins;
        self.put_back(queued, Failure::UNSCHEDULABLE, message, outcome, now)
    }

    /// Something outside of filtering said no.
    pub(super) fn failed(&mut self, mut queued: QueuedPod, status: Status, now: Time) -> Failure {
        let clear = PostFilterOutcome { nominated_node_name: Some(Name::default()), ..Default::default() };
        queued.unschedulable_plugins.clear();
        queued.pending_plugins.clear();
        if !status.is_rejection() {
            return self.put_back(queued, Failure::SCHEDULER_ERROR, status.message(), clear, now);
        }
        let mut error = FitError { nodes_total: 1, diagnosis: Diagnosis::default() };
        error.diagnosis.blame(&status);
        error.diagnosis.nodes.set(crate::cache::NodeSlot(0), status);
        let message = error.to_string();
        queued.unschedulable_plugins = error.diagnosis.unschedulable_plugins;
        queued.pending_plugins = error.diagnosis.pending_plugins;
        self.put_back(queued, Failure::UNSCHEDULABLE, message, clear, now)
    }

    pub(super) fn put_back(
        &mut self,
        mut queued: QueuedPod,
        reason: &'static str,
        message: String,
        outcome: PostFilterOutcome,
        now: Time,
    ) -> Failure {
        let mut pod = queued.pod.clone();
        let nominated = outcome.nominated_node_name;
        let preempts = outcome.actions.iter().any(|action| matches!(action, Action::Preempt(_)));
        match self.pending.get(&pod.uid) {
            Some(newest) => {
                if preempts {
                    self.queue.preempting.insert(pod.uid.clone());
                }
                pod = newest.clone();
                queued.pod = pod.clone();
                if let Some(node) = &nominated {
                    self.queue.nominator.add(pod.clone(), node);
                }
                self.queue.add_unschedulable(queued, now);
            }
            None => self.queue.done(&pod.uid),
        }
        let condition = PodConditionUpdate { kind: "PodScheduled", status: false, reason, message: message.clone() };
        let mut actions = vec![Action::UpdatePodStatus {
            pod: pod.clone(),
            condition: Some(condition),
            nominated_node_name: nominated.clone(),
        }];
        actions.extend(outcome.actions);
        Failure { pod, reason, message, nominated_node_name: nominated, actions }
    }
}
