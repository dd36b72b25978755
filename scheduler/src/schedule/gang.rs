//! Placing the pods of a pod group in one go.

use std::sync::Arc;

use super::decide::{Decision, Refusal};
use super::{Failure, GroupResult, GroupTried, Outcome, Placement, Scheduler};
use crate::framework::{Action, Code, CycleState, FitError, Permission, PodConditionUpdate, PostFilterOutcome, Status};
use crate::object::{Name, PodGroup, PodInfo, Time};
use crate::plugins::GangScheduling;
use crate::queue::QueuedPod;

/// What is said of a group, and of its pods that could have been placed, when too few of them could.
const UNSCHEDULABLE: &str = "pod group is unschedulable";
/// What is said beside that while others are on their way out for the group.
const WAITING: &str = "pod group is waiting for preemption to complete";

/// What became of one pod of a group.
enum Tried {
    Placed(Box<Placement>, Permission),
    /// It fits once others have gone, and was put where they are.
    MadeRoom(Box<Placement>, Permission, Box<FitError>, PostFilterOutcome),
    Refused(QueuedPod, Box<FitError>, PostFilterOutcome),
    NoNodes(QueuedPod),
    Failed(QueuedPod, Status),
    /// Something went wrong with another before it was its turn.
    Untried(QueuedPod),
}

/// What becomes of the whole group.
struct Verdict {
    result: GroupResult,
    message: String,
    actions: Vec<Action>,
}

impl Verdict {
    fn says(&mut self, more: &str) {
        self.message = format!("{}, {more}", self.message);
    }
}

impl Scheduler {
    /// Tries to place a group's waiting pods, most important first. Either enough of them find nodes, and all that did are
    /// placed; or none is. What became of each is told in the order in which they were tried, and then what became of the
    /// group.
    pub(super) fn schedule_gang(&mut self, first: QueuedPod, now: Time) -> Vec<Outcome> {
        let others = self.queue.gangs.of(&first.pod).map(|gang| gang.waiting().clone()).unwrap_or_default();
        let mut members = vec![first];
        for uid in others {
            members.extend(self.queue.pop_one(&uid, now));
        }
        if let Some(outcomes) = self.mixed(&mut members, now) {
            return outcomes;
        }
        let mut outcomes = Vec::new();
        members.retain(|queued| {
            let skipped = self.skip(queued);
            let stays = skipped.is_none();
            outcomes.extend(skipped);
            stays
        });
        members.sort_by_key(|queued| (std::cmp::Reverse(queued.pod.spec.priority), queued.initial_attempt));
        let Some(pod) = members.first().map(|queued| queued.pod.clone()) else { return outcomes };
        let pods: Vec<Arc<PodInfo>> = members.iter().map(|queued| queued.pod.clone()).collect();
        let (tried, mut verdict) = self.try_members(members);
        // Those that were put somewhere for the others to see, but are not to stay, go again before anything else.
        let stays = verdict.result == GroupResult::Scheduled;
        let tried: Vec<Tried> = tried.into_iter().map(|one| if stays { one } else { self.take_back(one) }).collect();
        if verdict.result == GroupResult::Unschedulable && self.profiles[&pod.spec.scheduler_name].makes_room_for_gangs
        {
            self.make_room_for_gang(&pods, &mut verdict);
        }
        outcomes.extend(tried.into_iter().map(|one| self.settle_member(one, &verdict, now)));
        outcomes.extend(self.tell_of_group(&pod, verdict));
        outcomes
    }

    /// All pods of a group must name the same scheduler.
    fn mixed(&mut self, members: &mut Vec<QueuedPod>, now: Time) -> Option<Vec<Outcome>> {
        let name = members[0].pod.spec.scheduler_name.clone();
        let other = members.iter().map(|queued| &queued.pod.spec.scheduler_name).find(|own| **own != name)?;
        let message = format!(
            "all pods in a single pod group should have the same .spec.schedulerName set, got: {:?} and {:?}",
            &**other, &*name
        );
        let fail = |queued| Outcome::Failed(Box::new(self.failed(queued, Status::error(message.clone()), now)));
        Some(members.drain(..).map(fail).collect())
    }

