//! Decisions in which extenders have a say: they pause where one is to be asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::decide::{Refusal, View, does_not_fit, draw_best, look_at_all, narrow, nodes_to_find, promised, score_all};
use super::gang::{Attempt, Tried};
use super::{Decision, Outcome, Placement, Scheduler};
use crate::cache::NodeInfo;
use crate::framework::{
    Action, Answer, Candidate, CycleState, Diagnosis, EXTENDER, EXTENDER_SCORE_MAX, Extender, Filtered, FitError,
    NodeSubset, PostFilterOutcome, Preempted, Question, SCORE_MAX, Status, panicked,
};
use crate::object::{Name, PodInfo, Time};
use crate::queue::QueuedPod;

/// A decision that waits for extenders to be asked.
#[derive(Debug)]
pub struct Consultation {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// What is to be asked.
    pub question: Question,
    search: Box<Search>,
}

/// How far a decision has come.
#[derive(Debug)]
struct Search {
    queued: QueuedPod,
    state: CycleState,
    diagnosis: Diagnosis,
    /// The nodes that PreFilter plugins left, if not all.
    subset: Option<NodeSubset>,
    /// Whether only the node that the pod was promised is looked at.
    promised: bool,
    /// Those that pass, and how many passed the plugins.
    feasible: Vec<Name>,
    passed: usize,
    /// What plugins gave each of them.
    totals: Vec<i64>,
    /// Why it fits nowhere, once that is known.
    error: Option<FitError>,
    /// The attempt on a pod group that this is part of.
    group: Option<Box<Attempt>>,
}

enum Step {
    Ask(Question),
    Decided(Decision),
}

impl Scheduler {
    pub(super) fn has_interested_extender(&self, pod: &PodInfo) -> bool {
        let decides = |own: &Extender| own.filters || own.prioritizes || own.preempts;
        self.extenders.iter().any(|own| decides(own) && own.is_interested(pod))
    }

    /// The extenders, in the order in which they are asked: the place in this list is what questions name them by.
    #[must_use]
    pub fn extenders(&self) -> &[Extender] {
        &self.extenders
    }

    /// Begins a decision in which extenders have a say.
    pub(super) fn search(&mut self, queued: QueuedPod, group: Option<Box<Attempt>>, now: Time) -> Outcome {
        let search = Box::new(Search {
            queued,
            state: self.new_state(),
            diagnosis: Diagnosis::default(),
            subset: None,
            promised: false,
            feasible: Vec::new(),
            passed: 0,
            totals: Vec::new(),
            error: None,
            group,
        });
        self.go_on(search, now, Self::begin)
    }

    /// Goes on with a decision once extenders have answered.
    pub fn answer(&mut self, consultation: Consultation, answer: Answer, now: Time) -> Outcome {
        let Consultation { pod, question, search } = consultation;
        if !self.pending.contains_key(&pod.uid) {
            self.queue.done(&pod.uid);
            let gone = Outcome::Skipped { pod, message: None };
            return match search.group {
                Some(attempt) => self.go_on_without(attempt, gone, now),
                None => gone,
            };
        }
        match (question, answer) {
            (Question::Filter { extender, .. }, Answer::Filtered(result)) => {
                self.go_on(search, now, |own, search| own.filtered(search, extender, result))
            }
            (Question::Prioritize { extenders, .. }, Answer::Prioritized(scores)) => {
                self.go_on(search, now, |own, search| own.prioritized(search, &extenders, &scores))
            }
            (Question::Preempt { extender, candidates }, Answer::Preempted(result)) => {
                self.preempted_by(search, extender, candidates, result, now)
            }
            (question, answer) => {
                let status = Status::error(format!("{answer:?} is no answer to {question:?}"));
                self.refuse(*search, Refusal::Failed(status), now)
            }
        }
    }

