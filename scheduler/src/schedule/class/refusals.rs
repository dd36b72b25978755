//! Why no node can take a pod, kept node by node: what a scan of all nodes would find, without the scan.

use super::super::decide::{Refusal, View};
use super::kept::Class;
use crate::framework::{Diagnosis, FitError, NodeStatuses, Status};
use crate::object::PodInfo;

/// How many different statuses are kept before they are collected anew.
const KINDS_MAX: usize = 1024;
/// The node can take the pod.
const NONE: u32 = u32::MAX;

/// What each node says.
#[derive(Default)]
pub(super) struct Refusals {
    statuses: NodeStatuses,
    numbers: Vec<u32>,
}

impl Refusals {
    /// Takes note of what a node says now; `None` if too many different things were said.
    pub(super) fn set(&mut self, place: usize, status: Option<Status>) -> Option<()> {
        self.numbers[place] = status.map_or(NONE, |status| self.statuses.number(status));
        (self.statuses.kinds() <= KINDS_MAX).then_some(())
    }
}

impl Class {
    /// Why the pod fits nowhere, which must be so. `None` if something is wrong, which the scan will find and tell.
    pub(super) fn refuse(&mut self, view: View<'_>, pod: &PodInfo, start: usize) -> Option<Refusal> {
        if self.refusals.is_none() {
            self.refusals = Some(self.collect(view, pod)?);
        }
        let Refusals { statuses, numbers } = self.refusals.as_ref()?;
        let order = view.snapshot.order();
        let places = (start..order.len()).chain(0..start);
        let mut diagnosis =
            Diagnosis { nodes: statuses.told(places.map(|at| (order[at], numbers[at]))), ..Diagnosis::default() };
        let said: Vec<Status> =
            diagnosis.nodes.counts().into_iter().filter(|(_, n)| *n > 0).map(|(status, _)| status.clone()).collect();
        said.iter().for_each(|status| diagnosis.blame(status));
        Some(Refusal::DoesNotFit(Box::new(FitError { nodes_total: view.snapshot.len(), diagnosis })))
    }

    fn collect(&self, view: View<'_>, pod: &PodInfo) -> Option<Refusals> {
        let View { profile, snapshot, nominator } = view;
        let mut refusals = Refusals { numbers: vec![NONE; snapshot.len()], ..Refusals::default() };
        for (place, node) in snapshot.nodes().enumerate() {
            match profile.run_filter_with_nominated(&self.state, pod, node, nominator) {
                Err(status) if status.is_rejection() => refusals.set(place, Some(status))?,
                _ => return None,
            }
        }
        Some(refusals)
    }
}
