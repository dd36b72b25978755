//! How a profile runs its plugins once a node was chosen: from Reserve to PostBind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::caught::caught;
use super::event::Verdict;
use super::observer::{Ended, SUCCESS};
use super::{Action, BindOutcome, CycleState, PermitOutcome, Profile, Status};
use crate::cache::Objects;
use crate::object::{Name, Node, PodInfo};
use crate::queue::Gangs;

/// What Permit plugins decided.
#[derive(Debug, Default)]
pub(crate) struct Permission {
    /// Who makes the pod wait, and for how long.
    pub(crate) waits: BTreeMap<Name, Duration>,
    /// Waiting pods that may go on, as far as a plugin is concerned.
    pub(crate) allowed: Vec<(Name, Name)>,
    /// Pods to be tried now.
    pub(crate) wanted: Vec<Name>,
}

impl Profile {
    pub(crate) fn run_reserve(&self, state: &mut CycleState, pod: &PodInfo, node: &Name) -> Verdict {
        self.watch.point("Reserve", &self.name, Ended::word, || self.reserve_all(state, pod, node))
    }

    fn reserve_all(&self, state: &mut CycleState, pod: &PodInfo, node: &Name) -> Verdict {
        for entry in &self.reserve {
            let closely = state.closely;
            let run = || entry.plugin.reserve(state, pod, node);
            if let Err(status) = self.watch.plugin(closely, "Reserve", &entry.name, Ended::word, run) {
                let wrap = || Status::error(format!("running Reserve plugin {:?}: {status}", &*entry.name));
                return Err(if status.is_rejection() { status.by(&entry.name) } else { wrap() });
            }
        }
        Ok(())
    }

    /// Lets plugins enter a decision into the cluster's books.
    pub(crate) fn run_enter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &Arc<Node>,
        objects: &mut Objects,
    ) -> Verdict {
        for entry in &self.reserve {
            if let Err(status) = entry.plugin.enter(state, pod, node, objects) {
                let wrap = || Status::error(format!("running Reserve plugin {:?}: {status}", &*entry.name));
                return Err(if status.is_rejection() { status.by(&entry.name) } else { wrap() });
            }
        }
        Ok(())
    }

    /// Lets plugins strike it out again.
    pub(crate) fn run_strike(&self, state: &mut CycleState, pod: &PodInfo, node: &Name, objects: &mut Objects) {
        for entry in self.reserve.iter().rev() {
            caught("Unreserve", &entry.name, || entry.plugin.strike(state, pod, node, objects));
        }
    }

    pub(crate) fn run_unreserve(&self, state: &mut CycleState, pod: &PodInfo, node: &Name) {
        let run = || {
            for entry in self.reserve.iter().rev() {
                let closely = state.closely;
                let run = || entry.plugin.unreserve(state, pod, node);
                let run = || caught("Unreserve", &entry.name, run);
                self.watch.plugin(closely, "Unreserve", &entry.name, |_| SUCCESS, run);
            }
        };
        self.watch.point("Unreserve", &self.name, |()| SUCCESS, run);
    }

    /// Runs Permit plugins.
    pub(crate) fn run_permit(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &Name,
        gangs: &Gangs,
    ) -> Result<Permission, Status> {
        let word = |result: &Result<Permission, Status>| match result {
            Ok(permission) if !permission.waits.is_empty() => "Wait",
            other => other.word(),
        };
        self.watch.point("Permit", &self.name, word, || self.permit_all(state, pod, node, gangs))
    }

    fn permit_all(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &Name,
        gangs: &Gangs,
    ) -> Result<Permission, Status> {
        let mut permission = Permission::default();
        for entry in &self.permit {
            let closely = state.closely;
            let run = || entry.plugin.permit(state, pod, node, gangs);
            match self.watch.plugin(closely, "Permit", &entry.name, permit_word, run) {
                Ok(PermitOutcome::Allow) => {}
                Ok(PermitOutcome::Wait(time)) => drop(permission.waits.insert(entry.name.clone(), time)),
                Ok(PermitOutcome::WaitFor { others, most }) => {
                    permission.waits.insert(entry.name.clone(), most);
                    permission.wanted.extend(others);
                }
                Ok(PermitOutcome::AllowWith(others)) => {
                    permission.allowed.extend(others.into_iter().map(|uid| (uid, entry.name.clone())));
                }
                Err(status) if status.is_rejection() => return Err(status.by(&entry.name)),
                Err(status) => {
                    return Err(Status::error(format!("running Permit plugin {:?}: {status}", &*entry.name)));
                }
            }
        }
        Ok(permission)
    }

    /// What must be done to bind a pod: the PreBind plugins' actions, then the first willing Bind plugin's.
    pub(crate) fn run_bind(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &Name) -> Result<Vec<Action>, Status> {
        let mut actions = Vec::new();
        for entry in &self.pre_bind {
            let run = || entry.plugin.pre_bind(state, pod, node);
            let asked = self.watch.plugin(state.closely, "PreBind", &entry.name, Ended::word, run);
            actions.extend(asked.map_err(|status| status.by(&entry.name))?);
        }
        for entry in &self.bind {
            let run = || entry.plugin.bind(state, pod, node);
            let outcome = self.watch.plugin(state.closely, "Bind", &entry.name, bind_word, run);
            match outcome.map_err(|status| status.by(&entry.name))? {
                BindOutcome::Skip => {}
                BindOutcome::Do(action) => {
                    actions.push(action);
                    return Ok(actions);
                }
            }
        }
        Err(Status::error("no bind plugin took the pod"))
    }

    pub(crate) fn run_post_bind(&self, pod: &PodInfo, node: &Name) {
        let run = || {
            for entry in &self.post_bind {
                caught("PostBind", &entry.name, || entry.plugin.post_bind(pod, node));
            }
        };
        self.watch.point("PostBind", &self.name, |()| SUCCESS, run);
    }
}

fn permit_word(result: &Result<PermitOutcome, Status>) -> &'static str {
    match result {
        Ok(PermitOutcome::Wait(_) | PermitOutcome::WaitFor { .. }) => "Wait",
        other => other.word(),
    }
}

fn bind_word(result: &Result<BindOutcome, Status>) -> &'static str {
    match result {
        Ok(BindOutcome::Skip) => "Skip",
        other => other.word(),
    }
}