    fn go_on(
        &mut self,
        mut search: Box<Search>,
        now: Time,
        step: impl FnOnce(&mut Self, &mut Search) -> Result<Step, Refusal>,
    ) -> Outcome {
        let step = catch_unwind(AssertUnwindSafe(|| step(self, &mut search)));
        match step.unwrap_or_else(|panic| Err(Refusal::Failed(panicked(&*panic)))) {
            Ok(Step::Ask(question)) => ask(search, question),
            Ok(Step::Decided(decision)) => {
                let Search { queued, state, group, .. } = *search;
                let Some(attempt) = group else { return self.place(queued, state, &decision, now) };
                let one = self.member_fits(queued, state, &decision);
                self.go_on_with(attempt, one, now)
            }
            Err(Refusal::DoesNotFit(mut error)) => {
                error.nodes_total = self.snapshot().len();
                let pod = &search.queued.pod;
                let not_for_one = search.group.as_ref().and_then(|_| self.room_is_not_made_for_one(pod));
                let outcome = not_for_one.unwrap_or_else(|| {
                    let pod = search.queued.pod.clone();
                    self.make_room(&pod, &error, |profile, pod, context| {
                        profile.run_post_filter(&search.state, pod, context)
                    })
                });
                search.error = Some(*error);
                self.room(search, outcome, now)
            }
            Err(refusal) => self.refuse(*search, refusal, now),
        }
    }

    fn refuse(&mut self, search: Search, refusal: Refusal, now: Time) -> Outcome {
        let Search { queued, state, group, .. } = search;
        match group {
            Some(attempt) => self.go_on_with(attempt, Tried::refused(queued, refusal), now),
            None => Outcome::Failed(Box::new(self.refused(queued, &state, refusal, false, now))),
        }
    }

    /// Goes on with the other members of a group.
    fn go_on_with(&mut self, mut attempt: Box<Attempt>, one: Tried, now: Time) -> Outcome {
        let pod = one.pod();
        attempt.note(one);
        self.try_members(attempt, now).unwrap_or(Outcome::Skipped { pod, message: None })
    }

    /// The same, after one of them went.
    fn go_on_without(&mut self, mut attempt: Box<Attempt>, gone: Outcome, now: Time) -> Outcome {
        let Outcome::Skipped { pod, .. } = &gone else { return gone };
        let pod = pod.clone();
        attempt.outcomes.push(gone);
        self.try_members(attempt, now).unwrap_or(Outcome::Skipped { pod, message: None })
    }

