//! Placing the pods of a pod group in one go.

use std::collections::VecDeque;
use std::sync::Arc;

use super::decide::{Decision, Refusal};
use super::{Failure, GroupResult, GroupTried, Outcome, Placement, Scheduler};
use crate::framework::{Action, Code, CycleState, FitError, Permission, PodConditionUpdate, PostFilterOutcome, Status};
use crate::object::{Name, PodGroup, PodInfo, Time};
use crate::plugins::GangScheduling;
use crate::queue::QueuedPod;

/// What is said of a group, and of its pods that could have been placed, when too few of them could.
const UNSCHEDULABLE: &str = "pod group is unschedulable";
/// What is said of a pod that has a node and was told to wait.
const ASKED_TO_WAIT: &str = "one or more plugins asked to wait and no plugin rejected pod";
/// What is said beside that while others are on their way out for the group.
const WAITING: &str = "pod group is waiting for preemption to complete";

/// What became of one pod of a group.
#[derive(Debug)]
pub(super) enum Tried {
    Placed(Box<Placement>, Permission),
    /// It fits once others have gone, and was put where they are.
    MadeRoom(Box<Placement>, Permission, Box<FitError>, PostFilterOutcome),
    Refused(QueuedPod, Box<FitError>, PostFilterOutcome),
    NoNodes(QueuedPod),
    Failed(QueuedPod, Status),
    /// Something went wrong with another before it was its turn.
    Untried(QueuedPod),
}

impl Tried {
    /// The pod.
    pub(super) fn pod(&self) -> Arc<PodInfo> {
        match self {
            Self::Placed(placement, _) | Self::MadeRoom(placement, ..) => placement.queued.pod.clone(),
            Self::Refused(queued, ..) | Self::NoNodes(queued) | Self::Failed(queued, _) | Self::Untried(queued) => {
                queued.pod.clone()
            }
        }
    }

    /// No node takes it, and nothing can be done about that.
    pub(super) fn refused(queued: QueuedPod, refusal: Refusal) -> Self {
        match refusal {
            Refusal::DoesNotFit(error) => Self::Refused(queued, error, PostFilterOutcome::default()),
            Refusal::NoNodes => Self::NoNodes(queued),
            Refusal::Failed(status) => Self::Failed(queued, status),
        }
    }
}

/// An attempt on a group, as far as it has come.
#[derive(Debug)]
pub(super) struct Attempt {
    pods: Vec<Arc<PodInfo>>,
    /// Those that are still to be tried.
    members: VecDeque<QueuedPod>,
    tried: Vec<Tried>,
    verdict: Verdict,
    needs_room: bool,
    pub(super) outcomes: Vec<Outcome>,
}

impl Attempt {
    /// Takes note of what became of a member.
    pub(super) fn note(&mut self, one: Tried) {
        self.needs_room |= matches!(one, Tried::MadeRoom(..));
        match &one {
            Tried::Failed(_, status) if !status.is_rejection() => {
                let message = format!("failed to schedule other pod from a pod group: {status}");
                self.verdict = Verdict::new(GroupResult::Error, &message);
            }
            Tried::Placed(_, permission) | Tried::MadeRoom(_, permission, ..) if permission.waits.is_empty() => {
                let waits = self.needs_room;
                self.verdict.result = if waits { GroupResult::WaitingOnPreemption } else { GroupResult::Scheduled };
            }
            _ => {}
        }
        self.tried.push(one);
    }
}

/// What becomes of the whole group.
#[derive(Debug)]
struct Verdict {
    result: GroupResult,
    message: String,
    actions: Vec<Action>,
}

impl Verdict {
    fn new(result: GroupResult, message: &str) -> Self {
        Self { result, message: message.to_owned(), actions: Vec::new() }
    }

    fn says(&mut self, more: &str) {
        self.message = format!("{}, {more}", self.message);
    }
}

impl Scheduler {
    /// Tries to place a group's waiting pods, most important first. Either enough of them find nodes, and all that did are
    /// placed; or none is. What became of each is told in the order in which they were tried, and then what became of the
    /// group. Where extenders have a say, the whole group waits for their answers.
    pub(super) fn schedule_gang(&mut self, first: QueuedPod, now: Time) -> Option<Outcome> {
        let others = self.queue.gangs.of(&first.pod).map(|gang| gang.waiting().clone()).unwrap_or_default();
        let mut members = vec![first];
        for uid in others {
            members.extend(self.queue.pop_one(&uid, now));
        }
        if let Some(outcomes) = self.mixed(&mut members, now) {
            return self.tell_first(outcomes);
        }
        let mut outcomes = Vec::new();
        members.retain(|queued| {
            let skipped = self.skip(queued);
            let stays = skipped.is_none();
            outcomes.extend(skipped);
            stays
        });
        members.sort_by_key(|queued| (std::cmp::Reverse(queued.pod.spec.priority), queued.initial_attempt));
        let pods: Vec<Arc<PodInfo>> = members.iter().map(|queued| queued.pod.clone()).collect();
        if pods.is_empty() {
            return self.tell_first(outcomes);
        }
        let (verdict, members) = (Verdict::new(GroupResult::Unschedulable, UNSCHEDULABLE), members.into());
        let attempt = Attempt { pods, members, tried: Vec::new(), verdict, needs_room: false, outcomes };
        self.try_members(Box::new(attempt), now)
    }