    /// Tries one after the other, until something goes wrong.
    fn try_members(&mut self, members: Vec<QueuedPod>) -> (Vec<Tried>, Verdict) {
        let mut verdict =
            Verdict { result: GroupResult::Unschedulable, message: UNSCHEDULABLE.to_owned(), actions: Vec::new() };
        let mut needs_room = false;
        let mut tried = Vec::new();
        for queued in members {
            if verdict.result == GroupResult::Error {
                tried.push(Tried::Untried(queued));
                continue;
            }
            let one = self.try_member(queued);
            needs_room |= matches!(one, Tried::MadeRoom(..));
            match &one {
                Tried::Failed(_, status) if !status.is_rejection() => {
                    let message = format!("failed to schedule other pod from a pod group: {status}");
                    verdict = Verdict { result: GroupResult::Error, message, actions: Vec::new() };
                }
                Tried::Placed(_, permission) | Tried::MadeRoom(_, permission, ..) if permission.waits.is_empty() => {
                    verdict.result = if needs_room { GroupResult::WaitingOnPreemption } else { GroupResult::Scheduled };
                }
                _ => {}
            }
            tried.push(one);
        }
        match verdict.result {
            GroupResult::Scheduled => verdict.message.clear(),
            GroupResult::WaitingOnPreemption => verdict.says(WAITING),
            GroupResult::Unschedulable | GroupResult::Error => {}
        }
        (tried, verdict)
    }

    fn try_member(&mut self, mut queued: QueuedPod) -> Tried {
        queued.unschedulable_plugins.clear();
        queued.pending_plugins.clear();
        let (state, decided) = self.decide_safely(&queued.pod);
        match decided {
            Ok(decision) => match self.assume(queued, state, &decision) {
                Ok((placement, permission)) => Tried::Placed(placement, permission),
                Err(refused) => Tried::Failed(refused.0, refused.1),
            },
            Err(Refusal::DoesNotFit(error)) => self.make_room_for_member(queued, state, error),
            Err(Refusal::NoNodes) => Tried::NoNodes(queued),
            Err(Refusal::Failed(status)) => Tried::Failed(queued, status),
        }
    }

    /// If others can go for a pod, those tried after it see it in their place already.
    fn make_room_for_member(&mut self, queued: QueuedPod, state: CycleState, error: Box<FitError>) -> Tried {
        if self.profiles[&queued.pod.spec.scheduler_name].makes_room_for_gangs {
            let status = Status::unschedulable("preemption: not eligible due to workload aware preemption enabled");
            let outcome = PostFilterOutcome { status: Some(status), ..PostFilterOutcome::default() };
            return Tried::Refused(queued, error, outcome);
        }
        let outcome =
            self.make_room(&queued.pod, &error, |profile, pod, context| profile.run_post_filter(&state, pod, context));
        let promised = outcome.nominated_node_name.as_ref().and_then(|name| self.cache.snapshot().node(name));
        let Some(node) = promised else { return Tried::Refused(queued, error, outcome) };
        let decision = Decision { node: node.name().clone(), slot: node.slot, evaluated: 1, feasible: 1 };
        match self.assume(queued, state, &decision) {
            Ok((placement, permission)) => Tried::MadeRoom(placement, permission, error, outcome),
            Err(refused) => Tried::Failed(refused.0, refused.1),
        }
    }

    /// Forgets where a pod was put, but for what the pod is told of it.
    fn take_back(&mut self, tried: Tried) -> Tried {
        match tried {
            Tried::Placed(mut placement, permission) => {
                self.unassume(&mut placement);
                Tried::Placed(placement, permission)
            }
            Tried::MadeRoom(mut placement, permission, error, outcome) => {
                self.unassume(&mut placement);
                Tried::MadeRoom(placement, permission, error, outcome)
            }
            other => other,
        }
    }

