//! Room for a whole pod group at the expense of others of lower priority.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Placement, Scheduler};
use crate::framework::{Preemption, Status};
use crate::object::{Name, PodGroup, PodInfo, Time};
use crate::plugins::split_by_budget;
use crate::queue::QueuedPod;

/// Who goes together: a pod, or all pods of a group that goes as one.
struct Victim {
    pods: Vec<Arc<PodInfo>>,
    priority: i32,
    grouped: bool,
}

impl Victim {
    /// The less it is, the more important is the victim: higher priority, groups before single pods, larger groups,
    /// and those that run longer.
    fn rank(&self) -> impl Ord + use<> {
        let size = if self.grouped { self.pods.len() } else { 0 };
        let since = self.pods.iter().filter_map(|pod| pod.start_time).min().unwrap_or(Time::MAX);
        let name = self.pods.first().map(|pod| pod.uid.clone());
        (Reverse(self.priority), !self.grouped, Reverse(size), since, name)
    }
}

impl Scheduler {
    /// Who has to go so that enough pods of a group find nodes: as few as possible, the least important, and those that
    /// disruption budgets protect only if nobody else's going helps.
    ///
    /// # Errors
    /// Nobody's going would help, or something went wrong.
    pub(super) fn preempt_for_gang(&mut self, pods: &[Arc<PodInfo>]) -> Result<Preemption, Status> {
        let gone = || Status::error("failed to get pod group object: it is gone");
        let group = self.queue.gangs.of(&pods[0]).and_then(|gang| gang.group()).cloned().ok_or_else(gone)?;
        if group.wants_topology {
            let why = "workload aware preemption is not supported for pod groups with scheduling constraints";
            return Err(Status::unschedulable(why));
        }
        if pods.iter().any(|pod| pod.spec.never_preempts) {
            return Err(Status::unschedulable("not eligible due to preemptionPolicy=Never."));
        }
        let victims = self.possible_victims(&group);
        if victims.is_empty() {
            return Err(Status::unresolvable("No preemption victims found for incoming preemptor"));
        }
        // Everything is tried on the books themselves, which are put back afterwards.
        let books = (self.cache.clone(), self.queue.gangs.clone(), self.queue.nominator.clone());
        let classes = self.progress.classes.take();
        let chosen = self.choose_victims(pods, victims);
        (self.cache, self.queue.gangs, self.queue.nominator) = books;
        self.progress.classes = classes;
        Ok(Preemption {
            preemptor: pods[0].clone(),
            group: Some(group.uid),
            node: "cluster".into(),
            victims: chosen?,
            lower_nominated: Vec::new(),
        })
    }

    /// Everybody of lower priority, the more important first.
    fn possible_victims(&self, group: &PodGroup) -> Vec<Victim> {
        let mut groups: BTreeMap<(Name, Name), Victim> = BTreeMap::new();
        let mut victims = Vec::new();
        for pod in self.cache.snapshot().nodes().flat_map(|node| &node.pods) {
            let own = self.queue.gangs.of(pod).and_then(|gang| gang.group()).filter(|own| own.goes_as_one);
            match own {
                Some(own) => {
                    let key = (own.namespace.clone(), own.name.clone());
                    let none = || Victim { pods: Vec::new(), priority: own.priority, grouped: true };
                    groups.entry(key).or_insert_with(none).pods.push(pod.clone());
                }
                None => {
                    let (priority, grouped) = (pod.spec.priority, !pod.spec.pod_group.is_empty());
                    victims.push(Victim { pods: vec![pod.clone()], priority, grouped });
                }
            }
        }
        victims.extend(groups.into_values());
        victims.retain(|victim| victim.priority < group.priority);
        victims.sort_by_key(Victim::rank);
        victims
    }

    fn choose_victims(&mut self, pods: &[Arc<PodInfo>], victims: Vec<Victim>) -> Result<Vec<Arc<PodInfo>>, Status> {
        for pod in victims.iter().flat_map(|victim| &victim.pods) {
            self.cache.remove_pod(&pod.uid);
        }
        self.gang_fits(pods)?;
        let all: Vec<Arc<PodInfo>> = victims.iter().flat_map(|victim| victim.pods.clone()).collect();
        let (protected, _) = split_by_budget(all, self.cache.snapshot().objects().budgets());
        let is_protected =
            |victim: &Victim| victim.pods.iter().any(|pod| protected.iter().any(|own| own.uid == pod.uid));
        let (protected, others): (Vec<_>, Vec<_>) = victims.into_iter().partition(is_protected);
        let mut chosen = Vec::new();
        for victim in protected.into_iter().chain(others) {
            for pod in &victim.pods {
                self.cache.put_pod(pod.clone());
            }
            if self.gang_fits(pods).is_err() {
                for pod in &victim.pods {
                    self.cache.remove_pod(&pod.uid);
                }
                chosen.push(victim);
            }
        }
        chosen.sort_by_key(Victim::rank);
        Ok(chosen.into_iter().flat_map(|victim| victim.pods).collect())
    }

    /// Whether enough pods of a group find nodes as things stand. Nothing is left of the trial.
    fn gang_fits(&mut self, pods: &[Arc<PodInfo>]) -> Result<(), Status> {
        let mut placements: Vec<Box<Placement>> = Vec::new();
        let mut result = Err(Status::unschedulable("pod group is unschedulable"));
        for pod in pods {
            let (state, decided) = self.decide_safely(pod);
            // Nothing but results of the cycle before would be used again, and those are put aside.
            self.progress.classes = None;
            let status = match decided {
                Ok(decision) => match self.assume(QueuedPod::trial(pod.clone()), state, &decision) {
                    Ok((placement, permission)) => {
                        placements.push(placement);
                        if permission.waits.is_empty() {
                            result = Ok(());
                        }
                        continue;
                    }
                    Err(refused) => refused.1,
                },
                Err(super::decide::Refusal::Failed(status)) => status,
                Err(_) => continue,
            };
            if !status.is_rejection() {
                let message = format!("failed to schedule other pod from a pod group: {status}");
                result = Err(Status::error(message));
                break;
            }
        }
        for mut placement in placements.into_iter().rev() {
            self.unassume(&mut placement);
        }
        result
    }
}