    fn view(&self, pod: &PodInfo) -> View<'_> {
        let profile = &self.profiles[&pod.spec.scheduler_name];
        View { profile, snapshot: self.cache.snapshot(), nominator: &self.queue.nominator }
    }

    fn begin(&mut self, search: &mut Search) -> Result<Step, Refusal> {
        let pod = search.queued.pod.clone();
        let view = self.view(&pod);
        if view.snapshot.is_empty() {
            return Err(Refusal::NoNodes);
        }
        (search.subset, search.diagnosis) = narrow(view, &pod, &mut search.state)?;
        if let Some(node) = promised(view, &pod, &search.state) {
            search.promised = true;
            search.feasible = vec![node.name().clone()];
            return self.filter_from(search, 0);
        }
        self.look_further(search)
    }

    /// Looks at all nodes.
    fn look_further(&mut self, search: &mut Search) -> Result<Step, Refusal> {
        let pod = search.queued.pod.clone();
        search.promised = false;
        let view = self.view(&pod);
        if view.snapshot.is_empty() {
            return Err(Refusal::NoNodes);
        }
        let one_will_do = view.profile.score.is_empty() && !self.extenders.iter().any(|e| e.filters || e.prioritizes);
        let percentage = self.progress.percentage(view.profile);
        let wanted = |nodes: usize| if one_will_do { 1 } else { nodes_to_find(nodes, percentage) };
        let start = self.progress.next_start;
        let subset = search.subset.as_ref();
        let (found, next_start) = look_at_all(view, &pod, &search.state, start, subset, wanted, &mut search.diagnosis)?;
        search.feasible = found.iter().map(|node| node.name().clone()).collect();
        search.passed = found.len();
        self.progress.next_start = next_start;
        self.filter_from(search, 0)
    }

    /// Asks the next extender that rules out nodes, from that one on.
    fn filter_from(&mut self, search: &mut Search, from: usize) -> Result<Step, Refusal> {
        let pod = search.queued.pod.clone();
        let mut rest = self.extenders.iter().enumerate().skip(from);
        let next = rest.find(|(_, own)| own.filters && own.is_interested(&pod)).map(|(at, _)| at);
        if let Some(extender) = next.filter(|_| !search.feasible.is_empty()) {
            return Ok(Step::Ask(Question::Filter { extender, nodes: search.feasible.clone() }));
        }
        if search.promised {
            if search.feasible.is_empty() {
                return self.look_further(search);
            }
        } else if search.feasible.len() != search.passed {
            search.diagnosis.unschedulable_plugins.insert(EXTENDER.into());
        }
        self.score(search)
    }

    fn filtered(
        &mut self,
        search: &mut Search,
        extender: usize,
        result: Result<Filtered, String>,
    ) -> Result<Step, Refusal> {
        let Extender { name, ignorable, .. } = &self.extenders[extender];
        match result {
            Ok(filtered) => {
                if let Some(other) = filtered.nodes.iter().find(|node| !search.feasible.contains(node)) {
                    let message = format!(
                        "extender {:?} claims a filtered node {:?} which is not found in the input node list",
                        &**name, &**other
                    );
                    return Err(Refusal::Failed(Status::error(message)));
                }
                for (node, status) in filtered.statuses() {
                    if let Some(node) = self.snapshot().node(node) {
                        search.diagnosis.nodes.replace(node.slot, status);
                    }
                }
                search.feasible = filtered.nodes;
            }
            Err(_) if *ignorable => {}
            Err(message) => return Err(Refusal::Failed(Status::error(message))),
        }
        self.filter_from(search, extender + 1)
    }

    /// Scores the nodes that are left by plugins, and asks the extenders that score.
    fn score(&mut self, search: &mut Search) -> Result<Step, Refusal> {
        let pod = search.queued.pod.clone();
        let view = self.view(&pod);
        search.feasible.retain(|name| view.snapshot.node(name).is_some());
        if search.feasible.is_empty() {
            return Err(does_not_fit(std::mem::take(&mut search.diagnosis)));
        }
        if search.feasible.len() == 1 {
            return self.select(search);
        }
        let nodes: Vec<&NodeInfo> = search.feasible.iter().filter_map(|name| view.snapshot.node(name)).collect();
        search.totals = score_all(view, &pod, &mut search.state, &nodes, |_, _| {}).map_err(Refusal::Failed)?;
        let scoring = self.extenders.iter().enumerate().filter(|(_, own)| own.prioritizes && own.is_interested(&pod));
        let extenders: Vec<usize> = scoring.map(|(at, _)| at).collect();
        if extenders.is_empty() {
            return self.select(search);
        }
        Ok(Step::Ask(Question::Prioritize { extenders, nodes: search.feasible.clone() }))
    }

    fn prioritized(
        &mut self,
        search: &mut Search,
        extenders: &[usize],
        scores: &[Vec<(Name, i64)>],
    ) -> Result<Step, Refusal> {
        for (extender, scores) in extenders.iter().zip(scores) {
            let weight = self.extenders[*extender].weight.saturating_mul(SCORE_MAX / EXTENDER_SCORE_MAX);
            for (node, score) in scores {
                if let Some(at) = search.feasible.iter().position(|own| own == node) {
                    search.totals[at] = search.totals[at].saturating_add(score.saturating_mul(weight));
                }
            }
        }
        self.select(search)
    }

    fn select(&mut self, search: &Search) -> Result<Step, Refusal> {
        let best = match search.feasible.len() {
            1 => 0,
            _ => draw_best(&search.totals, &mut self.progress.random),
        };
        let name = &search.feasible[best];
        // It may have gone while extenders were asked.
        let node = self.snapshot().node(name);
        let node = node.ok_or_else(|| Refusal::Failed(Status::error(format!("node {:?} not found", &**name))))?;
        let feasible = search.feasible.len();
        let evaluated = feasible + search.diagnosis.nodes.len();
        Ok(Step::Decided(Decision { node: name.clone(), slot: node.slot, evaluated, feasible }))
    }

    /// Room was made, or could be where extenders agree.
    fn room(&mut self, search: Box<Search>, mut outcome: PostFilterOutcome, now: Time) -> Outcome {
        if outcome.candidates.is_empty() {
            return self.concluded(search, outcome, now);
        }
        let candidates = std::mem::take(&mut outcome.candidates);
        self.ask_about(search, candidates, 0, now)
    }

    /// Asks the next extender that looks at preemption, from that one on; after the last the choice is made.
    fn ask_about(&mut self, search: Box<Search>, candidates: Vec<Candidate>, from: usize, now: Time) -> Outcome {
        let pod = search.queued.pod.clone();
        let mut rest = self.extenders.iter().enumerate().skip(from);
        let next = rest.find(|(_, own)| own.preempts && own.is_interested(&pod)).map(|(at, _)| at);
        if let Some(extender) = next.filter(|_| !candidates.is_empty()) {
            return ask(search, Question::Preempt { extender, candidates });
        }
        let Some(error) = &search.error else { return self.concluded(search, PostFilterOutcome::default(), now) };
        let outcome =
            self.make_room(&pod, error, |profile, pod, context| profile.run_choose(pod, &candidates, context));
        self.concluded(search, outcome, now)
    }

    fn preempted_by(
        &mut self,
        search: Box<Search>,
        extender: usize,
        candidates: Vec<Candidate>,
        result: Result<Vec<Preempted>, String>,
        now: Time,
    ) -> Outcome {
        let ignorable = self.extenders[extender].ignorable;
        match result.and_then(|left| self.resolve(extender, left)) {
            Ok(left) => self.ask_about(search, left, extender + 1, now),
            Err(_) if ignorable => self.ask_about(search, candidates, extender + 1, now),
            Err(message) => {
                let status = Some(Status::error(format!("preemption: {message}")));
                self.concluded(search, PostFilterOutcome { status, ..PostFilterOutcome::default() }, now)
            }
        }
    }

    /// Finds the pods that an extender named by their UIDs.
    fn resolve(&self, extender: usize, left: Vec<Preempted>) -> Result<Vec<Candidate>, String> {
        let Extender { name, ignorable, .. } = &self.extenders[extender];
        let mut candidates = Vec::new();
        for Preempted { node, victims: uids, budget_violations } in left {
            let info =
                self.snapshot().node(&node).ok_or_else(|| format!("nodeinfo not found for node name {:?}", &*node))?;
            let find = |uid: &Name| {
                info.pods.iter().find(|pod| pod.uid == *uid).cloned().ok_or_else(|| {
                    format!(
                        "extender: {name} claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not found on that node"
                    )
                })
            };
            let victims = uids.iter().map(find).collect::<Result<Vec<_>, _>>()?;
            match victims.is_empty() {
                true if *ignorable => {}
                true => return Err(format!("expected at least one victim pod on node {:?}", &*node)),
                false => candidates.push(Candidate { node, victims, budget_violations }),
            }
        }
        Ok(candidates)
    }

    fn concluded(&mut self, search: Box<Search>, outcome: PostFilterOutcome, now: Time) -> Outcome {
        let Search { queued, error, state, group, .. } = *search;
        let error = error.unwrap_or_default();
        let Some(attempt) = group else {
            return Outcome::Failed(Box::new(self.conclude(queued, error, outcome, now)));
        };
        let one = self.member_with_room(queued, state, Box::new(error), outcome);
        self.go_on_with(attempt, one, now)
    }

    /// Has an extender bind the pod instead, if one does that.
    pub(super) fn bind_through_extender(&self, placement: &Placement, mut actions: Vec<Action>) -> Vec<Action> {
        let pod = &placement.pod;
        let mut all = self.extenders.iter().enumerate();
        if let Some((extender, own)) = all.find(|(_, own)| own.binds && own.is_interested(pod)) {
            let otherwise = actions.pop().filter(|_| own.ignorable).map(Box::new);
            let node = placement.node().clone();
            actions.push(Action::BindThrough { extender, pod: pod.clone(), node, otherwise });
        }
        actions
    }
}

fn ask(search: Box<Search>, question: Question) -> Outcome {
    Outcome::Consult(Box::new(Consultation { pod: search.queued.pod.clone(), question, search }))
}

#[cfg(test)]
mod tests;