    fn settle_member(&mut self, tried: Tried, verdict: &Verdict, now: Time) -> Outcome {
        let failed_with_group = || Status::error(verdict.message.clone());
        let failure = match (tried, verdict.result) {
            (Tried::Placed(placement, mut permission), GroupResult::Scheduled) => {
                permission.waits.remove(GangScheduling::NAME);
                return self.hold(placement, permission, now);
            }
            (Tried::Failed(queued, status), _) if !status.is_rejection() => self.failed(queued, status, now),
            (Tried::Placed(placement, _) | Tried::MadeRoom(placement, ..), GroupResult::Error) => {
                self.failed(placement.queued, failed_with_group(), now)
            }
            (
                Tried::Refused(queued, ..) | Tried::NoNodes(queued) | Tried::Failed(queued, _) | Tried::Untried(queued),
                GroupResult::Error,
            ) => self.failed(queued, failed_with_group(), now),
            (Tried::Placed(placement, _), GroupResult::WaitingOnPreemption) => {
                let node = placement.node().clone();
                self.put_back_with_group(placement.queued, verdict.message.clone(), node, now)
            }
            (Tried::MadeRoom(placement, _, error, outcome), GroupResult::WaitingOnPreemption) => {
                self.conclude(placement.queued, *error, outcome, now)
            }
            (Tried::MadeRoom(mut placement, permission, ..), GroupResult::Scheduled) => {
                self.unassume(&mut placement);
                self.put_back_unpermitted(placement.queued, &permission, now)
            }
            (
                Tried::Placed(placement, permission) | Tried::MadeRoom(placement, permission, ..),
                GroupResult::Unschedulable,
            ) => self.put_back_unpermitted(placement.queued, &permission, now),
            (Tried::Refused(queued, error, outcome), _) => self.conclude(queued, *error, outcome, now),
            (Tried::NoNodes(queued), _) => {
                let message = "no nodes available to schedule pods".to_owned();
                self.put_back(queued, Failure::UNSCHEDULABLE, message, PostFilterOutcome::default(), now)
            }
            (Tried::Failed(queued, status), _) => self.failed(queued, status, now),
            (Tried::Untried(queued), _) => self.failed(queued, failed_with_group(), now),
        };
        Outcome::Failed(Box::new(failure))
    }

    fn put_back_unpermitted(&mut self, queued: QueuedPod, permission: &Permission, now: Time) -> Failure {
        let waits = permission.waits.contains_key(GangScheduling::NAME);
        let why = if waits { GangScheduling::REASON_WAIT } else { "" };
        let message = if why.is_empty() { UNSCHEDULABLE.to_owned() } else { format!("{UNSCHEDULABLE}, {why}") };
        self.put_back_with_group(queued, message, Name::default(), now)
    }

    /// Puts a pod back because of its group: it is tried again after its back-off, whatever happens.
    fn put_back_with_group(&mut self, mut queued: QueuedPod, message: String, node: Name, now: Time) -> Failure {
        queued.unschedulable_plugins.clear();
        queued.pending_plugins.clear();
        let outcome = PostFilterOutcome { nominated_node_name: Some(node), ..PostFilterOutcome::default() };
        self.put_back(queued, Failure::UNSCHEDULABLE, message, outcome, now)
    }

    /// What is to be told of the group as a whole. A group that was placed once stays so whatever becomes of more pods.
    fn tell_of_group(&self, pod: &PodInfo, verdict: Verdict) -> Option<Outcome> {
        let group = self.queue.gangs.of(pod)?.group()?;
        let Verdict { result, message, mut actions } = verdict;
        let (holds, reason) = match result {
            GroupResult::Scheduled => (true, "Scheduled"),
            GroupResult::Unschedulable | GroupResult::WaitingOnPreemption => (false, Failure::UNSCHEDULABLE),
            GroupResult::Error => (false, Failure::SCHEDULER_ERROR),
        };
        let was_placed = group.scheduled.as_ref().is_some_and(|known| known.status == "True");
        let same = group.scheduled.as_ref().is_some_and(|known| {
            (known.status == "True") == holds && known.reason == reason && known.message == message.as_str()
        });
        if !same && (holds || !was_placed) {
            let condition =
                PodConditionUpdate { kind: PodGroup::SCHEDULED, status: holds, reason, message: message.clone() };
            actions.push(Action::UpdatePodGroupStatus { group: Box::new(group.clone()), condition });
        }
        let (namespace, name) = (group.namespace.clone(), group.name.clone());
        let profile = pod.spec.scheduler_name.clone();
        Some(Outcome::Group(Box::new(GroupTried { namespace, name, profile, result, message, actions })))
    }

    /// Finds out who would have to go for the whole group, and sends them away; or says why that does not help.
    fn make_room_for_gang(&mut self, pods: &[Arc<PodInfo>], verdict: &mut Verdict) {
        match self.preempt_for_gang(pods) {
            Ok(preemption) => {
                for pod in pods {
                    self.queue.preempting.insert(pod.uid.clone());
                }
                verdict.actions.push(Action::Preempt(preemption));
                verdict.result = GroupResult::WaitingOnPreemption;
            }
            Err(status) if status.code() == Code::Error => {
                *verdict = Verdict { result: GroupResult::Error, message: status.message(), actions: Vec::new() };
            }
            Err(status) => verdict.says(&status.message()),
        }
    }
}
