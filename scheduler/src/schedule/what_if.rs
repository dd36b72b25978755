//! Trying things out without consequences.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::decide::{Progress, Refusal, View, decide, score_all};
use super::{Decision, Scheduler};
use crate::cache::{NodeInfo, NodeSlot, Snapshot};
use crate::framework::{Action, CycleState, FitError, PluginScore, PostFilterContext, Preemption, Profile, Status};
use crate::object::{Name, PodInfo};
use crate::queue::Nominator;
use crate::random::Random;

/// A fork of the cluster, to try pods on. Nothing done to it reaches the scheduler it was taken from.
pub struct WhatIf<'a> {
    profiles: &'a BTreeMap<Name, Profile>,
    snapshot: Snapshot,
    nominator: Nominator,
    progress: Progress,
    marks: Vec<(Snapshot, Nominator, usize, Random)>,
}

/// What would become of a pod.
#[derive(Clone, Debug)]
pub enum Trial {
    /// It would go there.
    Fits(Decision),
    /// It would fit nowhere; the error has every node's reason.
    DoesNotFit(Box<FitError>),
    /// Something went wrong.
    Failed(Status),
}

impl Scheduler {
    /// Forks the cluster.
    #[must_use]
    pub fn what_if(&self) -> WhatIf<'_> {
        WhatIf {
            profiles: &self.profiles,
            snapshot: self.snapshot().clone(),
            nominator: self.queue.nominator.clone(),
            progress: Progress {
                next_start: self.progress.next_start,
                random: self.progress.random.clone(),
                percentage_of_nodes_to_score: self.progress.percentage_of_nodes_to_score,
                classes: None,
            },
            marks: Vec::new(),
        }
    }
}

/// Who would have to go for a pod.
#[derive(Clone, Debug)]
pub enum Room {
    /// These would, and the pod would go where they were.
    Made(Preemption),
    /// Nobody's going would help.
    None(Status),
}

impl<'a> WhatIf<'a> {
    /// The forked cluster.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The same, to change: add nodes, take pods away.
    pub const fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    /// Where a pod would go, without putting it there.
    pub fn try_pod(&mut self, pod: &Arc<PodInfo>) -> Trial {
        let profile = match self.profile(pod) {
            Ok(profile) => profile,
            Err(status) => return Trial::Failed(status),
        };
        let view = View { profile, snapshot: &self.snapshot, nominator: &self.nominator };
        match decide(view, pod, &mut CycleState::new(), &mut self.progress) {
            Ok(decision) => Trial::Fits(decision),
            Err(Refusal::DoesNotFit(error)) => Trial::DoesNotFit(error),
            Err(Refusal::Failed(status)) => Trial::Failed(status),
            Err(Refusal::NoNodes) => Trial::DoesNotFit(Box::default()),
        }
    }

    /// Puts a pod where it would go.
    pub fn place(&mut self, pod: &Arc<PodInfo>) -> Trial {
        let trial = self.try_pod(pod);
        if let Trial::Fits(decision) = &trial {
            self.snapshot.add_pod(Arc::new(pod.on_node(&decision.node)));
        }
        trial
    }

    /// Remembers how things stand, to come back to.
    pub fn mark(&mut self) {
        let mark =
            (self.snapshot.clone(), self.nominator.clone(), self.progress.next_start, self.progress.random.clone());
        self.marks.push(mark);
    }

    /// Goes back to where things stood at the last mark, and takes the mark away. Tells whether there was one.
    pub fn roll_back(&mut self) -> bool {
        let Some((snapshot, nominator, next_start, random)) = self.marks.pop() else { return false };
        (self.snapshot, self.nominator) = (snapshot, nominator);
        (self.progress.next_start, self.progress.random) = (next_start, random);
        true
    }

