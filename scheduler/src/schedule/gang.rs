//! Placing the pods of a gang in one go.

use super::decide::Refusal;
use super::{Failure, Outcome, Placement, Scheduler};
use crate::framework::{CycleState, Permission, Status};
use crate::object::Time;
use crate::plugins::GangScheduling;
use crate::queue::QueuedPod;

/// What became of one pod of a gang.
enum Tried {
    Placed(Box<Placement>, Permission),
    Refused(QueuedPod, Box<(CycleState, Refusal)>),
    Done(Outcome),
}

impl Scheduler {
    /// Tries to place a gang's waiting pods, most important first. Either enough of them find nodes, and all that did are
    /// placed; or none is. What became of each is told in the order in which they were tried.
    pub(super) fn schedule_gang(&mut self, first: QueuedPod, now: Time) -> Vec<Outcome> {
        let others = self.queue.gangs.of(&first.pod).map(|gang| gang.waiting().clone()).unwrap_or_default();
        let mut members = vec![first];
        for uid in others {
            members.extend(self.queue.pop_one(&uid, now));
        }
        if let Some(outcomes) = self.mixed(&mut members, now) {
            return outcomes;
        }
        members.sort_by_key(|queued| (std::cmp::Reverse(queued.pod.spec.priority), queued.initial_attempt));
        let mut enough = false;
        let mut tried = Vec::new();
        for queued in members {
            let one = self.try_member(queued, now);
            enough |= matches!(&one, Tried::Placed(_, permission) if permission.waits.is_empty());
            tried.push(one);
        }
        tried.into_iter().map(|one| self.settle_member(one, enough, now)).collect()
    }

    /// All pods of a gang must name the same scheduler.
    fn mixed(&mut self, members: &mut Vec<QueuedPod>, now: Time) -> Option<Vec<Outcome>> {
        let name = members[0].pod.spec.scheduler_name.clone();
        let other = members.iter().map(|queued| &queued.pod.spec.scheduler_name).find(|own| **own != name)?;
        let message = format!(
            "all pods in a single pod group should have the same .spec.schedulerName set, got: {:?} and {:?}",
            &*name, &**other
        );
        let fail = |queued| Outcome::Failed(Box::new(self.failed(queued, Status::error(message.clone()), now)));
        Some(members.drain(..).map(fail).collect())
    }

    fn try_member(&mut self, mut queued: QueuedPod, now: Time) -> Tried {
        if let Some(outcome) = self.skip(&queued) {
            return Tried::Done(outcome);
        }
        queued.unschedulable_plugins.clear();
        queued.pending_plugins.clear();
        let (state, decided) = self.decide_safely(&queued.pod);
        let decision = match decided {
            Ok(decision) => decision,
            Err(refusal) => return Tried::Refused(queued, Box::new((state, refusal))),
        };
        match self.assume(queued, state, &decision, now) {
            Ok((placement, permission)) => Tried::Placed(placement, permission),
            Err(failure) => Tried::Done(Outcome::Failed(failure)),
        }
    }

    fn settle_member(&mut self, tried: Tried, enough: bool, now: Time) -> Outcome {
        match tried {
            Tried::Done(outcome) => outcome,
            Tried::Placed(placement, _) if enough => {
                self.queue.done(&placement.pod.uid);
                Outcome::Placed(placement)
            }
            Tried::Placed(placement, _) => {
                let status = Status::unschedulable(GangScheduling::REASON_WAIT).by(&"GangScheduling".into());
                Outcome::Failed(Box::new(self.withdraw(*placement, status, now)))
            }
            Tried::Refused(queued, refused) => {
                let (state, refusal) = *refused;
                let failure: Failure = self.refused(queued, &state, refusal, enough, now);
                Outcome::Failed(Box::new(failure))
            }
        }
    }
}