    fn tell_first(&mut self, outcomes: Vec<Outcome>) -> Option<Outcome> {
        self.told_later.extend(outcomes);
        self.told_later.pop_front()
    }

    /// Tries one member after the other, until something goes wrong or extenders are to be asked.
    pub(super) fn try_members(&mut self, mut attempt: Box<Attempt>, now: Time) -> Option<Outcome> {
        while let Some(mut queued) = attempt.members.pop_front() {
            if attempt.verdict.result == GroupResult::Error {
                attempt.tried.push(Tried::Untried(queued));
                continue;
            }
            queued.unschedulable_plugins.clear();
            queued.pending_plugins.clear();
            if self.has_interested_extender(&queued.pod) {
                return Some(self.search(queued, Some(attempt), now));
            }
            let (state, decided) = self.decide_safely(&queued.pod);
            let one = match decided {
                Ok(decision) => self.member_fits(queued, state, &decision),
                Err(Refusal::DoesNotFit(error)) => self.make_room_for_member(queued, state, error),
                Err(refusal) => Tried::refused(queued, refusal),
            };
            attempt.note(one);
        }
        self.conclude_gang(*attempt, now)
    }

    fn conclude_gang(&mut self, attempt: Attempt, now: Time) -> Option<Outcome> {
        let Attempt { pods, tried, mut verdict, mut outcomes, .. } = attempt;
        match verdict.result {
            GroupResult::Scheduled => verdict.message.clear(),
            GroupResult::WaitingOnPreemption => verdict.says(WAITING),
            GroupResult::Unschedulable | GroupResult::Error => {}
        }
        // Those that were put somewhere for the others to see, but are not to stay, go again before anything else.
        let stays = verdict.result == GroupResult::Scheduled;
        let tried: Vec<Tried> = tried.into_iter().map(|one| if stays { one } else { self.take_back(one) }).collect();
        let pod = pods.first()?.clone();
        if verdict.result == GroupResult::Unschedulable && self.profiles[&pod.spec.scheduler_name].makes_room_for_gangs
        {
            self.make_room_for_gang(&pods, &mut verdict);
        }
        outcomes.extend(tried.into_iter().map(|one| self.settle_member(one, &verdict, now)));
        outcomes.extend(self.tell_of_group(&pod, verdict));
        self.tell_first(outcomes)
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

    /// A member has a node, which those that are tried after it see.
    pub(super) fn member_fits(&mut self, queued: QueuedPod, state: CycleState, decision: &Decision) -> Tried {
        match self.assume(queued, state, decision) {
            Ok((placement, permission)) => Tried::Placed(placement, permission),
            Err(refused) => Tried::Failed(refused.0, refused.1),
        }
    }

    fn make_room_for_member(&mut self, queued: QueuedPod, state: CycleState, error: Box<FitError>) -> Tried {
        let outcome = self.room_is_not_made_for_one(&queued.pod).unwrap_or_else(|| {
            self.make_room(&queued.pod, &error, |profile, pod, context| profile.run_post_filter(&state, pod, context))
        });
        self.member_with_room(queued, state, error, outcome)
    }

    /// Where room is made for groups as a whole, it isn't for their members.
    pub(super) fn room_is_not_made_for_one(&self, pod: &PodInfo) -> Option<PostFilterOutcome> {
        self.profiles[&pod.spec.scheduler_name].makes_room_for_gangs.then(|| {
            let status = Status::unschedulable("preemption: not eligible due to workload aware preemption enabled");
            PostFilterOutcome { status: Some(status), ..PostFilterOutcome::default() }
        })
    }

    /// If others can go for a pod, those tried after it see it in their place already.
    pub(super) fn member_with_room(
        &mut self,
        queued: QueuedPod,
        state: CycleState,
        error: Box<FitError>,
        outcome: PostFilterOutcome,
    ) -> Tried {
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
        let for_the_others = permission.waits.contains_key(GangScheduling::NAME).then_some(GangScheduling::REASON_WAIT);
        let waits = (!permission.waits.is_empty()).then_some(ASKED_TO_WAIT);
        let message = [Some(UNSCHEDULABLE), for_the_others, waits].into_iter().flatten().collect::<Vec<_>>().join(", ");
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
                *verdict = Verdict::new(GroupResult::Error, &status.message());
            }
            Err(status) => verdict.says(&status.message()),
        }
    }
}