    /// Makes room for a pod that fits nowhere: the victims go and the pod takes their place. [`mark`](Self::mark) before
    /// and [`roll_back`](Self::roll_back) after to undo it.
    ///
    /// # Errors
    /// The pod fits without that, or something went wrong.
    pub fn preempt(&mut self, pod: &Arc<PodInfo>) -> Result<Room, Status> {
        let profile = self.profile(pod)?;
        let mut state = CycleState::new();
        let view = View { profile, snapshot: &self.snapshot, nominator: &self.nominator };
        let error = match decide(view, pod, &mut state, &mut self.progress) {
            Err(Refusal::DoesNotFit(error)) => error,
            Err(Refusal::Failed(status)) => return Err(status),
            Err(Refusal::NoNodes) => {
                return Ok(Room::None(Status::unschedulable("no nodes available to schedule pods")));
            }
            Ok(decision) => return Err(Status::error(format!("the pod fits on {}", decision.node))),
        };
        let context = PostFilterContext {
            profile,
            snapshot: &self.snapshot,
            nominator: &self.nominator,
            statuses: &error.diagnosis.nodes,
            random: &mut self.progress.random,
            candidates_wanted: false,
            kept: None,
            places: &[],
        };
        let outcome = profile.run_post_filter(&state, pod, context);
        let preemption = outcome.actions.into_iter().find_map(|action| match action {
            Action::Preempt(preemption) => Some(preemption),
            _ => None,
        });
        let Some(preemption) = preemption else {
            let nothing = || Status::unschedulable("no plugin makes room");
            return Ok(Room::None(outcome.status.unwrap_or_else(nothing)));
        };
        for victim in &preemption.victims {
            self.snapshot.remove_pod(victim);
        }
        self.snapshot.add_pod(Arc::new(pod.on_node(&preemption.node)));
        Ok(Room::Made(preemption))
    }

    fn profile(&self, pod: &PodInfo) -> Result<&'a Profile, Status> {
        self.profiles.get(&pod.spec.scheduler_name).ok_or_else(|| {
            Status::error(format!("profile not found for scheduler name {:?}", &*pod.spec.scheduler_name))
        })
    }

    /// Everything that speaks against each node for a pod: one status for each plugin that refuses it, where a decision
    /// would have stopped at the first. Nodes without any can take the pod.
    ///
    /// # Errors
    /// A PreFilter plugin rejected the pod altogether, or something went wrong.
    pub fn every_reason(&self, pod: &PodInfo) -> Result<BTreeMap<Name, Vec<Status>>, Status> {
        let profile = self.profile(pod)?;
        let mut state = CycleState::new();
        profile.run_pre_filter(&mut state, pod, &self.snapshot).map_err(|rejected| rejected.status)?;
        let reasons = |node: &NodeInfo| (node.name().clone(), profile.run_every_filter(&state, pod, node));
        Ok(self.snapshot.nodes().map(reasons).collect())
    }

    /// What each node says to a pod: every no with its reasons, and for every yes the score's parts.
    ///
    /// # Errors
    /// A PreFilter plugin rejected the pod altogether, or something went wrong.
    pub fn explain(&self, pod: &PodInfo) -> Result<BTreeMap<Name, Result<Vec<PluginScore>, Status>>, Status> {
        let profile = self.profile(pod)?;
        let view = View { profile, snapshot: &self.snapshot, nominator: &self.nominator };
        let mut state = CycleState::new();
        let subset = profile.run_pre_filter(&mut state, pod, &self.snapshot).map_err(|r| r.status)?.0;
        let all: Vec<&NodeInfo> = self.snapshot.nodes().collect();
        let diagnosis = profile.diagnose(&state, pod, &all, &self.nominator);
        let mut answers = BTreeMap::new();
        let mut feasible = Vec::new();
        let said: HashMap<NodeSlot, &Status> = diagnosis.nodes.iter().collect();
        for node in all {
            let left_out = subset.as_ref().is_some_and(|subset| !subset.contains(node.name()));
            match said.get(&node.slot).copied() {
                Some(status) => drop(answers.insert(node.name().clone(), Err(status.clone()))),
                None if left_out => {
                    let status = Status::unresolvable("node(s) didn't satisfy plugin(s)");
                    answers.insert(node.name().clone(), Err(status));
                }
                None => feasible.push(node),
            }
        }
        let mut parts: Vec<Vec<PluginScore>> = vec![Vec::new(); feasible.len()];
        score_all(view, pod, &mut state, &feasible, |at, part| parts[at].push(part))?;
        answers.extend(feasible.iter().zip(parts).map(|(node, parts)| (node.name().clone(), Ok(parts))));
        Ok(answers)
    }

    /// Draws ties from another seed.
    pub fn reseed(&mut self, seed: u64) {
        self.progress.random = Random::new(seed);
    }
}
